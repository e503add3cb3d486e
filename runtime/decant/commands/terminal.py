"""What ``decant`` prints: escaped, and in whatever encoding the terminal has."""

import sys

import click

from decant.text import escaped


def say(line: str) -> None:
    """One message, one line on stderr; whatever a terminal would obey rather than show is escaped."""
    _over_progress()
    click.echo(escaped(line), err=True)


def say_progress(text: str) -> None:
    """A short text at the beginning of the line on a terminal, which the next message overwrites."""
    click.echo(f"\r{escaped(text)}", err=True, nl=False)
    _progress[:] = [len(text)]


def show(line: str) -> None:
    """One line of a result on stdout, escaped in the same way."""
    click.echo(escaped(line))


def show_lines(text: str) -> None:
    """A result of several lines on stdout: a table or JSON, whose cells are escaped already."""
    click.echo(escaped(text, keep="\n"))


_progress: list[int] = []  # the length of the progress text on the terminal's line


def _over_progress() -> None:
    if _progress:
        click.echo(f"\r{' ' * _progress[0]}\r", err=True, nl=False)
        _progress.clear()


def accept_every_character() -> None:
    """Let stdout and stderr print what their encoding lacks (a name in cp1252) as a backslash escape."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
