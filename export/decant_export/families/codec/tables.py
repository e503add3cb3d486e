"""What the codec's files need besides graphs: the rows of 100 qualities, the scale network's integers, and
probability tables counted on hard-quantized latents of training photos (docs/format.md, layout grid).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from decant.codec.decoder import dequantized
from decant.codec.entropy import fitting
from decant.codec.entropy.checkerboard import mean_context_name
from decant.codec.entropy.context_network import non_anchor_name
from decant.codec.entropy.fitting import MOST_RADIUS
from decant.codec.layout import QUALITIES, GridLayout
from decant.codec.quantization import Prediction, Quantizer, quantized_hyperlatents, symbol_weight
from decant_train.codec.config import (
    LOWEST_LAMBDA,
    MAGNITUDE_MAX,
    MULTIPLIER_MAX,
    RATE_POINTS,
    SCALE_COUNT,
    VALUE_BITS,
    WEIGHT_BITS,
    CodecConfig,
)
from decant_train.codec.distortion import distortion
from decant_train.codec.encoder import Encoding
from decant_train.codec.entropy_model import CheckerboardMean, Context, magnitude, scale_of_index
from decant_train.codec.model import Codec
from decant_train.codec.rate import interpolated_lambdas, symbol_bits
from decant_train.codec.sensitivity import MEASURED_ON
from torch import nn

from decant_export.families.codec.float_graphs import array

GROUP = 64  # latents on a side of a coding group: 1024 pixels
PRIOR = 200.0  # symbols that the fitted distribution counts for beside those counted
OFFSET_UNIT, OFFSET_ZERO = 4, 64  # quality.class_offset: steps a class, and the number for none
# Classes below the first that training tells apart are coded too; what is rarer is 0.
CODED_BELOW = 4.0
# Lambda of quality 100, unless that of the last rate point is higher.
TOP_LAMBDA = 0.35 * (0.35 / LOWEST_LAMBDA) ** (1 / (RATE_POINTS - 1))
COUNTED = tuple(range(4, 101, 8))  # qualities whose symbols are counted
# How much longer each step is than the one before, on how many pictures that is tried, at which positions.
LONGER, TRIED_ON, TRIED_AT = 1.15, 8, (2.0, 5.0)
WORTH_IT = 0.002  # of the loss: near the longest that pay there are those that diverge on other pictures


@dataclass(frozen=True)
class Latents:
    """What the analysis makes of one picture: y float32 (M, h, w), hyperlatents float32 (hyper, hz, wz).
    ``targets``: what an encoder makes of y for some qualities, where that is known.
    """

    y: np.ndarray
    hyper: np.ndarray
    targets: Mapping[int, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class SymbolCosts:
    """What an encoder weighs symbols by: the layout's ``cost_bits``, and the bundle's table of curvatures
    float32 (M,).
    """

    bits: np.ndarray
    curvature: np.ndarray


@torch.no_grad()
def latents_of(model: Codec, pictures: Sequence[np.ndarray]) -> list[Latents]:
    """Pictures uint8 (H, W, 3), sides multiples of 64 -> their latents, by PyTorch."""
    found = []
    for pixels in pictures:
        y = model.analysis(centred(pixels))
        found.append(Latents(y[0].numpy(), model.hyperprior.hyperlatents(y)[0].numpy()))
    return found


def encoder_of(model: Codec, pictures: Sequence[np.ndarray]) -> Encoding:
    """The encoder of ``model``, measured on the first of ``pictures`` uint8 (H, W, 3). Its bound is what
    errors that add up can do, and most do not: steps are made longer as long as files get better by it.
    """

    def several(chosen: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.cat([centred(pixels) + 0.5 for pixels in chosen])

    encoder = Encoding(model, several(pictures[:MEASURED_ON]))
    tried = several(pictures[-TRIED_ON:])
    factor, least = 1.0, _score(encoder.with_longer_steps(1.0), tried)
    while (score := _score(encoder.with_longer_steps(LONGER * factor), tried)) < least - WORTH_IT:
        factor, least = LONGER * factor, score
    encoder.bound = encoder.bound / factor
    return encoder


@torch.no_grad()
def _score(encoder: Encoding, pictures: torch.Tensor) -> float:
    """Mean logarithm of bits + lambda distortion of what ``encoder`` sends."""
    model, found = encoder.model, []
    for place in TRIED_AT:
        position = torch.full((len(pictures),), place)
        sent = encoder.sent(pictures, position)
        made = model.synthesis(sent.latents).clamp(-0.5, 0.5)
        error = distortion(made, pictures, model.config.measure)
        found.append((sent.bits + 255**2 * interpolated_lambdas(model.config, position) * error).log())
    return float(torch.cat(found).mean())


def with_targets(
    encoder: Encoding, pictures: Sequence[np.ndarray], latents: Sequence[Latents]
) -> list[Latents]:
    """``latents`` of ``pictures`` with what ``encoder`` makes of them for the qualities that are counted."""
    position, found = positions(encoder.model.config), []
    for i, (pixels, item) in enumerate(zip(pictures, latents, strict=True)):
        qualities = COUNTED[i % 3 :: 3]
        several = (centred(pixels) + 0.5).expand(len(qualities), -1, -1, -1)
        targets = encoder.sent(several, position[[q - 1 for q in qualities]]).targets
        found.append(replace(item, targets=dict(zip(qualities, targets.numpy(), strict=True))))
    return found


def centred(pixels: np.ndarray) -> torch.Tensor:
    """Pixels uint8 (H, W, 3) -> float32 (1, 3, H, W) in [-0.5, 0.5], as the analysis takes them."""
    return torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255) - 0.5


def layout_of(encoder: Encoding, latents: Sequence[Latents]) -> tuple[GridLayout, dict[str, np.ndarray]]:
    """The layout of the model of ``encoder`` and all tables of its bundle, counted on ``latents`` of training
    photos.
    """
    model = encoder.model
    tables = {**_qualities(model), **_scale_network(model), **_neighbour_mean(model)}
    fitted = [_fitted(c) for c in range(SCALE_COUNT)]
    layout = _layout(model, tables | fitting.tensors_of(fitted))
    tables["quality.hyper_class"] = _hyper_scale_indices(layout, tables, latents, fitted)
    # Which symbols come depends on what tables make them cost: counted twice.
    distributions = fitted
    curved, bound = array(encoder.rdo_weight), array(encoder.bound)
    for _ in range(2):
        layout = _layout(model, tables | fitting.tensors_of(distributions))
        distributions = []
        for prior, histogram in zip(fitted, _count(model, layout, latents, curved), strict=True):
            even = histogram + histogram[::-1]  # no reason why one sign should come more often
            distributions.append((even / 2 + PRIOR * prior) / (even.sum() / 2 + PRIOR))
    layout = _layout(model, tables | fitting.tensors_of(distributions))
    of_the_encoder = {"synthesis.curvature": curved, "synthesis.bound": bound}
    return layout, layout.tables() | {"quality.lambda": _lambdas(model.config)} | of_the_encoder


def symbols_of(
    model: Codec, layout: GridLayout, latents: Latents, quality: int, costs: SymbolCosts | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Hyperlatents int32, mean float32, classes uint8 and symbols int32 of a picture of one group; plainly
    rounded, or chosen by rate and distortion with ``costs``.
    """
    row = layout.quality(quality)
    z = quantized_hyperlatents(latents.hyper, row)
    v = row.scaled(z)
    with torch.no_grad():
        hyper = torch.from_numpy(dequantized(v))
        mean: np.ndarray = model.hyperprior.mean(hyper[None])[0].numpy()
    height, width = latents.y.shape[1:]
    mean = mean[:, :height, :width]
    bits, weight = np.zeros((0, 1), np.float32), None
    if costs is not None:
        bits, weight = costs.bits, symbol_weight(_lambdas(model.config)[quality - 1], row, costs.curvature)
    y, predict = latents.targets.get(quality, latents.y), _prediction(model)
    quantizer = Quantizer(layout, row, y, mean, weight, bits, predict)
    symbols, scale_indices = layout.choose_symbols(v, row, (0, height, 0, width), quantizer)
    mean = quantizer.mean
    if quantizer.predicted is not None:
        mean[layout.channel_groups[0] :][: len(quantizer.predicted)] += quantizer.predicted
    return z, mean, scale_indices, symbols


