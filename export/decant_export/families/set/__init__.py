"""Graphs of the family ``set``."""
