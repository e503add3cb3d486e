"""The published system "perceptual": bits {8, 2} times mu {1, 0.1, 0}, trained alike, coded to real files.

All cells go on from one network, trained by MSE alone for START_SHARE of the minutes; the encoder's weights
are random unless they are given, and one start serves six cells. The first cell, the slowest, is trained for
its share of the rest, the others for as many epochs as it had. What is there already is used as it is; what
was stopped goes on.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from decant.bundles.bundle import Bundle
from decant.decoder import Decoder
from decant.encoder import Encoder
from decant.formats import container
from decant_bench.common import metrics, pages
from decant_bench.common.pages import Section
from decant_bench.common.tables import Table
from decant_bench.errors import BenchError

from decant_reproduce.rows import Row

if TYPE_CHECKING:
    from decant_train.published.perceptual.recipe import Squares

Report = Callable[[str], None]

CELLS = tuple((bits, mu) for bits in (8, 2) for mu in (1.0, 0.1, 0.0))  # the slowest first
PUBLISHED = {(8, 0.1): (31.65, 0.8283, "155 kB"), (2, 0.1): (29.52, 0.7277, "12 kB")}  # dB, SSIM, file
TRAINING_SHARE = 0.85  # of the minutes
START_SHARE = 0.4  # of those
START_BITS = 8
CELL_RATE = 1 / 3  # of the learning rate of the start
MOST = 1.5  # times its share of them that a later cell may take for the first one's epochs
RESULTS = "results.json"
SAID = ("psnr_db", "ssim", "feature_distance", "file_bytes")
SHOWN = 4  # validation pictures on the page
HEADERS = (
    "bits",
    "mu",
    "PSNR\ndB",
    "SSIM",
    "feature\ndistance",
    "file\nbytes",
    "latents\nbytes",
    "plain bits\nbytes",
    "epochs",
    "minutes",
)


@dataclass(frozen=True)
class Plan:
    """What is trained; ``shape`` changes fields of the size's configuration, ``epochs`` limit start and cells
    besides the minutes where given.
    """

    size: str = "small"
    pictures: int = 600
    batch_size: int = 8
    learning_rate: float = 3e-3
    epochs: int = 0
    shape: Mapping[str, Any] = field(default_factory=dict)


def reproduce(
    data: Path | None,
    out: Path,
    max_minutes: float,
    report: Report,
    *,
    features: Path | None = None,
    encoder_weights: Path | None = None,
    plan: Plan = Plan(),
) -> list[Row]:
    """Train, export and measure all cells into ``out``. ``data``: a folder of photos, or None for those in
    the wheels; ``features``: an npz of VGG-19 weights (decant_train.published.perceptual.features);
    ``encoder_weights``: as of `decant train perceptual`.

    Raises BenchError without features, and what training and export raise.
    """
    from decant_train.published.perceptual import recipe as recipes_perceptual

    if features is None:
        raise BenchError(
            "perceptual needs VGG-19 weights for its loss, which decant does not ship: give --features NPZ "
            "(docs/training.md, weights of the perceptual loss, says how to make the file)"
        )
    config = _config(plan)
    squares = recipes_perceptual.squares(data, config.image_size, plan.pictures)
    minutes = TRAINING_SHARE * max_minutes
    given = {
        "features_file": features,
        "encoder_weights": encoder_weights,
        "source": None if data is None else data.name,
    }
    report("perceptual: the start of all cells")
    budget = {"max_minutes": START_SHARE * minutes, "epochs": plan.epochs}
    start = _train(out / "start", squares, plan, START_BITS, 0.0, budget, plan.learning_rate, given)
    given["begin"] = out / "start"
    share = (1 - START_SHARE) * minutes / len(CELLS)
    budget = {"max_minutes": share, "epochs": plan.epochs}
    cells = []
    for index, (bits, mu) in enumerate(CELLS):
        name = _name(bits, mu)
        report(f"perceptual: {name}, cell {index + 1} of {len(CELLS)}")
        trained = _train(out / name, squares, plan, bits, mu, budget, CELL_RATE * plan.learning_rate, given)
        budget = {"max_minutes": MOST * share, "epochs": plan.epochs or trained.epoch}
        bundle = _export(out, name, (bits, mu) == (8, 0.1), report)
        cell = _measure(bundle, squares.validation, features, out / "pictures" / f"{name}.npz")
        cell |= {"bits": bits, "mu": mu, "epochs": trained.epoch, "minutes": trained.elapsed_s / 60}
        cells.append(cell)
        report(f"perceptual: {name}: {', '.join(f'{k} {v:.5g}' for k, v in cell.items() if k in SAID)}")
    found = {
        "cells": cells,
        "size": plan.size,
        "image_size": config.image_size,
        "training_pictures": len(squares.training),
        "validation_pictures": len(squares.validation),
        "encoder_weights": start.data["encoder_weights"],
        "start_epochs": start.epoch,
        "start_minutes": start.elapsed_s / 60,
        "features": features.name,
    }
    pages.write(json.dumps(found, indent=2) + "\n", out / RESULTS)
    return rows_of(found)


def rows_of(found: Mapping[str, Any]) -> list[Row]:
    """The lines of the table from what ``reproduce`` keeps in RESULTS."""
    cells = {(cell["bits"], cell["mu"]): cell for cell in found["cells"]}
    side = found["image_size"]
    crops = f"{found['training_pictures']} training and {found['validation_pictures']} validation crops"
    epochs = f"{found['start_epochs']} epochs by MSE, then {cells[8, 0.1]['epochs']} as the cell says"
    setting = (
        f"size {found['size']}, {crops} of {side}x{side}, trunk from {found['encoder_weights']} weights, "
        f"{epochs}; theirs: ResNet-101 from ImageNet's weights, larger pictures"
    )
    rows = []
    for (bits, mu), (psnr, ssim, size) in PUBLISHED.items():
        cell = cells[bits, mu]
        rows += [
            Row(f"PSNR, {bits} bits, mu {mu}", f"{psnr} dB", f"{cell['psnr_db']:.2f} dB", setting),
            Row(f"SSIM, {bits} bits, mu {mu}", f"{ssim}", f"{cell['ssim']:.4f}"),
            Row(
                f"file, {bits} bits",
                size,
                f"{cell['file_bytes']:.0f} bytes",
                f"entropy-coded, whole file; {cell['raw_bytes']:.0f} bytes as plain bits; "
                f"{side}x{side} pixels, theirs of unknown size",
            ),
        ]
    ours = _difference(cells[8, 0.1], cells[2, 0.1])
    rows.append(Row("8 bits against 2 bits, mu 0.1", "+2.13 dB, +0.1006 SSIM", ours, _verdict_of_bits(cells)))
    for bits in (8, 2):
        ours = _difference(cells[bits, 0.1], cells[bits, 0.0])
        rows.append(Row(f"mu 0.1 against 0, {bits} bits", "better", ours, _verdict_of_mu(cells, bits, 0.0)))
        ours = _difference(cells[bits, 0.1], cells[bits, 1.0])
        rows.append(Row(f"mu 0.1 against 1, {bits} bits", "better", ours, _verdict_of_mu(cells, bits, 1.0)))
    return rows


def sections(out: Path) -> Sequence[Section]:
    """What the page shows below the table: all cells, and pictures of each."""
    found = json.loads((out / RESULTS).read_text(encoding="utf-8"))
    note = (
        f"Means over {found['validation_pictures']} validation pictures, decoded from their files. Feature "
        f"distance: mean absolute difference of the last features of {found['features']}."
    )
    shown = []
    for cell in found["cells"]:
        name = _name(cell["bits"], cell["mu"])
        with np.load(out / "pictures" / f"{name}.npz") as file:
            pairs = list(zip(file["originals"], file["decoded"], file["bytes"], strict=True))
        pictures = [
            pages.compared(
                f"{i}", a, b, f"{size} bytes, {metrics.psnr(a, b):.2f} dB, SSIM {metrics.ssim(a, b):.4f}"
            )
            for i, (a, b, size) in enumerate(pairs)
        ]
        shown.append(Section(f"{cell['bits']} bits, mu {cell['mu']:g}", pictures=pictures))
    rows = [_cells(cell) for cell in found["cells"]]
    static = [cell["static"] for cell in found["cells"] if cell["static"]]
    notes = [f"int8-static, 8 bits, mu 0.1: {s['psnr_db']:.2f} dB, SSIM {s['ssim']:.4f}." for s in static]
    return [Section("All cells", notes=notes, tables=[Table(HEADERS, rows, note=note)]), *shown]


def _train(
    folder: Path,
    squares: "Squares",
    plan: Plan,
    bits: int,
    mu: float,
    budget: Mapping[str, Any],
    rate: float,
    given: Mapping[str, Any],
) -> Any:
    """The checkpoint in ``folder``, trained as far as it has to be."""
    from decant_train.common import checkpoint as checkpoints
    from decant_train.common.loop import Options
    from decant_train.published.perceptual import recipe as recipes_perceptual

    there = (folder / checkpoints.DESCRIPTION).exists()
    if there:
        kept = checkpoints.load(folder)
        if kept.stopped_by in ("minutes", "epochs"):
            return kept
    options = Options(
        **budget,
        schedule="cosine",
        batch_size=plan.batch_size,
        learning_rate=rate,
        evaluate_every=recipes_perceptual.EVALUATE_EVERY,
        save_minutes=1.0,
        stop_when_converged=False,
    )
    done = recipes_perceptual.train_perceptual(
        plan.size,
        folder,
        options,
        images=squares,
        mu=mu,
        bits=bits,
        shape=plan.shape,
        **given,
        resume=there,
        progress=False,
    )
    if done.stopped_by == "interrupt":
        raise KeyboardInterrupt
    return done


def _export(out: Path, name: str, static: bool, report: Report) -> Bundle:
    """The bundle of a cell, made again where its checkpoint is newer."""
    from decant_export import export

    folder = out / "bundles" / name
    there = folder / "bundle.json"
    made_of = out / name / "checkpoint.json"
    if there.exists() and there.stat().st_mtime_ns > made_of.stat().st_mtime_ns:
        return Bundle.open(folder)
    precisions = ("float", "int8-static") if static else ("float",)
    return export(
        out / name, folder, precisions=precisions, runtimes=("onnxruntime",), force=True, report=report
    )


def _measure(bundle: Bundle, pictures: np.ndarray, features: Path, kept: Path) -> dict[str, Any]:
    """Means over ``pictures`` uint8 (n, S, S, 3), each coded to a file and decoded; some of them go to the
    npz file ``kept``.
    """
    encoder = Encoder(bundle, threads=1)
    files = [encoder.encode(picture) for picture in pictures]
    decoded = _decoded(bundle, "float", files)
    channels, height, width = bundle.layout.shape(bundle.image)  # type: ignore[attr-defined]
    (bits,) = bundle.layout.depths  # type: ignore[attr-defined]
    kept.parent.mkdir(parents=True, exist_ok=True)
    chosen = np.arange(min(SHOWN, len(pictures))) * len(pictures) // min(SHOWN, len(pictures))
    sizes = np.array([len(file) for file in files])
    np.savez(kept, originals=pictures[chosen], decoded=decoded[chosen], bytes=sizes[chosen])
    static = None
    if any(graph.precision == "int8-static" for graph in bundle.graphs):
        static = _quality(pictures, _decoded(bundle, "int8-static", files))
    return {
        **_quality(pictures, decoded),
        "feature_distance": _feature_distance(features, pictures, decoded),
        "file_bytes": float(sizes.mean()),
        "payload_bytes": float(np.mean([len(container.parse(file).latents) for file in files])),
        "raw_bytes": channels * height * width * bits / 8,
        "static": static,
    }


def _decoded(bundle: Bundle, precision: str, files: Sequence[bytes]) -> np.ndarray:
    decoder = Decoder(bundle, precision=precision, threads=1)
    return np.stack([decoder.decode(file) for file in files])


def _quality(pictures: np.ndarray, decoded: np.ndarray) -> dict[str, float]:
    pairs = list(zip(pictures, decoded, strict=True))
    psnr = [metrics.psnr(a, b) for a, b in pairs]
    return {"psnr_db": float(np.mean(psnr)), "ssim": float(np.mean([metrics.ssim(a, b) for a, b in pairs]))}


def _feature_distance(path: Path, pictures: np.ndarray, decoded: np.ndarray) -> float:
    import torch
    from decant_train.published.perceptual import features

    network = features.load(path)
    tensors = [torch.from_numpy(p.transpose(0, 3, 1, 2).copy()) for p in (decoded, pictures)]
    batches = zip(*(torch.split(t, 16) for t in tensors), strict=True)
    with torch.no_grad():
        sums = [float(network.distance(a.float() / 255, b.float() / 255)) * len(a) for a, b in batches]
    return sum(sums) / len(pictures)


def _config(plan: Plan) -> Any:
    from decant_train.common import families

    return dataclasses.replace(families.get("perceptual").sizes[plan.size], **plan.shape)


def _name(bits: int, mu: float) -> str:
    return f"q{bits}-mu{mu:g}"


def _cells(cell: Mapping[str, Any]) -> list[str]:
    return [
        f"{cell['bits']}",
        f"{cell['mu']:g}",
        f"{cell['psnr_db']:.2f}",
        f"{cell['ssim']:.4f}",
        f"{cell['feature_distance']:.4f}",
        f"{cell['file_bytes']:.0f}",
        f"{cell['payload_bytes']:.0f}",
        f"{cell['raw_bytes']:.0f}",
        f"{cell['epochs']}",
        f"{cell['minutes']:.1f}",
    ]


def _difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    return (
        f"{a['psnr_db'] - b['psnr_db']:+.2f} dB, {a['ssim'] - b['ssim']:+.4f} SSIM, feature distance "
        f"{a['feature_distance']:.4f} instead of {b['feature_distance']:.4f}"
    )


def _verdict_of_bits(cells: Mapping[tuple[int, float], Mapping[str, Any]]) -> str:
    figures = ("psnr_db", "ssim")
    shown = [mu for mu in (0.0, 0.1, 1.0) if all(cells[8, mu][f] > cells[2, mu][f] for f in figures)]
    where = ", ".join(f"{mu:g}" for mu in shown) or "none"
    return f"8 bits are better in PSNR and SSIM at mu: {where} (of 0, 0.1, 1)"


def _verdict_of_mu(cells: Mapping[tuple[int, float], Mapping[str, Any]], bits: int, other: float) -> str:
    a, b = cells[bits, 0.1], cells[bits, other]
    better = {
        "PSNR": a["psnr_db"] > b["psnr_db"],
        "SSIM": a["ssim"] > b["ssim"],
        "feature distance": a["feature_distance"] < b["feature_distance"],
    }
    shown = ", ".join(name for name, is_better in better.items() if is_better) or "nothing"
    return f"mu 0.1 is better in: {shown}; features, and so mu's weight, are not theirs"
