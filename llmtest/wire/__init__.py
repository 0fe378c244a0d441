"""Bytes of a provider and our words: whoever makes the model, the script answers."""
