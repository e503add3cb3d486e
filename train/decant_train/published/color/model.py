"""Family ``color``: small pictures as a grid of latents, whose depth follows each region's complexity.

The published design: an encoder of 64, 128, 256 kernels and a decoder of 256, 128, 64 with transposed
convolutions, all of stride 2, and latents in 0..1 of 2^depth levels, the depth chosen region by region. Here
both halves stand beside a linear path that starts as the principal components of 8 x 8 blocks, so training
begins with a transform coder and only has to better it; and the loss counts the bits that the levels cost, so
that the bits per pixel of files are what was asked for.
"""

import itertools
import logging
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from decant.codec.entropy.counts import integer_counts
from torch import Tensor, nn

from decant_train.common.family import Family

log = logging.getLogger(__name__)

BLOCK = 8  # pixels, side of the square that one place of the grid stands for
CENTRE = 0.5  # a level at every depth: what a component of no size is coded as
KNOWN = 64  # latents of training pictures that are kept for export
_PRIOR = 16.0  # latents' worth of the smooth model in the stored counts
_LEAST = 2.0**-24  # probability of any level


@dataclass(frozen=True)
class ColorConfig:
    """Shape of a colour autoencoder for RGB pictures of ``image_size`` x ``image_size``.

    ``depths``: bits a latent, from the least to the most complex regions; ``shares``: which part of the
    regions of the training pictures has each. ``bits_per_pixel``: what the latents of a file shall cost on
    average.
    """

    image_size: int = 32
    channels: int = 128
    widths: tuple[int, ...] = (64, 128, 256)
    region: int = 1
    depths: tuple[int, ...] = (8, 7, 6)
    shares: tuple[float, ...] = (0.45, 0.5, 0.05)
    bits_per_pixel: float = 2.95

    def __post_init__(self) -> None:
        for name in ("widths", "depths", "shares"):  # lists, when read from a checkpoint
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.image_size < BLOCK or self.image_size % BLOCK:
            raise ValueError(f"image_size {self.image_size} is not a multiple of {BLOCK}")
        if 2 ** len(self.widths) != BLOCK:
            raise ValueError(
                f"widths {self.widths}; {BLOCK.bit_length() - 1} expected, one for each halving of a block"
            )
        if not 1 <= self.channels <= 3 * BLOCK**2:
            raise ValueError(f"channels {self.channels}; 1 to {3 * BLOCK**2} expected")
        if (
            not self.depths
            or len(self.depths) != len(self.shares)
            or not all(1 <= depth <= 12 for depth in self.depths)
        ):
            raise ValueError(
                f"depths {self.depths} of shares {self.shares}; equal numbers, and depths of 1 to 12 expected"
            )
        if min(self.shares) <= 0 or not math.isclose(sum(self.shares), 1, abs_tol=1e-6):
            raise ValueError(f"shares {self.shares} are not positive numbers of sum 1")

    @property
    def side(self) -> int:
        """Places of the grid along each side."""
        return self.image_size // BLOCK

    @property
    def map_side(self) -> int:
        """Regions along each side."""
        return -(-self.side // self.region)


SIZES = {"base": ColorConfig()}


class Encoder(nn.Module):
    """Pictures (n, 3, S, S) in [0, 1] -> latents (n, channels, S/8, S/8) in [0, 1]."""

    def __init__(self, config: ColorConfig) -> None:
        super().__init__()
        self.linear = nn.Conv2d(3, config.channels, BLOCK, stride=BLOCK)
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 4, stride=2, padding=1) for i, o in itertools.pairwise((3, *config.widths))
        )
        self.last = nn.Conv2d(config.widths[-1], config.channels, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(_bias(self.last))

    def forward(self, pictures: Tensor) -> Tensor:
        # In bfloat16 a latent of 8 bits would be off by a quarter of a level.
        with torch.autocast(pictures.device.type, enabled=False):
            straight = self.linear(pictures)
        x = pictures
        for conv in self.convs:
            x = F.relu(conv(x))
        latents: Tensor = (straight + self.last(x).float()).clamp(0, 1)
        return latents


class Decoder(nn.Module):
    """Latents (n, channels, S/8, S/8) in [0, 1] -> pictures (n, 3, S, S), about in [0, 1].

    ``spread`` (channels, 1, 1) brings all latents to like sizes for the layers that follow.
    """

    spread: Tensor

    def __init__(self, config: ColorConfig) -> None:
        super().__init__()
        self.register_buffer("spread", torch.ones(config.channels, 1, 1))
        self.linear = nn.ConvTranspose2d(config.channels, 3, BLOCK, stride=BLOCK)
        widths = config.widths[::-1]
        self.first = nn.Conv2d(config.channels, widths[0], 3, padding=1)
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(i, o, 4, stride=2, padding=1) for i, o in itertools.pairwise((*widths, 3))
        )
        last = self.convs[-1]
        assert isinstance(last, nn.ConvTranspose2d)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(_bias(last))

    def forward(self, latents: Tensor) -> Tensor:
        with torch.autocast(latents.device.type, enabled=False):
            x = (latents - CENTRE) * self.spread
            straight = self.linear(x)
        x = F.relu(self.first(x))
        for i, conv in enumerate(self.convs):
            x = conv(x) if i == len(self.convs) - 1 else F.relu(conv(x))
        pictures: Tensor = straight + x.float()
        return pictures


