"""The checkerboard mean context: anchor symbols correct the means of the non-anchor positions of a tile
(checkerboard context, He et al. 2021, arXiv:2103.15306).

Means are float and affect pixels, never symbols. This network may therefore be float too. It is small enough
to run in numpy, without a session.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np

from decant.codec.entropy.scale_network import exact_product
from decant.errors import BundleError
from decant.formats.tensors import tensor_of

_NEIGHBOURS = 4


def anchor_positions(rows: int, columns: int) -> np.ndarray:
    """bool (rows, columns): the anchor positions of a tile, those of an even y + x, which are coded first."""
    anchors: np.ndarray = (np.arange(rows)[:, None] + np.arange(columns)) % 2 == 0
    return anchors


def mean_context_name(channel_group: int) -> str:
    """Name in tables.safetensors of the mean context of ``channel_group``."""
    return f"near.{channel_group}" if channel_group else "near"


def channels_of(channel_groups: Sequence[int]) -> list[slice]:
    """Sizes of channel groups -> the slice of channels of each group."""
    return [
        slice(end - count, end) for end, count in zip(accumulate(channel_groups), channel_groups, strict=True)
    ]


class CheckerboardMean:
    """The network of one channel group with c channels: four neighbours, 1x1 convolution, ReLU, 1x1
    convolution.

    All tensors are float16: ``hidden_weight`` (D, 4 c), ``hidden_bias`` (D,), ``out_weight`` (c, D) and
    ``out_bias`` (c,).
    """

    def __init__(
        self,
        hidden_weight: np.ndarray,
        hidden_bias: np.ndarray,
        out_weight: np.ndarray,
        out_bias: np.ndarray,
        name: str = "near",
    ) -> None:
        self._tensors = {
            f"{name}.hidden_weight": hidden_weight,
            f"{name}.hidden_bias": hidden_bias,
            f"{name}.out_weight": out_weight,
            f"{name}.out_bias": out_bias,
        }
        if not all(np.isfinite(tensor).all() for tensor in self._tensors.values()):
            raise BundleError(f"tables: {name}.* holds a number that is not finite")
        self._hidden_weight, self._out_weight = (
            hidden_weight.astype(np.float32),
            out_weight.astype(np.float32),
        )
        self._hidden_bias = hidden_bias.astype(np.float32)[:, None]
        self._out_bias = out_bias.astype(np.float32)[:, None]

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, np.ndarray], channels: int, width: int, name: str = "near"
    ) -> "CheckerboardMean":
        """Read the tables ``name``.* of a group of ``channels``. Raises BundleError."""
        return cls(
            tensor_of(tensors, f"{name}.hidden_weight", np.float16, (width, _NEIGHBOURS * channels)),
            tensor_of(tensors, f"{name}.hidden_bias", np.float16, (width,)),
            tensor_of(tensors, f"{name}.out_weight", np.float16, (channels, width)),
            tensor_of(tensors, f"{name}.out_bias", np.float16, (channels,)),
            name,
        )

    def to_tensors(self) -> dict[str, np.ndarray]:
        """The tensors that ``from_tensors`` reads."""
        return dict(self._tensors)

    def added(self, symbols: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Corrections of the means of a channel group: float32 (c, rows, columns), 0 at anchor positions.

        Of ``symbols`` (c, rows, columns), only those at anchor positions are used. ``step`` (c,) is that of
        the quality.
        """
        count, rows, columns = symbols.shape
        first = anchor_positions(rows, columns)
        known = np.zeros((count, rows + 2, columns + 2), np.float32)
        np.multiply(symbols * first, step[:, None, None], out=known[:, 1:-1, 1:-1], casting="unsafe")
        near = np.stack([known[:, 1:-1, :-2], known[:, 1:-1, 2:], known[:, :-2, 1:-1], known[:, 2:, 1:-1]])
        places = np.flatnonzero(~first)
        inputs = near.reshape(_NEIGHBOURS * count, rows * columns)[:, places]
        hidden = exact_product(self._hidden_weight, inputs)
        hidden += self._hidden_bias
        np.maximum(hidden, 0, out=hidden)
        found = np.zeros((count, rows * columns), np.float32)
        found[:, places] = exact_product(self._out_weight, hidden) + self._out_bias
        return found.reshape(count, rows, columns)


class CheckerboardMeans:
    """The networks of all channel groups with a checkerboard; ``channel_groups``: the channels of each."""

    def __init__(self, networks: Sequence[CheckerboardMean], channel_groups: Sequence[int]) -> None:
        self._networks = networks
        self._channels = channels_of(channel_groups)

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, np.ndarray], channel_groups: Sequence[int], width: int
    ) -> "CheckerboardMeans":
        """Read the tables ``near.*`` of the first group, and ``near.1.*`` ... of the others. Raises
        BundleError.
        """
        found = [
            CheckerboardMean.from_tensors(tensors, count, width, mean_context_name(i))
            for i, count in enumerate(channel_groups)
        ]
        return cls(found, channel_groups)

    def to_tensors(self) -> dict[str, np.ndarray]:
        """The tensors that ``from_tensors`` reads."""
        return {name: tensor for one in self._networks for name, tensor in one.to_tensors().items()}

    def of(self, channels: slice) -> CheckerboardMean | None:
        """The network of the group with these channels, or None if the group has no checkerboard."""
        both = zip(self._networks, self._channels, strict=True)
        return next((network for network, own in both if own == channels), None)

    def added(self, symbols: np.ndarray, step: np.ndarray) -> np.ndarray:
        """``CheckerboardMean.added`` of all groups with a checkerboard, from ``symbols`` (M, rows, columns)
        and ``step`` (M,). The result has the channels of these groups, which come first.
        """
        found = [
            network.added(symbols[channels], step[channels])
            for network, channels in zip(self._networks, self._channels, strict=True)
        ]
        return np.concatenate(found)
