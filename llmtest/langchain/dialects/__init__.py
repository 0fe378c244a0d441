"""A scripted answer in a provider's chunks, messages and errors."""
