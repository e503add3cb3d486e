"""The codec's configuration: sizes, stages, and the constants that its layers and its rate share."""

from dataclasses import dataclass, replace
from typing import Any

from decant_train.codec.distortion import Measure

RATE_POINTS = 8  # qualities with parameters of their own


CLASSES = 32  # scale classes, log-spaced


SCALE_MIN, SCALE_MAX = (
    0.11,
    64.0,
)  # standard deviations of the first and the last class, in quantization steps


WEIGHT_BITS = 6  # fraction bits of the scale network's int8 weights


VALUE_BITS = 4  # fraction bits of its inputs and hidden values


HIDDEN_MAX = 255  # its hidden values, in units of 2^-VALUE_BITS


MULTIPLIER_MAX = 255  # of quantized hyperlatents, in the same units


MAGNITUDE_MAX = 255  # symbols beyond look like it to the context networks


PATCH = 16


PIXELS = 3 * PATCH * PATCH


# Distortion weight of each anchor: loss = bits per pixel + lambda * 255^2 * MSE. From about 0.1 bpp to 40 dB
# on photos.
LAMBDAS = tuple(0.0009 * (0.35 / 0.0009) ** (i / (RATE_POINTS - 1)) for i in range(RATE_POINTS))


LEAK = 0.05  # gradient of rectifiers that are off


ANALYSIS_SLOPE = 0.1  # of the analysis' rectifiers below 0


LEAST_SQUARE = 1e-4  # added to the mean square that features are normalized by


TAIL = 0.01  # share of the wide component in the latents' distribution: outliers keep a gradient


@dataclass(frozen=True)
class CodecConfig:
    """Decoder shape: ``latents`` M; renderer at 1/4 of ``render_width`` R channels and ``render_layers``
    residual layers of ``render_hidden`` rectified ones. ``analysis_width`` and ``analysis_blocks`` are the
    encoder's and cost the decoder nothing. ``halves``: so many stages are coded in two halves.
    ``mixed_width``: hidden values of a second layer of the context networks, which sees those of the scale
    network too; 0 for none. ``predicted``: so many channels after the first stage have means that latents of
    the stages before add to, of the first ``predicting`` channels (those of the first stage if 0).
    ``beside``: names of sizes whose syntheses are trained on the same latents (``part``). ``ms_ssim`` and
    ``colour``: the distortion (``decant_train.codec.distortion.Measure``).
    """

    latents: int = 256
    render_width: int = 24
    render_layers: int = 2
    render_hidden: int = 48
    stages: tuple[int, ...] = (16, 48, 192)  # channels of each coding stage, together ``latents``
    hyper: int = 32
    class_width: int = 48  # hidden values of the scale network at 1/32
    context_width: int = 48  # hidden values of each part's context network at 1/16
    halves: int = 1
    mixed_width: int = 0
    predicted: int = 0
    predicting: int = 0
    analysis_width: int = 128
    analysis_blocks: int = 2
    beside: tuple[str, ...] = ()
    ms_ssim: float = 0.0
    colour: str = "rgb"

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))  # from JSON they are lists
        object.__setattr__(self, "beside", tuple(self.beside))
        if unknown := set(self.beside) - set(SIZES):
            raise ValueError(f"no size {', '.join(sorted(unknown))}; there are {', '.join(SIZES)}")
        if sum(self.stages) != self.latents or min(self.stages) < 1:
            raise ValueError(f"stages {self.stages} do not add up to {self.latents} latents")
        if not 1 <= self.halves <= len(self.stages):
            raise ValueError(f"halves is {self.halves}; there are {len(self.stages)} stages")
        if not 0 <= self.predicting <= self.latents:
            raise ValueError(f"predicting is {self.predicting}; there are {self.latents} latents")
        if not 0 <= self.predicted <= self.latents - self.stages[0]:
            raise ValueError(f"predicted is {self.predicted}; the first stage has {self.stages[0]} latents")
        _ = self.measure  # raises

    @property
    def measure(self) -> Measure:
        """The distortion that the codec is trained for."""
        return Measure(self.ms_ssim, self.colour)


SIZES: dict[str, CodecConfig] = {}


# They differ in their renderers alone, so that all can be trained on the same latents.
SIZES |= {
    "nano": CodecConfig(render_layers=0, predicted=112),
    "lite": CodecConfig(predicted=112),
    "full": CodecConfig(render_width=32, render_layers=5, render_hidden=64, predicted=112),
}


# A prior of one bundle's own: what a decoder of several times the multiplications can afford.
OWN_PRIOR: dict[str, Any] = {
    "stages": (16, 16, 32, 64, 128),
    "halves": 4,
    "context_width": 80,
    "mixed_width": 80,
    "predicted": 240,
    "predicting": 64,
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