class _Prediction:
    """What the graph ``prediction`` of ``model`` does, by PyTorch."""

    def __init__(self, model: Codec) -> None:
        assert model.hyperprior.prediction is not None
        self._prior, self.known = model.hyperprior, model.hyperprior.prediction.in_channels

    @torch.no_grad()
    def __call__(self, residuals: np.ndarray) -> np.ndarray:
        one = torch.ones(1, self.known, 1, 1)
        found: np.ndarray = self._prior.predicted(torch.from_numpy(residuals)[None], one)[0].numpy()
        return found


def _prediction(model: Codec) -> Prediction | None:
    return None if model.hyperprior.prediction is None else _Prediction(model)


def _layout(model: Codec, tables: dict[str, np.ndarray]) -> GridLayout:
    config = model.config
    # A latent for the prediction, a quarter of one for each 3x3 at 1/4.
    halo = bool(config.predicted_channels) - (-(config.render_layers + 1) // 4)
    described: dict[str, Any] = {
        "channels": config.latents,
        "hyper": config.hyper,
        "stages": list(config.channel_groups),
        "class_width": config.scale_width,
        "context_width": config.context_width,
        "halves": config.checkerboard_groups,
        "mixed_width": config.mixed_width,
        "group": GROUP,
        "halo": halo,
    }
    return GridLayout(described, tables)


@torch.no_grad()
def _qualities(model: Codec) -> dict[str, np.ndarray]:
    position = positions(model.config)
    gain, hyper_gain, offset, hyper_scale_index = (array(row) for row in model.quality(position))
    step = 1 / gain.astype(np.float64)
    levels = np.geomspace(step.min(), step.max(), 256).astype(np.float32)
    index = np.rint(np.log(step / step.min()) / np.log(step.max() / step.min()) * 255)
    offsets = np.rint((offset + 0.5 + CODED_BELOW) * OFFSET_UNIT) + OFFSET_ZERO
    return {
        "quality.step_levels": levels,
        "quality.step_index": index.astype(np.uint8),
        "quality.hyper_multiplier": np.clip(np.rint(2**VALUE_BITS / hyper_gain), 1, MULTIPLIER_MAX).astype(
            np.uint8
        ),
        "quality.hyper_class": np.clip(np.rint(hyper_scale_index + CODED_BELOW), 1, SCALE_COUNT - 1).astype(
            np.uint8
        ),
        "quality.class_offset": np.clip(offsets, 0, 255).astype(np.uint8),
    }


def positions(config: CodecConfig) -> torch.Tensor:
    """Rate point of each quality (QUALITIES,), from 0. Quality 100 is the last one, or beyond it where the
    lambda of the last one is below ``TOP_LAMBDA``.
    """
    spacing = math.log(config.highest_lambda / LOWEST_LAMBDA) / (RATE_POINTS - 1)
    top = max(RATE_POINTS - 1, round(math.log(TOP_LAMBDA / LOWEST_LAMBDA) / spacing, 6))
    return torch.linspace(0, top, QUALITIES)


def _lambdas(config: CodecConfig) -> np.ndarray:
    """Distortion weight of each quality: bits per pixel + lambda * 255^2 * mean squared error."""
    slope, start = np.polyfit(np.arange(RATE_POINTS), np.log(config.lambdas), 1)
    lambdas: np.ndarray = np.exp(start + slope * positions(config).double().numpy()).astype(np.float32)
    return lambdas


def _scale_network(model: Codec) -> dict[str, np.ndarray]:
    """The integers of the scale network and of the context networks."""
    prior = model.hyperprior
    tables = {
        "scale.hidden_weight": _integers(prior.scale_hidden),
        "scale.hidden_bias": _integer_bias(prior.scale_hidden),
        "scale.out_weight": _integers(prior.scale_out)[:, :, 0, 0],
    }
    symbols = torch.arange(MAGNITUDE_MAX + 1).float()
    tables["context.magnitude"] = (array(magnitude(symbols)) * 2**VALUE_BITS).astype(np.uint8)
    parts = {f"context.{i}": context for i, context in enumerate(prior.contexts, 1)}
    parts |= {non_anchor_name(i): half for i, half in enumerate(prior.checkerboard_contexts)}
    for name, context in parts.items():
        assert isinstance(context, Context)
        tables[f"{name}.hidden_weight"] = _integers(context.hidden)[:, :, 0, 0]
        tables[f"{name}.hidden_bias"] = _integer_bias(context.hidden)
        tables[f"{name}.out_weight"] = _integers(context.out)[:, :, 0, 0]
        if context.mixed is not None:
            assert context.mixed_below is not None
            tables[f"{name}.mixed_weight"] = _integers(context.mixed)[:, :, 0, 0]
            tables[f"{name}.below_weight"] = _integers(context.mixed_below)[:, :, 0, 0]
            tables[f"{name}.mixed_bias"] = _integer_bias(context.mixed)
    return tables


def _neighbour_mean(model: Codec) -> dict[str, np.ndarray]:
    """What first halves add to means, in the latents' own unit."""
    prior = model.hyperprior
    tables: dict[str, np.ndarray] = {}
    for i, (network, channels) in enumerate(zip(prior.checkerboard_means, prior.channels(), strict=False)):
        assert isinstance(network, CheckerboardMean)
        unit, name = array(prior.deviation[channels]), mean_context_name(i)
        hidden, out = network.hidden, network.out
        assert hidden.bias is not None
        assert out.bias is not None
        tables |= {
            f"{name}.hidden_weight": array(hidden.weight)[:, :, 0, 0] / np.tile(unit, 4),
            f"{name}.hidden_bias": array(hidden.bias),
            f"{name}.out_weight": array(out.weight)[:, :, 0, 0] * unit[:, None],
            f"{name}.out_bias": array(out.bias) * unit,
        }
    return {name: table.astype(np.float16) for name, table in tables.items()}


def _integers(layer: nn.Conv2d) -> np.ndarray:
    rounded: np.ndarray = np.clip(np.rint(array(layer.weight) * 2**WEIGHT_BITS), -127, 127).astype(np.int8)
    return rounded


def _integer_bias(layer: nn.Conv2d) -> np.ndarray:
    assert layer.bias is not None
    rounded: np.ndarray = np.rint(array(layer.bias) * 2 ** (WEIGHT_BITS + VALUE_BITS)).astype(np.int32)
    return rounded


@torch.no_grad()
def _fitted(c: int) -> np.ndarray:
    """Probabilities of symbols -MOST_RADIUS..MOST_RADIUS in class ``c`` as training assumes them."""
    values = torch.arange(-MOST_RADIUS, MOST_RADIUS + 1).float()
    scale = scale_of_index(torch.tensor(float(c) - CODED_BELOW))
    bits: np.ndarray = symbol_bits(values, scale).double().numpy()
    return 2.0**-bits


def _hyper_scale_indices(
    layout: GridLayout,
    tables: dict[str, np.ndarray],
    latents: Sequence[Latents],
    fitted: Sequence[np.ndarray],
) -> np.ndarray:
    """For each quality and hyper channel, the class whose table codes its symbols in the fewest bits."""
    bits = -np.log2(np.stack(fitted))
    hyper = [item.hyper.reshape(layout.hyper, -1) for item in latents]
    every = np.concatenate(hyper, axis=1)
    chosen = tables["quality.hyper_class"].copy()
    for q in range(QUALITIES):
        z = np.rint(every * layout.quality(q + 1).hyper_gain[:, None]).astype(np.int64)
        z = np.clip(z, -MOST_RADIUS, MOST_RADIUS) + MOST_RADIUS
        for k in range(layout.hyper):
            histogram = np.bincount(z[k], minlength=2 * MOST_RADIUS + 1)
            chosen[q, k] = 1 + np.argmin(bits[1:] @ histogram)
    return chosen


def _count(model: Codec, layout: GridLayout, latents: Sequence[Latents], curved: np.ndarray) -> np.ndarray:
    """How often each symbol -MOST_RADIUS..MOST_RADIUS (larger ones left out) came in each class."""
    width = 2 * MOST_RADIUS + 1
    histograms = np.zeros((SCALE_COUNT, width))
    for scale_indices, symbols in _coded(model, layout, latents, curved):
        inside = np.abs(symbols) <= MOST_RADIUS
        coded = (
            scale_indices[inside].astype(np.int64) * width + symbols[inside].astype(np.int64) + MOST_RADIUS
        )
        histograms += np.bincount(coded, minlength=SCALE_COUNT * width).reshape(SCALE_COUNT, width)
    return histograms


def _coded(
    model: Codec, layout: GridLayout, latents: Sequence[Latents], curved: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Classes and symbols of latents and of hyperlatents, as files would hold them."""
    costs = SymbolCosts(layout.entropy.cost_bits(), curved)
    for i, item in enumerate(latents):
        for q in COUNTED[i % 3 :: 3]:
            z, _, scale_indices, symbols = symbols_of(model, layout, item, q, costs)
            yield scale_indices, symbols
            yield np.broadcast_to(layout.quality(q).hyper_scale_index[:, None, None], z.shape), z
