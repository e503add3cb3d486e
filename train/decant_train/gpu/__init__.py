"""A training of the codec prepared for a few minutes of a large GPU on another machine."""
