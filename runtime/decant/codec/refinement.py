"""Latent refinement (Yang et al. 2020, arXiv 2006.04240) by the squared error: ``tune="psnr"``.

Of each coding tile: quantize, decode, take the decoder's errors back to the latents that made them, choose
symbols again (majorize, minimize), and keep the choice with the least bits + lambda x squared error. The
analysis cannot know what rounding does.
"""

from typing import TYPE_CHECKING

import numpy as np

from decant.backends.session import Session
from decant.codec.layout import LATENT_PIXELS
from decant.codec.pixel_errors import ErrorMeasure, with_neighbours
from decant.codec.quantization import FAR, symbol_weight
from decant.codec.tile_encoder import CodedTile, TileEncoder
from decant.formats.input_images import Picture
from decant.formats.rectangles import Rectangle

if TYPE_CHECKING:
    from decant.codec.encoder import Analysed, GridEncoder, HyperPart

# How much further than the bundle's bounds corrections go, at first and at last. Rounding holds symbols where
# they are; longer steps get them out of places that shorter ones end in.
OVERSHOOT = (1.5, 1.05)
# How much of what a round moved its aims by the next one moves them again (heavy ball).
MOMENTUM = 0.25


class RefiningEncoder(TileEncoder):
    """One picture at one quality, after ``rounds`` of refinement."""

    def __init__(
        self,
        encoder: "GridEncoder",
        adjoint: Session,
        synthesis: Session,
        picture: Picture,
        measure: ErrorMeasure,
        analysed: "Analysed",
        hyper: "HyperPart",
        rounds: int,
    ) -> None:
        super().__init__(encoder, adjoint, synthesis, picture, measure, analysed, hyper)
        self._rounds = rounds
        self._lambda = float(encoder.lambdas[hyper.quality - 1])
        self._weight = symbol_weight(self._lambda, hyper.row, encoder.curvature)

    def refine(self, tile: Rectangle, left: np.ndarray | None) -> CodedTile:
        """See TileEncoder.refine."""
        outer, window = self.window(tile, left)
        inside = tile.within(outer)
        mean, targets = self.mean(tile), self.analysed(tile)
        coded = self.code(tile, targets, mean, self._weight)
        best, least = coded, np.inf
        last_update: np.ndarray | None = None
        step_size, around = np.ones(mean.shape[1:], np.float32), np.full(mean.shape[1:], np.inf)
        for i in range(self._rounds + 1):
            shown = self.shown(tile, outer, window, coded)
            lacking, errors = self._measure.errors_in(shown, outer.finer(LATENT_PIXELS))
            coded.squared_error = float(errors[inside].sum()) / 255**2
            cost = coded.bits + self._lambda * float(errors.sum()) / 3
            if cost < least:
                best, least = coded, cost
            if i == self._rounds:
                break
            before, around = around, with_neighbours(errors[inside])
            step_size[around > FAR * before] /= 2
            update = self._adjoint.run(window, lacking[None])[0][:, *inside]
            update = update * (np.float32(overshoot(i, self._rounds)) / self._encoder.bound[:, None, None])
            if last_update is not None:
                last_update *= np.float32(MOMENTUM)
                update += last_update
            update *= step_size
            update += coded.latents
            targets, last_update = update, update - targets
            coded = self.code(tile, targets, mean, self._weight)
        return best


def overshoot(i: int, rounds: int) -> float:
    """How much further than the bounds the correction of round ``i`` of ``rounds`` goes."""
    first, last = OVERSHOOT
    return first + (last - first) * max(0.0, 2 * (i + 1) / rounds - 1)
