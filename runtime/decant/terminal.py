"""What ``decant`` prints: escaped, and in whatever encoding the terminal has."""

import sys

import click

from decant.text import escaped


def say(text: str, *, nl: bool = True) -> None:
    """One message on stderr; whatever a terminal would obey rather than show is escaped."""
    click.echo(escaped(text, "\n\r"), err=True, nl=nl)


def show(text: str) -> None:
    """A result on stdout, escaped in the same way."""
    click.echo(escaped(text, "\n"))


def accept_every_character() -> None:
    """Let stdout and stderr print what their encoding lacks (a name in cp1252) as a backslash escape."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
