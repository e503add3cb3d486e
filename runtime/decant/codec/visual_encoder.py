"""Encoder of the layout ``grid`` for ``tune="iq"``: it minimizes the visible error.

Like ``decant.codec.encoder`` with ``tune="psnr"``, it has RDO quantization and latent refinement (Yang et al.
2020, arXiv:2006.04240). Errors have the weights of ``decant.codec.visibility``: by position, colour and
scale. One coding tile is finished after the other, so memory does not grow with the number of rounds. Only
the symbols of the current tile change:

    latents of the tile, and of the ``halo`` around it: already coded above and to the left, else as analysed
       |
       v
    RDO quantization by the squared error -> decode -> errors -> weights of all positions and latents
       |
       v
    `rounds` times: gradient of the weighted errors -> update of latents -> RDO quantization -> decode
       |
       v
    the symbols with the least bits + lambda x weighted error -> stream
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from decant.backends.session import Session
from decant.codec.decoder import dequantized, mean_of_tile
from decant.codec.layout import LATENT_PIXELS, Quality
from decant.codec.pixel_errors import ErrorMeasure, padded, with_neighbours
from decant.codec.quantization import Quantizer, symbol_weight
from decant.codec.visibility import PLAIN, SCALES, WEIGHT_RANGE, ChannelEffects, Visibility, block_sums
from decant.formats.input_images import Picture
from decant.formats.rectangles import Rectangle, whole

if TYPE_CHECKING:
    from decant.codec.encoder import Analysed, GridEncoder, HyperPart

# Lambda of the weighted error, relative to that of the squared error at the same quality. A value below 1
# makes files smaller at a quality, and the gain larger.
LAMBDA = 0.6
# Step size relative to the inverse curvature, and share of the last update that is added again.
STEP_SIZE, MOMENTUM = 0.5, 0.25
# If the error around a latent rises by this factor, its step size is halved.
RISEN = 1.05
# In pictures of several tiles, the weights of the whole are measured on up to SAMPLES windows of SAMPLE_SIDE
# latents a side, and on a quarter of the picture at most.
SAMPLES, SAMPLE_SIDE = 20, 16


@dataclass(frozen=True)
class Balance:
    """Values of the whole picture after RDO quantization by the squared error: ``norms``, sums of fourth
    powers of visible errors (``Visibility.norms``), and ``factor``, the plain divided by the weighted
    squared error.
    """

    norms: np.ndarray
    factor: float


@dataclass(frozen=True)
class VisuallyCoded:
    """A latents section, and the approximate PSNR in dB of its picture."""

    latents: bytes
    psnr_db: float


@dataclass
class _Coded:
    """One quantization of a rectangle: its symbols, their bits by the tables, and the decoder's latents."""

    symbols: np.ndarray
    scale_indices: np.ndarray
    bits: float
    latents: np.ndarray
    squared_error: float = 0.0  # of pixels in 0..1


class VisualEncoder:
    """Encodes with the graphs of ``encoder``. ``adjoint`` and ``synthesis`` are sessions of its bundle."""

    def __init__(
        self, encoder: "GridEncoder", adjoint: Session, synthesis: Session, bits: np.ndarray
    ) -> None:
        self._encoder = encoder
        self._adjoint, self._synthesis, self._bits = adjoint, synthesis, bits
        self._effects = ChannelEffects.of(adjoint, encoder.layout.channels)

    def latents(
        self,
        picture: Picture,
        measure: ErrorMeasure,
        analysed: "Analysed",
        hyper: "HyperPart",
        rounds: int,
    ) -> VisuallyCoded:
        """The latents section of ``picture`` at the quality of ``hyper``, after ``rounds`` of refinement."""
        work = _Work(self, picture, measure, analysed, hyper)
        return work.run(rounds)


