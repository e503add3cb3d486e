"""Family ``set``: a decoder overfitted to a set of images, one small latent vector per image.

The published design (docs/systems of the set autoencoder): ``num_layers`` stride-2 blocks with channels 32,
64, 128 ..., a Linear layer to ``latent_dim`` numbers, and the mirror image back. The residual variant adds a
1x1 stride-2 shortcut after each block's activation. Parameters have the published shapes; ``forward`` runs
them over packed pixels (decant_train.published.set.packed), which is the same function and trains several
times faster on a CPU.

The network is trained as an auto-decoder by default: the latents of the set are parameters themselves,
started from the principal components of its images, and the encoder is solved for them afterwards
(``solve_encoder``). That halves the work of a step, and starts with latents that tell the images apart:
trained jointly, as published, the encoder first spends hundreds of epochs on that.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pytorch_msssim import ssim
from torch import Tensor, nn

from decant_train.common.family import Family
from decant_train.published.set import packed

SSIM_CROP = 128  # pixels, side of the crop that the SSIM term of the loss looks at


@dataclass(frozen=True)
class SetConfig:
    """Shape of a set autoencoder; images are ``image_size`` x ``image_size`` RGB in [0, 1]."""

    image_size: int = 256
    num_layers: int = 2
    latent_dim: int = 16
    set_size: int = 64
    residual: bool = True

    def __post_init__(self) -> None:
        if self.num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {self.num_layers}")
        if self.image_size < 2**self.num_layers or self.image_size % 2**self.num_layers:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of 2^num_layers = {2**self.num_layers}"
            )
        if self.latent_dim < 1 or self.set_size < 1:
            raise ValueError("latent_dim and set_size must be at least 1")

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels after each encoder block: 32, 64, 128 ..."""
        return tuple(32 * 2**i for i in range(self.num_layers))

    @property
    def grid(self) -> tuple[int, int, int]:
        """Shape of the features between the Linear layers and the blocks: (channels, height, width)."""
        side = self.image_size // 2**self.num_layers
        return self.channels[-1], side, side


SIZES = {
    "small": SetConfig(set_size=64, latent_dim=16),
    "base": SetConfig(set_size=256, latent_dim=32),
    "large": SetConfig(set_size=1024, latent_dim=64),
    "xlarge": SetConfig(set_size=4096, latent_dim=128),
}


class EncoderBlock(nn.Module):
    """Conv2d k4 s2 p1 -> ReLU, plus the 1x1 stride-2 shortcut of the residual variant."""

    def __init__(self, in_channels: int, out_channels: int, residual: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=2) if residual else None

    def forward(self, x: Tensor, phase: int = 1) -> Tensor:
        """(n, in * (2 phase)^2, h, w) packed by 2 phase -> (n, out * phase^2, h, w) packed by phase."""
        conv, shortcut = self.conv, self.shortcut
        kernel = packed.conv_kernel(conv.weight, phase)
        y = F.relu(F.conv2d(x, _nhwc(kernel), packed.packed_bias(_bias(conv), phase), padding=1))
        if shortcut is None:
            return y
        kernel = packed.shortcut_kernel(shortcut.weight, phase)
        return y + F.conv2d(x, _nhwc(kernel), packed.packed_bias(_bias(shortcut), phase))


