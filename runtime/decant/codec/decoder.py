"""Files of the layout ``grid`` -> pixels: any size, whole or a rectangle of it, in bounded memory.

    streams --_Coded--> symbols of tiles, hyperlatents --hyper_mean--> means
                                     |                                   |
                                     +----> synthesis of a window <------+  -> pixels

A picture is decoded in windows of one coding tile and a halo, so memory grows with its width and not with its
area. A rectangle equals the crop of the whole picture: symbols are integers, and the mean of a tile always
comes from the same hyperlatents.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from decant.backends.session import Pending, Session
from decant.codec.layout import HYPER_LATENTS, LATENT_PIXELS, QUALITIES, GridLayout, GridShape, Quality
from decant.errors import BundleError, FormatError
from decant.formats import alpha
from decant.formats.container import DcnFile
from decant.formats.rectangles import Rectangle, Window, whole, windows
from decant.process.memory import keep_freed_memory
from decant.process.workers import begin

# Receptive field of hyper_mean, in hyperlatents to each side: two 3x3 convolutions, on two grids.
MEAN_HALO = 2
# Pictures of up to this many latents (2048 x 2048 pixels) are one window.
ONE_WINDOW = 1 << 14

# Corrects the mean of a tile in place, by the checkerboard mean context. Arguments: mean and symbols
# (M, rows, columns), step (M,).
AddContext: TypeAlias = Callable[[np.ndarray, np.ndarray, np.ndarray], None]


class GridDecoder:
    """The graphs of a ``grid`` bundle at work. Safe to use from several threads.

    ``overlap``: let synthesis run on one window in a second thread while this one decodes the symbols of the
    next. A picture of one window gains nothing from threads: the coder keeps the interpreter to itself.
    """

    def __init__(
        self, layout: GridLayout, hyper_mean: Session, synthesis: Session, *, overlap: bool = True
    ) -> None:
        self.layout = layout
        self.hyper_mean = hyper_mean
        self.synthesis = synthesis
        self.overlap = overlap
        # The integer hyper synthesis has the checkerboard mean contexts in integers, too.
        self.add_context: AddContext | None = getattr(hyper_mean, "add_context", None)
        halved = sum(layout.channel_groups[: layout.checkerboard_groups])
        if self.add_context is not None and getattr(hyper_mean, "halved", 0) != halved:
            raise BundleError(
                f"graph hyper_mean.{hyper_mean.precision} ({hyper_mean.runtime}): mean contexts of the first "
                f"{halved} channels expected, as the layout has them"
            )
        keep_freed_memory()

    def decode(self, file: DcnFile, source: str = "<bytes>", region: Rectangle | None = None) -> np.ndarray:
        """Pixels uint8 (H, W, 3), or (H, W, 4) if the file has alpha, of the picture or of a ``region``.
        Raises FormatError.
        """
        wanted = region or whole(file.height, file.width)
        tiles = _Tiles(self, file, source)
        opacity = None
        if file.alpha is not None:
            opacity = alpha.unpack(file.alpha, file.width, file.height, source)
        plan = tiles.plan(wanted.coarser(LATENT_PIXELS))
        pixels = np.empty((wanted.height, wanted.width, 3 if opacity is None else 4), np.uint8)
        overlap = self.overlap and len(plan) > 1
        running: tuple[Window, Pending] | None = None
        for window in plan:
            tiles.load(window.outer)
            if running is not None:  # its graph ran while this window's symbols were decoded
                _place(pixels, wanted, *running, grey=file.grey)
            work = partial(self.synthesis.run, *tiles.take(window.outer))
            running = window, begin(work) if overlap else _done(work())
        assert running is not None
        window, made = running
        if len(plan) == 1 and not file.grey and opacity is None:
            found: np.ndarray = made()[0]
            if found.shape == pixels.shape:  # the output of the graph is the picture: nothing to crop or copy
                return found
            made = _done(found[None])
        _place(pixels, wanted, window, made, grey=file.grey)
        if opacity is not None:
            pixels[:, :, 3] = opacity[wanted.within(whole(file.height, file.width))]
        return pixels

    def synthesise(self, latents: np.ndarray) -> np.ndarray:
        """Raises BundleError: without their file, the quantization of latents is unknown."""
        raise BundleError(f"layout {self.layout.name}: latents come in files only; use decode")


def mean_of_tile(hyper_mean: Session, hyperlatents: np.ndarray, tile: Rectangle) -> np.ndarray:
    """Dequantized ``hyperlatents`` float32 (hyper, hz, wz) of a picture -> the mean of one tile's latents,
    float32 (M, rows, columns), before its correction by ``decant.codec.entropy.checkerboard``.
    """
    return _mean_begun(hyper_mean, hyperlatents, tile)()


def _mean_begun(hyper_mean: Session, hyperlatents: np.ndarray, tile: Rectangle) -> Callable[[], np.ndarray]:
    """Begin ``mean_of_tile``. The returned function waits for the result."""
    bounds = whole(*hyperlatents.shape[1:])
    outer = tile.coarser(HYPER_LATENTS).grown(MEAN_HALO, bounds)
    pending = hyper_mean.start(np.ascontiguousarray(hyperlatents[None][_cropped(outer, bounds)]))
    inside = _cropped(tile, outer.finer(HYPER_LATENTS))
    return lambda: np.ascontiguousarray(pending()[0][inside])


def tiles_of(layout: GridLayout, file: DcnFile, source: str) -> Iterator[np.ndarray]:
    """Yield the symbols float32 (M, rows, columns) of each tile of a file. Raises FormatError."""
    coded = _Coded(layout, file, source)
    for index in range(len(coded.shape.tiles)):
        yield coded.tile(index)[0]


class _Coded:
    """The streams of one file. The hyperlatents are decoded in the constructor."""

    def __init__(self, layout: GridLayout, file: DcnFile, source: str) -> None:
        if not 1 <= file.quality <= QUALITIES:
            raise FormatError(
                f"{source}: quality {file.quality}; model {file.name} has qualities 1..{QUALITIES}"
            )
        self.layout = layout
        self.source = source
        self.quality: Quality = layout.quality(file.quality)
        self.payload = layout.parse(file.latents, file.width, file.height, source)
        self.shape: GridShape = layout.grid(file.width, file.height)
        z = layout.decode_hyper(self.payload, self.shape, self.quality, source)
        self.v = self.quality.scaled(z)

    def tile(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Decode tile ``index``: see ``GridLayout.decode_tile``."""
        return self.layout.decode_tile(self.payload, index, self.v, self.shape, self.quality, self.source)


