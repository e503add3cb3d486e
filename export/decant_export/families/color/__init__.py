"""Graphs of the family ``color``."""
