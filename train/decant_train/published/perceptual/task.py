"""What trains the family ``perceptual``: photos in memory, MSE and the distance of VGG-19 features."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from decant_train.common.metrics import psnr_ssim
from decant_train.published.perceptual.features import VggFeatures
from decant_train.published.perceptual.model import KNOWN, PerceptualAutoencoder

EVALUATION_BATCH = 16
Pixels = npt.NDArray[np.uint8]


class PerceptualTask:
    """An autoencoder, its training pictures and the validation pictures it is judged on.

    The loss is MSE + ``mu`` * mean |feature difference|. ``features`` may be None where ``mu`` is 0; the
    metrics then have no "feature_distance".
    """

    def __init__(
        self,
        model: PerceptualAutoencoder,
        training: Pixels,
        validation: Pixels,
        features: VggFeatures | None,
        mu: float,
    ) -> None:
        """``training`` and ``validation``: uint8 (n, S, S, 3), S the configuration's image_size."""
        side = model.config.image_size
        for what, pixels in (("training", training), ("validation", validation)):
            if pixels.shape[1:] != (side, side, 3) or not len(pixels):
                raise ValueError(
                    f"{what} pictures have shape {pixels.shape}; (n, {side}, {side}, 3) expected"
                )
        if mu < 0 or (mu and features is None):
            raise ValueError(f"mu is {mu}: it must not be negative, and a value above 0 needs --features")
        self.model = model
        self.features = features
        self.mu = mu
        self._training, self._validation = (
            torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
            for pixels in (training, validation)
        )

    def to(self, device: torch.device) -> None:
        self.model.to(device)
        self._training, self._validation = self._training.to(device), self._validation.to(device)
        if self.features is not None:
            self.features.to(device)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return [{"params": list(self.model.parameters()), "lr": learning_rate}]

    def __len__(self) -> int:
        return len(self._training)

    def batches(self, order: Tensor, size: int) -> Iterator[Tensor]:
        """Pictures float32 (n, 3, S, S); every other batch is mirrored, which ones the order decides."""
        mirrored = int(order[0]) % 2
        for index, chosen in enumerate(torch.split(order.to(self._training.device), size)):
            pictures = self._training[chosen].float() / 255
            yield pictures.flip(3) if index % 2 == mirrored else pictures

    def loss(self, batch: Tensor) -> Tensor:
        decoded = self.model(batch)
        loss = F.mse_loss(decoded, batch)
        if self.features is None or not self.mu:
            return loss
        return loss + self.mu * self.features.distance(decoded, batch)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        sums = np.zeros(3)
        for part in torch.split(self._validation, EVALUATION_BATCH):
            pictures = part.float() / 255
            decoded = self.model(pictures)
            distance = 0.0 if self.features is None else float(self.features.distance(decoded, pictures))
            sums += np.array([*psnr_ssim(pictures, decoded), distance]) * len(part)
        psnr, ssim, distance = (sums / len(self._validation)).tolist()
        metrics = {"psnr": psnr, "ssim": ssim}
        return metrics if self.features is None else {**metrics, "feature_distance": distance}

    @torch.no_grad()
    def finish(self) -> None:
        """Count the levels of the training pictures, and keep the latents of some."""
        training = self.model.training
        self.model.eval()
        self.model.level_counts.zero_()
        encoded = []
        for part in torch.split(self._training, EVALUATION_BATCH):
            encoded.append(self.model.encode(part.float() / 255))
            self.model.count_levels(encoded[-1])
        latents = torch.cat(encoded)
        chosen = torch.arange(KNOWN, device=latents.device) * len(latents) // KNOWN
        self.model.known.copy_(latents[chosen])
        self.model.train(training)
