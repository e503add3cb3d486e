"""The codec's configuration: sizes, channel groups, and the constants that layers, rate and encoder share."""

from dataclasses import dataclass, replace
from typing import Any

from decant_train.codec.distortion import Measure

RATE_POINTS = 8  # qualities with trained parameters of their own
PATCH = 16  # pixels a side for each latent position
PIXELS = 3 * PATCH * PATCH  # values of a patch

SCALE_COUNT = 32  # probability tables, one per scale index, log-spaced
SCALE_MIN, SCALE_MAX = 0.11, 64.0  # standard deviations of the first and the last, in quantization steps
TAIL = 0.01  # share of the wide component in the latents' distribution: outliers keep a gradient

WEIGHT_BITS = 6  # fraction bits of the scale network's int8 weights
VALUE_BITS = 4  # fraction bits of its inputs and hidden values
HIDDEN_MAX = 255  # largest hidden value, in units of 2^-VALUE_BITS
MULTIPLIER_MAX = 255  # largest multiplier of quantized hyperlatents, in the same units
MAGNITUDE_MAX = 255  # the context networks see larger symbols as this one

LEAK = 0.05  # gradient of rectifiers that are off
ANALYSIS_SLOPE = 0.1  # slope of the analysis' rectifiers below 0
LEAST_SQUARE = 1e-4  # added to the mean square by which features are normalized

# Distortion weight of the first rate point: loss = bits per pixel + lambda * 255^2 * MSE. About 0.1 bpp.
LOWEST_LAMBDA = 0.0009

# Field of CodecConfig -> its key in checkpoints and bundles, which keep the names of the first version.
CONFIG_KEYS = {
    "channel_groups": "stages",
    "checkerboard_groups": "halves",
    "scale_width": "class_width",
    "predicted_channels": "predicted",
    "prediction_inputs": "predicting",
}


@dataclass(frozen=True)
class CodecConfig:
    """Shape of a codec and its distortion. Raises ValueError where fields contradict each other.

    The encoder alone uses ``analysis_width`` and ``analysis_blocks``: they cost a decoder nothing.
    """

    latents: int = 256  # channels M at 1/16
    render_width: int = 24  # channels of the synthesis at 1/4
    render_layers: int = 2  # residual layers there
    render_hidden: int = 48  # rectified channels inside each
    channel_groups: tuple[int, ...] = (16, 48, 192)  # channels of each group, together ``latents``
    hyper: int = 32  # channels N of the hyperlatents at 1/64
    scale_width: int = 48  # hidden values of the scale network at 1/32
    context_width: int = 48  # hidden values of each context network at 1/16
    checkerboard_groups: int = 1  # the first groups, which are coded in anchors and non-anchors
    mixed_width: int = 0  # of a second context layer, which also sees the scale network; 0: none
    predicted_channels: int = 0  # channels after the first group with channel-conditional means
    prediction_inputs: int = 0  # first channels that predict them; 0: those of the first group
    analysis_width: int = 128  # channels of the analysis at 1/8
    analysis_blocks: int = 2  # residual blocks at 1/8 and at 1/16
    beside: tuple[str, ...] = ()  # sizes whose syntheses are trained on the same latents (``part``)
    ms_ssim: float = 0.0  # fields of decant_train.codec.distortion.Measure
    colour: str = "rgb"
    ssimulacra2: float = 0.0
    highest_lambda: float = 0.35  # distortion weight of the last rate point

    def __post_init__(self) -> None:
        object.__setattr__(self, "channel_groups", tuple(self.channel_groups))  # from JSON they are lists
        object.__setattr__(self, "beside", tuple(self.beside))
        groups, latents = self.channel_groups, self.latents
        if unknown := set(self.beside) - set(SIZES):
            raise ValueError(f"no size {', '.join(sorted(unknown))}; there are {', '.join(SIZES)}")
        if sum(groups) != latents or min(groups) < 1:
            raise ValueError(f"channel_groups {groups} do not add up to {latents} latents")
        if not 1 <= self.checkerboard_groups <= len(groups):
            raise ValueError(
                f"checkerboard_groups is {self.checkerboard_groups}; there are {len(groups)} channel groups"
            )
        if not 0 <= self.prediction_inputs <= latents:
            raise ValueError(f"prediction_inputs is {self.prediction_inputs}; there are {latents} latents")
        if not 0 <= self.predicted_channels <= latents - groups[0]:
            raise ValueError(
                f"predicted_channels is {self.predicted_channels}; {latents - groups[0]} latents come after"
                " the first group"
            )
        if self.highest_lambda <= LOWEST_LAMBDA:
            raise ValueError(f"highest_lambda is {self.highest_lambda}; more than {LOWEST_LAMBDA} expected")
        _ = self.measure  # raises

    @property
    def measure(self) -> Measure:
        """The distortion that the codec is trained for."""
        return Measure(self.ms_ssim, self.colour, self.ssimulacra2)

    @property
    def lambdas(self) -> tuple[float, ...]:
        """Distortion weight of each rate point. Their logarithms are equally spaced."""
        ratio = self.highest_lambda / LOWEST_LAMBDA
        return tuple(LOWEST_LAMBDA * ratio ** (i / (RATE_POINTS - 1)) for i in range(RATE_POINTS))


SIZES: dict[str, CodecConfig] = {}

# The sizes differ in the synthesis only, so that all can be trained on the same latents.
SIZES |= {
    "nano": CodecConfig(render_layers=0, predicted_channels=112, highest_lambda=1.0),
    "lite": CodecConfig(predicted_channels=112, highest_lambda=1.0),
    "full": CodecConfig(
        render_width=32, render_layers=5, render_hidden=64, predicted_channels=112, highest_lambda=1.0
    ),
}

# A separate entropy model for one bundle, whose decoder may take several times the multiplications.
OWN_PRIOR: dict[str, Any] = {
    "channel_groups": (16, 16, 32, 64, 128),
    "checkerboard_groups": 4,
    "context_width": 80,
    "mixed_width": 80,
    "predicted_channels": 240,
    "prediction_inputs": 64,
}


def with_renderer(config: CodecConfig, name: str) -> CodecConfig:
    """``config`` with the renderer of the size ``name``."""
    size = SIZES[name]
    return replace(
        config,
        render_width=size.render_width,
        render_layers=size.render_layers,
        render_hidden=size.render_hidden,
    )
