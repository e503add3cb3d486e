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
    help="Of wall-clock time, training included. A run that is called again goes on.",
)
@click.option(
    "--out", metavar="DIR", type=_PATH, required=True, help="Checkpoints, bundles, records, report."
)
@click.option(
    "--data",
    "--images",
    "data",
    metavar="DIR",
    type=_PATH,
    help="The system's data, in the form that docs/evaluate.md says.  [default: what the wheels hold]",
)
@click.option(
    "--record",
    "records",
    metavar="JSON",
    type=_PATH,
    multiple=True,
    help="set: a record of `decant bench quality` or `latency` that counts as ours. May be given again.",
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
    """Reproduce SYSTEM within N minutes: a table "published / ours" in OUT/table.md and OUT/report.html."""
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