class _Tiles:
    """Symbols and means of a picture's tiles. A tile is decoded for the first window that needs it, and
    dropped after the last one.
    """

    def __init__(self, decoder: GridDecoder, file: DcnFile, source: str) -> None:
        self._coded = _Coded(decoder.layout, file, source)
        self._hyperlatents = dequantized(self._coded.v)
        self._decoder = decoder
        self._bounds = whole(self._coded.shape.h, self._coded.shape.w)
        self._cells = [Rectangle(*tile) for tile in self._coded.shape.tiles]
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._uses: dict[int, int] = {}
        self._step = np.ascontiguousarray(self._coded.quality.step, np.float32).reshape(1, -1, 1, 1)

    def plan(self, wanted: Rectangle) -> list[Window]:
        """The windows for these latents, in the order of decoding."""
        bounds = self._bounds
        cells = [bounds] if bounds.height * bounds.width <= ONE_WINDOW else self._cells
        found = windows(cells, wanted, self._decoder.layout.halo, bounds)
        for window in found:
            for index in self._touched(window.outer):
                self._uses[index] = self._uses.get(index, 0) + 1
        return found

    def load(self, outer: Rectangle) -> None:
        """Decode those tiles of a window that are not decoded yet."""
        for index in self._touched(outer):
            if index not in self._kept:
                # The graph runs on the session's threads, without the interpreter's lock, while this thread
                # decodes symbols.
                begun = _mean_begun(self._decoder.hyper_mean, self._hyperlatents, self._cells[index])
                try:
                    symbols, added = self._coded.tile(index)
                finally:
                    mean = begun()
                if self._decoder.add_context is not None:
                    self._decoder.add_context(mean, symbols, self._coded.quality.step)
                else:
                    mean[: len(added)] += added
                self._kept[index] = symbols, mean

    def take(self, outer: Rectangle) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The inputs of the synthesis graph for a window: symbols, mean and step, with a batch axis."""
        touched = self._touched(outer)
        if len(touched) == 1 and self._cells[touched[0]] == outer:
            symbols, mean = self._kept[touched[0]]
        else:
            symbols = np.empty((self._decoder.layout.channels, outer.height, outer.width), np.float32)
            mean = np.empty_like(symbols)
            for index in touched:
                cell = self._cells[index]
                part = cell.cut(outer)
                here, there = _cropped(part, outer), _cropped(part, cell)
                symbols[here] = self._kept[index][0][there]
                mean[here] = self._kept[index][1][there]
        for index in touched:
            self._uses[index] -= 1
            if not self._uses[index]:
                del self._kept[index]
        return symbols[None], mean[None], self._step

    def _touched(self, latents: Rectangle) -> list[int]:
        """The indices of the tiles that overlap ``latents``."""
        side = self._decoder.layout.tile_side
        columns = -(-self._bounds.width // side)
        rows = latents.coarser(side)
        return [y * columns + x for y in range(rows.y0, rows.y1) for x in range(rows.x0, rows.x1)]


def dequantized(v: np.ndarray) -> np.ndarray:
    """Hyperlatents in units of 1/16 (int32) -> float32, as the hyper_mean graph takes them."""
    values: np.ndarray = v.astype(np.float32) * np.float32(1 / 16)
    return values


def _done(made: np.ndarray) -> Pending:
    return lambda: made


def _cropped(inner: Rectangle, outer: Rectangle) -> tuple[Any, ...]:
    """Index of ``inner`` in an array (..., rows, columns) that holds ``outer``."""
    return (..., *inner.within(outer))


def grey_of(pixels: np.ndarray) -> np.ndarray:
    """uint8 (rows, columns, 3) -> uint8 (rows, columns): the rounded mean of the channels. It is the pixel of
    grey files.
    """
    mean: np.ndarray = ((pixels.sum(axis=2, dtype=np.uint16) + 1) // 3).astype(np.uint8)
    return mean


def _place(pixels: np.ndarray, wanted: Rectangle, window: Window, made: Pending, *, grey: bool) -> None:
    """Copy the core of a window into ``pixels``, which covers ``wanted``."""
    core = window.core.finer(LATENT_PIXELS).cut(wanted)
    found = made()[0][core.within(window.outer.finer(LATENT_PIXELS))]
    if grey:
        found = grey_of(found)[:, :, None]
    pixels[core.within(wanted)][:, :, :3] = found
