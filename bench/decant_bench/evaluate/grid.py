"""The publication's mass test: a set autoencoder for every combination of depth, latent size and set size.

Cells are trained one after the other, each for the same time, and kept: a run that was stopped goes on with
the cells that are missing.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decant.formats.paths import takes_paths

from decant_bench.common import record
from decant_bench.common.pictures import PictureSet
from decant_bench.common.tables import Table, number
from decant_bench.errors import BenchError
from decant_bench.evaluate.quality import compression_ratio

if TYPE_CHECKING:
    from decant_train.common.checkpoint import Checkpoint
    from matplotlib.figure import Figure

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """The grid as published; ``minutes`` of training a cell. After ``max_minutes`` of a run (0: no limit) no
    further cell is begun.
    """

    layers: tuple[int, ...] = (1, 2, 3, 4)
    dims: tuple[int, ...] = (16, 32, 64)
    sets: tuple[int, ...] = (32, 64, 128, 256)
    plain: bool = False
    minutes: float = 5.0
    max_minutes: float = 0.0
    ssim_weight: float = 0.0
    seed: int = 0


@takes_paths
def measure(
    images: PictureSet,
    out: Path,
    options: Options,
    *,
    command: str | None = None,
    say: Say = lambda line: None,
) -> record.Record:
    """Train every cell into a folder of ``out`` and gather a grid record; sets are the first of ``images``.

    PSNR and SSIM are of the float decoder after rounding to 8 bits. Cells that want more pictures than there
    are, or that the time was too short for, have a row that says so. Raises what training raises.
    """
    height, width = images.pixels.shape[1:3]
    described = images.described()
    del described["source"]
    chosen = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(options).items()}
    result = record.new("grid", {"options": chosen, "images": described}, command)
    began = time.monotonic()
    cells = list(itertools.product(options.sets, options.layers, options.dims))
    for done, (count, layers, dim) in enumerate(cells):
        row: dict[str, Any] = {"num_layers": layers, "latent_dim": dim, "set_size": count, "refused": None}
        result["rows"].append(row)
        if count > len(images):
            row["refused"] = f"{len(images)} pictures for a set of {count}"
            continue
        folder = out / f"n{count}-l{layers}-d{dim}"
        used = (time.monotonic() - began) / 60
        if 0 < options.max_minutes <= used and _finished(folder) is None:
            row["refused"] = f"not trained within {options.max_minutes:g} minutes"
            continue
        say(f"grid: cell {done + 1} of {len(cells)}: {layers} layers, {dim} numbers, {count} pictures")
        row |= _cell(images, folder, options, count, layers, dim)
        raw = height * width * 3
        row["ratio"] = compression_ratio(row["decoder_bytes"], count, 4 * dim, raw)
    return result


def _cell(
    images: PictureSet, folder: Path, options: Options, count: int, layers: int, dim: int
) -> dict[str, Any]:
    from decant_train.common.loop import Options as Training
    from decant_train.published.set import recipe as set_recipe

    shape = {"num_layers": layers, "latent_dim": dim, "set_size": count, "image_size": images.pixels.shape[1]}
    training = Training(max_minutes=options.minutes, schedule="cosine", seed=options.seed)
    trained = _finished(folder)
    if trained is None:
        trained = set_recipe.train_set(
            "small",
            folder,
            training,
            images=images.pixels[:count],
            plain=options.plain,
            ssim_weight=options.ssim_weight,
            shape=shape,
            progress=False,
        )
    numbers = sum(p.numel() for name, p in trained.model.named_parameters() if name.startswith("decoder."))
    return {
        "psnr_db": trained.metrics["psnr"],
        "ssim": trained.metrics["ssim"],
        "epochs": trained.epoch,
        "minutes": trained.elapsed_s / 60,
        "stopped_by": trained.stopped_by,
        "decoder_bytes": 4 * numbers,
    }


def _finished(folder: Path) -> "Checkpoint | None":
    """The checkpoint of a cell whose training came to its end."""
    from decant_train.common import checkpoint as checkpoints

    if not (folder / checkpoints.DESCRIPTION).exists():
        return None
    trained = checkpoints.load(folder)
    return trained if trained.stopped_by in ("minutes", "convergence") else None


@takes_paths
def save_curves(found: record.Record, path: Path) -> None:
    """``curves`` as a file of the kind that the suffix says. Raises BenchError where no cell is trained or
    the suffix is none that matplotlib knows.
    """
    figure = curves(found)
    figure.patch.set_alpha(1)
    try:
        figure.savefig(path, dpi=150)
    except ValueError as error:
        raise BenchError(f"{path}: {error}") from None


def curves(found: record.Record) -> "Figure":
    """PSNR and SSIM against the latent's size, a column for each set size and a line for each depth. Raises
    BenchError where no cell is trained.
    """
    from decant_bench.common.plots import COLOURS, INK, blank, dress

    rows = trained_rows(found)
    if not rows:
        raise BenchError("no cell is trained: nothing to draw")
    sets = sorted({row["set_size"] for row in rows})
    depths = sorted({row["num_layers"] for row in rows})
    figure = blank(2.6 * len(sets) + 0.8, 5.0)
    panels = figure.subplots(2, len(sets), squeeze=False, sharex=True, sharey="row")
    for column, count in enumerate(sets):
        for line, (metric, label) in zip(panels, (("psnr_db", "PSNR, dB"), ("ssim", "SSIM")), strict=True):
            axes = line[column]
            for depth in depths:
                points = sorted(
                    (row["latent_dim"], row[metric])
                    for row in rows
                    if (row["set_size"], row["num_layers"]) == (count, depth)
                )
                if points:
                    colour, name = COLOURS[depths.index(depth) % len(COLOURS)], f"layers: {depth}"
                    axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=4, label=name)
            dress(axes, "numbers a latent" if metric == "ssim" else "", label if column == 0 else "")
        panels[0][column].set_title(f"{count} pictures", color=INK, fontsize=9)
    panels[0][0].legend(frameon=False, fontsize=8)
    return figure


HEADERS = (
    "images",
    "layers",
    "latent\ndim",
    "PSNR\ndB",
    "SSIM",
    "decoder\nMB",
    "ratio",
    "epochs",
    "minutes",
    "",
)


NOTE = "Ratio: float decoder, latents of 4 bytes a number, as published."


def trained_rows(found: record.Record) -> list[dict[str, Any]]:
    """Rows of the cells that were trained."""
    return [row for row in found["rows"] if row["refused"] is None]


def told(found: record.Record) -> str:
    """In a line: how many cells, the best and the worst."""
    rows = trained_rows(found)
    if not rows:
        return "no cell was trained"

    def cell(row: dict[str, Any]) -> str:
        shape = f"{row['num_layers']} layers, {row['latent_dim']} numbers, {row['set_size']} pictures"
        return f"{row['ssim']:.4f} of {shape}"

    least, most = (choose(rows, key=lambda row: row["ssim"]) for choose in (min, max))
    minutes = found["config"]["options"]["minutes"]
    return f"{len(rows)} cells of {minutes:g} minutes: SSIM {cell(least)} to {cell(most)}"


def as_text(found: record.Record) -> str:
    """For the terminal."""
    return Table(HEADERS, cells(found), note=NOTE).text()


def cells(found: record.Record) -> list[list[str]]:
    """Rows of a table under HEADERS."""
    rows = []
    for row in found["rows"]:
        cell = [str(row[key]) for key in ("set_size", "num_layers", "latent_dim")]
        if row["refused"] is not None:
            rows.append([*cell, "-", "-", "-", "-", "-", "-", row["refused"]])
            continue
        cell += [f"{row['psnr_db']:.2f}", f"{row['ssim']:.4f}", number(row["decoder_bytes"] / 1e6)]
        rows.append(
            [*cell, number(row["ratio"]), str(row["epochs"]), f"{row['minutes']:.1f}", row["stopped_by"]]
        )
    return rows