class ColorAutoencoder(nn.Module):
    """The whole network, with what files need besides: thresholds of complexity (k - 1,), counts of depths
    and, for each depth, of levels; and ``known`` (64, channels, S/8, S/8), latents of training pictures as
    they are decoded.

    ``rate_centre`` (channels,), ``rate_scale`` (2, k, channels) and ``rate_share`` (k, channels) describe the
    distribution that the loss takes latents to have: at each depth two logistic ones around one centre, a
    narrow and a wide. ``price`` is what a bit per pixel costs in units of mean squared error.
    """

    thresholds: Tensor
    depth_counts: Tensor
    known: Tensor
    price: Tensor

    def __init__(self, config: ColorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.rate_centre = nn.Parameter(torch.full((config.channels,), CENTRE))
        count = len(config.depths)
        self.rate_scale = nn.Parameter(torch.full((2, count, config.channels), -4.0))
        self.rate_share = nn.Parameter(torch.zeros(count, config.channels))
        self.register_buffer("price", torch.tensor(1e-4))
        self.register_buffer("thresholds", torch.zeros(count - 1))
        self.register_buffer("depth_counts", torch.zeros(count, dtype=torch.int32))
        for i, depth in enumerate(config.depths):
            self.register_buffer(f"counts_{i}", torch.zeros(config.channels, 1 << depth, dtype=torch.int32))
        self.register_buffer("known", torch.zeros(KNOWN, config.channels, config.side, config.side))

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures float32 (n, 3, S, S) in [0, 1] -> latents in [0, 1], not quantized."""
        latents: Tensor = self.encoder(pictures)
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> pictures float32 (n, 3, S, S) in [0, 1]."""
        pictures: Tensor = self.decoder(latents).clamp(0, 1)
        return pictures

    def forward(self, pictures: Tensor, depths: Tensor) -> Tensor:
        return self.decode(quantized(self.encode(pictures), self.bits_at(depths)))

    def at_places(self, depths: Tensor) -> Tensor:
        """Depth maps (n, rows, columns) -> the same for each place of the grid, (n, S/8, S/8)."""
        config = self.config
        spread = depths.repeat_interleave(config.region, 1).repeat_interleave(config.region, 2)
        return spread[:, : config.side, : config.side]

    def bits_at(self, depths: Tensor) -> Tensor:
        """Depth maps int64 (n, rows, columns) of indices -> bits of each latent, float32 (n, 1, S/8, S/8)."""
        bits = torch.tensor(self.config.depths, dtype=torch.float32, device=depths.device)
        return bits[self.at_places(depths)][:, None]

    def rate(self, latents: Tensor, depths: Tensor) -> Tensor:
        """Bits that each picture's latents (n, C, h, w) cost with its depth map, (n,)."""
        places = self.at_places(depths)
        likelihood = self._likelihood(latents.movedim(1, -1), places)
        return -torch.log2(likelihood).sum(dim=(1, 2, 3))

    def losses(self, pictures: Tensor, depths: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared error and bits per pixel of pictures (n, 3, S, S), both scalar float32.

        The decoder sees latents as they will be decoded (their gradient passes straight through), the rate
        latents with noise as wide as a level, whose density has a gradient.
        """
        bits = self.bits_at(depths)
        latents = self.encoder(pictures)
        decoded = self.decoder(latents + (quantized(latents, bits) - latents).detach())
        with torch.autocast(pictures.device.type, enabled=False):
            noise = (torch.rand_like(latents) - 0.5) * torch.exp2(-bits)
            bits_per_pixel = self.rate(latents + noise, depths).mean() / self.config.image_size**2
            return F.mse_loss(decoded, pictures), bits_per_pixel

    @torch.no_grad()
    def start_from(self, pictures: Tensor, depths: Tensor) -> None:
        """Set the linear paths to the principal components of the blocks of ``pictures``, with the step of
        the deepest levels at which they cost ``bits_per_pixel``, or a greater one where their range would not
        fit in 0..1.
        """
        config = self.config
        blocks = F.unfold(pictures, BLOCK, stride=BLOCK).transpose(1, 2).reshape(-1, 3 * BLOCK**2)
        # One mean a channel, which is what the bias of a transposed convolution can give back.
        grey = pictures.mean(dim=(0, 2, 3))
        mean = grey.repeat_interleave(BLOCK**2)
        blocks = blocks - mean
        values, vectors = torch.linalg.eigh(blocks.T @ blocks / len(blocks))
        basis = vectors.flip(1)[:, : config.channels]
        deviations = values.flip(0)[: config.channels].clamp_min(1e-12).sqrt()
        coefficients = blocks @ basis
        bits = self.bits_at(depths).reshape(-1, 1)
        step = self._step_for(coefficients, bits)
        least = float(coefficients.abs().max()) / CENTRE / 2 ** max(config.depths)
        if step < least:
            step = least
            log.warning(
                "%s bits per pixel ask for finer levels than %d bits give: pictures will cost less",
                config.bits_per_pixel,
                max(config.depths),
            )
        gain = 1 / (step * 2 ** max(config.depths))
        spread = 1 / (gain * deviations.clamp_min(step / 2))
        kernel = basis.T.reshape(-1, 3, BLOCK, BLOCK)
        self.encoder.linear.weight.copy_(kernel * gain)
        _bias(self.encoder.linear).copy_(CENTRE - gain * (mean @ basis))
        self.decoder.spread.copy_(spread[:, None, None])
        self.decoder.linear.weight.copy_(kernel / (gain * spread)[:, None, None, None])
        _bias(self.decoder.linear).copy_(grey)
        scale = torch.log(deviations.clamp_min(step / 8) * gain * math.sqrt(3) / math.pi)
        self.rate_scale.copy_(torch.stack([scale - 1, scale + 0.3])[:, None])
        # What a bit saves in squared error where levels are fine: a step's noise is step^2 / 12.
        self.price.fill_(2 * math.log(2) * step**2 / 12 / 3)

    def _step_for(self, coefficients: Tensor, bits: Tensor) -> float:
        """Step of the deepest levels at which ``coefficients`` (n, C) cost the bits asked for, each channel
        with its own entropy.
        """
        config = self.config
        steps = torch.exp2(max(config.depths) - bits)
        low, high = 1e-3, 1.0
        for _ in range(16):
            step = math.sqrt(low * high)
            cost = sum(
                _entropy(coefficients[chosen] / (step * 2.0 ** (max(config.depths) - depth)))
                * int(chosen.sum())
                for depth in set(config.depths)
                if (chosen := (bits[:, 0] == depth)).any()
            )
            low, high = (low, step) if cost / len(steps) / BLOCK**2 < config.bits_per_pixel else (step, high)
        return math.sqrt(low * high)

    @torch.no_grad()
    def count(self, latents: Tensor, depths: Tensor) -> None:
        """Set the stored counts from the latents (n, C, h, w) of the training pictures and their depth maps
        (n, rows, columns), both on the CPU, and keep the first of them.
        """
        config, device = self.config, self.rate_centre.device
        seen = torch.bincount(depths.reshape(-1), minlength=len(config.depths)) + 1
        self.depth_counts.copy_(_counts(seen[None].double())[0])
        places = self.at_places(depths)
        for i, depth in enumerate(config.depths):
            levels = _levels(latents.transpose(0, 1)[:, places == i], torch.tensor(float(depth))).long()
            table = torch.zeros(config.channels, 1 << depth, dtype=torch.float64)
            table.scatter_add_(1, levels, torch.ones_like(levels, dtype=torch.float64))
            values = torch.from_numpy(level_values(depth)).to(device)[:, None].expand(-1, config.channels)
            smooth = self._likelihood(values, torch.full((1 << depth,), i, device=device)).T.cpu().double()
            self.get_buffer(f"counts_{i}").copy_(_counts(table + _PRIOR * smooth))
        stored = quantized(latents[:KNOWN], self.bits_at(depths[:KNOWN]))
        self.known.zero_()
        self.known[: len(stored)] = stored

    def _likelihood(self, latents: Tensor, depths: Tensor) -> Tensor:
        """Probability of the level around each latent (..., C) at the depths of these indices (...)."""
        bits = torch.tensor(self.config.depths, dtype=torch.float32, device=depths.device)[depths]
        half = torch.exp2(-bits)[..., None] / 2
        away = (latents - self.rate_centre).abs()
        narrow, wide = (
            # Of the two tails the smaller, whose difference loses no digits.
            torch.sigmoid((half - away) / scale) - torch.sigmoid((-half - away) / scale)
            for scale in self.rate_scale.exp()[:, depths]
        )
        share = torch.sigmoid(self.rate_share)[depths]
        return (share * narrow + (1 - share) * wide).clamp_min(_LEAST)


def quantized(latents: Tensor, bits: Tensor) -> Tensor:
    """The nearest level / 2^bits of each latent (n, C, h, w); ``bits`` (n, 1, h, w)."""
    return _levels(latents, bits) * torch.exp2(-bits)


def level_values(depth: int) -> npt.NDArray[np.float32]:
    """float32 (2^depth,): what levels stand for, level / 2^depth. So all depths have the centre, and a
    greater one has all levels of a lesser.
    """
    return (np.arange(1 << depth) / (1 << depth)).astype(np.float32)


def _levels(latents: Tensor, bits: Tensor) -> Tensor:
    most = torch.exp2(bits)
    # As the nearest stored value is found: what lies between two levels goes to the upper.
    return torch.minimum(torch.floor(latents * most + 0.5), most - 1)


def _counts(table: Tensor) -> Tensor:
    rows = [integer_counts(row) for row in table.numpy()]
    return torch.from_numpy(np.stack(rows).astype(np.int32))


def _entropy(values: Tensor) -> float:
    """Bits that a row of rounded ``values`` (n, C) takes, each column with its own distribution."""
    rounded = values.round().long()
    total = 0.0
    for column in rounded.T:
        counts = torch.bincount(column - column.min()).double()
        shares = counts[counts > 0] / len(column)
        total -= float((shares * shares.log2()).sum())
    return total


def _bias(layer: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


FAMILY = Family(name="color", config=ColorConfig, sizes=SIZES, build=ColorAutoencoder)
