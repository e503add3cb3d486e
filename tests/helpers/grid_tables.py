"""Tables of the layout `grid` for tests: real distributions, random integer networks, random symbols."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from decant.codec.entropy.counts import TOTAL, integer_counts, recommended_runs, run_counts_of
from decant.codec.entropy.rans import SCALES
from decant.codec.layout import GridLayout


def deviation(c: int) -> float:
    """The standard deviation, in steps, that class ``c`` stands for here: 0.11 to 64."""
    return float(np.exp(np.log(0.11) + c * np.log(64 / 0.11) / 31))


@cache
def class_table(c: int) -> tuple[int, np.ndarray]:
    """(radius, counts) of 99 % Gaussian and 1 % Laplacian; at most 2^-20 beyond the radius, where 127 is not
    in the way.
    """
    sigma = deviation(c)
    edges = np.arange(-800, 801) - 0.5
    gauss = np.array([0.5 * math.erfc(-x / sigma / math.sqrt(2)) for x in edges])
    decay = np.exp(-np.abs(edges) * math.sqrt(2) / sigma)
    mass = np.diff(0.99 * gauss + 0.01 * np.where(edges < 0, decay / 2, 1 - decay / 2))
    centre = 800
    beyond = 1.0
    radius = 0
    while beyond > 2**-20 and radius < 127:
        radius += 1
        beyond = 1 - mass[centre - radius : centre + radius + 1].sum()
    return radius, integer_counts(np.append(mass[centre - radius : centre + radius + 1], max(beyond, 0)))


def class_tables() -> dict[int, tuple[int, np.ndarray]]:
    return {c: class_table(c) for c in range(1, SCALES)}


def recommended() -> dict[int, int]:
    """The longest direct run of each class that is mostly zeros."""
    found = {c: recommended_runs(counts[radius] / TOTAL) for c, (radius, counts) in class_tables().items()}
    return {c: length for c, length in found.items() if length}


def entropy_tensors(runs: dict[int, int] | None = None) -> dict[str, np.ndarray]:
    """The tensors `entropy.*`; ``runs`` gives the longest direct run by class, none where it says nothing."""
    lengths = np.zeros(SCALES, np.uint16)
    counts, run_counts = [], [np.zeros(0, np.uint32)]
    for c, (radius, every) in class_tables().items():
        lengths[c] = (runs or {}).get(c, 0)
        counts.append(integer_counts(np.delete(every, radius)) if lengths[c] else every)
        if lengths[c]:
            run_counts.append(run_counts_of(every[radius] / TOTAL, int(lengths[c])))
    return {
        "entropy.radius": np.array([0, *(radius for radius, _ in class_tables().values())], np.uint8),
        "entropy.runs": lengths,
        "entropy.counts": np.concatenate(counts),
        "entropy.run_counts": np.concatenate(run_counts),
    }


def scale_tensors(channels: int, hyper: int, class_width: int, seed: int = 0) -> dict[str, np.ndarray]:
    """The tensors `scale.*`, random."""
    random = np.random.default_rng(seed)
    return {
        "scale.hidden_weight": random.integers(-60, 61, (4 * class_width, hyper, 3, 3)).astype(np.int8),
        "scale.hidden_bias": random.integers(-3000, 9000, 4 * class_width).astype(np.int32),
        "scale.out_weight": random.integers(-25, 36, (4 * channels, class_width)).astype(np.int8),
    }


def context_tensors(latent: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """The tensors `context.*` of what model.json says, random."""
    random = np.random.default_rng(seed)
    tensors = {"context.magnitude": np.minimum(24 * np.arange(256) ** 0.7, 255).astype(np.uint8)}
    channel_groups, width, mixed = latent["stages"], latent["context_width"], latent.get("mixed_width", 0)

    def part(name: str, known: int, count: int) -> None:
        size, seen = (width, 3 * known), mixed or width
        tensors[f"{name}.hidden_weight"] = random.integers(-40, 60, size).astype(np.int8)
        tensors[f"{name}.hidden_bias"] = random.integers(-2000, 4000, width).astype(np.int32)
        tensors[f"{name}.out_weight"] = random.integers(-20, 21, (count, seen)).astype(np.int8)
        if mixed:
            below = (4 * mixed, latent["class_width"])
            tensors[f"{name}.mixed_weight"] = random.integers(-40, 50, (mixed, width)).astype(np.int8)
            tensors[f"{name}.below_weight"] = random.integers(-40, 50, below).astype(np.int8)
            tensors[f"{name}.mixed_bias"] = random.integers(-2000, 4000, mixed).astype(np.int32)

    for i, count in enumerate(channel_groups):
        part(f"context.{i}", sum(channel_groups[:i]) or count, count)
        if 0 < i < latent.get("halves", 1):
            part(f"context.{i}.half", sum(channel_groups[: i + 1]), count)
    return tensors


def near_tensors(channel_groups: list[int], context_width: int, seed: int = 0) -> dict[str, np.ndarray]:
    """The tensors `near.*` of ``channel_groups`` with a checkerboard, random."""
    random, shapes = np.random.default_rng(seed), {}
    for i, count in enumerate(channel_groups):
        name = f"near.{i}" if i else "near"
        shapes[f"{name}.hidden_weight"] = (context_width, 4 * count)
        shapes[f"{name}.hidden_bias"] = (context_width,)
        shapes[f"{name}.out_weight"] = (count, context_width)
        shapes[f"{name}.out_bias"] = (count,)
    return {name: random.normal(0, 0.2, shape).astype(np.float16) for name, shape in shapes.items()}


def quality_tensors(channels: int, hyper: int, seed: int = 0) -> dict[str, np.ndarray]:
    """The tensors `quality.*`, random."""
    random = np.random.default_rng(seed)
    return {
        "quality.step_levels": np.geomspace(0.5, 100, 256).astype(np.float32),
        "quality.step_index": random.integers(0, 256, (100, channels)).astype(np.uint8),
        "quality.hyper_multiplier": random.integers(1, 256, (100, hyper)).astype(np.uint8),
        "quality.hyper_class": random.integers(1, SCALES, (100, hyper)).astype(np.uint8),
        "quality.class_offset": random.integers(2, 111, (100, channels)).astype(np.uint8),
    }


def grid_model(
    channels: int = 6,
    hyper: int = 3,
    class_width: int = 4,
    tile: int = 16,
    halo: int = 5,
    channel_groups: Sequence[int] = (),
    context_width: int = 5,
    **more: int,
) -> dict[str, Any]:
    """The part of model.json that the layout reads; one channel group where none are given. ``more``: keys
    that may be absent.
    """
    return {
        "image": {"width": 0, "height": 0, "channels": 3, "colour": "srgb"},
        "latent": {
            "layout": "grid",
            "channels": channels,
            "hyper": hyper,
            "class_width": class_width,
            "group": tile,
            "halo": halo,
            "stages": list(channel_groups) or [channels],
            "context_width": context_width,
            **more,
        },
    }


def grid_tensors(model: dict[str, Any], runs: dict[int, int] | None = None) -> dict[str, np.ndarray]:
    """All tensors of a model."""
    latent = model["latent"]
    channels, hyper, width = (latent[key] for key in ("channels", "hyper", "class_width"))
    return {
        **quality_tensors(channels, hyper),
        **scale_tensors(channels, hyper, width),
        **context_tensors(latent),
        **near_tensors(latent["stages"][: latent.get("halves", 1)], latent["context_width"]),
        **entropy_tensors(runs),
    }


def random_symbols(scale_indices: np.ndarray, seed: int = 0, wild: int = 0) -> np.ndarray:
    """int32 of the shape of ``scale_indices``: symbols as spread as these say, ``wild`` of them anywhere in
    +-32767; 0 where the class is 0.
    """
    random = np.random.default_rng(seed)
    sigma = np.array([deviation(c) for c in range(SCALES)])[scale_indices]
    symbols = np.rint(random.normal(0, 1, scale_indices.shape) * sigma).astype(np.int32)
    if wild:
        anywhere = random.integers(0, symbols.size, wild)
        symbols.reshape(-1)[anywhere] = random.integers(-32767, 32768, wild)
    return np.where(scale_indices > 0, symbols, 0)


def encode_picture(
    layout: GridLayout, width: int, height: int, quality: int, seed: int = 0, wild: int = 0
) -> tuple[bytes, np.ndarray, np.ndarray]:
    """(payload, z, symbols (M, h, w)) of a picture of random hyperlatents and symbols."""
    random = np.random.default_rng(seed)
    shape, rows = layout.grid(width, height), layout.quality(quality)
    z = np.rint(random.laplace(0, 3, (layout.hyper, shape.hz, shape.wz))).astype(np.int32)
    symbols = np.zeros((layout.channels, shape.h, shape.w), np.int32)
    v = rows.scaled(z)
    streams = []
    for tile in shape.tiles:
        y0, y1, x0, x1 = tile
        found, scale_indices = layout.choose_symbols(
            v, rows, tile, lambda _, part: random_symbols(part, seed, wild)
        )
        symbols[:, y0:y1, x0:x1] = found
        streams.append(layout.encode_tile(found, scale_indices))
    return layout.write(layout.encode_hyper(z, rows), streams), z, symbols
