"""A checkpoint: a folder with weights, a description, and the state that is needed to resume training.

    weights.safetensors      parameters of the network, by name
    checkpoint.json          family, configuration, progress, metrics, data
    optimizer.safetensors    optimizer state by parameter and field, needed by --resume alone
    metrics.jsonl            the training log, one JSON object a line

No file is a pickle. Each is written under a temporary name and renamed, the description last, so an
interrupted save leaves the one before.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from decant.formats.paths import takes_paths
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from decant_train.common import families

SCHEMA = 1
_STEPS, _MANY_INPUTS = "/step", 48
# Transforms whose precision is the picture's: exported in half precision.
_HALF = ("linear.weight", "up.weight", "last.weight")
# Kernels that a decoder has as integers, in this unit (``decant_train.codec.model``).
_WHOLE = ("class_hidden.weight", "class_out.weight")
_WHOLE_PARTS = (".contexts.", ".half_contexts.")
_UNIT = 2.0**-6
WEIGHTS, OPTIMIZER, DESCRIPTION = "weights.safetensors", "optimizer.safetensors", "checkpoint.json"


class CheckpointError(ValueError):
    """A folder is not a checkpoint, or a damaged one."""


@dataclass
class Checkpoint:
    """A network with its description; ``config`` is the family's configuration dataclass."""

    family: str
    config: Any
    model: nn.Module
    epoch: int = 0
    step: int = 0
    elapsed_s: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    stopped_by: str = ""


