"""Validation of the codec: estimated rate, PSNR, loss and SSIMULACRA2, as files would have them."""

import torch
from torch import Tensor

from decant_train.codec.config import RATE_POINTS
from decant_train.codec.curriculum import MIDDLE
from decant_train.codec.distortion import distortions, picture_error
from decant_train.codec.encoder import FILE_ROUNDS, Encoding
from decant_train.codec.model import Codec
from decant_train.codec.rate import weighted_loss
from decant_train.codec.ssimulacra2_score import mean_score

VALIDATION_CROP, VALIDATION_CROPS = 256, 32  # pixels, and how many unless an option says so
# How many pictures, and which rate points, SSIMULACRA2 is measured on.
SCORED_PICTURES, SCORED_AT = 8, (1.0, 2.0, 3.0, 5.0, 7.0)


@torch.no_grad()
def validate(model: Codec, pictures: Tensor) -> dict[str, float]:
    """Metrics of ``pictures`` (n, 3, H, W) in [0, 1] as files of effort 2 would hold them.

    "bpp_*" (estimated bits per pixel) and "psnr_*" (dB) at every rate point and at the middle quality;
    "score": the mean of the training loss over the rate points; "ssimulacra2_*" of the codec's own synthesis
    at ``SCORED_AT``, of the first ``SCORED_PICTURES``, with their rates "seen_bpp_*". In float32. Real files
    are measured by `decant bench rd`.
    """
    model.eval()
    metrics: dict[str, float] = {}
    score = 0.0
    encoding = Encoding(model, pictures, FILE_ROUNDS)
    for name, rate_point in {**{str(i): float(i) for i in range(RATE_POINTS)}, "middle": MIDDLE}.items():
        rate, error, distorted = rate_and_distortion(encoding, pictures, rate_point)
        metrics[f"bpp_{name}"] = float(rate.mean())
        for of, own in zip(model.syntheses(), error, strict=True):
            metrics[f"{of and of + '_'}psnr_{name}"] = float(-10 * own.log10().mean())
        if rate_point in SCORED_AT:
            metrics[f"seen_bpp_{name}"] = float(rate[:SCORED_PICTURES].mean())
            metrics[f"ssimulacra2_{name}"] = ssimulacra2_at(encoding, pictures[:SCORED_PICTURES], rate_point)
        loss = float(weighted_loss(model.config, torch.full_like(rate, rate_point), rate, distorted.mean(0)))
        if name == "middle":
            metrics["score_middle"] = loss
        else:
            score += loss / RATE_POINTS
    return metrics | {"score": score}


@torch.no_grad()
def rate_and_distortion(
    encoding: Encoding, pictures: Tensor, rate_point: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Estimated bits per pixel (n,) of ``pictures`` (n, 3, H, W) at ``rate_point``, as ``encoding`` sends
    them, and the squared error and the distortion of each synthesis of its model, both (syntheses, n).
    """
    measure, rates, errors, distorted = encoding.model.config.measure, [], [], []
    for batch in torch.split(pictures, 8):
        sent = encoding.sent(batch, torch.full((len(batch),), rate_point, device=batch.device))
        rates.append(sent.bits)
        syntheses = encoding.model.syntheses().values()
        decoded = [synthesis(sent.latents).clamp(-0.5, 0.5) for synthesis in syntheses]
        errors.append(torch.stack([picture_error(x, batch) for x in decoded]))
        distorted.append(distortions(decoded, batch, measure))
    return torch.cat(rates), torch.cat(errors, 1), torch.cat(distorted, 1)


@torch.no_grad()
def ssimulacra2_at(encoding: Encoding, pictures: Tensor, rate_point: float) -> float:
    """Mean SSIMULACRA2 of the codec's own synthesis on ``pictures`` (n, 3, H, W) at ``rate_point``."""
    sent = encoding.sent(pictures, torch.full((len(pictures),), rate_point, device=pictures.device))
    return mean_score(pictures, encoding.model.synthesis(sent.latents) + 0.5)
