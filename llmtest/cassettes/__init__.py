"""Runs on disk that answer again: cassettes, and what other tools have recorded."""
