"""The layout ``levels``: a grid of latents for pictures of one size. Bits per latent depend on the region.

The grid is cut into square regions. Each region has one of the bundle's depths: a latent of depth d is one of
2^d stored values. Depths and levels are one rANS stream with tables of integer counts
(docs/format/levels.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from decant.codec.entropy.counts import TOTAL, exact_model
from decant.codec.entropy.rans import AnsCoder, ans_decoder
from decant.errors import BundleError, FormatError, ImageError
from decant.formats.tensors import tensor_of
from decant.layouts.fixed import FixedLayout, is_int

MAX_SIDE, MAX_CHANNELS, MAX_LATENTS = 4096, 1 << 16, 1 << 24
MAX_DEPTH, MAX_DEPTHS = 12, 16
_KEYS = {"layout", "channels", "height", "width", "region", "depths"}


@dataclass(frozen=True, eq=False)
class LevelsLayout(FixedLayout):
    """``channels`` x ``height`` x ``width`` latents in 0..1, in regions of ``region`` x ``region`` positions
    (smaller at the right and bottom edges), each with one of ``depths`` (bits, 0..12).

    * ``depth_counts`` uint32 (k,): counts of the k depths, of sum 2^24;
    * ``counts``: for each depth d, counts of the levels in a channel, uint32 (channels, 2^d), of sum 2^24;
    * ``thresholds`` float32 (k - 1,), ascending: a region whose complexity (``complexity_of``) reaches i of
      them is encoded with depth i;
    * ``values``: for each depth d, the values of its levels, float32 (2^d,), ascending. The default is
      level / (2^d - 1), and 0.5 for d = 0.

    Raises BundleError if these do not fit together.
    """

    channels: int
    height: int
    width: int
    region: int
    depths: tuple[int, ...]
    depth_counts: np.ndarray = field(repr=False)
    counts: Sequence[np.ndarray] = field(repr=False)
    thresholds: np.ndarray = field(repr=False)
    values: Sequence[np.ndarray] = field(default=(), repr=False)

    name = "levels"

    def __post_init__(self) -> None:
        _check_sizes(self)
        if not self.values:
            object.__setattr__(self, "values", tuple(map(uniform_values, self.depths)))
        _check_tables(self)

    @classmethod
    def of_one_depth(cls, counts: np.ndarray, height: int, width: int) -> "LevelsLayout":
        """The layout in which all height x width positions have depth d, for ``counts`` uint32
        (channels, 2^d).
        """
        channels, levels = counts.shape
        return cls(
            channels=channels,
            height=height,
            width=width,
            region=max(height, width),
            depths=(levels.bit_length() - 1,),
            depth_counts=np.array([TOTAL], np.uint32),
            counts=(counts,),
            thresholds=np.zeros(0, np.float32),
        )

    @classmethod
    def from_model(cls, model: Mapping[str, Any], tables: Mapping[str, np.ndarray]) -> "LevelsLayout":
        """The layout that ``model.json`` describes. Raises BundleError."""
        latent = model["latent"]
        if set(latent) != _KEYS:
            raise BundleError(f"latent layout levels: keys {sorted(latent)}; {sorted(_KEYS)} expected")
        sizes = {key: latent[key] for key in ("channels", "height", "width", "region")}
        depths = latent["depths"]
        if not isinstance(depths, list):
            raise BundleError(f"latent layout levels: depths {depths!r}; a list expected")
        _check_numbers(**sizes, depths=depths)
        ends = np.cumsum([1 << depth for depth in depths])
        counts = tensor_of(tables, "levels.counts", np.uint32, (int(ends[-1]) * sizes["channels"],))
        values = tensor_of(tables, "levels.values", np.float32, (int(ends[-1]),))
        return cls(
            **sizes,
            depths=tuple(depths),
            depth_counts=tensor_of(tables, "levels.depth_counts", np.uint32, (len(depths),)),
            counts=tuple(
                part.reshape(sizes["channels"], -1)
                for part in np.split(counts, ends[:-1] * sizes["channels"])
            ),
            thresholds=tensor_of(tables, "levels.thresholds", np.float32, (len(depths) - 1,)),
            values=tuple(np.split(values, ends[:-1])),
        )

    def to_model(self) -> dict[str, Any]:
        """The value of ``latent`` in model.json."""
        return {
            "layout": self.name,
            "channels": self.channels,
            "height": self.height,
            "width": self.width,
            "region": self.region,
            "depths": list(self.depths),
        }

    def tables(self) -> dict[str, np.ndarray]:
        """The tensors that the layout needs in tables.safetensors."""
        return {
            "levels.depth_counts": self.depth_counts,
            "levels.counts": np.concatenate([part.reshape(-1) for part in self.counts]),
            "levels.thresholds": self.thresholds,
            "levels.values": np.concatenate(self.values),
        }

    @property
    def map_shape(self) -> tuple[int, int]:
        """Rows and columns of regions."""
        return -(-self.height // self.region), -(-self.width // self.region)

    def shape(self, image: tuple[int, int]) -> tuple[int, ...]:
        """(channels, height, width), whatever the picture's size."""
        return self.channels, self.height, self.width

    def depths_of(self, pixels: np.ndarray) -> np.ndarray:
        """The depth map uint8 (rows, columns) for a picture uint8 (H, W, 3): an index into ``depths`` for
        each region.
        """
        complexity = complexity_of(pixels, self.map_shape, self._bounds(pixels.shape[:2]))
        return np.searchsorted(self.thresholds, complexity, side="right").astype(np.uint8)

    def nearest(self, latents: np.ndarray, depths: np.ndarray) -> np.ndarray:
        """Latents float32 (C, h, w) -> their decoded values with a depth map."""
        found = np.empty_like(latents, np.float32)
        for i, places in self._places(depths):
            found[:, places] = self.values[i][self._levels(i, latents[:, places])]
        return found

    def pack(self, latents: np.ndarray, depths: np.ndarray | None = None) -> bytes:
        """float32 (C, h, w) -> payload. Each latent is stored as the nearest value.

        ``depths`` is a depth map uint8 (rows, columns). By default, each region gets the smallest depth that
        holds all its latents exactly, or else the largest. Raises ImageError for other shapes, and for
        numbers that are not finite.
        """
        shape = (self.channels, self.height, self.width)
        if latents.shape != shape:
            raise ImageError(f"latents of shape {latents.shape}; this model has {shape}")
        if not np.isfinite(latents).all():
            raise ImageError("a latent of this picture is not a finite number")
        latents = latents.astype(np.float32)
        depths = self._exact_depths(latents) if depths is None else depths
        if depths.shape != self.map_shape or depths.max(initial=0) >= len(self.depths):
            raise ImageError(
                f"a depth map {depths.shape} up to {depths.max(initial=0)}; {self.map_shape} up to "
                f"{len(self.depths) - 1} expected"
            )
        steps: list[tuple[Any, np.ndarray]] = []
        if len(self.depths) > 1:
            steps.append((self._map_model, depths.reshape(-1).astype(np.int32)))
        for i, places in self._places(depths):
            if self.depths[i]:
                levels = self._levels(i, latents[:, places]).astype(np.int32)
                steps += zip(self._models[i], levels, strict=True)
        coder = AnsCoder()
        for model, symbols in reversed(steps):
            coder.encode_reverse(np.ascontiguousarray(symbols), model)
        stream: bytes = coder.get_compressed().astype("<u4").tobytes()
        return stream.rstrip(b"\0")

    def pack_picture(self, latents: np.ndarray, pixels: np.ndarray) -> bytes:
        """``pack`` with the picture's own depth map. Raises ImageError."""
        return self.pack(latents, self.depths_of(pixels))

    def unpack(self, payload: bytes, source: str = "<bytes>") -> np.ndarray:
        """Payload -> float32 (C, h, w). Raises FormatError."""
        coder = _opened(payload, source)
        depths = self._read_map(coder)
        latents = np.empty((self.channels, self.height, self.width), np.float32)
        for i, places in self._places(depths):
            values = self.values[i]
            if self.depths[i]:
                count = int(places.sum())
                levels = np.stack([coder.decode(model, count) for model in self._models[i]])
                latents[:, places] = values[levels]
            else:
                latents[:, places] = values[0]
        if not coder.is_empty():
            raise FormatError(f"{source}: the latents do not end with their last level: they are damaged")
        return latents

    def depth_map(self, payload: bytes, source: str = "<bytes>") -> np.ndarray:
        """The depth map uint8 (rows, columns) of a payload: indices into ``depths``. Raises FormatError."""
        return self._read_map(_opened(payload, source))

    def _read_map(self, coder: Any) -> np.ndarray:
        if len(self.depths) == 1:
            return np.zeros(self.map_shape, np.uint8)
        rows, columns = self.map_shape
        indices: np.ndarray = coder.decode(self._map_model, rows * columns)
        return indices.astype(np.uint8).reshape(self.map_shape)

    def _exact_depths(self, latents: np.ndarray) -> np.ndarray:
        """For each region, the smallest depth that holds its latents exactly, or else the largest."""
        order = np.argsort(self.depths, kind="stable")
        chosen = np.full(self.map_shape, order[-1], np.uint8)
        for i in order[-2::-1].tolist():
            everywhere = np.full(self.map_shape, i, np.uint8)
            differs = (self.nearest(latents, everywhere) != latents).any(axis=0)
            for row, column in np.ndindex(self.map_shape):
                top, left = row * self.region, column * self.region
                if not differs[top : top + self.region, left : left + self.region].any():
                    chosen[row, column] = i
        return chosen

    def _levels(self, i: int, latents: np.ndarray) -> np.ndarray:
        """For each of ``latents``, the nearest level of depth i."""
        values = self.values[i].astype(np.float64)
        return np.searchsorted((values[1:] + values[:-1]) / 2, latents, side="right")

    def _places(self, depths: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (i, bool (h, w) that is true where depth i is used), for each depth in the map."""
        spread = depths.repeat(self.region, 0).repeat(self.region, 1)[: self.height, : self.width]
        for i in range(len(self.depths)):
            places = spread == i
            if places.any():
                yield i, places

    def _bounds(self, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The first rows and the first columns of the regions, in pixels of a picture of ``size`` (H, W).
        Each array also has the end of the last region.
        """
        ends = [
            np.minimum(np.arange(count + 1) * self.region, latents) * pixels // latents
            for count, latents, pixels in zip(self.map_shape, (self.height, self.width), size, strict=True)
        ]
        return ends[0], ends[1]

    @cached_property
    def _map_model(self) -> Any:
        return exact_model(self.depth_counts)

    @cached_property
    def _models(self) -> list[list[Any]]:
        """The coder's models by depth and channel; an empty list for depth 0."""
        return [
            [exact_model(row) for row in counts] if depth else []
            for depth, counts in zip(self.depths, self.counts, strict=True)
        ]


def uniform_values(depth: int) -> np.ndarray:
    """float32 (2^depth,): level / (2^depth - 1), and 0.5 for depth 0."""
    if not depth:
        return np.array([0.5], np.float32)
    return (np.arange(1 << depth) / ((1 << depth) - 1)).astype(np.float32)


def complexity_of(
    pixels: np.ndarray, shape: tuple[int, int], bounds: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """The complexity of the regions of a picture uint8 (H, W, 3): float32 (rows, columns) in 0..255.

    It is the mean absolute difference of horizontal and vertical neighbours within the region, over all
    channels. ``bounds`` has the first rows and columns of the regions, and the ends of the last.
    """
    found = np.zeros(shape, np.float32)
    rows, columns = bounds
    values = pixels.astype(np.int32)
    for row, column in np.ndindex(shape):
        part = values[rows[row] : rows[row + 1], columns[column] : columns[column + 1]]
        steps = np.concatenate([np.abs(np.diff(part, axis=axis)).reshape(-1) for axis in (0, 1)])
        found[row, column] = steps.mean() if steps.size else 0
    return found


def _opened(payload: bytes, source: str) -> Any:
    """The coder at the beginning of a payload, which has no zero bytes at its end. Raises FormatError."""
    if payload.endswith(b"\0"):
        raise FormatError(f"{source}: the latents end in a zero byte, which no encoder writes")
    return ans_decoder(payload + bytes(-len(payload) % 4), source)


def _check_sizes(layout: LevelsLayout) -> None:
    _check_numbers(layout.channels, layout.height, layout.width, layout.region, layout.depths)


def _check_numbers(channels: Any, height: Any, width: Any, region: Any, depths: Sequence[Any]) -> None:
    for what, number, most in (
        ("channels", channels, MAX_CHANNELS),
        ("height", height, MAX_SIDE),
        ("width", width, MAX_SIDE),
        ("region", region, MAX_SIDE),
        ("number of depths", len(depths), MAX_DEPTHS),
    ):
        if not is_int(number) or not 1 <= number <= most:
            raise BundleError(f"latent layout levels: {what} {number!r}; 1..{most} expected")
    for depth in depths:
        if not is_int(depth) or not 0 <= depth <= MAX_DEPTH:
            raise BundleError(f"latent layout levels: depth {depth!r}; 0..{MAX_DEPTH} expected")
    if channels * height * width > MAX_LATENTS:
        raise BundleError(
            f"latent layout levels: {channels} x {height} x {width} latents; at most {MAX_LATENTS} expected"
        )


def _check_tables(layout: LevelsLayout) -> None:
    k = len(layout.depths)
    _check_counts("levels.depth_counts", layout.depth_counts.reshape(1, -1), (1, k))
    if len(layout.counts) != k or len(layout.values) != k:
        raise BundleError(f"latent layout levels: tables of {len(layout.counts)} depths; {k} expected")
    for depth, counts, values in zip(layout.depths, layout.counts, layout.values, strict=True):
        _check_counts(f"levels.counts of depth {depth}", counts, (layout.channels, 1 << depth))
        rising = np.diff(values) > 0
        if values.shape != (1 << depth,) or values.dtype != np.float32 or not rising.all():
            raise BundleError(f"latent layout levels: levels.values of depth {depth} do not ascend")
        if not 0 <= values[0] <= values[-1] <= 1:
            raise BundleError(f"latent layout levels: levels.values of depth {depth} are not all in 0..1")
    thresholds = layout.thresholds
    if thresholds.shape != (k - 1,) or thresholds.dtype != np.float32 or np.isnan(thresholds).any():
        raise BundleError(f"latent layout levels: levels.thresholds is not float32 ({k - 1},) of numbers")
    if (np.diff(thresholds) < 0).any():
        raise BundleError("latent layout levels: levels.thresholds do not ascend")


def _check_counts(what: str, counts: np.ndarray, shape: tuple[int, int]) -> None:
    good = counts.shape == shape and counts.dtype == np.uint32
    if not good or counts.min() < 1 or (counts.sum(axis=1, dtype=np.uint64) != TOTAL).any():
        raise BundleError(f"latent layout levels: {what}: counts of at least 1 and sum 2^24 expected")
