"""The model families: what ``export`` asks of one, and where each is.

Everything around a family (gate, golden files, the bundle) knows its ``Plan`` only. A new family is one
folder, and one line in ``FAMILIES`` (or in ``DENOISERS``).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import onnx
from decant.backends.session import Session
from decant_train.common import checkpoint as checkpoints
from decant_train.common.checkpoint import Checkpoint, CheckpointError

from decant_export.common.gate import Checks, Report, no_checks
from decant_export.common.variants import Variant
from decant_export.common.writing import GoldenCase
from decant_export.errors import ExportError

# (name, pixels uint8 (H, W, 3)), one after the other.
Named: TypeAlias = Iterator[tuple[str, np.ndarray]]
# A session of the graph under test -> the pictures uint8 (H, W, 3) that are compared.
Decode: TypeAlias = Callable[[Session], "np.ndarray | Sequence[np.ndarray]"]

# Family -> module and class, which takes the checkpoint's model.
FAMILIES = {
    "codec": "decant_export.families.codec.family:CodecFamily",
    "set": "decant_export.families.set.family:SetGraphs",
    "color": "decant_export.families.color.graphs:ColorGraphs",
    "perceptual": "decant_export.families.perceptual.family:PerceptualGraphs",
    "digits": "decant_export.families.digits.family:DigitsGraphs",
}
DENOISERS = {
    "denoiser": "decant_export.families.denoiser.float_graphs:DenoiserGraphs",
    "digits_denoiser": "decant_export.families.digits_denoiser.float_graphs:DigitDenoiserGraphs",
}


@dataclass(frozen=True)
class Options:
    """The options of ``export``. ``own`` has those options of single families that were given."""

    name: str
    precisions: Sequence[str]
    runtimes: Sequence[str]
    encoder: bool = True
    images: "np.ndarray | Path | None" = None
    checkpoint: str = ""  # its folder, for messages and for the names of its images
    own: Mapping[str, Any] = field(default_factory=dict)
    report: Report = lambda line: None


@dataclass(frozen=True)
class Candidate:
    """One graph in one form, and its check by the gate. ``decode`` decodes pictures with its session; they
    are compared with ``expected``. ``checks`` are further comparisons. Without ``decode`` the graph is
    written without a check.
    """

    variant: Variant
    decode: Decode | None = None
    expected: "np.ndarray | Sequence[np.ndarray]" = ()
    checks: Checks = no_checks


@dataclass(frozen=True)
class Plan:
    """The bundle to be made of a checkpoint. ``candidates`` is lazy: a graph is quantized when the gate has
    checked the one before.

    ``model``: the content of model.json. ``image``: (width, height) in pixels that kMAC are counted on;
    ``sizes``: the free dimensions of the graphs for that size. ``floors`` and ``margins``: dB by precision
    (``Gate``). ``golden_count``: how many of the pictures compared are golden ones.
    """

    model: bytes
    tables: Mapping[str, np.ndarray]
    golden: Sequence[GoldenCase]
    candidates: Iterable[Candidate]
    image: tuple[int, int]
    floors: Mapping[str, float]
    golden_count: int
    margins: Mapping[str, float] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)


class Family(Protocol):
    """What ``export`` asks of a family, which holds the model of one checkpoint.

    Families of one picture size derive from ``decant_export.common.fixed_family.FixedFamily``.
    """

    licence: str  # terms of a bundle where none are given
    one_thread: bool  # whether PyTorch runs on one thread, for equal bytes whatever ran before
    own_options: frozenset[str]  # names of the options of ``export`` that not every family has

    def plan(self, options: Options) -> Plan:
        """Float graphs compared with PyTorch, tables, golden files, and the candidates of every precision.

        Raises ExportError, OSError, MissingExtraError.
        """

    def tensors(self) -> Mapping[str, np.ndarray]:
        """The parameters that decide decoding, by name."""

    def named_images(self, checkpoint_dir: Path, folder: Path | None) -> Named:
        """The images below ``folder`` as this family takes them, or the set that the checkpoint learnt.

        Raises ExportError.
        """


class StaticGraph(Protocol):
    """A graph in static int8 whose stored ranges are still to be chosen."""

    @property
    def knobs(self) -> tuple[str, ...]:
        """Names of the stored tensors."""

    def build(self, kept: Mapping[str, float]) -> onnx.ModelProto:
        """The graph that stores, of each named tensor, the part 0..1 of its range (1 where not named)."""


class Denoises(Protocol):
    """A family whose checkpoints turn decoded pictures into better ones."""

    def denoiser(self, image: tuple[int, int]) -> onnx.ModelProto:
        """Pixels uint8 (n, H, W, 3) -> the same, with a float tensor ``pictures.PICTURE`` on the way.

        Raises ExportError for an ``image`` (width, height) that it does not take.
        """

    def denoise(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels uint8 (n, H, W, 3) -> pictures float32 (n, 3, H, W) in [0, 1], by PyTorch."""

    def tensors(self) -> Mapping[str, np.ndarray]:
        """The parameters, by name."""


def load(folder: Path | str) -> Checkpoint:
    """The checkpoint in ``folder``. Raises ExportError."""
    try:
        return checkpoints.load(folder)
    except CheckpointError as error:
        raise ExportError(str(error)) from None


def family_of(checkpoint: Checkpoint) -> Family:
    """The family of a decoder's checkpoint. Raises ExportError for another kind."""
    family: Family = _make(checkpoint, FAMILIES, "a decoder")
    return family


def denoiser_of(checkpoint: Checkpoint) -> Denoises:
    """The family of a denoiser's checkpoint. Raises ExportError for another kind."""
    family: Denoises = _make(checkpoint, DENOISERS, "a denoiser")
    return family


def _make(checkpoint: Checkpoint, known: Mapping[str, str], what: str) -> Any:
    if checkpoint.family not in known:
        raise ExportError(f"family {checkpoint.family} is not {what}; {', '.join(known)} expected")
    module, _, attribute = known[checkpoint.family].partition(":")
    return getattr(import_module(module), attribute)(checkpoint.model)
