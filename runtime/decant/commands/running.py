"""Running one file or a folder, with messages on stderr."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from decant.plugins import Failure

PATH = click.Path(path_type=Path)


def require(path: Path) -> None:
    if not path.exists():
        raise Failure(f"{path}: no such file or folder")


def run(
    source: Path, target: Path, work: Callable[[Path, Path], None], suffixes: Any, suffix: str, threads: int
) -> None:
    """One file, or a folder with progress: a bad file is named, the others go on, and the count of the bad
    ends it.
    """
    if not source.is_dir():
        work(source, target)
        return
    from decant.batch import pairs, run_all

    jobs = pairs(source, target, suffixes, suffix)
    if not jobs:
        raise Failure(f"{source}: nothing to do: no {'.dcn file' if suffix != '.dcn' else 'picture'} in it")
    done = 0
    live = sys.stderr.isatty()

    def report(path: Path, error: str | None) -> None:
        nonlocal done
        done += 1
        if error is not None:
            click.echo(f"{chr(13) if live else ''}decant: {error}", err=True)
        if live:
            click.echo(f"\r{done}/{len(jobs)} files", nl=False, err=True)

    failed = run_all(jobs, work, report, threads)
    click.echo(
        f"{chr(13) if live else ''}{len(jobs) - failed} of {len(jobs)} files written to {target}", err=True
    )
    if failed:
        raise Failure(f"{failed} of {len(jobs)} files failed")
