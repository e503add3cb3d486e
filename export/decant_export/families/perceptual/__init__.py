"""Graphs of the family ``perceptual``."""