class _Work:
    """One picture at one quality."""

    def __init__(
        self,
        tools: VisualEncoder,
        picture: Picture,
        measure: ErrorMeasure,
        analysed: "Analysed",
        hyper: "HyperPart",
    ) -> None:
        self._tools, self._encoder = tools, tools._encoder
        self._picture, self._measure, self._y, self._hyper = picture, measure, analysed.y, hyper
        self._bounds = whole(analysed.shape.h, analysed.shape.w)
        self._row: Quality = hyper.row
        self._lambda = LAMBDA * float(self._encoder.lambdas[hyper.quality - 1])
        self._plain = symbol_weight(self._lambda, self._row, self._encoder.curvature)
        self._hyperlatents = dequantized(hyper.scaled)
        halo, width = self._encoder.layout.halo, self._bounds.width
        self._above = np.empty((self._encoder.layout.channels, halo, width), np.float32)
        self._ones = np.ones((1, self._encoder.layout.channels, 1, 1), np.float32)

    def run(self, rounds: int) -> VisuallyCoded:
        """Encode all tiles, one after the other."""
        layout, tiles = self._encoder.layout, [Rectangle(*tile) for tile in self._hyper.shape.tiles]
        balance = self._sampled() if len(tiles) > 1 else None
        streams, left, squared_error = [], None, 0.0
        above = np.empty_like(self._above)
        for tile in tiles:
            if tile.x0 == 0:
                self._above, above = above, self._above
                left = None
            coded = self._tile(tile, left, rounds, balance)
            streams.append(layout.encode_tile(coded.symbols, coded.scale_indices))
            squared_error += coded.squared_error
            left = coded.latents[:, :, -layout.halo :]
            above[:, :, tile.x0 : tile.x1] = coded.latents[:, -layout.halo :]
        mse = squared_error / (3 * self._picture.width * self._picture.height)
        psnr_db = float(-10 * np.log10(mse)) if mse else float("inf")
        return VisuallyCoded(layout.write(self._hyper.stream, streams), psnr_db)

    def _tile(self, tile: Rectangle, left: np.ndarray | None, rounds: int, balance: Balance | None) -> _Coded:
        """Quantize one coding tile."""
        outer, window = self._window(tile, left)
        inside = tile.within(outer)
        mean = mean_of_tile(self._encoder.hyper_mean, self._hyperlatents, tile)
        shown = self._visibility(outer)
        targets = self._y[:, *tile.within(self._bounds)]
        coded = self._code(tile, targets, mean, self._plain)
        errors = self._errors(tile, outer, window, coded)
        if balance is None:
            balance = _balance(shown.norms(errors), [(shown, errors)])
        else:
            shown.raise_worst(errors, balance.norms)
        share = np.float32((1 - PLAIN) * balance.factor)
        relative = shown.latent_weights(self._tools._effects)[:, *inside] * share + np.float32(PLAIN)
        relative = np.clip(relative, *WEIGHT_RANGE)
        weight, divisor = self._plain[:, None, None] * relative, relative * self._encoder.bound[:, None, None]
        best, least = coded, np.inf
        update, step_size = np.zeros_like(relative), np.full(relative.shape[1:], STEP_SIZE, np.float32)
        around = np.full(relative.shape[1:], np.inf)
        for i in range(rounds + 1):
            gradient, seen = shown.weighted(errors)
            plain = block_sums(np.square(errors).sum(2), LATENT_PIXELS)
            coded.squared_error = float(plain.sum())
            seen = seen * share + np.float32(PLAIN) * plain
            cost = coded.bits + self._lambda * 255**2 / 3 * float(seen.sum())
            if (i and cost < least) or not rounds:  # the first one minimized another distortion
                best, least = coded, cost
            if i == rounds:
                break
            before, around = around, with_neighbours(seen[inside])
            step_size[around > RISEN * before] /= 2
            gradient *= share
            gradient += np.float32(PLAIN) * errors
            window[0, :, *inside] = coded.latents
            back = self._tools._adjoint.run(window, gradient[None])[0][:, *inside]
            update *= MOMENTUM
            update += back / divisor
            update *= step_size
            targets = coded.latents + update
            coded = self._code(tile, targets, mean, weight)
            errors = self._errors(tile, outer, window, coded)
        return best

    def _sampled(self) -> Balance:
        """Measure the balance on windows that are spread over the picture."""
        h, w, side = self._bounds.height, self._bounds.width, SAMPLE_SIDE
        count = max(1, min(SAMPLES, h * w // (4 * side * side)))
        columns = max(1, round((count * w / h) ** 0.5))
        rows = max(1, count // columns)
        norms, parts = np.zeros((SCALES + 1, 3)), []
        for row in range(min(rows, h // side or 1)):
            for column in range(min(columns, w // side or 1)):
                y0 = int((h - side) * (row + 0.5) / rows) if h > side else 0
                x0 = int((w - side) * (column + 0.5) / columns) if w > side else 0
                part = Rectangle(y0, min(y0 + side, h), x0, min(x0 + side, w))
                outer, window = self._window(part, None, above=False)
                mean = mean_of_tile(self._encoder.hyper_mean, self._hyperlatents, part)
                coded = self._code(part, self._y[:, *part.within(self._bounds)], mean, self._plain)
                errors = self._errors(part, outer, window, coded)
                shown = self._visibility(outer)
                norms += shown.norms(errors)
                parts.append((shown, errors))
        return _balance(norms, parts)

    def _window(
        self, tile: Rectangle, left: np.ndarray | None, *, above: bool = True
    ) -> tuple[Rectangle, np.ndarray]:
        """``tile`` with its halo, and its latents float32 (1, M, rows, columns) as far as they are known."""
        halo = self._encoder.layout.halo
        outer = tile.grown(halo, self._bounds)
        window = self._y[None, :, *outer.within(self._bounds)].copy()
        if above and tile.y0:
            window[0, :, :halo] = self._above[:, :, outer.x0 : outer.x1]
        if left is not None:
            window[0, :, tile.y0 - outer.y0 :, :halo][:, : left.shape[1]] = left
        return outer, window

    def _code(self, tile: Rectangle, targets: np.ndarray, mean: np.ndarray, weight: np.ndarray) -> _Coded:
        """Symbols near ``targets`` float32 (M, rows, columns) of ``tile``."""
        layout, predict = self._encoder.layout, self._encoder.predict
        quantizer = Quantizer(layout, self._row, targets, mean, weight, self._tools._bits, predict)
        place = (tile.y0, tile.y1, tile.x0, tile.x1)
        symbols, indices = layout.choose_symbols(self._hyper.scaled, self._row, place, quantizer)
        latents = symbols.astype(np.float32)
        latents *= self._row.step[:, None, None]
        latents += quantizer.mean
        if quantizer.predicted is not None:
            first = layout.channel_groups[0]
            latents[first : first + len(quantizer.predicted)] += quantizer.predicted
        return _Coded(symbols, indices, _table_bits(self._tools._bits, symbols, indices), latents)

    def _errors(self, tile: Rectangle, outer: Rectangle, window: np.ndarray, coded: _Coded) -> np.ndarray:
        """float32 (rows, columns, 3) of ``outer`` in pixels: picture minus decoded tile, 0 outside it."""
        inside = tile.within(outer)
        window[0, :, *inside] = coded.latents
        pixels = self._tools._synthesis.run(np.zeros_like(window), window, self._ones)[0]
        lacking = self._measure.lacking_in(pixels, outer.finer(LATENT_PIXELS))
        rows, columns = (slice(LATENT_PIXELS * part.start, LATENT_PIXELS * part.stop) for part in inside)
        errors = np.zeros_like(lacking)
        errors[rows, columns] = lacking[rows, columns]
        return errors

    def _visibility(self, outer: Rectangle) -> Visibility:
        """The distortion of the picture within ``outer``, a rectangle of latents."""
        return Visibility(padded(self._picture, outer.finer(LATENT_PIXELS)))


def _balance(norms: np.ndarray, parts: list[tuple[Visibility, np.ndarray]]) -> Balance:
    """The balance of windows with their errors. Updates the weights of the windows (``raise_worst``)."""
    plain = weighed = 0.0
    for shown, errors in parts:
        shown.raise_worst(errors, norms)
        plain += float(np.square(errors).sum(dtype=np.float64))
        weighed += float(shown.weighted(errors)[1].sum(dtype=np.float64))
    return Balance(norms, plain / weighed if weighed > 0 else 1.0)


def _table_bits(bits: np.ndarray, symbols: np.ndarray, scale_indices: np.ndarray) -> float:
    """Bits of the symbols by the tables. Escapes count as the largest symbol of a table."""
    where = np.flatnonzero(scale_indices)
    radius = bits.shape[1] // 2
    column = np.clip(symbols.reshape(-1)[where], -radius, radius) + radius
    return float(
        bits.reshape(-1)[scale_indices.reshape(-1)[where].astype(np.intp) * bits.shape[1] + column].sum()
    )
