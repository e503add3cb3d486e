"""How the channels of a tensor are stored in one uint8 tensor, whose one scale then serves all of them.

Channels are mixed first (heavy tails of one are shared by several), and brought to -1..1. What errors of a
channel do to pixels and how its values are spread decide how wide a range it gets, and how many copies: each
is shifted by a part of a step and read with a part of the weight, so that n copies have n times the
resolution (outlier channel splitting, Zhao et al. 2019).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from decant_export.common.qdq import Scale

EVEN = Scale(1 / 127.5, 128)  # of a tensor whose channels were brought to -1..1
LEAST, MOST = -128 / 127.5, 127 / 127.5  # what it holds
RANGES = 2.0 ** -(np.arange(15) / 4)  # of a channel's largest magnitude: those that are tried
MOST_COPIES = 8  # of a channel
# What wide ranges cost, in units of the rounding of what is stored: weights that read them are rounded too,
# and most pictures have nothing that a narrow range would clip. Chosen among 1 to 6 on validation photos.
WIDE_COST = 2.0


@dataclass(frozen=True)
class Copies:
    """How a tensor is stored: ``basis`` (channels, channels) takes its channels to mixed ones, ``source``
    (k,) is the mixed channel of each stored one, ``factor`` (channels,) brings a mixed channel to -1..1,
    ``shift`` (k,) is added in that unit before rounding.
    """

    basis: np.ndarray
    source: np.ndarray
    factor: np.ndarray
    shift: np.ndarray

    @classmethod
    def of(
        cls,
        samples: np.ndarray,
        errors: np.ndarray,
        extra: int,
        basis: np.ndarray,
        held: np.ndarray | None = None,
    ) -> "Copies":
        """The arrangement of ``extra`` more channels than there are whose errors do least, on ``basis``:
        ``samples`` float32 (channels, n) of the values, ``errors`` (channels, channels) the quadratic form
        of what their errors do to pixels. Values of ``held`` (channels, n) are within every range.
        """
        back = np.linalg.inv(basis)
        gains = np.diag(back.T @ errors @ back)
        least = _furthest(basis, held)
        mixed = np.abs(basis.astype(np.float32) @ samples)
        ranges, costs = zip(*(_options(row, r) for row, r in zip(mixed, least, strict=True)), strict=True)
        cost = np.array(costs) * gains[:, None]
        counts, every = np.ones(len(cost), np.int64), np.arange(len(cost))
        for _ in range(extra):
            left = cost[every, counts - 1] - cost[every, np.minimum(counts, MOST_COPIES - 1)]
            counts[np.argmax(left)] += 1
        source = np.concatenate([every, _apart(np.repeat(every, counts - 1), counts)])
        # Copy i of n is shifted by (i + 1/2) / n - 1/2 steps: together they see every n-th of a step.
        turn = np.zeros(len(cost), np.int64)
        shift = np.zeros(len(source), np.float32)
        for k, channel in enumerate(source):
            shift[k] = ((turn[channel] + 0.5) / counts[channel] - 0.5) * EVEN.step
            turn[channel] += 1
        factor = 1 / np.array(ranges)[every, counts - 1]
        return cls(basis.astype(np.float64), source, factor.astype(np.float32), shift)

    @property
    def count(self) -> int:
        """Stored channels."""
        return len(self.source)

    def first(self) -> "Copies":
        """The same with one copy of each channel, the first: a part of what is stored."""
        count = len(self.factor)
        return replace(self, source=self.source[:count], shift=self.shift[:count])

    def matrix(self) -> np.ndarray:
        """Real values -> stored ones before shift and rounding: float64 (k, channels)."""
        found: np.ndarray = (self.factor[:, None] * self.basis)[self.source]
        return found

    def store(self, x: Tensor, clamped: bool = True) -> Tensor:
        """Values (n, channels, h, w) -> what is stored (n, k, h, w), before rounding; not ``clamped``: what
        would be if the range had no end.
        """
        mixed = torch.einsum("kc,nchw->nkhw", torch.from_numpy(self.matrix()).float(), x)
        mixed += torch.from_numpy(self.shift)[:, None, None]
        return mixed.clamp(LEAST, MOST) if clamped else mixed

    def read(self, weight: np.ndarray) -> np.ndarray:
        """Weight (out, channels, h, w) on the real values -> (out, k, h, w) on the stored ones."""
        back = np.linalg.inv(self.basis) / (self.factor * np.bincount(self.source))
        taken: np.ndarray = np.einsum("oc...,ck->ok...", weight, back[:, self.source]).astype(np.float32)
        return taken

    def shifted(self, weight: np.ndarray) -> np.ndarray:
        """What shifts add to the products of ``read(weight)`` (out,): nothing, up to rounding, with every
        copy of a channel.
        """
        sums = self.read(weight).sum(axis=(2, 3))
        found: np.ndarray = sums @ self.shift
        return found

    def write(self, weight: np.ndarray, bias: np.ndarray, repeat: int) -> tuple[np.ndarray, np.ndarray]:
        """Weight (channels * repeat, in, h, w) and bias that give real values -> those that give stored ones;
        a channel has ``repeat`` rows, one after another.
        """
        rows, matrix = weight.reshape(-1, repeat, *weight.shape[1:]), self.matrix()
        made = np.einsum("kc,cr...->kr...", matrix, rows).reshape(-1, *weight.shape[1:])
        offset = np.einsum("kc,cr->kr", matrix, bias.reshape(-1, repeat)) + self.shift[:, None]
        return made.astype(np.float32), offset.reshape(-1).astype(np.float32)


def _apart(channels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``channels`` in an order in which neighbours differ where they can: weights of two copies of a channel
    are alike, and those of neighbours must add up to little (``qdq.PAIR``). ``counts``: copies of each.
    """
    found = channels[np.argsort(-counts[channels], kind="stable")]
    half = -(-len(found) // 2)
    order = np.arange(2 * half).reshape(2, half).T.reshape(-1)
    return found[order[order < len(found)]]


def neighbours(gains: np.ndarray, count: int) -> np.ndarray:
    """A basis that mixes ``count`` (1, 2, 4) neighbouring channels by a Hadamard matrix, each first scaled so
    that its errors do as much as those of the others; ``gains`` (channels,) is what they do, squared.
    """
    one = np.ones((1, 1))
    while len(one) < count:
        one = np.kron(one, np.array([[1, 1], [1, -1]])) / np.sqrt(2)
    found: np.ndarray = np.kron(np.eye(len(gains) // count), one) * np.sqrt(
        np.maximum(gains, gains.max() * 1e-9)
    )
    return found


def balanced(samples: np.ndarray, errors: np.ndarray, kept: int) -> np.ndarray:
    """A basis in which neither values nor the effects of errors are correlated, all but the ``kept``
    strongest channels then mixed. ``samples`` and ``errors`` as for ``Copies.of``.
    """
    moment = samples.astype(np.float64) @ samples.T / samples.shape[1]
    root = np.linalg.cholesky(moment + np.eye(len(moment)) * (1e-9 * np.trace(moment) + 1e-12))
    strength, axes = np.linalg.eigh(root.T @ errors @ root)
    strength, axes = strength[::-1], axes[:, ::-1]
    found: np.ndarray = np.maximum(strength, strength[0] * 1e-12)[:, None] ** 0.25 * (
        axes.T @ np.linalg.inv(root)
    )
    rest = len(found) - kept
    mixing = np.linalg.qr(np.random.default_rng(0).standard_normal((rest, rest)))[0]
    found[kept:] = mixing @ found[kept:]
    return found


def narrow_ranges(samples: np.ndarray, held: np.ndarray | None = None) -> np.ndarray:
    """The best range float32 (channels,) of each channel with one copy; ``samples`` (channels, n), ``held``
    as for ``Copies.of``.
    """
    least = _furthest(np.eye(len(samples)), held)
    rows = zip(np.abs(samples), least, strict=True)
    return np.array([_options(row, r)[0][0] for row, r in rows], np.float32)


def _furthest(basis: np.ndarray, held: np.ndarray | None) -> np.ndarray:
    if held is None:
        return np.zeros(len(basis), np.float32)
    found: np.ndarray = np.abs(basis.astype(np.float32) @ held).max(1)
    return found


def _options(magnitudes: np.ndarray, least: float = 0.0) -> tuple[list[float], list[float]]:
    """For 1, 2 .. MOST_COPIES copies of a channel with such ``magnitudes``: its best range of ``least`` or
    more, and the errors that it then has.
    """
    ranges = np.maximum(max(float(magnitudes.max()), 1e-6) * RANGES, least)
    clipped = [float(np.square(magnitudes[magnitudes > r] - r, dtype=np.float64).sum()) for r in ranges]
    noise = WIDE_COST * EVEN.step**2 / 12
    found = [
        np.array(clipped) / len(magnitudes) + noise * (ranges / n) ** 2 for n in range(1, MOST_COPIES + 1)
    ]
    return [float(ranges[np.argmin(cost)]) for cost in found], [float(cost.min()) for cost in found]
