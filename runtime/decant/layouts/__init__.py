"""Latent layouts: how a picture's latents become the payload of a file. ``vector`` and ``levels``; the
registry.
"""
