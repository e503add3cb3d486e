"""Family ``perceptual``: a ResNet trunk, a quantized bottleneck and a residual upsampling decoder.

The published design ("quantized autoencoder with perceptual loss"): the encoder is ResNet-101 from conv1 to
layer4 (He et al. 2016, with the stride in the 3x3 convolution, as torchvision has it), then average pooling;
the decoder is made of residual upsampling blocks (convolution, batch normalization, leaky ReLU, transposed
convolution of stride 2), then transposed convolutions and a sigmoid. Latents are clamped to [0, 1]; training
adds the noise of rounding to 2^bits levels, coding rounds.

The trunk's parameters have torchvision's names, so that a state dict of its resnet101 loads (``load_trunk``).
The publication does not give the pooling's size nor the decoder's widths: those are ours.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decant_train.common.family import Family

EXPANSION = 4  # of a bottleneck block's width
TRUNK_STRIDE = 32  # pixels a side of one position of layer4
SLOPE = 0.2  # of the leaky ReLUs
KNOWN = 64  # training pictures whose latents are kept for export
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of torchvision's weights
# Of a random trunk's normalized features at the start, in deviations: few are rectified, so that what the
# latents know of the picture is more than a rectified random network would leave of it.
ALMOST_LINEAR = 2.0
# Latents start in the middle of their range and seldom leave it.
LATENT_MEAN, LATENT_DEVIATION = 0.5, 0.2


@dataclass(frozen=True)
class PerceptualConfig:
    """Shape of the network; pictures are ``image_size`` squares in RGB.

    ``blocks``: bottleneck blocks in each of the four stages of the trunk; ``width``: channels after conv1, a
    quarter of those after layer1. ``pool``: side of the average pooling. ``latent_channels``: a 1x1
    convolution brings the pooled channels to so many; 0 keeps them as they are. ``decoder``: channels after
    each residual upsampling block; ``last``: after the first of the two transposed convolutions that follow.
    ``bits``: of a latent.
    """

    image_size: int = 256
    blocks: tuple[int, int, int, int] = (3, 4, 23, 3)
    width: int = 64
    pool: int = 2
    latent_channels: int = 0
    decoder: tuple[int, ...] = (512, 256, 256, 128)
    last: int = 64
    bits: int = 8

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))  # from JSON they are lists
        object.__setattr__(self, "decoder", tuple(self.decoder))
        if (
            len(self.blocks) != 4
            or min(self.blocks) < 1
            or self.width < 1
            or min(self.decoder, default=0) < 1
        ):
            raise ValueError(
                "the trunk has four stages of at least one block, the decoder at least one block"
            )
        if not 1 <= self.bits <= 8:
            raise ValueError(f"bits is 1 to 8, not {self.bits}")
        if self.stride != 2 ** (len(self.decoder) + 2):
            raise ValueError(
                f"a decoder of {len(self.decoder)} upsampling blocks and two transposed convolutions doubles "
                f"{len(self.decoder) + 2} times; latents of stride {self.stride} need another number"
            )
        if self.image_size < 1 or self.image_size % self.stride:
            raise ValueError(f"image_size {self.image_size} is not a multiple of {self.stride}")

    @property
    def stride(self) -> int:
        """Pixels a side of one latent position."""
        return TRUNK_STRIDE * self.pool

    @property
    def trunk_channels(self) -> int:
        """Channels of layer4."""
        return 8 * EXPANSION * self.width

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of a picture's latents."""
        side = self.image_size // self.stride
        return self.latent_channels or self.trunk_channels, side, side

    @property
    def steps(self) -> int:
        """Distance from the lowest level of a latent to the highest: 2^bits - 1."""
        return (1 << self.bits) - 1


