"""Every float graph of a codec is compared with PyTorch before anything is quantized."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import torch
from decant_train.codec.model import Codec

from decant_export.common.gate import session_of
from decant_export.common.variants import make
from decant_export.errors import ExportError
from decant_export.families.codec import adjoint as codec_adjoint
from decant_export.families.codec import tables as codec_tables
from decant_export.families.codec.pictures import GOLDEN_HEIGHT, GOLDEN_WIDTH

# Of its norm. Weights in 8 bits switch some rectifiers: 0.05 to 0.12 on trained codecs; a wrong graph is off
# by about 1.
ADJOINT_TOLERANCE = 0.2


@torch.no_grad()
def against_torch(
    model: Codec, graphs: Mapping[str, onnx.ModelProto], pixels: np.ndarray, report: Callable[[str], None]
) -> None:
    """Compare every graph with PyTorch: to 1e-4 of the largest value, pixels to one step of rounding.

    ``graphs``: by role; ``pixels``: a picture uint8 (H, W, 3). Raises ExportError.
    """
    pixels = pixels[: GOLDEN_HEIGHT // 64 * 64, : GOLDEN_WIDTH // 64 * 64]
    y = model.analysis(codec_tables.centred(pixels))
    hyper = model.hyperprior.hyperlatents(y)
    z_hat = hyper.round()
    mean = model.hyperprior.mean(z_hat)
    gain = model.quality(torch.tensor([3.0]))[0][:, :, None, None]
    symbols = ((y - mean) * gain).round()
    latents, first = symbols / gain + mean, model.config.channel_groups[0]
    known, predicted = symbols[:, :0], torch.zeros(0)
    if model.hyperprior.prediction is not None:
        count = model.hyperprior.prediction.in_channels
        known = (symbols / gain)[:, :count]
        predicted = model.hyperprior.predicted(symbols[:, :count], gain[:, :count])
        latents[:, first : first + predicted.shape[1]] += predicted
    decoded = (model.synthesis(latents) + 0.5).clamp(0, 1).permute(0, 2, 3, 1) * 255
    lacking = torch.from_numpy(pixels / np.float32(255))[None] - decoded / 255
    correction = codec_adjoint.by_autograd(model, latents, lacking)
    cases = {
        "synthesis_adjoint": ((latents.numpy(), lacking.numpy()), correction),
        "prediction": ((known.numpy(),), predicted),
        "analysis": ((pixels[None],), y),
        "hyper_analysis": ((y.numpy(),), hyper),
        "hyper_mean": ((z_hat.numpy(),), mean),
        "synthesis": ((symbols.numpy(), mean.numpy(), (1 / gain).numpy()), decoded),
    }
    for role, graph in graphs.items():
        given, wanted = cases[role]
        found = session_of(make(role, "float", "onnxruntime", graph), role).run(*given)
        worst = float(np.abs(found - wanted.numpy()).max())
        allowed = 0.51 if role == "synthesis" else 1e-4 * max(1.0, float(wanted.abs().max()))
        if role == "synthesis_adjoint":  # the model's weights are not rounded to what it stores
            worst, allowed = float(np.linalg.norm(found - wanted.numpy()) / wanted.norm()), ADJOINT_TOLERANCE
        if not worst <= allowed:  # a NaN fails too
            raise ExportError(f"graph {role} differs from PyTorch by {worst:.2g}, more than {allowed:.2g}")
        report(f"{role}.float equals PyTorch to {worst:.1e}")
