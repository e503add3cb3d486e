"""Pixels -> files of the layout ``grid``: analysis in tiles, quantization by rate and distortion, and the
search for a quality that meets a target.

The analysis runs once for a picture; what depends on the quality (hyperlatents, means, classes, symbols,
coding) runs for each quality tried. The encoder's mean is the float graph's; a decoder's may differ in its
last digits, which moves pixels by as little.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from decant import container
from decant.entropy import LARGEST_SYMBOL
from decant.errors import BundleError, ImageError
from decant.grid import HYPER_LATENTS, LATENT_PIXELS, QUALITIES, Choose, GridLayout, GridShape, Quality
from decant.grid_decoder import GridDecoder, dequantized, mean_of_group
from decant.images import Picture
from decant.scales import LARGEST_INPUT
from decant.sessions import Session
from decant.settings import DEFAULT_EFFORT, DEFAULT_QUALITY, Settings
from decant.tiles import Rectangle, Window, squares, whole

# The graphs take multiples of this many pixels: one hyperlatent.
BLOCK = LATENT_PIXELS * HYPER_LATENTS
# Pictures of up to this many pixels are analysed at once, larger ones in tiles of this side and halo.
ONE_TILE = 1 << 21
TILE = 1024
TILE_HALO = 192
# How often effort 2 decodes what it has, and corrects what it aims at.
ROUNDS = 2

# A quality and its latents section -> the bytes of the whole file.
Finish: TypeAlias = Callable[[int, bytes], bytes]


@dataclass(frozen=True)
class Analysed:
    """What analysis makes of a picture: latents y float32 (M, h, w), hyperlatents z float32 (hyper, hz, wz),
    neither quantized.
    """

    y: np.ndarray
    z: np.ndarray
    shape: GridShape


class GridEncoder:
    """The encoding graphs of a ``grid`` bundle at work. ``lambdas`` float32 (100,) says how many bits a pixel
    each quality gives for one unit of mean squared error in 0..255; ``load_decoder`` is called when a decoder
    is first needed. Safe to use from several threads.
    """

    def __init__(
        self,
        layout: GridLayout,
        lambdas: np.ndarray | None,
        analysis: Session,
        hyper_analysis: Session,
        hyper_mean: Session,
        load_decoder: Callable[[Session], GridDecoder],
    ) -> None:
        usable = lambdas is not None and lambdas.dtype == np.float32 and lambdas.shape == (QUALITIES,)
        if lambdas is None or not usable or not (np.isfinite(lambdas) & (lambdas > 0)).all():
            raise BundleError(f"tables: quality.lambda is not float32 ({QUALITIES},) of positive numbers")
        self.layout = layout
        self.lambdas = lambdas
        self.analysis = analysis
        self.hyper_analysis = hyper_analysis
        self.hyper_mean = hyper_mean
        self._load_decoder = load_decoder
        self._decoder: GridDecoder | None = None
        self._bits = layout.entropy.cost_bits()

    def encode(self, picture: Picture, settings: Settings, finish: Finish, source: str) -> bytes:
        """The file of ``picture``. Raises ImageError for a target that no quality meets."""
        analysed = self.analyse(picture)
        effort = DEFAULT_EFFORT if settings.effort is None else settings.effort
        made: dict[int, bytes] = {}

        def file(quality: int) -> bytes:
            if quality not in made:
                made[quality] = self._file(picture, analysed, quality, effort, finish)
            return made[quality]

        if settings.target_bpp is not None:
            most = settings.target_bpp * picture.width * picture.height / 8
            best = highest(lambda quality: len(file(quality)) <= most)
            if best is None:
                least = 8 * len(file(1)) / (picture.width * picture.height)
                raise ImageError(
                    f"{source}: {settings.target_bpp} bits per pixel cannot be met; quality 1 takes "
                    f"{least:.3f}"
                )
            return file(best)
        if settings.target_psnr is not None:
            wanted = settings.target_psnr
            below = highest(lambda quality: self._psnr_db(picture, file(quality)) < wanted) or 0
            if below == QUALITIES:
                most_db = self._psnr_db(picture, file(QUALITIES))
                raise ImageError(
                    f"{source}: {wanted} dB cannot be met; quality {QUALITIES} gives {most_db:.2f}"
                )
            return file(below + 1)
        return file(DEFAULT_QUALITY if settings.quality is None else settings.quality)

    def analyse(self, picture: Picture) -> Analysed:
        """Run the analysis graphs, in tiles where the picture is large."""
        shape = self.layout.grid(picture.width, picture.height)
        latents, hyperlatents = whole(shape.h, shape.w), whole(shape.hz, shape.wz)
        y = np.empty((self.layout.channels, shape.h, shape.w), np.float32)
        z = np.empty((self.layout.hyper, shape.hz, shape.wz), np.float32)
        for core, outer in _tiles(shape):
            found = self.analysis.run(_padded(picture, outer)[None])
            kept = core.coarser(LATENT_PIXELS).cut(latents)
            y[:, *kept.within(latents)] = found[0][:, *kept.within(outer.coarser(LATENT_PIXELS))]
            found = self.hyper_analysis.run(found)
            kept = core.coarser(BLOCK)
            z[:, *kept.within(hyperlatents)] = found[0][:, *kept.within(outer.coarser(BLOCK))]
        return Analysed(y, z, shape)

    def _file(self, picture: Picture, analysed: Analysed, quality: int, effort: int, finish: Finish) -> bytes:
        """The file at ``quality``. Effort 2 decodes it, runs the analysis on the result, and adds to the
        latents what this lacks of the picture's own: the decoder's error, seen through the analysis, where
        gradients would take it through the decoder.
        """
        if effort < 2:
            return finish(quality, self.code(analysed, analysed.y, quality, effort))
        y = np.empty_like(analysed.y)
        latents = self.code(analysed, analysed.y, quality, effort, y)
        for _ in range(ROUNDS):
            self._correct(y, analysed, self._decode(finish(quality, latents)))
            latents = self.code(analysed, y, quality, effort, y)
        return finish(quality, latents)

    def _correct(self, y: np.ndarray, analysed: Analysed, decoded: Picture) -> None:
        """Add to ``y``, the latents that ``decoded`` was made from, what its analysis lacks of the
        picture's.
        """
        latents = whole(analysed.shape.h, analysed.shape.w)
        for core, outer in _tiles(analysed.shape):
            found = self.analysis.run(_padded(decoded, outer)[None])
            kept = core.coarser(LATENT_PIXELS).cut(latents)
            place = kept.within(latents)
            y[:, *place] += analysed.y[:, *place] - found[0][:, *kept.within(outer.coarser(LATENT_PIXELS))]

    def code(
        self, analysed: Analysed, y: np.ndarray, quality: int, effort: int, coded: np.ndarray | None = None
    ) -> bytes:
        """The latents section that comes nearest to ``y`` float32 (M, h, w), with the hyperlatents of
        ``analysed``. ``coded``, where given, is filled with y as the decoder will have it; it
        may be ``y``.
        """
        layout, row, shape = self.layout, self.layout.quality(quality), analysed.shape
        z = quantized_hyperlatents(analysed.z, row)
        v = row.scaled(z)
        hyperlatents = dequantized(v)
        weight = symbol_weight(float(self.lambdas[quality - 1]), row) if effort else None
        streams = []
        for group in shape.groups:
            rows, columns = Rectangle(*group).within(whole(shape.h, shape.w))
            mean = mean_of_group(self.hyper_mean, hyperlatents, Rectangle(*group))
            x = y[:, rows, columns] - mean
            x *= row.gain[:, None, None]
            symbols, classes = layout.staged(v, row, group, _quantizer(x, weight, self._bits))
            streams.append(layout.encode_group(symbols, classes))
            if coded is not None:
                coded[:, rows, columns] = symbols * row.step[:, None, None] + mean
        return layout.write(layout.encode_hyper(z, row), streams)

    def _decode(self, data: bytes) -> Picture:
        """What a decoder makes of a file, without its alpha."""
        if self._decoder is None:
            self._decoder = self._load_decoder(self.hyper_mean)
        file = container.parse(data)
        pixels = self._decoder.decode(replace(file, alpha=None))
        return Picture(pixels[:, :, 0] if file.grey else pixels)

    def _psnr_db(self, picture: Picture, data: bytes) -> float:
        decoded = self._decode(data).pixels
        rows = max(1, (1 << 20) // picture.width)
        total = 0.0
        for top in range(0, picture.height, rows):
            part = slice(top, top + rows)
            difference = decoded[part].astype(np.int32) - picture.pixels[part]
            total += float(np.square(difference).sum(dtype=np.int64))
        mse = total / decoded.size
        return float("inf") if mse == 0 else float(10 * np.log10(255**2 / mse))


def quantized_hyperlatents(z: np.ndarray, quality: Quality) -> np.ndarray:
    """Hyperlatents float32 (hyper, hz, wz) -> int32, within what can be coded and scaled."""
    largest = np.minimum(LARGEST_SYMBOL, LARGEST_INPUT // quality.hyper_multiplier)[:, None, None]
    rounded = np.rint(z * quality.hyper_gain[:, None, None])
    clipped: np.ndarray = np.clip(rounded, -largest, largest).astype(np.int32)
    return clipped


def symbol_weight(distortion_weight: float, quality: Quality) -> np.ndarray:
    """Bits that a unit of squared error, in steps, is worth in each channel: float32 (M,).

    Latents' errors sum to those of pixels in 0..1; lambda is for their mean over three channels in 0..255.
    """
    weight: np.ndarray = distortion_weight * 255**2 / 3 * np.square(quality.step)
    return weight


def quantized(x: np.ndarray, classes: np.ndarray, weight: np.ndarray | None, bits: np.ndarray) -> np.ndarray:
    """x float32 (M, rows, columns), in steps -> symbols int32, 0 where the class is 0.

    With ``weight`` float32 (M,), bits per unit of squared error in steps, a symbol is its rounding, one or
    two steps nearer to 0, or 0, whichever has the least bits + weight x error; ``bits`` (32, 2 R + 1) are
    those of -R..R in each class. Without, it is the rounding.
    """
    symbols: np.ndarray = np.clip(np.rint(x), -LARGEST_SYMBOL, LARGEST_SYMBOL).astype(np.int32)
    symbols[classes == 0] = 0
    if weight is None:
        return symbols
    flat = symbols.reshape(-1)
    radius = bits.shape[1] // 2
    where = np.flatnonzero(flat)
    where = where[np.abs(flat[where]) <= radius]
    rounded, exact = flat[where], x.reshape(-1)[where]
    middle = classes.reshape(-1)[where].astype(np.int64) * bits.shape[1] + radius
    weights = weight.astype(np.float32)[where // (x.shape[1] * x.shape[2])]
    prices = bits.reshape(-1)
    best = rounded
    least = prices[middle + rounded] + weights * np.square(exact - rounded)
    for steps in (1, 2, radius):
        candidate = rounded - np.sign(rounded) * np.minimum(steps, np.abs(rounded))
        cost = prices[middle + candidate] + weights * np.square(exact - candidate)
        better = cost < least
        best, least = np.where(better, candidate, best), np.where(better, cost, least)
    flat[where] = best
    return symbols


def _quantizer(x: np.ndarray, weight: np.ndarray | None, bits: np.ndarray) -> Choose:
    """``quantized`` of the channels of one stage after the other."""

    def choose(channels: slice, classes: np.ndarray) -> np.ndarray:
        return quantized(x[channels], classes, None if weight is None else weight[channels], bits)

    return choose


def highest(fits: Callable[[int], bool]) -> int | None:
    """The highest quality 1..100 that ``fits``, where all below it do; None where none does."""
    low, high = 0, QUALITIES
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low or None


def _tiles(shape: GridShape) -> Iterator[Window]:
    """The tiles, in pixels, that a picture with this grid is analysed in."""
    bounds = whole(shape.hz * BLOCK, shape.wz * BLOCK)
    side = TILE if bounds.height * bounds.width > ONE_TILE else max(bounds)
    for core in squares(bounds, side):
        yield Window(core, core.grown(TILE_HALO, bounds))


def _padded(picture: Picture, outer: Rectangle) -> np.ndarray:
    """uint8 (rows, columns, 3) of ``outer``, which may reach past the picture: its last row and column are
    repeated there.
    """
    pixels = picture.pixels[outer.y0 : outer.y1, outer.x0 : outer.x1]
    margins = [(0, outer.height - pixels.shape[0]), (0, outer.width - pixels.shape[1]), (0, 0)]
    padded: np.ndarray = np.pad(pixels, margins[: pixels.ndim], mode="edge")
    return np.repeat(padded[:, :, None], 3, axis=2) if picture.grey else np.ascontiguousarray(padded)
