"""``decant reproduce``: one published system trained, measured and set beside its published figures."""

from pathlib import Path
from typing import Any

import click

from decant_reproduce.runner import OPTIONS, SYSTEMS

_PATH = click.Path(path_type=Path)
_FLAGS = {"records": "--record", "features": "--features", "encoder_weights": "--encoder-weights"}


@click.command(short_help="Reproduce a published system and compare it with its figures.")
@click.argument("system", type=click.Choice(list(SYSTEMS)))
@click.option(
    "--max-minutes",
    type=click.FloatRange(0, min_open=True),
    required=True,
    metavar="N",
    help="Limit of wall-clock time, training included. Call the command again to resume.",
)
@click.option(
    "--out",
    metavar="DIR",
    type=_PATH,
    required=True,
    help="Folder for checkpoints, bundles, records and report.",
)
@click.option(
    "--data",
    "--images",
    "data",
    metavar="DIR",
    type=_PATH,
    help="The system's training data, see docs/evaluate.md.  [default: samples in installed packages]",
)
@click.option(
    "--record",
    "records",
    metavar="JSON",
    type=_PATH,
    multiple=True,
    help="set: use this record of `decant bench quality` or `latency` as ours, too; repeatable.",
)
@click.option(
    "--features",
    metavar="NPZ",
    type=_PATH,
    help="perceptual: VGG-19 convolutions for the loss; docs/training.md says how to make the file.",
)
@click.option(
    "--encoder-weights", metavar="FILE", type=_PATH, help="perceptual: ResNet-101, torchvision's names."
)
def reproduce(system: str, max_minutes: float, out: Path, data: Path | None, **given: Any) -> None:
    """Reproduce SYSTEM within N minutes. Writes a table "published / ours" to table.md and report.html."""
    from decant_reproduce import runner as reproducing

    chosen = {name: value for name, value in given.items() if value}
    for name in chosen:
        if name not in OPTIONS.get(system, ()):
            raise click.UsageError(f"{_FLAGS[name]} is not for {system}")
    rows = reproducing.run(system, data, out, max_minutes, _say, **chosen)
    click.echo(reproducing.as_markdown(rows))
    click.echo(f"decant: {out / 'report.html'}", err=True)


def _say(line: str) -> None:
    click.echo(f"decant: {line}", err=True)