SIZES = {
    "default": PerceptualConfig(),
    "small": PerceptualConfig(
        image_size=128,
        blocks=(1, 1, 1, 1),
        width=16,
        pool=1,
        latent_channels=96,
        decoder=(96, 64, 32),
        last=16,
    ),
}


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolutions, each with batch normalization, and a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = EXPANSION * width
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample = (
            nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
            if stride != 1 or channels != out
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Trunk(nn.Module):
    """Pictures (n, 3, H, W), normalized -> layer4's output (n, 32 width, H/32, W/32)."""

    def __init__(self, config: PerceptualConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, config.width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(config.width)
        channels = config.width
        for stage, count in enumerate(config.blocks):
            width = config.width * 2**stage
            blocks = []
            for i in range(count):
                blocks.append(Bottleneck(channels, width, 2 if stage and i == 0 else 1))
                channels = EXPANSION * width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.bias, ALMOST_LINEAR)

    @property
    def stages(self) -> list[nn.Sequential]:
        """layer1 to layer4."""
        stages = [self.get_submodule(f"layer{i}") for i in (1, 2, 3, 4)]
        return [stage for stage in stages if isinstance(stage, nn.Sequential)]

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        for stage in self.stages:
            x = stage(x)
        return x


class Encoder(nn.Module):
    """Pictures (n, 3, S, S) in [0, 1] -> latents (n, channels, height, width), not clamped."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: PerceptualConfig) -> None:
        super().__init__()
        self.pool = config.pool
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).reshape(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).reshape(3, 1, 1), persistent=False)
        self.trunk = Trunk(config)
        self.project = (
            nn.Conv2d(config.trunk_channels, config.latent_channels, 1, bias=False)
            if config.latent_channels
            else None
        )
        self.project_bn = nn.BatchNorm2d(config.latent_channels) if config.latent_channels else None
        if self.project_bn is not None:
            nn.init.constant_(self.project_bn.weight, LATENT_DEVIATION)
            nn.init.constant_(self.project_bn.bias, LATENT_MEAN)

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.trunk(_nhwc((pictures - self.mean) / self.deviation))
        x = F.avg_pool2d(x, self.pool)
        if self.project is not None and self.project_bn is not None:
            x = self.project_bn(self.project(x))
        latents: Tensor = x.float()
        return latents


class ResidualBlock(nn.Module):
    """Convolution, batch normalization, leaky ReLU, then a transposed convolution of stride 2 (``upsample``)
    or a second convolution, normalized, and a shortcut of the same shape added; leaky ReLU.
    """

    def __init__(self, channels: int, out: int, upsample: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out)
        self.second: nn.Conv2d | nn.ConvTranspose2d
        self.shortcut: nn.Conv2d | nn.ConvTranspose2d
        if upsample:
            self.second = nn.ConvTranspose2d(out, out, 4, stride=2, padding=1, bias=False)
            self.shortcut = nn.ConvTranspose2d(channels, out, 2, stride=2, bias=False)
        else:
            self.second = nn.Conv2d(out, out, 3, padding=1, bias=False)
            self.shortcut = nn.Conv2d(channels, out, 1, bias=False)
        self.second_bn = nn.BatchNorm2d(out)
        self.shortcut_bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.bn(self.conv(x)), SLOPE)
        y = self.second_bn(self.second(y))
        return F.leaky_relu(y + self.shortcut_bn(self.shortcut(x)), SLOPE)


class Decoder(nn.Module):
    """Latents (n, channels, h, w) in [0, 1] -> pictures (n, 3, S, S) in [0, 1]."""

    def __init__(self, config: PerceptualConfig) -> None:
        super().__init__()
        widths = config.decoder
        self.entry = ResidualBlock(config.latent_shape[0], widths[0], upsample=False)
        self.blocks = nn.ModuleList(
            ResidualBlock(i, o, upsample=True) for i, o in itertools.pairwise((widths[0], *widths))
        )
        self.last = nn.ConvTranspose2d(widths[-1], config.last, 4, stride=2, padding=1, bias=False)
        self.last_bn = nn.BatchNorm2d(config.last)
        self.picture = nn.ConvTranspose2d(config.last, 3, 4, stride=2, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.entry(_nhwc(2 * latents - 1))
        for block in self.blocks:
            x = block(x)
        x = F.leaky_relu(self.last_bn(self.last(x)), SLOPE)
        return torch.sigmoid(self.picture(x).float())


class PerceptualAutoencoder(nn.Module):
    """The whole network. ``level_counts`` (channels, 2^bits): how often each channel had each level over the
    training pictures; ``known`` (k, channels, h, w): latents of some of them, not rounded.
    """

    level_counts: Tensor
    known: Tensor

    def __init__(self, config: PerceptualConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        channels = config.latent_shape[0]
        self.register_buffer("level_counts", torch.zeros(channels, config.steps + 1))
        self.register_buffer("known", torch.zeros(KNOWN, *config.latent_shape))

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures float32 (n, 3, S, S) in [0, 1] -> latents in [0, 1], not rounded."""
        latents: Tensor = self.encoder(pictures)
        return latents.clamp(0, 1)

    def quantize(self, latents: Tensor) -> Tensor:
        """Latents in [0, 1] -> the nearest of the 2^bits levels of that range."""
        return (latents * self.config.steps).round() / self.config.steps

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (n, channels, h, w) in [0, 1] -> pictures float32 (n, 3, S, S) in [0, 1]."""
        pictures: Tensor = self.decoder(latents)
        return pictures

    def forward(self, pictures: Tensor) -> Tensor:
        """In training: latents with the noise of rounding, uniform and at most half a level; else rounded.

        The clamp lets gradients pass: a latent beyond its range would never come back.
        """
        raw = self.encoder(pictures)
        latents = raw + (raw.clamp(0, 1) - raw).detach()
        if not self.training:
            return self.decode(self.quantize(latents))
        noise = (torch.rand_like(latents) - 0.5) / self.config.steps
        return self.decode(latents + noise)

    @torch.no_grad()
    def count_levels(self, latents: Tensor) -> None:
        """Add ``latents`` (n, channels, h, w) in [0, 1] to ``level_counts``."""
        levels = (latents * self.config.steps).round().long().transpose(0, 1).flatten(1)
        self.level_counts.scatter_add_(1, levels, torch.ones_like(levels, dtype=torch.float32))

    def load_trunk(self, state: Mapping[str, Tensor], source: str = "the state dict") -> None:
        """Give the trunk the weights of a torchvision ResNet; its classifier ("fc.*") is left out.

        Raises ValueError, naming a tensor, for another shape.
        """
        given = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
        own = self.encoder.trunk.state_dict()
        for name in sorted(set(given) ^ set(own)):
            if not name.endswith("num_batches_tracked"):
                raise ValueError(
                    f"{source} is no trunk of this size: {name} is "
                    f"{'not wanted' if name in given else 'missing'}"
                )
        for name in sorted(set(given) & set(own)):
            if given[name].shape != own[name].shape:
                raise ValueError(
                    f"{source} is no trunk of this size: {name} has shape {tuple(given[name].shape)}; "
                    f"{tuple(own[name].shape)} expected"
                )
        self.encoder.trunk.load_state_dict({**own, **given})


def _nhwc(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


FAMILY = Family(name="perceptual", config=PerceptualConfig, sizes=SIZES, build=PerceptualAutoencoder)
