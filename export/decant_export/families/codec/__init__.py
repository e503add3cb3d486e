"""Graphs of the family ``codec``."""
