"""What the training loop trains: a network with its samples in memory."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from decant_train.common.metrics import psnr_ssim
from decant_train.published.set.model import SetAutoencoder

EVALUATION_BATCH = 16


LATENT_RATE = 3.0  # latents are few and of size 1: they may move faster than weights


class SetTask:
    """A set autoencoder and its set: every image is trained on and evaluated, for overfitting is the goal.

    ``joint`` trains encoder and decoder together, as published; otherwise the latents are trained and the
    encoder is solved for them.
    """

    def __init__(
        self,
        model: SetAutoencoder,
        pixels: npt.NDArray[np.uint8],
        *,
        joint: bool = False,
        ssim_weight: float = 0.0,
    ) -> None:
        """``pixels``: uint8 (set_size, S, S, 3), S the configuration's image_size."""
        expected = (model.config.set_size, model.config.image_size, model.config.image_size, 3)
        if pixels.shape != expected:
            raise ValueError(f"the set's images have shape {pixels.shape}; its configuration says {expected}")
        self.model = model
        self.joint = joint
        self.ssim_weight = ssim_weight
        self._pixels = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))

    def to(self, device: torch.device) -> None:
        self.model.to(device)
        self._pixels = self._pixels.to(device)
        if not self.joint and not self.model.latents.any():
            self.model.initialise_latents(self._pixels.float() / 255)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = [
            {"params": list(self.model.decoder.parameters()), "lr": learning_rate}
        ]
        if self.joint:
            return [*groups, {"params": list(self.model.encoder.parameters()), "lr": learning_rate}]
        return [*groups, {"params": [self.model.latents], "lr": LATENT_RATE * learning_rate}]

    def __len__(self) -> int:
        return len(self._pixels)

    def batches(self, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        for chosen in torch.split(order.to(self._pixels.device), size):
            yield chosen, self._pixels[chosen].float() / 255

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        chosen, images = batch
        latents = self.model.encode(images) if self.joint else self.model.latents[chosen]
        packed = F.pixel_unshuffle(images, self.model.decoder.packing)
        return self.model.loss(latents, packed, self.ssim_weight)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        sums = np.zeros(2)
        for chosen, images in self.batches(torch.arange(len(self)), EVALUATION_BATCH):
            latents = self.model.encode(images) if self.joint else self.model.latents[chosen]
            sums += np.asarray(psnr_ssim(images, self.model.decode(latents))) * len(chosen)
        psnr, ssim = sums / len(self)
        return {"psnr": float(psnr), "ssim": float(ssim)}

    @torch.no_grad()
    def finish(self) -> None:
        everything = self.batches(torch.arange(len(self)), EVALUATION_BATCH)
        if not self.joint:
            self.model.solve_encoder(images for _, images in everything)
            return
        for chosen, images in everything:
            self.model.latents[chosen] = self.model.encode(images)
