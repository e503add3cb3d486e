"""Checkpoint -> bundle, for every family: its plan, the gate, golden files, the folder."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from decant.bundles.bundle import Bundle
from decant_train.common.checkpoint import Checkpoint

from decant_export.common import family as families
from decant_export.common import folder, writing
from decant_export.common.family import Options, Plan
from decant_export.common.gate import Gate, Report
from decant_export.common.naming import checked_name
from decant_export.common.threads import one_thread
from decant_export.common.variants import PRECISIONS, RUNTIMES
from decant_export.errors import ExportError

SHARED_ROLES = ("analysis", "hyper_analysis")  # what bundles of one encoder have in common


# What bundle.json says of the commercial use of weights.
COMMERCIAL_USE = ("yes", "no", "unclear")


def export(
    checkpoint: Path | str | Checkpoint,
    out_dir: Path | str,
    *,
    name: str | None = None,
    version: str = "1.0.0",
    precisions: Sequence[str] = PRECISIONS,
    runtimes: Sequence[str] = RUNTIMES,
    images: np.ndarray | Path | str | None = None,
    encoder: bool = True,
    licence: str | None = None,
    data: str | None = None,
    commercial_use: str = "unclear",
    card: str | None = None,
    force: bool = False,
    report: Callable[[str], None] = lambda line: None,
    denoiser: Path | str | None = None,
    latent_coding: str | None = None,
    golden: int | None = None,
    floors: Mapping[str, float] | None = None,
    pictures: int | None = None,
    part: str | None = None,
    encoder_of: Path | str | None = None,
) -> Bundle:
    """Write the bundle of a ``checkpoint``, or of the one in a folder, to the folder ``out_dir`` and open it.

    Every family takes these options:

    * ``name``: what files call the model; the folder's name when left out. ``version`` of the bundle.
    * ``precisions`` of the synthesis; those that the family does not have are passed over.
    * ``images``: pictures uint8 (n, H, W, 3), or a folder of images. A family of one picture size needs them
      where the checkpoint holds no latents of its own set, and compares its analysis on them. A codec takes a
      folder or a packed file of photos, on which tables are counted; without it the photos in the wheels.
    * ``encoder``: whether the encoding graphs are written. ``licence``, ``data``: terms and training data in
      words. ``commercial_use`` of the weights: yes, no or unclear. ``card``: Markdown to put in as card.md.
      ``force``: replace a bundle that is there.
    * ``report`` is told what is done, a line at a time.

    Families of one picture size: ``denoiser``, a denoiser's checkpoint; ``latent_coding``: float16, float32
    or uintK; ``golden``: number of golden files; ``floors``: lowest PSNR in dB by precision.

    Codecs: ``pictures``: number of crops that tables are counted on; ``part``: export the synthesis of that
    name, trained beside; ``encoder_of``: a bundle beside ``out_dir`` of the same encoder, to share its files.

    A graph below its floor, or that its runtime cannot load, is not written; ``refused`` in bundle.json
    says why. The same arguments give the same bytes on the same machine. Raises ExportError, BundleError,
    MissingExtraError (no openvino for runtime openvino), OSError.
    """
    out = Path(out_dir)
    folder.check_target(out, force)
    name = checked_name(name or out.absolute().name)
    _check_known("precision", precisions, PRECISIONS)
    _check_known("runtime", runtimes, RUNTIMES)
    lender = None if encoder_of is None else _lender(Path(encoder_of), out)
    loaded = checkpoint if isinstance(checkpoint, Checkpoint) else families.load(checkpoint)
    family = families.family_of(loaded)
    own = {
        "denoiser": denoiser,
        "latent_coding": latent_coding,
        "golden": golden,
        "floors": floors,
        "pictures": pictures,
        "part": part,
        "encoder_of": encoder_of,
    }
    own = {option: value for option, value in own.items() if value is not None}
    if others := sorted(own.keys() - family.own_options):
        raise ExportError(f"family {loaded.family} has no option {', '.join(others)}; leave it out")
    options = Options(
        name=name,
        precisions=precisions,
        runtimes=runtimes,
        encoder=encoder,
        images=Path(images) if isinstance(images, str) else images,
        checkpoint="" if isinstance(checkpoint, Checkpoint) else str(checkpoint),
        own=own,
        report=report,
    )
    if commercial_use not in COMMERCIAL_USE:
        raise ExportError(f"commercial use {commercial_use!r}; one of {', '.join(COMMERCIAL_USE)} expected")
    licence = family.licence if licence is None else licence
    head = writing.head_of(loaded, name, version, licence, commercial_use, data)
    with one_thread() if family.one_thread else nullcontext():
        plan = family.plan(options)
        gate = judged(plan, name, report)
        with folder.appearing(out) as building:
            writing.assemble(
                building, head, plan.model, plan.tables, plan.golden, gate, plan.sizes, card, lender
            )
            _check_sharing(Bundle.open(building), lender)
            Bundle.open(building).verify()
    return Bundle.open(out)


def judged(plan: Plan, name: str, report: Report) -> Gate:
    """The gate after every candidate of ``plan``. Raises ExportError where no synthesis passed."""
    gate = Gate(name, plan.image, plan.floors, plan.golden_count, report, plan.margins)
    for candidate in plan.candidates:
        if candidate.decode is None:
            gate.passed.append((candidate.variant, float("inf")))
        else:
            gate.judge(candidate.variant, candidate.decode, candidate.expected, candidate.checks)
    if not any(variant.role == "synthesis" for variant, _ in gate.whole):
        reasons = "; ".join(r["reason"] for r in gate.refused) or "the family has none of the forms asked for"
        raise ExportError(f"{name}: no graph is left: {reasons}")
    return gate


def _lender(encoder_of: Path, out: Path) -> Bundle:
    lender = Bundle.open(encoder_of)
    if lender.path.absolute().parent != out.absolute().parent:
        raise ExportError(f"{encoder_of} does not lie beside {out}: a bundle shares files with one that does")
    return lender


def _check_sharing(bundle: Bundle, lender: Bundle | None) -> None:
    if lender is None:
        return
    for role in filter(bundle.has, SHARED_ROLES):
        if any(file.of is None for file in bundle.graph(role).files):
            raise ExportError(f"{role} of {bundle.name} is not that of {lender.path}: their encoders differ")


def _check_known(what: str, asked: Sequence[str], known: Sequence[str]) -> None:
    if not asked:
        raise ExportError(f"no {what} given; {', '.join(known)} are known")
    for value in asked:
        if value not in known:
            raise ExportError(f"{what} {value!r} is unknown; {', '.join(known)} expected")
