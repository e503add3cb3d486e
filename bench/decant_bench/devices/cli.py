"""``decant bench devices``: a folder of device records, added to and ranked."""

from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("folder", metavar="DIR", type=_PATH)
@click.option(
    "--add",
    "added",
    metavar="LATENCY.json",
    type=_PATH,
    multiple=True,
    help="A record to add.",
)
def devices(folder: Path, added: tuple[Path, ...]) -> None:
    """Rank the devices whose records are in DIR by their ratios to JPEG and AVIF.

    Writes ranking.md and ranking.html. --add takes records of `decant bench latency` and `decant bench rd`
    with times at one rate.
    """
    from decant_bench.common import record
    from decant_bench.devices import ranking, summary

    for path in added:
        device = summary.of(summary.read_any(path))
        target = folder / summary.file_name(device)
        record.write(device, target)
        click.echo(f"added: {target}")
    for written in ranking.write(folder):
        click.echo(f"written: {written}")
