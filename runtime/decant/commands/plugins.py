"""The click group behind ``decant``: one-line errors, and commands of other packages that are imported only
when they are called.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from decant.commands.extras import missing
from decant.commands.terminal import accept_every_character, say
from decant.errors import DecantError, MissingExtraError
from decant.text import escaped

GROUP = "decant.commands"

# What our own packages' commands do, said without importing them; the tests compare it with their help.
_SHORT_HELP = {
    "decant_bench.cli:bench": "Measure latency and quality of bundles beside JPEG, WebP, AVIF and JPEG XL.",
    "decant_bench.evaluate.cli:evaluate": "Measure a bundle on pictures, and write one HTML report.",
    "decant_reproduce.cli:reproduce": "Reproduce a published system and compare it with its figures.",
    "decant_export.cli:export": "Write the bundle of a checkpoint: graphs, golden files, figures.",
    "decant_studio.cli:serve": "Compare, convert, vote and read reports in a local web page.",
    "decant_train.cli:train": "Train a model: images in, checkpoint out.",
}


class Failure(click.ClickException):
    """An error that ends the command: one line on stderr, exit code 1."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        """Print ``decant: message``."""
        say(f"decant: {self.format_message()}")


class CommandGroup(click.Group):
    """A group that knows the entry points of ``decant.commands`` by name without importing them."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program; stdout and stderr take every character, whatever their encoding."""
        accept_every_character()
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; DecantError, OSError and MemoryError become one line."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            # It may quote a file's name.
            raise click.UsageError(escaped(error.format_message()), error.ctx) from None
        except DecantError as error:
            raise Failure(str(error)) from None
        except ModuleNotFoundError as error:
            if (error.name or "decant").startswith("decant"):
                raise
            command = ctx.invoked_subcommand or ""
            entry = _plugins().get(command)
            package = _package(entry) if entry else ""
            raise Failure(str(missing(error, f"decant {command}", package))) from None
        except BrokenPipeError:
            raise  # click ends quietly when whoever read our output has gone
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise Failure(f"{where}{error.strerror or error}") from None
        except MemoryError:
            raise Failure("not enough memory") from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Our own commands in the order of a picture's way, then the others by name."""
        return [*self.commands, *sorted(set(_plugins()) - set(self.commands))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Our own command, or the imported one of another package. Raises MissingExtraError when that cannot
        be imported.
        """
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        entry = _plugins().get(cmd_name)
        return None if entry is None else _load(entry)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in ``decant --help``, without importing anything for it."""
        plugins = _plugins()
        rows = []
        for name in self.list_commands(ctx):
            own = self.commands.get(name)
            rows.append((name, own.get_short_help_str(90) if own else _short_help(plugins[name])))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _plugins() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _short_help(entry: EntryPoint) -> str:
    known = _SHORT_HELP.get(entry.value)
    return known or f"Of the package {_package(entry)}; see its --help."


def _package(entry: EntryPoint) -> str:
    return entry.module.split(".")[0]


def _load(entry: EntryPoint) -> click.Command:
    try:
        command = entry.load()
    except ImportError as error:
        extra = _package(entry).removeprefix("decant_")
        raise MissingExtraError(
            f"decant {entry.name} cannot be loaded ({error}): pip install 'decant-codec[{extra}]'"
        ) from None
    if not isinstance(command, click.Command):
        raise MissingExtraError(
            f"decant {entry.name}: {entry.value} is no command; reinstall {_package(entry)}"
        )
    return command
