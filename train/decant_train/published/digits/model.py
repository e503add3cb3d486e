"""Family ``digits``: grey pictures of 28x28 pixels as one short vector.

The published shape: convolutions with max-pooling down to a vector of 28 numbers, convolutions with
upsampling back. Latents are in 0..1, by a sigmoid, and training adds noise as wide as the steps that files
round them to: neighbouring vectors then give neighbouring pictures, and few bits are enough.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decant_train.common.family import Family

SIDE = 28  # pixels; two poolings leave 7
SMALLEST = SIDE // 4
DARK = -2.0  # logit of the mean pixel of MNIST, about


@dataclass(frozen=True)
class DigitsConfig:
    """``first`` and ``second``: channels before the first and the second pooling; ``noise_bits``: latents are
    trained to be stored in so many bits (0: no noise).
    """

    latent_dim: int = 28
    first: int = 8
    second: int = 32
    noise_bits: int = 5

    def __post_init__(self) -> None:
        if min(self.latent_dim, self.first, self.second) < 1:
            raise ValueError("latent_dim, first and second must be at least 1")
        if not 0 <= self.noise_bits <= 16:
            raise ValueError(f"noise_bits {self.noise_bits}; 0 to 16 expected")

    @property
    def grid(self) -> tuple[int, int, int]:
        """Shape of the features beside the Linear layers: (channels, height, width)."""
        return self.second, SMALLEST, SMALLEST


SIZES = {"default": DigitsConfig()}


class Encoder(nn.Module):
    """Pictures (n, 1, 28, 28) in [0, 1] -> latents (n, latent_dim) in 0..1."""

    def __init__(self, config: DigitsConfig) -> None:
        super().__init__()
        first, second = config.first, config.second
        self.conv1 = nn.Conv2d(1, first, 3, padding=1)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1)
        self.conv3 = nn.Conv2d(second, second, 3, padding=1)
        self.linear = nn.Linear(second * SMALLEST**2, config.latent_dim)
        initialise(self)

    def forward(self, pictures: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.conv1(nhwc(pictures)), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        x = F.relu(self.conv3(x))
        return torch.sigmoid(self.linear(x.flatten(1)).float())


class Decoder(nn.Module):
    """Latents (n, latent_dim) in 0..1 -> pictures (n, 1, 28, 28) in [0, 1]."""

    def __init__(self, config: DigitsConfig) -> None:
        super().__init__()
        second = config.second
        self.grid = config.grid
        self.linear = nn.Linear(config.latent_dim, second * SMALLEST**2)
        self.conv1 = nn.Conv2d(second, second, 3, padding=1)
        self.up1 = nn.Conv2d(second, second, 3, padding=1)
        self.conv2 = nn.Conv2d(second, second, 3, padding=1)
        self.up2 = nn.Conv2d(second, 1, 3, padding=1)
        initialise(self)
        # Pictures are mostly ground. A network that starts grey gets there by switching its features off for
        # good.
        assert self.up2.bias is not None
        nn.init.constant_(self.up2.bias, DARK)

    def forward(self, latents: Tensor) -> Tensor:
        x = F.relu(self.linear(2 * latents - 1)).reshape(-1, *self.grid)
        x = F.relu(self.conv1(nhwc(x)))
        x = F.relu(doubled(self.up1, x))
        x = F.relu(self.conv2(x))
        return torch.sigmoid(doubled(self.up2, x).float())


class DigitAutoencoder(nn.Module):
    """The whole network; ``encode`` and ``decode`` are its halves."""

    def __init__(self, config: DigitsConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures float32 (n, 1, 28, 28) in [0, 1] -> latents (n, latent_dim) in 0..1."""
        latents: Tensor = self.encoder(pictures)
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (n, latent_dim) -> pictures float32 (n, 1, 28, 28) in [0, 1]."""
        pictures: Tensor = self.decoder(latents)
        return pictures

    def forward(self, pictures: Tensor) -> Tensor:
        return self.decode(self.encode(pictures))

    def loss(self, pictures: Tensor, originals: Tensor) -> Tensor:
        """Mean squared error against ``originals`` of ``pictures`` decoded from latents with noise, both
        (n, 1, 28, 28); scalar float32.
        """
        latents = self.encode(pictures)
        if self.config.noise_bits:
            noise = torch.rand_like(latents) - 0.5
            latents = latents + noise / (2**self.config.noise_bits - 1)
        return F.mse_loss(self.decode(latents), originals)


# Which rows of a picture, one above (0), the same (1) or one below (2), a 3x3 kernel's three rows meet in the
# doubled picture: PHASES[r, row, tap] for the upper (r = 0) and the lower (r = 1) of a pixel's two rows.
PHASES = torch.tensor([[[1.0, 0, 0], [0, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, 0], [0, 0, 1]]])


def doubled(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The 3x3 ``conv`` of ``x`` doubled in size, every pixel four times: (n, c, h, w) -> (n, out, 2 h, 2 w).

    It is run on ``x`` itself, with a kernel for each of the four pixels that one becomes: the same function,
    without the large picture.
    """
    assert conv.bias is not None
    phases = PHASES.to(conv.weight.device)
    kernel = torch.einsum("ocyx,ray,sbx->orscab", conv.weight, phases, phases).reshape(
        -1, *conv.weight.shape[1:]
    )
    return F.pixel_shuffle(F.conv2d(x, nhwc(kernel), conv.bias.repeat_interleave(4), padding=1), 2)


def initialise(network: nn.Module) -> None:
    """Weights for layers followed by a ReLU (He et al. 2015), biases 0: without them features shrink from
    layer to layer, and with them what tells pictures apart.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert layer.bias is not None
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)


def nhwc(x: Tensor) -> Tensor:
    """``x`` with its channels last in memory, as CPUs are fastest with."""
    return x.contiguous(memory_format=torch.channels_last)


FAMILY = Family(name="digits", config=DigitsConfig, sizes=SIZES, build=DigitAutoencoder)
