"""Groups of the codec's parameters, with their optimizer and learning rate."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from decant_train.codec.model import Codec
from decant_train.codec.options import CodecOptions


def parameter_groups(model: Codec, options: CodecOptions) -> list[dict[str, Any]]:
    """Groups of the trainable parameters of ``model`` for ``decant_train.common.optimizers.MuonAdam``."""
    syntheses, prior = model.syntheses().values(), model.hyperprior
    linear = [layer for synthesis in syntheses for layer in (synthesis.up, synthesis.last)]
    rated: list[tuple[float, list[nn.Parameter]]] = [
        (options.linear_analysis_rate, list(model.analysis.linear.parameters())),
        (options.linear_synthesis_rate, [p for layer in linear for p in layer.parameters()]),
        (options.render_rate, [p for synthesis in syntheses for p in synthesis.render.parameters()]),
        (options.scale_rate, [model.scale_offset, model.hyper_scale_index]),
        (options.hyper_rate, [p for part in (prior.analysis, prior.mean) for p in part.parameters()]),
    ]
    latents = [model.analysis.out.weight]
    taken = {id(p) for _, group in rated for p in group} | {id(p) for p in latents}
    branches = [p for p in model.analysis.parameters() if id(p) not in taken]
    matrices = [p for p in branches if p.ndim == 4 and options.optimizer != "adam"]
    of_matrices = {id(p) for p in matrices}
    orthogonal = {options.optimizer: True} if options.optimizer != "adam" else {}
    taken |= {id(p) for p in branches}
    rate = options.learning_rate
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if id(p) not in taken], "lr": rate},
        {"params": matrices, "lr": rate * options.matrix_rate} | orthogonal,
        # Adam would change all input weights of a latent in the same way, since features have a large common
        # part. Each step would then shift whole latents.
        {"params": latents, "lr": rate * options.latent_rate} | orthogonal,
        {"params": [p for p in branches if id(p) not in of_matrices], "lr": rate * options.branch_rate},
        *({"params": parameters, "lr": rate * factor} for factor, parameters in rated),
    ]
    for group in groups:
        group["params"] = [parameter for parameter in group["params"] if parameter.requires_grad]
    return [group for group in groups if group["params"]]


def encoder_parameters(model: Codec) -> Iterator[nn.Parameter]:
    """The parameters that bundles with a shared encoder have in common: both analyses, and the hyper
    synthesis of means.
    """
    prior = model.hyperprior
    for part in (model.analysis, prior.analysis, prior.mean):
        yield from part.parameters()
