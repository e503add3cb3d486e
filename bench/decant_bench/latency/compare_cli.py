"""``decant bench compare``. What is slow to import is imported inside it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from decant_bench.common.record import Record

METRICS = ("decode", "load", "load_cold", "first_decode", "import")  # of decant_bench.latency.compare
RATIO_METRICS = ("decode", "load", "load_cold")  # of decant_bench.latency.ratios


@click.command()
@click.argument("paths", metavar="A.json B.json...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--metric", type=click.Choice(METRICS), default="decode", show_default=True)
@click.option(
    "--ratios", is_flag=True, help="Show all ratios to JPEG and AVIF, and whether their intervals agree."
)
@click.option("--force", is_flag=True, help="Compare records of different machines or configurations.")
@click.option(
    "--fail-above",
    metavar="RATIO",
    type=float,
    help="Exit with code 1 if a median grew by more than this factor.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(
    paths: tuple[Path, ...], metric: str, ratios: bool, force: bool, fail_above: float | None, as_json: bool
) -> None:
    """Compare latency records.

    For two records of one machine: the ratios of medians, and whether chance explains them. For more records,
    or with --ratios: the ratios to JPEG and AVIF of every record side by side. Records of one machine should
    agree.
    """
    from decant_bench.common import record

    if len(paths) < 2:
        raise click.UsageError("two records or more expected")
    records = [record.read(path, "latency") for path in paths]
    if ratios or len(records) > 2:
        if fail_above is not None or metric not in RATIO_METRICS:
            raise click.UsageError(
                f"--fail-above and other metrics than {', '.join(RATIO_METRICS)} need two records without "
                "--ratios"
            )
        _side_by_side(records, paths, metric, as_json)
        return
    _two(records[0], records[1], metric, force, fail_above, as_json)


def _side_by_side(records: "list[Record]", paths: tuple[Path, ...], metric: str, as_json: bool) -> None:
    from decant_bench.latency import agreement

    names = [path.stem if path.stem != "latency" else path.absolute().parent.name for path in paths]
    found = agreement.compare(records, names, metric)
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=1))
        return
    click.echo(agreement.table(found).text())
    if found.one_machine:
        click.echo(f"{len(found.lines) - len(found.differing)} of {len(found.lines)} ratios agree")


def _two(a: "Record", b: "Record", metric: str, force: bool, fail_above: float | None, as_json: bool) -> None:
    from decant_bench.errors import BenchError
    from decant_bench.latency import compare as comparing

    found = comparing.compare(a, b, metric, force=force)
    click.echo(json.dumps(found.as_dict(), indent=1) if as_json else comparing.as_text(found))
    if fail_above is not None and (slower := found.slower_than(fail_above)):
        worst = max(slower, key=lambda line: line.change.ratio)
        raise BenchError(
            f"{len(slower)} of {len(found.lines)} medians grew by more than {fail_above}: "
            f"{worst.key} by {worst.change.ratio:.2f}"
        )
