"""Training: photos in, a checkpoint out, for the codec and for the published systems."""
