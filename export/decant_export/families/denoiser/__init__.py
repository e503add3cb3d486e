"""Graphs of the family ``denoiser``."""
