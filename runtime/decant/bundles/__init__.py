"""Bundles: a trained model as a folder on disk, and the user's folders where bundles are kept."""
