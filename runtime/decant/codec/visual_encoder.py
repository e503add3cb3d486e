"""Encoder of the layout ``grid`` for ``tune="iq"``: it minimizes the visible error.

As ``decant.codec.encoder`` with ``tune="psnr"``, this chooses symbols by rate and distortion and corrects
latents by the decoder's errors (Yang et al. 2020, arXiv 2006.04240), but errors count as
``decant.codec.visibility`` sees them: by place, by colour and by scale. Of each coding tile
(``decant.codec.tile_encoder``):

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
from decant.codec.layout import LATENT_PIXELS
from decant.codec.pixel_errors import ErrorMeasure, padded, with_neighbours
from decant.codec.quantization import symbol_weight
from decant.codec.tile_encoder import CodedTile, RefinedPicture, TileEncoder
from decant.codec.visibility import PLAIN, SCALES, WEIGHT_RANGE, ChannelEffects, Visibility, block_sums
from decant.formats.input_images import Picture
from decant.formats.rectangles import Rectangle

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


class VisualEncoder:
    """Encodes with the graphs of ``encoder``. ``adjoint`` and ``synthesis`` are sessions of its bundle."""

    def __init__(self, encoder: "GridEncoder", adjoint: Session, synthesis: Session) -> None:
        self._encoder, self._adjoint, self._synthesis = encoder, adjoint, synthesis
        self._effects = ChannelEffects.of(adjoint, encoder.layout.channels)

    def latents(
        self,
        picture: Picture,
        measure: ErrorMeasure,
        analysed: "Analysed",
        hyper: "HyperPart",
        rounds: int,
    ) -> RefinedPicture:
        """The latents section of ``picture`` at the quality of ``hyper``, after ``rounds`` of refinement."""
        tools = self._encoder, self._adjoint, self._synthesis
        return _Work(*tools, picture, measure, analysed, hyper, self._effects, rounds).run()


class _Work(TileEncoder):
    """One picture at one quality."""

    def __init__(
        self,
        encoder: "GridEncoder",
        adjoint: Session,
        synthesis: Session,
        picture: Picture,
        measure: ErrorMeasure,
        analysed: "Analysed",
        hyper: "HyperPart",
        effects: ChannelEffects,
        rounds: int,
    ) -> None:
        super().__init__(encoder, adjoint, synthesis, picture, measure, analysed, hyper)
        self._effects, self._rounds = effects, rounds
        self._lambda = LAMBDA * float(encoder.lambdas[hyper.quality - 1])
        self._plain = symbol_weight(self._lambda, self._row, encoder.curvature)
        self._balance = self._sampled() if len(hyper.shape.tiles) > 1 else None

    def refine(self, tile: Rectangle, left: np.ndarray | None) -> CodedTile:
        """See TileEncoder.refine."""
        rounds, balance = self._rounds, self._balance
        outer, window = self.window(tile, left)
        inside = tile.within(outer)
        mean = self.mean(tile)
        shown = self._visibility(outer)
        targets = self.analysed(tile)
        coded = self.code(tile, targets, mean, self._plain)
        errors = self._errors(tile, outer, window, coded)
        if balance is None:
            balance = _balance(shown.norms(errors), [(shown, errors)])
        else:
            shown.raise_worst(errors, balance.norms)
        share = np.float32((1 - PLAIN) * balance.factor)
        relative = shown.latent_weights(self._effects)[:, *inside] * share + np.float32(PLAIN)
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
            back = self._adjoint.run(window, gradient[None])[0][:, *inside]
            update *= MOMENTUM
            update += back / divisor
            update *= step_size
            targets = coded.latents + update
            coded = self.code(tile, targets, mean, weight)
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
                outer, window = self.window(part, None, above=False)
                mean = self.mean(part)
                coded = self.code(part, self.analysed(part), mean, self._plain)
                errors = self._errors(part, outer, window, coded)
                shown = self._visibility(outer)
                norms += shown.norms(errors)
                parts.append((shown, errors))
        return _balance(norms, parts)

    def _errors(self, tile: Rectangle, outer: Rectangle, window: np.ndarray, coded: CodedTile) -> np.ndarray:
        """float32 (rows, columns, 3) of ``outer`` in pixels: picture minus decoded tile, 0 outside it."""
        inside = tile.within(outer)
        pixels = self.shown(tile, outer, window, coded)
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
