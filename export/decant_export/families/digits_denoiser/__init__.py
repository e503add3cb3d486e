"""Graphs of the family ``digits_denoiser``."""
