"""A file of VGG-19 weights in miniature, for the perceptual loss: random, but laid out as real ones are."""

from pathlib import Path

import numpy as np


def write_vgg(path: Path, widths: tuple[int, ...] = (8, 8, 12, 12, 16)) -> Path:
    """Random weights laid out as the files are: a 1x1 layer, then 3x3 convolutions, and one to leave out."""
    draw = np.random.default_rng(5)
    names = ["conv0", "conv11", "conv12", "conv21", "conv22", "conv31"][: len(widths) + 1]
    arrays = {}
    for name, out, channels in zip(names, (3, *widths), (3, 3, *widths), strict=False):
        side = 1 if name == "conv0" else 3
        scale = (channels * side**2 / 2) ** -0.5
        arrays[f"{name}.weight"] = draw.normal(0, scale, (out, channels, side, side)).astype(np.float16)
        arrays[f"{name}.bias"] = draw.normal(0, 0.1, out).astype(np.float16)
    arrays["conv11_aux.weight"] = np.zeros((20, 8, 1, 1), np.float16)
    np.savez(path, **arrays)
    return path
