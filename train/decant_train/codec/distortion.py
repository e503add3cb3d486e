"""The distortion that a codec is trained for: squared error of pixels, in RGB or with a lower weight of
chroma, optionally mixed with multi-scale structural similarity (MS-SSIM; Wang, Simoncelli and Bovik 2003) or
with SSIMULACRA2 (``decant_train.codec.ssimulacra2_loss``).

This MS-SSIM blurs by matrix multiplication, which on a CPU takes a fifth of the time of narrow convolutions.
It measures the original once for several decoded pictures. It always runs in float32: its variances are small
differences of large numbers, which bfloat16 loses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from decant_train.codec.ssimulacra2_loss import lost_points

COLOURS = ("rgb", "ycbcr")
# Factor of 1 - MS-SSIM. With it, both terms are about equal on training photos, at every quality; the other
# term is the squared error of pixels in 0..1.
DISSIMILARITY = 0.0185
# Factor of 100 - SSIMULACRA2, chosen in the same way: this term is 0.8 to 1.3 of the squared error, at every
# quality.
LOST_POINT = 9e-6
# Weights of squared errors in "ycbcr". Luma has the weight that a grey error has in RGB. Cb and Cr have a
# third of their weight in RGB (1.09 and 0.82, from the inverse transform).
LUMA_WEIGHT, CB_WEIGHT, CR_WEIGHT = 1.0, 0.36, 0.27
BT601 = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # exponents of MS-SSIM, the finest scale first
WINDOW, SIGMA = 11, 1.5  # pixels
C1, C2 = 0.01**2, 0.03**2
LEAST_SIMILAR = 1e-3  # of a scale: the exponents have no gradient at 0
LEAST_SIDE = (WINDOW - 1) * 2 ** (len(SCALES) - 1) + 1  # pixels that five scales need


@dataclass(frozen=True)
class Measure:
    """A distortion. A share ``ms_ssim`` (0..1) of it is 1 - MS-SSIM, a share ``ssimulacra2`` is 100 -
    SSIMULACRA2, and the rest the squared error in ``colour``: "rgb" or "ycbcr". In "ycbcr", chroma has a
    third of its weight, and MS-SSIM is that of luma.
    """

    ms_ssim: float = 0.0
    colour: str = "rgb"
    ssimulacra2: float = 0.0

    def __post_init__(self) -> None:
        if min(self.ms_ssim, self.ssimulacra2) < 0 or self.ms_ssim + self.ssimulacra2 > 1:
            raise ValueError(
                "ms_ssim and ssimulacra2 are shares of the distortion, 0 to 1 together, got "
                f"{self.ms_ssim} and {self.ssimulacra2}"
            )
        if self.colour not in COLOURS:
            raise ValueError(f"colour must be one of {', '.join(COLOURS)}, got {self.colour!r}")

    @property
    def is_squared_error(self) -> bool:
        """Whether it is the squared error of RGB and nothing else."""
        return not (self.ms_ssim or self.ssimulacra2) and self.colour == "rgb"


def picture_error(decoded: Tensor, pictures: Tensor) -> Tensor:
    """Mean squared error (n,) of ``decoded`` in -0.5..0.5 to ``pictures`` in 0..1, both (n, 3, H, W)."""
    return (decoded - (pictures - 0.5)).square().mean((1, 2, 3))


def distortion(decoded: Tensor, pictures: Tensor, measure: Measure) -> Tensor:
    """Distortion (n,) of ``decoded`` in -0.5..0.5 to ``pictures`` in 0..1, both (n, 3, H, W)."""
    return distortions((decoded,), pictures, measure)[0]


def distortions(decoded: Sequence[Tensor], pictures: Tensor, measure: Measure) -> Tensor:
    """As ``distortion``, of several syntheses: (syntheses, n). MS-SSIM needs ``LEAST_SIDE`` pixels a side."""
    with torch.autocast(pictures.device.type, enabled=False):
        original, decoded = pictures.float() - 0.5, [x.float() for x in decoded]
        mixed = torch.zeros(len(decoded), len(pictures), device=pictures.device)
        if measure.ssimulacra2:
            lost = lost_points([x + 0.5 for x in decoded], original + 0.5)
            mixed = mixed + measure.ssimulacra2 * LOST_POINT * lost
        if measure.colour == "ycbcr":
            original, decoded = _ycbcr(original), [_ycbcr(x) for x in decoded]
        errors = torch.stack([_squared_error(x, original, measure.colour) for x in decoded])
        if measure.ms_ssim:
            planes = slice(0, 1 if measure.colour == "ycbcr" else 3)
            similar = ms_ssim([x[:, planes] + 0.5 for x in decoded], original[:, planes] + 0.5)
            mixed = mixed + measure.ms_ssim * DISSIMILARITY * (1 - similar)
        return mixed + (1 - measure.ms_ssim - measure.ssimulacra2) * errors


def _ycbcr(pictures: Tensor) -> Tensor:
    """RGB (n, 3, H, W) around 0 -> Y, Cb, Cr (BT.601), Y around 0 too."""
    return torch.einsum("yc,nchw->nyhw", torch.tensor(BT601, device=pictures.device), pictures)


def _squared_error(decoded: Tensor, original: Tensor, colour: str) -> Tensor:
    if colour == "rgb":
        return (decoded - original).square().mean((1, 2, 3))
    weights = torch.tensor((LUMA_WEIGHT, CB_WEIGHT, CR_WEIGHT), device=decoded.device)
    return ((decoded - original).square().mean((2, 3)) * weights).sum(1)


def ms_ssim(decoded: Sequence[Tensor], original: Tensor) -> Tensor:
    """MS-SSIM (count, n) of several ``decoded`` (n, c, H, W) to the ``original``, values in 0..1, the mean
    over channels. Raises ValueError for pictures below ``LEAST_SIDE`` pixels.
    """
    if min(original.shape[2:]) < LEAST_SIDE:
        raise ValueError(f"MS-SSIM needs {LEAST_SIDE} pixels a side, got {tuple(original.shape[2:])}")
    count, factors = len(decoded), []
    together = torch.cat(tuple(decoded))
    for scale, exponent in enumerate(SCALES):
        if scale:
            pads = [side % 2 for side in original.shape[2:]]
            original, together = (F.avg_pool2d(x, 2, padding=pads) for x in (original, together))
        mean, square = _blurred(original), _blurred(original.square())
        variance = square - mean.square()
        repeated = [x.repeat(count, 1, 1, 1) for x in (original, mean, variance)]
        own_mean = _blurred(together)
        own_variance = _blurred(together.square()) - own_mean.square()
        covariance = _blurred(together * repeated[0]) - own_mean * repeated[1]
        similar = (2 * covariance + C2) / (own_variance + repeated[2] + C2)
        if scale == len(SCALES) - 1:
            bright = (2 * own_mean * repeated[1] + C1) / (own_mean.square() + repeated[1].square() + C1)
            similar = similar * bright
        factors.append(similar.mean((2, 3)).clamp_min(LEAST_SIMILAR) ** exponent)
    return torch.stack(factors).prod(0).mean(1).reshape(count, -1)


def _blurred(planes: Tensor) -> Tensor:
    """``planes`` (n, c, H, W) under the Gaussian window, where it fits: (n, c, H - 10, W - 10)."""
    rows, columns = (_band(side, planes.device) for side in planes.shape[2:])
    return rows @ planes @ columns.T


@cache
def _band(side: int, device: torch.device) -> Tensor:
    """(side - 10, side): one row per output position, with the window at it."""
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    band = torch.zeros(side - WINDOW + 1, side, dtype=torch.float64)
    for k in range(WINDOW):
        band.diagonal(k).fill_(float(window[k] / window.sum()))
    return band.float().to(device)
