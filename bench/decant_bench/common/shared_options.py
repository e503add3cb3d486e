"""What the commands of ``decant bench`` share: options, opening bundles, refusing unknown names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from decant_bench.common.allocator import ALLOCATORS

_PATH = click.Path(path_type=Path)
_POSITIVE = click.IntRange(1)
_Command = TypeVar("_Command", bound=Callable[..., Any])


def shared(command: _Command) -> _Command:
    """The options of every command that measures bundles on pictures."""
    options = (
        click.option(
            "--images",
            metavar="DIR",
            type=_PATH,
            help="Pictures.  [default: crops of sample photos of scikit-image and scikit-learn]",
        ),
        click.option(
            "--limit", type=_POSITIVE, help="Pictures, at most.  [default: 64 crops, or the folder]"
        ),
        click.option(
            "--fit",
            type=click.Choice(["crop", "stretch"]),
            default="crop",
            show_default=True,
            help="How to make squares of pictures: crop, or distort as published.",
        ),
        click.option(
            "--archive", metavar="DIR", type=_PATH, help="Take the pictures as ready .dcn files from here."
        ),
        click.option("--bundle-dir", metavar="DIR", help="Folder in which bundles are looked up first."),
        click.option("--json", "json_path", metavar="OUT", type=_PATH, help="Write the record here."),
    )
    for option in reversed(options):
        command = option(command)
    return command


allocator_option = click.option(
    "--allocator",
    type=click.Choice(ALLOCATORS),
    default=ALLOCATORS[0],
    show_default=True,
    help="kept: keep freed memory for the next decode (glibc). default: glibc's own choice.",
)


def say(line: str) -> None:
    """Progress, on stderr."""
    click.echo(f"decant: {line}", err=True)


def open_bundles(names: tuple[str, ...], bundle_dir: str | None) -> list[Any]:
    """Bundles by name or folder."""
    from decant.bundles.bundle import Bundle, find_bundle

    return [
        Bundle.open(name) if Path(name, "bundle.json").is_file() else find_bundle(name, bundle_dir=bundle_dir)
        for name in names
    ]


def known_runtimes(names: tuple[str, ...]) -> None:
    """Refuse, as wrong usage, a name of no runtime."""
    from decant.backends.devices import RUNTIMES

    if unknown := [name for name in names if name not in RUNTIMES]:
        raise click.BadParameter(
            f"{unknown[0]!r} is unknown; known: {', '.join(RUNTIMES)}", param_hint="--runtime"
        )


def known_codecs(labels: tuple[str, ...]) -> None:
    """Refuse, as wrong usage, a label of no codec setting."""
    from decant_bench.common.baselines import setting

    for label in labels:
        try:
            setting(label)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--codecs") from None
