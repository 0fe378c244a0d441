"""Figures as ratios against what a user would use instead, measured in one process. Run: `make bench`."""
