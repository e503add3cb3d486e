"""Pixels -> files of the layout ``grid``: analysis in tiles, quantization by rate and distortion.
Refinement is in ``decant.codec.tile_encoder``.

    picture --analyse--> y, z --hyper_part--> quantized z, means --code--> symbols --> streams --> file
                                    once for each quality        once for each round of refinement

The analysis runs once for a picture. Everything else depends on the quality, and runs for each quality that
is tried. The encoder takes means from the float graph. A decoder's means may differ in their last digits,
which changes pixels as little.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from decant.backends.session import Session
from decant.codec.decoder import GridDecoder, dequantized, mean_of_tile
from decant.codec.layout import HYPER_LATENTS, LATENT_PIXELS, QUALITIES, GridLayout, GridShape, Quality
from decant.codec.pixel_errors import ErrorMeasure, beyond, padded
from decant.codec.quantization import PredictionGraph, Quantizer, quantized_hyperlatents, symbol_weight
from decant.codec.refinement import RefiningEncoder
from decant.codec.targets import Coded, Trials, file_for
from decant.errors import BundleError
from decant.formats import container, hidden_colours
from decant.formats.input_images import Picture
from decant.formats.rectangles import Rectangle, Window, squares, whole
from decant.process import memory
from decant.settings import DEFAULT_EFFORT, DEFAULT_TUNE, ROUNDS, VISUAL_ROUNDS, Settings

if TYPE_CHECKING:
    from decant.codec.visual_encoder import VisualEncoder

# The graphs take multiples of this many pixels: one hyperlatent.
BLOCK = LATENT_PIXELS * HYPER_LATENTS


# Pictures of up to this many pixels are analysed at once, larger ones in tiles of this side and halo.
ONE_TILE = 5 << 18


TILE = 1024


# What analysis and hyper analysis see around a tile, in pixels. Analysis looks 84 pixels far, but beyond 48
# next to nothing counts: latents of tiles are off by 0.004 steps of quality 80 at most.
ANALYSIS_HALO, HYPER_HALO = 48, 128


# A quality and its latents section -> the bytes of the whole file.
Finish: TypeAlias = Callable[[int, bytes], bytes]


@dataclass(frozen=True)
class Analysed:
    """Output of the analysis of a picture, not quantized: latents ``y`` float32 (M, h, w), hyperlatents ``z``
    float32 (hyper, hz, wz), and the ``shape`` of the grids.
    """

    y: np.ndarray
    z: np.ndarray
    shape: GridShape


@dataclass(frozen=True)
class HyperPart:
    """What a ``quality`` makes of the hyperlatents of a picture: its ``row`` of the tables, the quantized
    ones as they decide scale indices, and their stream.
    """

    quality: int
    shape: GridShape
    row: Quality
    scaled: np.ndarray
    stream: bytes


class GridEncoder:
    """Encodes pictures with the graphs of a ``grid`` bundle. Safe to use from several threads.

    ``tables`` are tensors of the bundle:

    * ``quality.lambda`` float32 (100,): for each quality, the bits per pixel that one unit of mean squared
      error (0..255) is worth;
    * ``synthesis.curvature`` float32 (M,): sensitivity, the squared error of the picture per squared error of
      a latent;
    * ``synthesis.bound`` float32 (M,): divisor of gradients in latent refinement. If missing, the curvature.

    ``load`` gives the session of a role. Graphs that only some efforts need are loaded when first needed.
    ``prediction_channels`` is the number of input channels of the bundle's ``prediction`` graph, or None if
    the bundle has no such graph. ``show`` is the decoder that PSNR targets are measured with: a file -> its
    pixels. If None, the float decoder is used.
    """

    def __init__(
        self,
        layout: GridLayout,
        tables: Mapping[str, np.ndarray],
        load: Callable[[str], Session],
        *,
        prediction_channels: int | None = None,
        overlap: bool = True,
        show: Callable[[container.DcnFile], np.ndarray] | None = None,
    ) -> None:
        self.layout = layout
        self.lambdas = _positive(tables, "quality.lambda", QUALITIES)
        self.curvature = _positive(tables, "synthesis.curvature", layout.channels)
        self.bound = self.curvature
        if "synthesis.bound" in tables:  # not in bundles before 0.7
            self.bound = _positive(tables, "synthesis.bound", layout.channels)
        self.analysis, self.hyper_analysis = load("analysis"), load("hyper_analysis")
        self.hyper_mean = load("hyper_mean")
        self.predict = None
        if prediction_channels is not None:
            self.predict = PredictionGraph(load("prediction"), prediction_channels)
        self._load = load
        self._overlap = overlap
        self._show = show
        self._decoder: GridDecoder | None = None
        self._adjoint: Session | None = None
        self._synthesis: Session | None = None
        self._visual: VisualEncoder | None = None
        self.bits = layout.entropy.cost_bits()

    def check(self, settings: Settings, source: str) -> None:
        """Accepts every setting."""

    def accept(self, picture: Picture, source: str) -> Picture:
        """Accepts every picture, grey and alpha too."""
        return picture

    def encode(self, picture: Picture, settings: Settings, finish: Finish, source: str) -> bytes:
        """Encode ``picture``; ``finish`` makes the bytes of the file.

        Raises ImageError for a target that no quality meets. Warns with QualityWarning if no quality
        reproduces the picture well.
        """
        picture = hidden_colours.filled(picture)
        analysed, measure = self.analyse(picture), ErrorMeasure(picture)
        effort = DEFAULT_EFFORT if settings.effort is None else settings.effort
        tune = DEFAULT_TUNE if settings.tune is None else settings.tune

        def make(quality: int, effort: int = effort) -> Coded:
            hyper, visual = self.hyper_part(analysed, quality), tune == "iq"
            rounds = (VISUAL_ROUNDS if visual else ROUNDS)[effort]
            if not rounds:
                return Coded(finish(quality, self.code(hyper, analysed.y, effort)))
            if visual:
                refined = self._visual_encoder().latents(picture, measure, analysed, hyper, rounds)
            else:
                tools = self, self._adjoint_session(), self._synthesis_session()
                refined = RefiningEncoder(*tools, picture, measure, analysed, hyper, rounds).run()
            return Coded(finish(quality, refined.latents), refined.psnr_db)

        trials = Trials(
            make,
            lambda quality: make(quality, 1),
            lambda data: measure.psnr_db(self._decode(data)),
            lambda data: measure.psnr_db(self._shown(data)),
            lambda data: measure.ssimulacra2(self._shown(data), source),
            picture.width * picture.height,
            source,
        )
        return file_for(settings, trials)

    def analyse(self, picture: Picture) -> Analysed:
        """Run the analysis graphs, in tiles if the picture is large.

        Latents of flat areas of pure black or white aim beyond the range of 8 bits (``pixel_errors.beyond``).
        """
        shape = self.layout.grid(picture.width, picture.height)
        hyperlatents = whole(shape.hz, shape.wz)
        rows, columns = HYPER_LATENTS * shape.hz, HYPER_LATENTS * shape.wz
        blocks, y = whole(rows, columns), np.empty((self.layout.channels, rows, columns), np.float32)
        z = np.empty((self.layout.hyper, shape.hz, shape.wz), np.float32)
        inwards = beyond(picture)
        for core, outer in _tiles(shape, ANALYSIS_HALO):
            found = self.analysis.run(padded(picture, outer)[None])
            if inwards is not None:
                found += found - self.analysis.run(padded(inwards, outer)[None])
            kept = core.coarser(LATENT_PIXELS)
            y[:, *kept.within(blocks)] = found[0][:, *kept.within(outer.coarser(LATENT_PIXELS))]
        if len(shape.tiles) > 1:
            memory.give_back()
        for core, outer in _tiles(shape, HYPER_HALO):
            around = y[None, :, *outer.coarser(LATENT_PIXELS).within(blocks)]
            found = self.hyper_analysis.run(np.ascontiguousarray(around))
            kept = core.coarser(BLOCK)
            z[:, *kept.within(hyperlatents)] = found[0][:, *kept.within(outer.coarser(BLOCK))]
        if shape.h < rows or shape.w < columns:
            y = np.ascontiguousarray(y[:, : shape.h, : shape.w])
        return Analysed(y, z, shape)

    def _visual_encoder(self) -> "VisualEncoder":
        """The encoder for ``tune="iq"``, created when first needed."""
        if self._visual is None:
            from decant.codec.visual_encoder import VisualEncoder

            self._visual = VisualEncoder(self, self._adjoint_session(), self._synthesis_session())
        return self._visual

    def _adjoint_session(self) -> Session:
        if self._adjoint is None:
            self._adjoint = self._load("synthesis_adjoint")
        return self._adjoint

    def _synthesis_session(self) -> Session:
        if self._synthesis is None:
            self._synthesis = self._load("synthesis")
        return self._synthesis

    def hyper_part(self, analysed: Analysed, quality: int) -> HyperPart:
        """What ``code`` needs of the hyperlatents, whatever latents are."""
        row, shape = self.layout.quality(quality), analysed.shape
        z = quantized_hyperlatents(analysed.z, row)
        scaled = row.scaled(z)
        return HyperPart(quality, shape, row, scaled, self.layout.encode_hyper(z, row))

    def code(self, hyper: HyperPart, y: np.ndarray, effort: int) -> bytes:
        """The latents section that comes nearest to ``y`` float32 (M, h, w), with hyperlatents that
        ``hyper_part`` had.
        """
        layout, row, shape = self.layout, hyper.row, hyper.shape
        distortion = float(self.lambdas[hyper.quality - 1])
        weight = symbol_weight(distortion, row, self.curvature) if effort else None
        hyperlatents, streams = dequantized(hyper.scaled), []
        for tile in shape.tiles:
            rectangle = Rectangle(*tile)
            latents = y[:, *rectangle.within(whole(shape.h, shape.w))]
            mean = mean_of_tile(self.hyper_mean, hyperlatents, rectangle)
            quantizer = Quantizer(layout, row, latents, mean, weight, self.bits, self.predict)
            streams.append(layout.encode_tile(*layout.choose_symbols(hyper.scaled, row, tile, quantizer)))
        return layout.write(hyper.stream, streams)

    def _decode(self, data: bytes) -> Picture:
        """The picture that the float decoder gives for a file, without its alpha."""
        if self._decoder is None:
            synthesis = self._synthesis_session()
            self._decoder = GridDecoder(self.layout, self.hyper_mean, synthesis, overlap=self._overlap)
        file = container.parse(data)
        pixels = self._decoder.decode(replace(file, alpha=None))
        return Picture(pixels[:, :, 0] if file.grey else pixels)

    def _shown(self, data: bytes) -> Picture:
        """The picture that the default decoder gives for a file, without its alpha."""
        if self._show is None:
            return self._decode(data)
        file = container.parse(data)
        pixels = self._show(replace(file, alpha=None))
        return Picture(pixels[:, :, 0] if file.grey else pixels)


def _tiles(shape: GridShape, halo: int) -> Iterator[Window]:
    """The tiles, in pixels, in which a picture with this grid is analysed, each with its ``halo``."""
    bounds = whole(shape.hz * BLOCK, shape.wz * BLOCK)
    side = TILE if bounds.height * bounds.width > ONE_TILE else max(bounds)
    for core in squares(bounds, side):
        yield Window(core, core.grown(halo, bounds))


def _positive(tables: Mapping[str, np.ndarray], name: str, size: int) -> np.ndarray:
    """The table ``name`` of the encoder: float32 (size,), all positive. Raises BundleError."""
    table = tables.get(name)
    usable = table is not None and table.dtype == np.float32 and table.shape == (size,)
    if table is None or not usable or not (np.isfinite(table) & (table > 0)).all():
        raise BundleError(f"tables: {name} is not float32 ({size},) of positive numbers")
    return table