@takes_paths
def save(
    folder: Path,
    checkpoint: Checkpoint,
    optimizer: torch.optim.Optimizer | None = None,
    trained: nn.Module | None = None,
    of: str | None = None,
    same: Mapping[str, str] | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write ``checkpoint`` to ``folder``, which is created if missing.

    * ``trained``: the network that ``optimizer`` trains, if it is not the checkpoint's;
    * ``of``: relative path of a checkpoint that has the weights which are not stored here;
    * ``same``: names of those weights there, if they differ;
    * ``weights``: tensors to write instead of all weights of the network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if weights is None:
        weights = {k: v.detach().cpu().contiguous() for k, v in checkpoint.model.state_dict().items()}
    _replace(folder / WEIGHTS, weights)
    if optimizer is not None:
        _replace(folder / OPTIMIZER, _optimizer_tensors(trained or checkpoint.model, optimizer))
    description: dict[str, Any] = {"schema": SCHEMA, "family": checkpoint.family}
    description["config"] = families.get(checkpoint.family).to_keys(checkpoint.config)
    if of is not None:
        description["of"], description["same"] = of, dict(same or {})
    for name in ("epoch", "step", "elapsed_s", "metrics", "data", "options", "stopped_by"):
        description[name] = getattr(checkpoint, name)
    temporary = folder / (DESCRIPTION + ".tmp")
    temporary.write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")
    os.replace(temporary, folder / DESCRIPTION)


def load(folder: Path | str) -> Checkpoint:
    """Read the checkpoint in ``folder``. The model is on the CPU, in evaluation mode. Raises
    CheckpointError.
    """
    folder = Path(folder)
    description = read_description(folder)
    try:
        family = families.get(description["family"])
        config = family.from_keys(description["config"])
        model = family.network(config)
        state = _restored(load_file(folder / WEIGHTS))
        if (of := description.get("of")) is not None:
            shared, own = load(folder / of).model.state_dict(), model.state_dict()
            lent = {name: shared[there] for name, there in description.get("same", {}).items()}
            state = {name: value for name, value in shared.items() if name in own} | lent | state
        model.load_state_dict(state)
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be read as a checkpoint: {error}") from error
    known = ("epoch", "step", "elapsed_s", "metrics", "data", "options", "stopped_by")
    progress = {name: description[name] for name in known if name in description}
    return Checkpoint(description["family"], config, model.eval(), **progress)


def load_same(folder: Path | str, config: Any) -> Checkpoint:
    """Read the checkpoint in ``folder``, to resume its training. Raises CheckpointError if its configuration
    is not ``config``.
    """
    checkpoint = load(folder)
    if checkpoint.config != config:
        raise CheckpointError(f"{folder} was trained as {checkpoint.config}; asked for {config}")
    return checkpoint


@takes_paths
def save_compact(folder: Path, checkpoint: Checkpoint, of: Path | None = None) -> None:
    """Write ``checkpoint`` to ``folder`` in the precision of bundles, without an optimizer, for export or a
    warm start.

    Kernels of convolutions with many inputs have 8 bits, with one scale per output channel. Transforms have
    half precision, and the decoder's integer networks stay integers. All else is unchanged. Tensors that are
    equal in the checkpoint ``of`` are not written; the description refers to it.
    """
    shared = {} if of is None else load(of).model.state_dict()
    named = {_content(value): name for name, value in shared.items()}
    state: dict[str, Tensor] = {}
    same: dict[str, str] = {}
    for name, tensor in checkpoint.model.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        compact = _compact(name, tensor)
        alike = [_content(tensor), _content(_restored(compact)[name])]
        if name in shared and _content(shared[name]) in alike:
            continue
        there = next((named[content] for content in alike if content in named), None)
        if there is None:
            state |= compact
        else:
            same[name] = there
    lender = None if of is None else os.path.relpath(of, folder)
    save(folder, checkpoint, of=lender, same=same, weights=state)


def _content(tensor: Tensor) -> tuple[tuple[int, ...], bytes]:
    return tuple(tensor.shape), tensor.numpy().tobytes()


def _compact(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """The tensors that ``save_compact`` writes for a tensor of this name."""
    whole = name.endswith(_WHOLE) or any(part in name for part in _WHOLE_PARTS)
    if tensor.ndim == 4 and whole:
        values = (tensor / _UNIT).round().clamp(-127, 127)
        return {name: values.to(torch.int8), name + _STEPS: torch.tensor(_UNIT)}
    if name.endswith(_HALF):
        return {name: tensor.half()}
    if tensor.ndim == 4 and tensor[0].numel() >= _MANY_INPUTS:
        steps = tensor.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12) / 127
        return {name: (tensor / steps).round().to(torch.int8), name + _STEPS: steps}
    return {name: tensor}


def load_optimizer(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> bool:
    """Load the state of ``optimizer`` from ``folder``. Returns False if only weights are stored there."""
    path = folder / OPTIMIZER
    if not path.exists():
        return False
    tensors = load_file(path)
    names = _names(model, optimizer)
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, entry = key.rpartition("/")
        if name not in names:
            raise CheckpointError(f"{path} holds state of {name!r}, which this network does not have")
        state.setdefault(names.index(name), {})[entry] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return True


def save_raw(folder: Path, name: str, model: nn.Module) -> None:
    """Write the weights of ``model`` alone to ``folder``/``name``."""
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / name, {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()})


def load_raw(folder: Path, name: str, model: nn.Module) -> bool:
    """Load the weights of ``model`` from ``folder``/``name``. Returns False if there are none."""
    if not (folder / name).exists():
        return False
    model.load_state_dict(load_file(folder / name))
    return True


@takes_paths
def read_description(folder: Path) -> dict[str, Any]:
    """``checkpoint.json`` of ``folder``. Raises CheckpointError."""
    try:
        description: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} is not a checkpoint: {error}") from error
    if description.get("schema") != SCHEMA:
        raise CheckpointError(
            f"{folder} has checkpoint schema {description.get('schema')!r}; this version reads {SCHEMA}"
        )
    return description


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"{name}/{entry}": tensor.detach().cpu().contiguous()
        for index, name in enumerate(_names(model, optimizer))
        for entry, tensor in state.get(index, {}).items()
    }


def _restored(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """float32 tensors, those in 8 bits times their steps."""
    return {
        name: tensor.float() * state.get(name + _STEPS, torch.ones(()))
        for name, tensor in state.items()
        if not name.endswith(_STEPS)
    }


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the optimizer's parameters in its own order."""
    # Names of files (``decant_train.common.serialized_names``), which ``named_parameters`` does not give.
    names = {id(parameter): name for name, parameter in model.state_dict(keep_vars=True).items()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def _replace(path: Path, tensors: Mapping[str, Tensor]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    save_file(dict(tensors), temporary)
    os.replace(temporary, path)
