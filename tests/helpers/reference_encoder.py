"""The encoder of version 0.12 for the least squared error, in one function, for pictures of one tile.

Files of ``tune="psnr"`` are compared with its files.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from decant import Encoder
from decant.codec.decoder import mean_of_tile
from decant.codec.encoder import GridEncoder
from decant.codec.quantization import Quantizer, quantized_hyperlatents, symbol_weight
from decant.formats import container
from decant.formats.input_images import Picture
from decant.formats.metadata import Metadata
from decant.formats.rectangles import Rectangle

ROUNDS = (0, 0, 8, 12)


def file_by_squared_error(encoder: Encoder, pixels: np.ndarray, quality: int = 60, effort: int = 2) -> bytes:
    """The file of RGB ``pixels`` whose sides are multiples of 16."""
    grid = encoder._pipeline
    assert isinstance(grid, GridEncoder)
    height, width = pixels.shape[:2]
    margins = [(0, -height % 64), (0, -width % 64), (0, 0)]
    found = grid.analysis.run(np.pad(pixels, margins, mode="edge")[None])
    shape = grid.layout.grid(width, height)
    z = grid.hyper_analysis.run(found)[0][:, : shape.hz, : shape.wz]
    aims = np.ascontiguousarray(found[0][:, : shape.h, : shape.w])
    row = grid.layout.quality(quality)
    z = quantized_hyperlatents(z, row)
    scaled = row.scaled(z)
    mean = mean_of_tile(grid.hyper_mean, scaled.astype(np.float32) / 16, Rectangle(*shape.tiles[0]))
    distortion = float(grid.lambdas[quality - 1])
    weight = symbol_weight(distortion, row, grid.curvature) if effort else None
    head = encoder._file(Picture(pixels), Metadata())

    def coded(targets: np.ndarray) -> tuple[float, bytes, np.ndarray]:
        quantizer = Quantizer(grid.layout, row, targets, mean, weight, grid.bits, grid.predict)
        symbols, indices = grid.layout.choose_symbols(scaled, row, shape.tiles[0], quantizer)
        latents = (symbols * row.step[:, None, None] + quantizer.mean).astype(np.float32)
        if grid.predict is not None:
            assert quantizer.predicted is not None
            first = grid.layout.channel_groups[0]
            latents[first : first + len(quantizer.predicted)] += quantizer.predicted
        payload = grid.layout.write(
            grid.layout.encode_hyper(z, row), [grid.layout.encode_tile(symbols, indices)]
        )
        radius = grid.bits.shape[1] // 2
        bits = grid.bits[indices, np.clip(symbols, -radius, radius) + radius][indices > 0].sum()
        return float(bits), container.write(replace(head, quality=quality, latents=payload)), latents

    bits, file, y = coded(aims)
    rounds = ROUNDS[effort]
    if not rounds:
        return file
    border = np.ones((height, width, 1), np.float32)
    border[[0, -1]] = border[:, [0, -1]] = 1.6
    adjoint, best, least = grid._load("synthesis_adjoint"), file, np.inf
    step_size, around = np.ones(y.shape[1:], np.float32), np.full(y.shape[1:], np.inf)
    last: Any = np.zeros_like(y)
    for i in range(rounds + 1):
        lacking = pixels.astype(np.float32) - grid._decode(file).pixels
        squared = (lacking**2 * border).sum(2)
        errors = squared.reshape(shape.h, 16, shape.w, 16).sum((1, 3), dtype=np.float64)
        cost = bits + distortion * float(errors.sum()) / 3
        if cost < least:
            best, least = file, cost
        if i == rounds:
            break
        near = np.lib.stride_tricks.sliding_window_view(np.pad(errors, 1), (3, 3)).sum((2, 3))
        step_size[near > 1.4 * around] /= 2
        around = near
        padded = np.pad(lacking * border / 255, margins)[: 16 * shape.h, : 16 * shape.w]
        update = adjoint.run(np.ascontiguousarray(y[None]), padded[None])[0]
        overshoot = 1.5 + (1.05 - 1.5) * max(0.0, 2 * (i + 1) / rounds - 1)
        update *= overshoot / grid.bound[:, None, None]
        update += last * np.float32(0.25)
        update *= step_size
        update += y
        aims, last = update, update - aims
        bits, file, y = coded(aims)
    return best
