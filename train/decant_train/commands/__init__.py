"""The commands of `decant train`: one file for the codec, one for the published systems."""
