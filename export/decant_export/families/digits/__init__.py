"""Graphs of the family ``digits``."""
