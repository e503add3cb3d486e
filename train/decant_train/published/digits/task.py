"""What the training loop trains on digits: the autoencoder, or the denoiser after it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from decant_train.common.metrics import psnr_ssim
from decant_train.published.digits.denoiser import DigitDenoiser
from decant_train.published.digits.model import DigitAutoencoder

EVALUATION_BATCH = 500

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class DigitPairs:
    """What goes in and what shall come out, uint8 (n, 28, 28) each; the autoencoder's are the same."""

    given: Bytes
    originals: Bytes

    def __post_init__(self) -> None:
        if self.given.shape != self.originals.shape or self.given.ndim != 3:
            raise ValueError(f"pairs of shapes {self.given.shape} and {self.originals.shape} do not match")

    def tensors(self) -> list[Tensor]:
        """Both as uint8 (n, 1, 28, 28)."""
        return [torch.from_numpy(np.array(side))[:, None] for side in (self.given, self.originals)]


class DigitsTask:
    """A network over digits, trained on pairs and evaluated on others."""

    def __init__(
        self, model: DigitAutoencoder | DigitDenoiser, training: DigitPairs, validation: DigitPairs
    ) -> None:
        self.model = model
        self._training, self._validation = training.tensors(), validation.tensors()

    def to(self, device: torch.device) -> None:
        self.model.to(device)
        self._training, self._validation = (
            [side.to(device) for side in pairs] for pairs in (self._training, self._validation)
        )

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return [{"params": list(self.model.parameters()), "lr": learning_rate}]

    def __len__(self) -> int:
        return len(self._training[0])

    def batches(self, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        given, originals = self._training
        # The noise of an epoch follows from its order, whether training came here in one go or was resumed.
        torch.manual_seed(int(order[0]) + 7919 * int(order[-1]))
        for chosen in torch.split(order.to(given.device), size):
            yield given[chosen].float() / 255, originals[chosen].float() / 255

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self.model.loss(*batch)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        sums = np.zeros(2)
        parts = (torch.split(side, EVALUATION_BATCH) for side in self._validation)
        for given, originals in zip(*parts, strict=True):
            figures = psnr_ssim(originals.float() / 255, self.model(given.float() / 255))
            sums += np.asarray(figures) * len(given)
        psnr, ssim = sums / len(self._validation[0])
        return {"psnr": float(psnr), "ssim": float(ssim)}

    def finish(self) -> None:
        """Nothing follows from the parameters."""
