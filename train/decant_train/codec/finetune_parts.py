"""The parts of a codec that fine-tuning trains: a synthesis, or the networks of the entropy model."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from decant_train.codec.config import PATCH, RATE_POINTS
from decant_train.codec.distortion import distortion
from decant_train.codec.encoder import FILE_ROUNDS, Encoding, Sent
from decant_train.codec.entropy_model import scale_of_index
from decant_train.codec.model import Codec
from decant_train.codec.rate import BALANCE, interpolated_lambdas, rate, weighted_loss
from decant_train.codec.validation import rate_and_distortion
from decant_train.common import budget

VALIDATED_AT = (1.0, 2.0, (RATE_POINTS - 1) / 2, 5.0, 6.0)  # rate points


class Part(Protocol):
    """A part of a codec with its training batches and its loss."""

    attribute: str  # of Codec, where the network lies
    network: nn.Module
    groups: list[dict[str, Any]]  # parameter groups for the optimizer
    reuse: int  # steps for each encoded batch
    moves_pixels: bool  # whether training it changes the sensitivity of the synthesis

    def batch(self, sent: Sent, pictures: Tensor, rate_point: Tensor) -> tuple[Tensor, ...]:
        """What ``loss`` needs of pictures (n, 3, H, W) that were ``sent`` at ``rate_point`` (n,)."""
        ...

    def loss(self, encoder: Encoding, *batch: Tensor) -> Tensor:
        """Loss of a batch, a scalar."""
        ...


class SynthesisPart:
    """A codec's synthesis, trained on the latents that are sent. ``linear_rate`` is a factor of
    ``learning_rate`` for the first and last layer.
    """

    attribute, moves_pixels = "synthesis", True

    def __init__(self, model: Codec, learning_rate: float, linear_rate: float, reuse: int) -> None:
        self.network: nn.Module = model.synthesis
        linear = [*model.synthesis.up.parameters(), *model.synthesis.last.parameters()]
        rated = [(list(model.synthesis.render.parameters()), learning_rate)]
        rated += [(linear, learning_rate * linear_rate)]
        self.groups: list[dict[str, Any]] = [{"params": some, "lr": rate} for some, rate in rated if some]
        self.reuse = reuse
        self._config = model.config

    def batch(self, sent: Sent, pictures: Tensor, rate_point: Tensor) -> tuple[Tensor, ...]:
        """Latents (n, M, h, w), pictures (n, 3, H, W), weights (n,)."""
        return sent.latents, pictures, interpolated_lambdas(self._config, rate_point) ** (1 - BALANCE)

    def loss(self, _: Encoding, *batch: Tensor) -> Tensor:
        """Weighted distortion of the decoded pictures."""
        latents, pictures, weight = batch
        with budget.autocast(latents.device, "auto"):
            decoded = self.network(latents)
        return 255**2 * (distortion(decoded, pictures, self._config.measure) * weight).mean()


class EntropyModelPart:
    """The networks by which symbols predict later symbols: scale indices and means. They learn the bits of
    the symbols that are sent, which are quantized anew as the networks change. ``mean_rate`` is a factor of
    ``learning_rate`` for the hyper synthesis; 0 freezes it.
    """

    attribute, moves_pixels = "hyperprior", False

    def __init__(self, model: Codec, learning_rate: float, mean_rate: float, reuse: int) -> None:
        self._model, self._prior = model, model.hyperprior
        prior = self._prior
        self.network: nn.Module = prior
        parts = [prior.scale_hidden, prior.scale_out, prior.contexts, prior.checkerboard_contexts]
        parts += [prior.checkerboard_means, *([] if prior.prediction is None else [prior.prediction])]
        parameters = [parameter for part in parts for parameter in part.parameters()]
        self.groups: list[dict[str, Any]] = [{"params": parameters, "lr": learning_rate}]
        if mean_rate:
            self.groups.append({"params": list(prior.mean.parameters()), "lr": learning_rate * mean_rate})
        self.reuse = reuse

    @torch.no_grad()
    def batch(self, sent: Sent, pictures: Tensor, rate_point: Tensor) -> tuple[Tensor, ...]:
        """Quantization targets (n, M, h, w), gains (n, M, 1, 1), dequantized hyperlatents (n, N, h/4, w/4),
        scale-index offsets (n, M) and rate points (n,).
        """
        gain = self._model.quality(rate_point)[0][:, :, None, None]
        return sent.targets, gain, sent.z_hat, sent.offset, rate_point

    def loss(self, encoder: Encoding, *batch: Tensor) -> Tensor:
        """Weighted bits per pixel of the symbols that ``encoder`` picks for the targets."""
        targets, gain, z_hat, offset, rate_point = batch
        prior, weight = self._prior, encoder.channel_lambda(gain, rate_point)
        mean = prior.mean(z_hat)
        logits, hidden = prior.scale_logits(z_hat, offset)
        symbols = encoder.rdo_quantized((targets - mean) * gain, logits, hidden, weight, gain)
        residual = (targets - prior.means(mean, symbols, gain)) * gain
        scale = scale_of_index(prior.scale_indices(z_hat, offset, symbols))
        pixels = targets.shape[2] * targets.shape[3] * PATCH**2
        bits = rate(residual, symbols, scale).sum((1, 2, 3)) / pixels
        return weighted_loss(self._model.config, rate_point, bits, torch.zeros_like(bits))


@torch.no_grad()
def part_metrics(model: Codec, attribute: str, network: nn.Module, pictures: Tensor) -> dict[str, float]:
    """Metrics of what the encoder of ``model`` sends of ``pictures`` (n, 3, H, W) with ``network`` in the
    place of its ``attribute``.

    "psnr_*" in dB at ``VALIDATED_AT`` and their mean "psnr"; "score", the mean logarithm of the training
    loss: lower by 0.01 is about 2 % of the bits.
    """
    replaced = getattr(model, attribute)
    setattr(model, attribute, network.eval())
    encoder, metrics, scores = Encoding(model, pictures, FILE_ROUNDS), {}, []
    for rate_point in VALIDATED_AT:
        bits, (error,), (distorted,) = rate_and_distortion(encoder, pictures, rate_point)
        weight = interpolated_lambdas(model.config, torch.full_like(bits, rate_point))
        metrics[f"psnr_{rate_point:g}"] = float(-10 * error.log10().mean())
        scores.append(float((bits + weight * 255**2 * distorted).log().mean()))
    setattr(model, attribute, replaced)
    psnr = sum(metrics.values()) / len(metrics)
    return metrics | {"psnr": psnr, "score": sum(scores) / len(scores)}
