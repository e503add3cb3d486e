"""Latent layouts: how a picture's latents become the payload of a file.

``vector`` and ``levels`` are here; ``grid`` is in ``decant.codec``. ``registry`` finds a bundle's layout.
"""
