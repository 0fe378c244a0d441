"""Runs on disk that answer again: cassettes, and scripts made of recordings."""
