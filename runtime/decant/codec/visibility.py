"""Visibility of errors: a quadratic form that approximates SSIMULACRA2, for RDO quantization and refinement.

1. An error of pixels is converted to XYB (``decant.ssimulacra2``) and to five scales, each at half the
   resolution of the one before.
2. Its square has a weight for each colour and scale. The weights follow those of SSIMULACRA2.
3. The weight is lower where the picture itself varies (visual masking): as in SSIM, errors are divided by a
   power of the local variance.
4. SSIMULACRA2 also has fourth norms, in which the worst positions count most. They are replaced by weights:
   once a decoded picture is known, each position gets the derivative of the norm at its error.

Different channels of latents control luma and chroma, and coarse and fine structure. The effect of an error
in a latent on each colour and scale is one number per channel. The adjoint of the synthesis gives it.
"""

from dataclasses import dataclass

import numpy as np

from decant.backends.session import Session
from decant.codec.layout import LATENT_PIXELS
from decant.ssimulacra2 import ABSORBANCE, BIAS, linear_light

SCALES = 5
# Weights by scale and colour (X, Y, B): of the mean error, and of its fourth norm. Y has those of the metric;
# its edge terms are added to the scale on which they work. X and B have larger weights than in the metric,
# which is almost insensitive to them.
MEAN_WEIGHTS = np.array([[2, 0, 2], [2, 0, 2], [2, 225, 3], [2, 176, 9], [2, 0, 60]], np.float32)
NORM_WEIGHTS = np.array([[0, 24, 0], [0, 8, 0], [0, 19, 0], [0, 24, 0], [0, 70, 0]], np.float32)
# Share of the plain squared error in the distortion. Without it, channels with almost no weight would be
# changed freely to correct the errors of other channels.
PLAIN = 0.3
# SSIM's constant C2, and the exponent of masking. With the exponent 1, bright noise would hide everything.
LEAST_VARIANCE = 0.0009
MASKING = 0.5
# Upper limit of the weight that the derivative of a fourth norm gives a position.
MOST_RAISED = 8.0
# Range of the weights of latents, relative to those of the squared error.
WEIGHT_RANGE = (1 / 16, 400.0)

_GREY = 128
# XYB before its scaling and offset: X, Y, B - Y of cube roots.
_OPPONENT = np.array([[7, -7, 0], [0.5, 0.5, 0], [-0.5, -0.5, 1]], np.float32)


