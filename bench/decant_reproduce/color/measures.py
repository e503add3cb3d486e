"""The colour bundle and the palettes of the publication measured on the same pictures, in real bytes.

Pictures are taken in one shuffled order, a portion at a time; what is measured is kept after each, so that a
run that is called again goes on.
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from decant.bundles.bundle import Bundle
from decant.decoder import Decoder
from decant.encoder import Encoder
from decant.formats import container
from decant.layouts.levels import LevelsLayout
from decant_bench.common import metrics
from decant_bench.common.baselines import setting
from decant_bench.errors import BenchError

FLOAT, INT8 = "color, float", "color, int8"
KMEANS, MEDIAN_CUT = "kmeans-k16", "median-cut-k16"
# Median cut needs fewer colours than K-means for the same bits: its indices are less even.
PALETTES = (KMEANS, MEDIAN_CUT, "median-cut-k13")
LABELS = (FLOAT, INT8, *PALETTES)
PORTION = 250  # pictures
EXAMPLES = 10
# A picture that comes back exactly counts as if one value of a 32 x 32 picture were off by one.
EXACT_DB = 10 * math.log10(255**2 * 32 * 32 * 3)


@dataclass
class Measures:
    """What was measured of the first pictures of an order. ``bytes`` int64, ``psnr_db``, ``ssim`` and ``mse``
    (0..1 squared) float64: (contenders, n), rows as LABELS; ``maps`` uint8 (n, rows, columns): depth maps;
    ``shown`` uint8 (contenders + 1, m, H, W, 3): the first originals, and what each made of them.
    """

    model_id: str
    order: np.ndarray
    bytes: np.ndarray = field(default_factory=lambda: np.zeros((len(LABELS), 0), np.int64))
    psnr_db: np.ndarray = field(default_factory=lambda: np.zeros((len(LABELS), 0)))
    ssim: np.ndarray = field(default_factory=lambda: np.zeros((len(LABELS), 0)))
    mse: np.ndarray = field(default_factory=lambda: np.zeros((len(LABELS), 0)))
    maps: np.ndarray | None = None
    shown: np.ndarray | None = None

    @property
    def count(self) -> int:
        """How many pictures were measured."""
        return int(self.bytes.shape[1])

    def bits_per_pixel(self, pixels: int) -> np.ndarray:
        """Mean bits per pixel of each contender's files, (contenders,), for pictures of ``pixels``."""
        means: np.ndarray = 8 * self.bytes.mean(axis=1) / pixels
        return means


def measure(
    bundle: Bundle,
    pictures: np.ndarray,
    path: Path,
    ends_at: float,
    report: Callable[[str], None] = lambda line: None,
) -> Measures:
    """Measure ``pictures`` uint8 (n, H, W, 3), until all are or the monotonic clock says ``ends_at``; at
    least a portion. What ``path`` (.npz) holds of this bundle is kept, and what is new is added to it.

    Raises BenchError for a bundle that is no colour bundle, DecantError, OSError.
    """
    layout = bundle.layout
    if not isinstance(layout, LevelsLayout):
        raise BenchError(f"bundle {bundle.name}: latents of layout {layout.name}; levels expected")
    order = np.random.default_rng(0).permutation(len(pictures))
    found = load(path, bundle.model_id) or Measures(bundle.model_id, order)
    if len(found.order) != len(order):
        found = Measures(bundle.model_id, order)
    contenders = _contenders(bundle)
    while found.count < len(order) and (not found.count or time.monotonic() < ends_at):
        chosen = pictures[order[found.count : found.count + PORTION]]
        _add(found, layout, contenders, chosen)
        save(found, path)
        report(f"measured {found.count} of {len(order)} pictures")
    return found


def load(path: Path, model_id: str | None = None) -> Measures | None:
    """What ``path`` holds of the model (any where None); None where there is nothing. Raises BenchError."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        found = Measures(str(arrays.pop("model_id")), **arrays)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path}: not what was measured here: {error}; remove it") from None
    return found if model_id in (None, found.model_id) else None


def save(measures: Measures, path: Path) -> None:
    """Write ``measures`` to ``path``, which appears whole or not at all. Raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    arrays = {name: value for name, value in vars(measures).items() if value is not None}
    with temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    os.replace(temporary, path)


Encode = Callable[[np.ndarray], bytes]
Decode = Callable[[bytes], np.ndarray]


def _contenders(bundle: Bundle) -> list[tuple[Encode, list[Decode]]]:
    """Each way to make files, with the ways to decode them: together in the order of LABELS."""
    decoders = [
        Decoder(bundle, precision=name, runtime="onnxruntime", threads=1) for name in ("float", "int8-static")
    ]
    ours: tuple[Encode, list[Decode]] = (
        Encoder(bundle, runtime="onnxruntime", threads=1).encode,
        [decoder.decode for decoder in decoders],
    )
    palettes: list[tuple[Encode, list[Decode]]] = []
    for label in PALETTES:
        chosen = setting(label)
        palettes.append((chosen.encode, [chosen.decoder()]))
    return [ours, *palettes]


def _add(
    found: Measures,
    layout: LevelsLayout,
    contenders: list[tuple[Encode, list[Decode]]],
    pictures: np.ndarray,
) -> None:
    sizes, decoded = [], []
    maps: list[np.ndarray] = []
    for encode, decoders in contenders:
        files = [encode(picture) for picture in pictures]
        if not maps:
            maps = [layout.depth_map(container.parse(file).latents) for file in files]
        for decode in decoders:
            sizes.append([len(file) for file in files])
            decoded.append(np.stack([decode(file) for file in files]))
    pairs = [list(zip(pictures, result, strict=True)) for result in decoded]
    psnr = [[min(metrics.psnr(a, b), EXACT_DB) for a, b in each] for each in pairs]
    ssim = [[metrics.ssim(a, b) for a, b in each] for each in pairs]
    mse = [np.square((pictures - result.astype(np.float64)) / 255).mean(axis=(1, 2, 3)) for result in decoded]
    if found.shown is None:
        found.shown = np.stack([pictures, *decoded])[:, :EXAMPLES]
    found.maps = np.stack(maps) if found.maps is None else np.concatenate([found.maps, maps])
    found.bytes = np.concatenate([found.bytes, sizes], axis=1)
    found.psnr_db = np.concatenate([found.psnr_db, psnr], axis=1)
    found.ssim = np.concatenate([found.ssim, ssim], axis=1)
    found.mse = np.concatenate([found.mse, mse], axis=1)
