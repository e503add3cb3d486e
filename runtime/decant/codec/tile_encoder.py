"""Refines and codes one coding tile after the other, so memory does not grow with the number of rounds.

Only symbols of the tile itself move. The latents in the ``halo`` around it are those already coded above and
to the left, else as analysed. What decides between choices of symbols is left to the subclasses:
``decant.codec.refinement`` (``tune="psnr"``) and ``decant.codec.visual_encoder`` (``tune="iq"``).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from decant.backends.session import Session
from decant.codec.decoder import dequantized, mean_of_tile
from decant.codec.layout import Quality
from decant.codec.pixel_errors import ErrorMeasure
from decant.codec.quantization import Quantizer
from decant.formats.input_images import Picture
from decant.formats.rectangles import Rectangle, whole
from decant.process import memory

if TYPE_CHECKING:
    from decant.codec.encoder import Analysed, GridEncoder, HyperPart


@dataclass(frozen=True)
class RefinedPicture:
    """A latents section, and about the PSNR in dB of the picture it makes."""

    latents: bytes
    psnr_db: float


@dataclass
class CodedTile:
    """One choice of symbols of a rectangle: their table bits, the latents that a decoder has, and the squared
    error of pixels in 0..1, where it was measured.
    """

    symbols: np.ndarray
    scale_indices: np.ndarray
    bits: float
    latents: np.ndarray
    squared_error: float = 0.0


class TileEncoder:
    """One picture at the quality of ``hyper``, with the graphs of ``encoder``; ``adjoint`` and ``synthesis``
    are sessions of its bundle.
    """

    def __init__(
        self,
        encoder: "GridEncoder",
        adjoint: Session,
        synthesis: Session,
        picture: Picture,
        measure: ErrorMeasure,
        analysed: "Analysed",
        hyper: "HyperPart",
    ) -> None:
        self._encoder, self._adjoint, self._synthesis = encoder, adjoint, synthesis
        self._picture, self._measure, self._y, self._hyper = picture, measure, analysed.y, hyper
        self._bounds = whole(analysed.shape.h, analysed.shape.w)
        self._row: Quality = hyper.row
        self._hyperlatents = dequantized(hyper.scaled)
        halo, width = encoder.layout.halo, self._bounds.width
        self._above = np.empty((encoder.layout.channels, halo, width), np.float32)
        self._ones = np.ones((1, encoder.layout.channels, 1, 1), np.float32)

    def refine(self, tile: Rectangle, left: np.ndarray | None) -> CodedTile:
        """The symbols of one coding tile; ``left`` is what ``window`` takes."""
        raise NotImplementedError

    def run(self) -> RefinedPicture:
        """All tiles, one after the other."""
        layout, tiles = self._encoder.layout, [Rectangle(*tile) for tile in self._hyper.shape.tiles]
        streams, left, squared_error = [], None, 0.0
        above = np.empty_like(self._above)
        for tile in tiles:
            if tile.x0 == 0:
                self._above, above = above, self._above
                left = None
            coded = self.refine(tile, left)
            streams.append(layout.encode_tile(coded.symbols, coded.scale_indices))
            squared_error += coded.squared_error
            left = coded.latents[:, :, -layout.halo :].copy()
            above[:, :, tile.x0 : tile.x1] = coded.latents[:, -layout.halo :]
            del coded
            if len(tiles) > 1:
                memory.give_back()
        mse = squared_error / (3 * self._picture.width * self._picture.height)
        psnr_db = float(-10 * np.log10(mse)) if mse else float("inf")
        return RefinedPicture(layout.write(self._hyper.stream, streams), psnr_db)

    def window(
        self, tile: Rectangle, left: np.ndarray | None, *, above: bool = True
    ) -> tuple[Rectangle, np.ndarray]:
        """``tile`` with its halo, and its latents float32 (1, M, rows, columns) as far as they are known;
        ``left`` are the last columns of those coded to the left.
        """
        halo = self._encoder.layout.halo
        outer = tile.grown(halo, self._bounds)
        window = self._y[None, :, *outer.within(self._bounds)].astype(np.float32)
        if above and tile.y0:
            window[0, :, :halo] = self._above[:, :, outer.x0 : outer.x1]
        if left is not None:
            window[0, :, tile.y0 - outer.y0 :, :halo][:, : left.shape[1]] = left
        return outer, window

    def analysed(self, tile: Rectangle) -> np.ndarray:
        """Latents float32 (M, rows, columns) of ``tile`` as analysed."""
        return self._y[:, *tile.within(self._bounds)]

    def mean(self, tile: Rectangle) -> np.ndarray:
        """What hyperlatents say of the latents of ``tile``: float32 (M, rows, columns)."""
        return mean_of_tile(self._encoder.hyper_mean, self._hyperlatents, tile)

    def code(self, tile: Rectangle, targets: np.ndarray, mean: np.ndarray, weight: np.ndarray) -> CodedTile:
        """Symbols near ``targets`` float32 (M, rows, columns) of ``tile``."""
        layout, predict = self._encoder.layout, self._encoder.predict
        quantizer = Quantizer(layout, self._row, targets, mean, weight, self._encoder.bits, predict)
        place = (tile.y0, tile.y1, tile.x0, tile.x1)
        symbols, indices = layout.choose_symbols(self._hyper.scaled, self._row, place, quantizer)
        latents = symbols.astype(np.float32)
        latents *= self._row.step[:, None, None]
        latents += quantizer.mean
        if quantizer.predicted is not None:
            first = layout.channel_groups[0]
            latents[first : first + len(quantizer.predicted)] += quantizer.predicted
        return CodedTile(symbols, indices, _table_bits(self._encoder.bits, symbols, indices), latents)

    def shown(self, tile: Rectangle, outer: Rectangle, window: np.ndarray, coded: CodedTile) -> np.ndarray:
        """uint8 (rows, columns, 3) of ``outer``: what a decoder makes of ``window`` with ``coded`` in it."""
        window[0, :, *tile.within(outer)] = coded.latents
        pixels: np.ndarray = self._synthesis.run(np.zeros_like(window), window, self._ones)[0]
        return pixels


def _table_bits(bits: np.ndarray, symbols: np.ndarray, scale_indices: np.ndarray) -> float:
    """Bits of the symbols by the tables; those of bypass bits count as the largest in a table."""
    where = np.flatnonzero(scale_indices)
    radius = bits.shape[1] // 2
    column = np.clip(symbols.reshape(-1)[where], -radius, radius) + radius
    return float(
        bits.reshape(-1)[scale_indices.reshape(-1)[where].astype(np.intp) * bits.shape[1] + column].sum()
    )
