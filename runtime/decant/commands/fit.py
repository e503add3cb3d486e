"""``decant fit``: the best graph of a bundle on this machine, compiled for the next load."""

import json
from pathlib import Path
from typing import Any

import click

from decant.commands.options import DEVICES, bundle_dir_option, json_option, quiet_option, threads_option
from decant.commands.plugins import Failure
from decant.commands.terminal import say, show_lines


@click.command()
@click.argument("name", metavar="BUNDLE", required=False)
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="cpu",
    show_default=True,
    help="Device whose graphs are tried; auto tries npu, gpu and cpu.",
)
@click.option(
    "--for",
    "goal",
    type=click.Choice(["latency", "throughput"]),
    default="latency",
    show_default=True,
    help="What to optimize: the time of one decode, or the pictures per second.",
)
@threads_option
@click.option(
    "--strict-device",
    is_flag=True,
    help="Refuse graphs that have an operator which would run on another device.",
)
@click.option("--report", type=click.Path(path_type=Path), help="Write the figures to this JSON file too.")
@click.option(
    "--compare",
    "others",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Only show these reports of --report in one table; repeatable.",
)
@click.option("--forget", is_flag=True, help="Only remove the stored choice for BUNDLE and the device.")
@bundle_dir_option
@quiet_option
@json_option
def fit(
    name: str | None,
    device: str,
    goal: str,
    threads: int,
    strict_device: bool,
    report: Path | None,
    others: tuple[Path, ...],
    forget: bool,
    bundle_dir: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Choose the best graph of BUNDLE for this machine and compile it for the next load.

    Every graph that the device can run decodes the golden files and is timed. Compiled graphs and the choice
    are stored in the user's cache folder. Decoding with --runtime auto and --precision auto uses them.
    """
    from decant.bundles.bundle import open_bundle
    from decant.commands.describe import table
    from decant.fitting.reports import read_report, rows_of
    from decant.fitting.trials import fit as fit_bundle
    from decant.selection import fitted

    if others:
        reports = [read_report(path) for path in others]
        show_lines(json.dumps(reports, indent=2) if as_json else table(rows_of(reports)))
        return
    if name is None:
        raise click.UsageError("BUNDLE is missing: a bundle's name or folder")
    bundle = open_bundle(name, bundle_dir)
    if forget:
        there = fitted.forget(bundle, device)
        say(f"decant: {bundle.name}, device {device}: {'forgotten' if there else 'nothing was chosen'}")
        return
    done = fit_bundle(
        bundle,
        device=device,
        goal=goal,
        threads=threads,
        strict_device=strict_device,
        progress=(lambda line: None) if quiet else (lambda line: say(f"decant: {line}")),
    )
    made = done.report()
    if report is not None:
        try:
            report.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise Failure(f"{report}: cannot be written: {error.strerror}") from None
    if as_json:
        show_lines(json.dumps(made, indent=2))
        return
    show_lines(table(rows_of([made])))
    for trial in done.trials:
        if trial.failed:
            say(f"decant: passed over: {trial.failed}")
    best: dict[str, Any] = made["chosen"]
    show_lines(f"for {goal}: {best['precision']} in {best['runtime']} on {best['kind']}")