@dataclass(frozen=True)
class ChannelEffects:
    """Effect of a squared error of a latent on each scale and colour, relative to the squared error of the
    pixels that it causes: ``shares`` float32 (M, SCALES, 3), measured at mid-grey.
    """

    shares: np.ndarray

    @classmethod
    def of(cls, adjoint: Session, channels: int) -> "ChannelEffects":
        """Measure at latents of 0 by random projections (Hutchinson 1989). The seed is fixed."""
        side, margin, random = 24, 4, np.random.default_rng(0)
        latents = np.zeros((1, channels, side, side), np.float32)

        def energy(pixels: np.ndarray) -> np.ndarray:
            found = adjoint.run(latents, np.ascontiguousarray(pixels[None], np.float32))[0]
            inside = found[:, margin:-margin, margin:-margin]
            summed: np.ndarray = np.square(inside).mean((1, 2))
            return summed

        def signs(size: int, planes: int) -> np.ndarray:
            return random.choice(np.array([-1, 1], np.float32), (size, size, planes))

        size, matrix = LATENT_PIXELS * side, _xyb_slope()
        plain = np.maximum(energy(signs(size, 3)), 1e-12)
        shares = np.empty((channels, SCALES, 3), np.float32)
        for scale in range(SCALES):
            block = 1 << scale
            for colour in range(3):
                probe = signs(size // block, 1).repeat(block, 0).repeat(block, 1) / block
                shares[:, scale, colour] = energy(probe * matrix[colour]) / plain
        return cls(shares)


class Visibility:
    """The distortion of one window of a picture, ``pixels`` uint8 (H, W, 3). H and W are multiples of
    LATENT_PIXELS. Errors are float32 (H, W, 3) in 0..1.
    """

    def __init__(self, pixels: np.ndarray) -> None:
        light = linear_light()[pixels]
        cones = light.reshape(-1, 3) @ ABSORBANCE.T + BIAS
        roots = np.cbrt(cones)
        xyb = (roots @ _OPPONENT.T).reshape(pixels.shape)
        # One gain for all colours: the visibility of a luma error relative to that at mid-grey.
        slope = 1 / np.square(roots[:, :2]) * (_SLOPE[pixels].reshape(-1, 3)[:, :2])
        grey = 1 / np.cbrt(linear_light()[_GREY] + BIAS) ** 2 * _SLOPE[_GREY]
        gain = np.sqrt(np.square(slope).mean(1) / grey**2).astype(np.float32)
        self.gain = gain.reshape(*pixels.shape[:2], 1)
        self._matrix = _xyb_slope()
        self._masks = _masks(xyb)
        self._weights = [MEAN_WEIGHTS[scale] * mask for scale, mask in enumerate(self._masks)]

    def norms(self, errors: np.ndarray) -> np.ndarray:
        """float64 (SCALES + 1, 3): sums over positions of the fourth power of masked errors. Row SCALES has
        the number of positions. The arrays of several windows can be added.
        """
        sums = np.zeros((SCALES + 1, 3))
        for scale, loss in enumerate(self._losses(errors)):
            sums[scale] = np.square(np.square(loss)).mean((0, 1), dtype=np.float64)
        sums[SCALES] = 1
        sums *= errors.shape[0] * errors.shape[1]
        return sums

    def raise_worst(self, errors: np.ndarray, norms: np.ndarray) -> None:
        """Give each position the derivative of the fourth norms ``norms`` at these ``errors`` as weight."""
        fourth = (norms[:SCALES] / norms[SCALES]) ** 0.75 + 1e-12
        for scale, loss in enumerate(self._losses(errors)):
            raised = np.minimum(loss**3 / fourth[scale].astype(np.float32), np.float32(MOST_RAISED))
            weight = MEAN_WEIGHTS[scale] + NORM_WEIGHTS[scale] * raised
            self._weights[scale] = _smooth(weight * self._masks[scale])

    def weighted(self, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Half the gradient of the distortion at ``errors``, of their shape; and the distortion itself,
        float32 (H / 16, W / 16), summed over the pixels of each latent.
        """
        seen = self._seen(errors)
        total = np.zeros((errors.shape[0] // LATENT_PIXELS, errors.shape[1] // LATENT_PIXELS), np.float32)
        levels = []
        for scale in range(SCALES):
            shown = (
                _doubled(self._weights[scale]) * seen if scale + 1 < SCALES else self._weights[scale] * seen
            )
            levels.append(shown)
            total += block_sums((shown * seen).sum(2), LATENT_PIXELS >> scale) * np.float32(4.0**scale)
            seen = _halved(seen) if scale + 1 < SCALES else seen
        back = levels[-1]
        for scale in reversed(range(SCALES - 1)):
            back = _doubled(back) + levels[scale]
        gradient = (back * self.gain).reshape(-1, 3) @ self._matrix
        return gradient.reshape(errors.shape), total

    def latent_weights(self, effects: ChannelEffects) -> np.ndarray:
        """float32 (M, H / 16, W / 16): the distortion that a squared error of each latent causes, relative to
        the squared error of the pixels that it causes.
        """
        gain = block_sums(np.square(self.gain[:, :, 0]), LATENT_PIXELS) / LATENT_PIXELS**2
        maps = []
        for scale in range(SCALES):
            weight = self._weights[scale]
            side = LATENT_PIXELS * weight.shape[0] // self.gain.shape[0]
            local = np.stack([block_sums(weight[:, :, colour], side) / side**2 for colour in range(3)])
            maps.append(local * gain)
        shares = effects.shares.reshape(len(effects.shares), -1)
        found = shares @ np.concatenate(maps).reshape(shares.shape[1], -1)
        weights: np.ndarray = found.reshape(-1, *gain.shape)
        return weights

    def _losses(self, errors: np.ndarray) -> list[np.ndarray]:
        """For each scale, the masked squared errors around each position, at most 2. All scales but the last
        are at half their resolution.
        """
        seen, found = self._seen(errors), []
        for scale in range(SCALES):
            squared = np.square(seen)
            if scale + 1 < SCALES:
                squared, seen = _halved(squared), _halved(seen)
            found.append(np.minimum(_smooth(squared) * self._masks[scale], 2))
        return found

    def _seen(self, errors: np.ndarray) -> np.ndarray:
        """Errors in XYB, at the finest scale."""
        seen: np.ndarray = (errors.reshape(-1, 3) @ self._matrix.T).reshape(errors.shape)
        seen *= self.gain
        return seen


def _masks(xyb: np.ndarray) -> list[np.ndarray]:
    """For each scale, the inverse of the local variance to the power of MASKING. All scales but the last are
    at half their resolution.
    """
    masks = []
    for scale in range(SCALES):
        mean, square = xyb, np.square(xyb)
        if scale + 1 < SCALES:
            mean, square = _halved(mean), _halved(square)
        xyb = mean
        mean = _smooth(mean)
        variance = np.maximum(_smooth(square) - np.square(mean), 0)
        masks.append((2 * variance / LEAST_VARIANCE + 1) ** np.float32(-MASKING) / np.float32(LEAST_VARIANCE))
    return masks


def _smooth(values: np.ndarray) -> np.ndarray:
    """Binomial blur of (h, w, c), 3 x 3; the border is repeated."""
    for axis in (0, 1):
        padded = np.pad(values, [(int(axis == 0),) * 2, (int(axis == 1),) * 2, (0, 0)], mode="edge")
        one, two, three = (
            (padded[:-2], padded[1:-1], padded[2:])
            if axis == 0
            else (padded[:, :-2], padded[:, 1:-1], padded[:, 2:])
        )
        values = one + three
        values += 2 * two
        values *= np.float32(0.25)
    return values


def _halved(values: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 of (h, w, c)."""
    halved: np.ndarray = values[::2, ::2] + values[1::2, ::2]
    halved += values[::2, 1::2]
    halved += values[1::2, 1::2]
    halved *= np.float32(0.25)
    return halved


def _doubled(values: np.ndarray) -> np.ndarray:
    """(h, w, c) -> (2 h, 2 w, c), each value four times."""
    h, w, c = values.shape
    wide = np.broadcast_to(values[:, None, :, None], (h, 2, w, 2, c))
    doubled: np.ndarray = wide.reshape(2 * h, 2 * w, c)
    return doubled


def block_sums(values: np.ndarray, side: int) -> np.ndarray:
    """Sums over squares of ``side`` of (h, w)."""
    if side == 1:
        return values
    height, width = values.shape
    sums: np.ndarray = values.reshape(height // side, side, width // side, side).sum((1, 3))
    return sums


def _xyb_slope() -> np.ndarray:
    """The derivative of XYB by sRGB in 0..1 at mid-grey: float32 (3, 3)."""
    roots = np.cbrt(linear_light()[_GREY] + BIAS)
    matrix: np.ndarray = _OPPONENT @ ABSORBANCE * (_SLOPE[_GREY] / (3 * roots**2))
    return matrix.astype(np.float32)


def _slope_of_light() -> np.ndarray:
    """The derivative of linear light by sRGB in 0..1, of the 256 values."""
    values = np.arange(256) / 255
    slope = np.where(values <= 0.04045, 1 / 12.92, 2.4 / 1.055 * ((values + 0.055) / 1.055) ** 1.4)
    return slope.astype(np.float32)


_SLOPE = _slope_of_light()
