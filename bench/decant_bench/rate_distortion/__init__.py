"""Rate-distortion curves, BD-rate, effort, content groups, pictures side by side."""
