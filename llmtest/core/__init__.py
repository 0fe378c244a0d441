"""Foundations: text, masks, source lines, sequences. Knows no run and no LangChain."""
