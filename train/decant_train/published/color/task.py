"""What the training loop trains for the family ``color``: pictures with their depth maps, and a price of a
bit that keeps to the bits asked for.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from decant.layouts.levels import complexity_of
from torch import Tensor

from decant_train.common.metrics import psnr_ssim
from decant_train.published.color.model import BLOCK, ColorAutoencoder, quantized

EVALUATION_BATCH = 250
CLOSE = 12 / 255  # a colour value that comes back this near counts as met: 5 % of the range
_PRICE_RATE = 0.02  # how fast the price follows, for each step

Batch = tuple[Tensor, Tensor]


class ColorTask:
    """A colour autoencoder, the pictures that it learns, and those that it is evaluated on."""

    def __init__(
        self, model: ColorAutoencoder, training: npt.NDArray[np.uint8], validation: npt.NDArray[np.uint8]
    ) -> None:
        """``training``, ``validation``: uint8 (n, S, S, 3), S the configuration's image_size. A model
        that has learnt nothing yet is started from the training pictures.
        """
        side = model.config.image_size
        for pixels in (training, validation):
            if pixels.shape[1:] != (side, side, 3) or not len(pixels):
                raise ValueError(f"pictures of shape {pixels.shape}; (n, {side}, {side}, 3) expected")
        self.model = model
        complexity = complexities(training, model)
        if not model.thresholds.any():
            shares = np.cumsum(model.config.shares)[:-1]
            model.thresholds.copy_(torch.from_numpy(np.quantile(complexity, shares).astype(np.float32)))
        edges = model.thresholds.numpy()
        self._training, self._validation = (
            (
                torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))),
                torch.from_numpy(np.searchsorted(edges, complexity, side="right")),
            )
            for pixels, complexity in (
                (training, complexity),
                (validation, complexities(validation, model)),
            )
        )
        if not model.known.any():
            model.start_from(self._training[0].float() / 255, self._training[1])

    def to(self, device: torch.device) -> None:
        self.model.to(device)
        self._training, self._validation = (
            (pictures.to(device), depths.to(device))
            for pictures, depths in (self._training, self._validation)
        )

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        model = self.model
        # Adam moves every weight by the rate. What is multiplied right into latents and pixels must move by
        # small parts of a level; what describes the latents' distribution must keep up with them.
        groups: list[dict[str, Any]] = []
        for factor, parts in (
            (0.01, [model.encoder.linear, model.encoder.last, model.decoder.linear]),
            (0.1, [model.decoder.convs[-1]]),
        ):
            chosen = [parameter for part in parts for parameter in part.parameters()]
            groups.append({"params": chosen, "lr": factor * learning_rate})
        groups.append({"params": [model.rate_centre], "lr": 0.01 * learning_rate})
        groups.append({"params": [model.rate_scale, model.rate_share], "lr": 10 * learning_rate})
        named = {id(parameter) for group in groups for parameter in group["params"]}
        others = [parameter for parameter in model.parameters() if id(parameter) not in named]
        return [{"params": others, "lr": learning_rate}, *groups]

    def __len__(self) -> int:
        return len(self._training[0])

    def batches(self, order: Tensor, size: int) -> Iterator[Batch]:
        """Each batch turned and mirrored in one of the eight ways."""
        draw = torch.Generator().manual_seed(int(order[0]) + 7919 * int(order[-1]))
        pixels, depths = self._training
        for chosen in torch.split(order.to(pixels.device), size):
            turns, mirrored = (int(torch.randint(n, (), generator=draw)) for n in (4, 2))
            pair = (t[chosen].rot90(turns, (-2, -1)) for t in (pixels, depths))
            pictures, maps = (t.flip(-1) if mirrored else t for t in pair)
            yield pictures.float() / 255, maps

    def loss(self, batch: Batch) -> Tensor:
        """Mean squared error plus what the bits cost."""
        model = self.model
        error, bits = model.losses(*batch)
        loss = error + float(model.price) * bits
        with torch.no_grad():  # too many bits make bits dearer
            asked = model.config.bits_per_pixel
            model.price.mul_(torch.exp(_PRICE_RATE * (bits.detach() / asked - 1).clamp(-1, 1)))
        return loss

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """PSNR, SSIM, mean squared error, bits per pixel (of the latents, by the loss' model of them) and
        accuracy (part of the colour values that come back within 12 of 255) of the validation pictures; the
        mean squared error of as many training pictures, and the price.
        """
        pictures, depths = (t[: len(self._validation[0])] for t in self._training)
        training = self._measured((pictures, depths))
        metrics = self._measured(self._validation)
        return metrics | {"training_mse": training["mse"], "price": float(self.model.price)}

    @torch.no_grad()
    def finish(self) -> None:
        """Count the levels of the training pictures."""
        pixels, depths = self._training
        batches = torch.split(pixels, EVALUATION_BATCH)
        latents = torch.cat([self.model.encode(batch.float() / 255) for batch in batches])
        self.model.count(latents.cpu(), depths.cpu())

    def _measured(self, side: Batch) -> dict[str, float]:
        sums: dict[str, float] = {}
        for pixels, depths in zip(*(torch.split(t, EVALUATION_BATCH) for t in side), strict=True):
            pictures = pixels.float() / 255
            bits = self.model.bits_at(depths)
            latents = quantized(self.model.encode(pictures), bits)
            decoded = self.model.decode(latents)
            psnr, ssim = psnr_ssim(pictures, decoded)
            far = (decoded - pictures).abs()
            measured = {
                "psnr": psnr,
                "ssim": ssim,
                "mse": float(far.square().mean()),
                "bits_per_pixel": float(self.model.rate(latents, depths).mean()) / pictures[0, 0].numel(),
                "accuracy": float((far <= CLOSE + 1e-6).float().mean()),
            }
            sums = {key: sums.get(key, 0.0) + value * len(pixels) for key, value in measured.items()}
        return {key: value / len(side[0]) for key, value in sums.items()}


def complexities(pixels: npt.NDArray[np.uint8], model: ColorAutoencoder) -> npt.NDArray[np.float32]:
    """float32 (n, rows, columns): complexity of every region of pictures uint8 (n, S, S, 3)."""
    config = model.config
    count = config.map_side
    ends = np.minimum(np.arange(count + 1) * config.region * BLOCK, config.image_size)
    return np.stack([complexity_of(picture, (count, count), (ends, ends)) for picture in pixels])