class DecoderBlock(nn.Module):
    """ConvTranspose2d k4 s2 p1 -> ReLU, plus the k1 s2 output_padding 1 shortcut of the residual variant."""

    def __init__(self, in_channels: int, out_channels: int, residual: bool) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1)
        self.shortcut = (
            nn.ConvTranspose2d(in_channels, out_channels, 1, stride=2, output_padding=1) if residual else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) -> (n, out * 4, h, w) packed by 2."""
        y = F.relu(_packed_transpose(self.conv, x, 1))
        if self.shortcut is None:
            return y
        kernel = packed.shortcut_transpose_kernel(self.shortcut.weight, 1)
        return y + F.conv2d(x, _nhwc(kernel), packed.packed_bias(_bias(self.shortcut), 2))


class Encoder(nn.Module):
    """Images (n, 3, S, S) in [0, 1] -> latents (n, latent_dim)."""

    def __init__(self, config: SetConfig) -> None:
        super().__init__()
        widths = (3, *config.channels)
        self.blocks = nn.ModuleList(
            EncoderBlock(i, o, config.residual) for i, o in itertools.pairwise(widths)
        )
        channels, height, width = config.grid
        self.linear = nn.Linear(channels * height * width, config.latent_dim)

    def features(self, images: Tensor) -> Tensor:
        """Images (n, 3, S, S) in [0, 1] -> what the Linear layer reads, (n, channels * S/2^n * S/2^n)."""
        # The first block gives a picture packed by 2 when a second one follows to read it so: the finest
        # resolution, where a CPU is slowest, is never laid out.
        x, packing = images, 1
        for i, block in enumerate(self.blocks):
            phase = 2 if i == 0 and len(self.blocks) > 1 else 1
            x = _nhwc(F.pixel_unshuffle(x, 2 * phase // packing)) if packing < 2 * phase else x
            x, packing = block(x, phase), phase
        return x.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        return _linear(self.linear, self.features(images))


class Decoder(nn.Module):
    """Latents (n, latent_dim) -> images (n, 3, S, S) in [0, 1]."""

    def __init__(self, config: SetConfig) -> None:
        super().__init__()
        self.grid = config.grid
        channels, height, width = config.grid
        self.linear = nn.Linear(config.latent_dim, channels * height * width)
        widths = config.channels[::-1]
        self.blocks = nn.ModuleList(
            DecoderBlock(i, o, config.residual) for i, o in itertools.pairwise(widths)
        )
        self.last = nn.ConvTranspose2d(widths[-1], 3, 4, stride=2, padding=1)

    def forward_packed(self, latents: Tensor) -> Tensor:
        """Latents (n, latent_dim) -> logits packed by ``packing``, (n, 3 * packing^2, h, w)."""
        x = _nhwc(F.relu(_linear(self.linear, latents)).to(_conv_dtype(latents)).reshape(-1, *self.grid))
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i < len(self.blocks) - 1:
                x = _nhwc(F.pixel_shuffle(x, 2))
        return _packed_transpose(self.last, x, 2 if len(self.blocks) else 1)

    def forward(self, latents: Tensor) -> Tensor:
        logits = self.forward_packed(latents)
        return torch.sigmoid(F.pixel_shuffle(logits.float(), self.packing))

    @property
    def packing(self) -> int:
        """Packing of what ``forward_packed`` gives: 4, or 2 with a single layer."""
        return 4 if len(self.blocks) else 2


class SetAutoencoder(nn.Module):
    """The whole network; ``encode`` and ``decode`` are its halves."""

    def __init__(self, config: SetConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.latents = nn.Parameter(torch.zeros(config.set_size, config.latent_dim))

    def encode(self, images: Tensor) -> Tensor:
        """Images float32 (n, 3, S, S) in [0, 1] -> latents (n, latent_dim)."""
        latents: Tensor = self.encoder(images)
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (n, latent_dim) -> images float32 (n, 3, S, S) in [0, 1]."""
        images: Tensor = self.decoder(latents)
        return images

    def forward(self, images: Tensor) -> Tensor:
        return self.decode(self.encode(images))

    def loss(self, latents: Tensor, images: Tensor, ssim_weight: float = 0.0) -> Tensor:
        """Mean squared error of decoded ``latents`` (n, latent_dim) against ``images`` packed likewise,
        (n, 3 * packing^2, h, w), plus ``ssim_weight`` (1 - SSIM) of one random crop; scalar float32.
        """
        decoded = torch.sigmoid(self.decoder.forward_packed(latents).float())
        loss = F.mse_loss(decoded, images)
        if not ssim_weight:
            return loss
        height, width = images.shape[2:]
        side = min(SSIM_CROP // self.decoder.packing, height, width)
        top = int(torch.randint(height - side + 1, ()))
        left = int(torch.randint(width - side + 1, ()))
        pictures = [
            F.pixel_shuffle(x[:, :, top : top + side, left : left + side], self.decoder.packing)
            for x in (decoded, images)
        ]
        with torch.autocast(decoded.device.type, enabled=False):  # variances cancel to nothing in bfloat16
            similarity: Tensor = ssim(*pictures, data_range=1.0)
        return loss + ssim_weight * (1 - similarity)

    @torch.no_grad()
    def initialise_latents(self, images: Tensor) -> None:
        """Start the latents from the principal components of the set, each with mean square 1.

        ``images``: float32 (set_size, 3, S, S). With more latent dimensions than images the rest stay zero.
        """
        flat = (images - images.mean(0)).flatten(1)
        _, vectors = torch.linalg.eigh(flat @ flat.T)
        scores = vectors.flip(1)[:, : self.config.latent_dim] * len(images) ** 0.5
        self.latents.zero_()
        self.latents[:, : scores.shape[1]] = scores

    @torch.no_grad()
    def solve_encoder(self, images: Iterable[Tensor]) -> None:
        """Set the encoder's Linear layer so that the set's images give its latents.

        It is the least-norm solution of a linear system with one equation per image, so every image of the
        set is met exactly (up to rounding); other images get a latent nearby in the encoder's features.
        ``images``: float32 batches (n, 3, S, S), in the set's order.
        """
        features = torch.cat([self.encoder.features(batch) for batch in images])
        mean, centre = self.latents.mean(0), features.mean(0)
        features = features - centre
        gram = (features @ features.T).double()
        gram += 1e-6 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        weights = torch.linalg.solve(gram, (self.latents - mean).double()).float()
        self.encoder.linear.weight.copy_(weights.T @ features)
        self.encoder.linear.bias.copy_(mean - self.encoder.linear.weight @ centre)


def _packed_transpose(conv: nn.ConvTranspose2d, x: Tensor, phase: int) -> Tensor:
    kernel = packed.conv_transpose_kernel(conv.weight, phase)
    return F.conv2d(x, _nhwc(kernel), packed.packed_bias(_bias(conv), 2 * phase), padding=1)


def _linear(linear: nn.Linear, x: Tensor) -> Tensor:
    """The Linear layers stay in float32: bfloat16's product with so flat a matrix takes ten times longer in
    the backward pass.
    """
    with torch.autocast(x.device.type, enabled=False):
        return F.linear(x.float(), linear.weight, linear.bias)


def _conv_dtype(x: Tensor) -> torch.dtype:
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32


def _bias(layer: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def _nhwc(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


FAMILY = Family(name="set", config=SetConfig, sizes=SIZES, build=SetAutoencoder)
