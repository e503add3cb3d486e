"""What trains the denoiser: crops of decoded pictures and their originals."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decant_train.common.metrics import psnr_ssim
from decant_train.published.denoiser.model import CROP, Denoiser
from decant_train.published.denoiser.pairs import Pairs
from decant_train.published.set.task import EVALUATION_BATCH


class DenoiserTask:
    """A denoiser and its pairs: trained on random crops, evaluated on whole validation pictures."""

    def __init__(self, model: Denoiser, training: Pairs, validation: Pairs, test: Pairs) -> None:
        self.model = model
        self._training, self._validation, self._test = (
            [
                torch.from_numpy(np.ascontiguousarray(p.transpose(0, 3, 1, 2)))
                for p in (side.decoded, side.originals)
            ]
            for side in (training, validation, test)
        )

    def to(self, device: torch.device) -> None:
        self.model.to(device)
        self._training, self._validation, self._test = (
            [t.to(device) for t in side] for side in (self._training, self._validation, self._test)
        )

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return [{"params": list(self.model.parameters()), "lr": learning_rate}]

    def __len__(self) -> int:
        return len(self._training[0])

    def batches(self, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        decoded, originals = self._training
        draw = torch.Generator().manual_seed(int(order[0]) + 7919 * int(order[-1]))
        side = min(CROP, decoded.shape[-1])
        for chosen in torch.split(order.to(decoded.device), size):
            top, left, flip = (
                int(torch.randint(n, (), generator=draw))
                for n in (decoded.shape[-2] - side + 1, decoded.shape[-1] - side + 1, 2)
            )
            pair = (
                t[chosen, :, top : top + side, left : left + side].float() / 255 for t in (decoded, originals)
            )
            first, second = (t.flip(3) if flip else t for t in pair)
            yield first, second

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self.model.loss(*batch)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        _, (psnr, ssim) = self._before_after(self._validation)
        before, after = self._before_after(self._test)
        return {
            "psnr": psnr,
            "ssim": ssim,
            "test_psnr_before": before[0],
            "test_ssim_before": before[1],
            "test_psnr": after[0],
            "test_ssim": after[1],
        }

    def finish(self) -> None:
        """Nothing follows from a denoiser's parameters."""

    def _before_after(self, pairs: list[Tensor]) -> tuple[tuple[float, float], tuple[float, float]]:
        sums = np.zeros((2, 2))
        for decoded, originals in zip(*(torch.split(t, EVALUATION_BATCH) for t in pairs), strict=True):
            decoded, originals = decoded.float() / 255, originals.float() / 255
            scores = [psnr_ssim(originals, decoded), psnr_ssim(originals, self.model(decoded))]
            sums += np.asarray(scores) * len(decoded)
        (p0, s0), (p1, s1) = (sums / max(len(pairs[0]), 1)).tolist()
        return (p0, s0), (p1, s1)
