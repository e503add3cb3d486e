"""4x4 stride-2 convolutions, exactly rewritten as dense 3x3 convolutions over packed pixels.

A picture *packed by f* has its f x f pixel neighbourhoods moved into channels
(``torch.nn.functional.pixel_unshuffle`` order: channel ``c * f * f + row * f + column``). On packed pictures
a Conv2d k4 s2 p1 and a ConvTranspose2d k4 s2 p1 are both ordinary 3x3 convolutions with zeros in the taps
that do not exist. They cost more multiplications and still run several times faster than the strided forms,
because dense 3x3 convolutions are what CPUs, NPUs and their libraries are built for. A 1x1 stride-2 shortcut
becomes a 1x1 convolution in the same way. The functions only rearrange weights, so gradients flow through
them and trained parameters keep the published shapes.

``phase`` is the packing of the finer side divided by two: a convolution reads a picture packed by ``2 *
phase`` and gives one packed by ``phase``; a transposed convolution reads ``phase`` and gives ``2 * phase``.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

_NO_TAP = 4


@cache
def _taps(phase: int) -> Tensor:
    """Kernel tap that joins fine phase ``p`` to coarse phase ``q`` at block offset ``d - 1``: (q, p, d),
    int64, 4 = none.

    Conv2d k4 s2 p1: coarse position q reads fine positions 2 q - 1 + k. ConvTranspose2d k4 s2 p1 writes the
    same pairs.
    """
    taps = torch.full((phase, 2 * phase, 3), _NO_TAP)
    for coarse in range(phase):
        for tap in range(4):
            offset, fine = divmod(2 * coarse - 1 + tap, 2 * phase)
            taps[coarse, fine, offset + 1] = tap
    return taps


@cache
def _conv_index(phase: int, transposed: bool) -> Tensor:
    """Flat index into a (4*4 + 1)-long kernel for every (out row, out column, in row, in column, dy, dx)."""
    taps = _taps(phase)
    if transposed:  # fine positions are written: the block offset is seen from the other side
        taps = taps.permute(1, 0, 2).flip(2)
    rows = taps[:, None, :, None, :, None]
    columns = taps[None, :, None, :, None, :]
    flat = rows * 4 + columns
    return torch.where((rows == _NO_TAP) | (columns == _NO_TAP), torch.tensor(16), flat)


def _dense(kernel: Tensor, index: Tensor) -> Tensor:
    """(out, in, 4, 4) kernel -> (out * a * a, in * b * b, 3, 3) dense kernel, a and b the packings of
    ``index``.
    """
    out_channels, in_channels = kernel.shape[:2]
    padded = F.pad(kernel.reshape(out_channels, in_channels, 16), (0, 1))
    a, b = index.shape[0], index.shape[2]
    dense = padded[:, :, index.reshape(-1)].reshape(out_channels, in_channels, a, a, b, b, 3, 3)
    return dense.permute(0, 2, 3, 1, 4, 5, 6, 7).reshape(out_channels * a * a, in_channels * b * b, 3, 3)


def conv_kernel(weight: Tensor, phase: int) -> Tensor:
    """Conv2d k4 s2 p1 weight (out, in, 4, 4) -> (out * phase^2, in * 4 * phase^2, 3, 3)."""
    return _dense(weight, _conv_index(phase, False))


def conv_transpose_kernel(weight: Tensor, phase: int) -> Tensor:
    """ConvTranspose2d k4 s2 p1 weight (in, out, 4, 4) -> (out * 4 * phase^2, in * phase^2, 3, 3)."""
    return _dense(weight.transpose(0, 1), _conv_index(phase, True))


@cache
def _shortcut_mask(phase: int) -> Tensor:
    """1 where fine phase (row, column) is twice the coarse phase: (phase, phase, 2 phase, 2 phase)."""
    even = torch.zeros(phase, 2 * phase)
    even[torch.arange(phase), 2 * torch.arange(phase)] = 1.0
    return torch.einsum("ab,cd->acbd", even, even)


def shortcut_kernel(weight: Tensor, phase: int) -> Tensor:
    """Conv2d k1 s2 weight (out, in, 1, 1) -> (out * phase^2, in * 4 * phase^2, 1, 1)."""
    out_channels, in_channels = weight.shape[:2]
    mask = _shortcut_mask(phase).to(weight)
    dense = torch.einsum("oi,acbd->oacibd", weight[:, :, 0, 0], mask)
    return dense.reshape(out_channels * phase**2, in_channels * 4 * phase**2, 1, 1)


def shortcut_transpose_kernel(weight: Tensor, phase: int) -> Tensor:
    """ConvTranspose2d k1 s2 output_padding 1 weight (in, out, 1, 1) -> (out * 4 * phase^2, in * phase^2, 1,
    1).
    """
    in_channels, out_channels = weight.shape[:2]
    mask = _shortcut_mask(phase).to(weight)
    dense = torch.einsum("io,acbd->obdiac", weight[:, :, 0, 0], mask)
    return dense.reshape(out_channels * 4 * phase**2, in_channels * phase**2, 1, 1)


def packed_bias(bias: Tensor, packing: int) -> Tensor:
    """Bias (out,) of a convolution whose result is packed by ``packing``: (out * packing^2,)."""
    return bias.repeat_interleave(packing**2)
