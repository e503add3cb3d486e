"""Pixels -> files of the layout ``grid``: analysis in tiles, RDO quantization, latent refinement.

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
from decant.codec.pixel_errors import ErrorMeasure, beyond, padded, with_neighbours
from decant.codec.quantization import FAR, PredictionGraph, Quantizer, quantized_hyperlatents, symbol_weight
from decant.codec.targets import Coded, Trials, file_for
from decant.errors import BundleError
from decant.formats import container, hidden_colours
from decant.formats.input_images import Picture
from decant.formats.rectangles import Rectangle, Window, squares, whole
from decant.settings import DEFAULT_EFFORT, DEFAULT_TUNE, ROUNDS, VISUAL_ROUNDS, Settings

if TYPE_CHECKING:
    from decant.codec.visual_encoder import VisualEncoder

# The graphs take multiples of this many pixels: one hyperlatent.
BLOCK = LATENT_PIXELS * HYPER_LATENTS


# Pictures of up to this many pixels are analysed at once, larger ones in tiles of this side and halo.
ONE_TILE = 1 << 21


TILE = 1536


# At least the receptive fields of analysis, hyper analysis and adjoint, in pixels. With these halos, tiles
# give the same values as the whole picture.
ANALYSIS_HALO, HYPER_HALO, ADJOINT_HALO = 96, 128, 64


# Step size of latent refinement relative to the bundle's bounds, in the first and in the last round. Rounding
# undoes small changes of a symbol, so steps above 1 are needed to leave a local minimum.
OVERSHOOT = (1.5, 1.05)


# Share of the last update of the targets that is added to the next one (heavy ball, Polyak 1964).
MOMENTUM = 0.25


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
    """Everything that follows from a picture's hyperlatents at one ``quality``.

    * ``row``: the tables of the quality;
    * ``scaled`` int32 (hyper, hz, wz): quantized hyperlatents in units of 1/16, which decide scale indices;
    * ``means``: one float32 (M, rows, columns) for each tile;
    * ``stream``: the coded hyperlatents.
    """

    quality: int
    shape: GridShape
    row: Quality
    scaled: np.ndarray
    means: list[np.ndarray]
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
        self._visual: VisualEncoder | None = None
        self._bits = layout.entropy.cost_bits()

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
            if tune == "iq" and VISUAL_ROUNDS[effort]:
                hyper = self.hyper_part(analysed, quality, with_means=False)
                rounds = VISUAL_ROUNDS[effort]
                coded = self._visual_encoder().latents(picture, measure, analysed, hyper, rounds)
                return Coded(finish(quality, coded.latents), coded.psnr_db)
            return self._file(picture, measure, analysed, quality, effort, finish)

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
        for core, outer in _tiles(shape, HYPER_HALO):
            around = y[None, :, *outer.coarser(LATENT_PIXELS).within(blocks)]
            found = self.hyper_analysis.run(np.ascontiguousarray(around))
            kept = core.coarser(BLOCK)
            z[:, *kept.within(hyperlatents)] = found[0][:, *kept.within(outer.coarser(BLOCK))]
        if shape.h < rows or shape.w < columns:
            y = np.ascontiguousarray(y[:, : shape.h, : shape.w])
        return Analysed(y, z, shape)

    def _file(
        self,
        picture: Picture,
        measure: ErrorMeasure,
        analysed: Analysed,
        quality: int,
        effort: int,
        finish: Finish,
    ) -> Coded:
        """The file at ``quality``, with latent refinement from effort 2 on.

        Refinement (after Yang et al. 2020, arXiv:2006.04240) exists because the analysis cannot know the
        effect of rounding. Each round

        1. decodes the file and compares it with the picture;
        2. maps the pixel errors back to the latents by the adjoint of the synthesis;
        3. moves the quantization targets by that update, with momentum;
        4. quantizes again.

        The file with the least bits + lambda x squared error is kept.
        """
        rounds, hyper = ROUNDS[effort], self.hyper_part(analysed, quality)
        if not rounds:
            return Coded(finish(quality, self.code(hyper, analysed.y, effort)))
        y, targets, last_update = np.empty_like(analysed.y), analysed.y, np.zeros_like(analysed.y)
        latents = self.code(hyper, targets, effort, y)
        file = best = finish(quality, latents)
        step_size, around = np.ones(y.shape[1:], np.float32), np.full(y.shape[1:], np.inf)
        least, mse = np.inf, 0.0
        for i in range(rounds + 1):
            decoded = self._decode(file)
            errors = measure.squared(decoded)
            error = float(errors.sum()) / decoded.pixels.size
            cost = 8 * len(latents) / (picture.width * picture.height)
            cost += float(self.lambdas[quality - 1]) * error
            if cost < least:
                best, least, mse = file, cost, error
            if i == rounds:
                break
            before, around = around, with_neighbours(errors)
            step_size[around > FAR * before] /= 2
            update = self._correction(y, measure, analysed.shape, decoded)
            update *= overshoot(i, rounds) / self.bound[:, None, None]
            update += np.multiply(last_update, MOMENTUM, out=last_update)
            update *= step_size
            update += y
            targets, last_update = update, update - targets
            latents = self.code(hyper, targets, effort, y)
            file = finish(quality, latents)
        return Coded(best, float(10 * np.log10(255**2 / mse)) if mse else float("inf"))

    def _correction(
        self, y: np.ndarray, measure: ErrorMeasure, shape: GridShape, decoded: Picture
    ) -> np.ndarray:
        """float32 (M, h, w): the negative gradient, with respect to the latents ``y``, of half the squared
        error (0..1) of ``decoded`` by ``measure``. ``decoded`` is the picture that ``y`` decodes to.
        """
        if self._adjoint is None:
            self._adjoint = self._load("synthesis_adjoint")
        latents = whole(shape.h, shape.w)
        correction = np.empty_like(y)
        for core, outer in _tiles(shape, ADJOINT_HALO):
            near = outer.coarser(LATENT_PIXELS).cut(latents)
            lacking = measure.lacking(decoded, near.finer(LATENT_PIXELS))
            around = np.ascontiguousarray(y[None, :, *near.within(latents)])
            kept = core.coarser(LATENT_PIXELS).cut(latents)
            found = self._adjoint.run(around, lacking[None])[0]
            correction[:, *kept.within(latents)] = found[:, *kept.within(near)]
        return correction

    def _visual_encoder(self) -> "VisualEncoder":
        """The encoder for ``tune="iq"``, created when first needed."""
        if self._visual is None:
            from decant.codec.visual_encoder import VisualEncoder

            if self._adjoint is None:
                self._adjoint = self._load("synthesis_adjoint")
            self._visual = VisualEncoder(self, self._adjoint, self._load("synthesis"), self._bits)
        return self._visual

    def hyper_part(self, analysed: Analysed, quality: int, *, with_means: bool = True) -> HyperPart:
        """Quantize the hyperlatents at ``quality``, and derive what ``code`` needs of them. Without
        ``with_means``, the list of means is empty.
        """
        row, shape = self.layout.quality(quality), analysed.shape
        z = quantized_hyperlatents(analysed.z, row)
        scaled = row.scaled(z)
        hyperlatents = dequantized(scaled)
        tiles = shape.tiles if with_means else []
        means = [mean_of_tile(self.hyper_mean, hyperlatents, Rectangle(*tile)) for tile in tiles]
        return HyperPart(quality, shape, row, scaled, means, self.layout.encode_hyper(z, row))

    def code(self, hyper: HyperPart, y: np.ndarray, effort: int, coded: np.ndarray | None = None) -> bytes:
        """The latents section for the targets ``y`` float32 (M, h, w) and the hyperlatents of ``hyper``.

        Effort 0 rounds; every other effort quantizes by RDO. ``coded``, if given, receives the latents as the
        decoder will have them. It may be the array ``y`` itself.
        """
        layout, row, shape = self.layout, hyper.row, hyper.shape
        distortion = float(self.lambdas[hyper.quality - 1])
        weight = symbol_weight(distortion, row, self.curvature) if effort else None
        streams, first, predicted = [], layout.channel_groups[0], None
        known = self.predict.known if self.predict is not None else 0
        residuals = np.empty((known, shape.h, shape.w), np.float32)
        for tile, mean in zip(shape.tiles, hyper.means, strict=True):
            rows, columns = Rectangle(*tile).within(whole(shape.h, shape.w))
            quantizer = Quantizer(layout, row, y[:, rows, columns], mean, weight, self._bits, self.predict)
            symbols, scale_indices = layout.choose_symbols(hyper.scaled, row, tile, quantizer)
            streams.append(layout.encode_tile(symbols, scale_indices))
            predicted = quantizer.predicted
            if coded is not None:
                scaled = symbols * row.step[:, None, None]
                residuals[:, rows, columns] = scaled[:known]
                coded[:, rows, columns] = scaled + quantizer.mean
        if coded is not None and self.predict is not None:
            if predicted is None or len(shape.tiles) > 1:  # a decoder sees all tiles
                predicted = self.predict(residuals)
            coded[first : first + len(predicted)] += predicted
        return layout.write(hyper.stream, streams)

    def _decode(self, data: bytes) -> Picture:
        """The picture that the float decoder gives for a file, without its alpha."""
        if self._decoder is None:
            synthesis = self._load("synthesis")
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


def overshoot(i: int, rounds: int) -> float:
    """Step size, relative to the bounds, of round ``i`` of ``rounds`` (see ``OVERSHOOT``)."""
    first, last = OVERSHOOT
    return first + (last - first) * max(0.0, 2 * (i + 1) / rounds - 1)


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
