"""The command ``decant``: positional input and output, messages on stderr, exit code 0, 1 (an error) or 2
(usage).

Commands of the other stages join through the entry-point group ``decant.commands`` and are imported only when
they are called. Whatever is slow to import is imported inside the command that needs it.
"""

import logging
import warnings
from typing import Any

import click

from decant.commands.adapt import adapt
from decant.commands.archive import archive
from decant.commands.bundle import bundle as bundle_group
from decant.commands.decode import decode
from decant.commands.encode import encode
from decant.commands.fit import fit
from decant.commands.info import info
from decant.commands.listing import devices, models
from decant.commands.plugins import CommandGroup
from decant.commands.terminal import say
from decant.commands.transcode import transcode
from decant.commands.verify import verify
from decant.errors import DecantWarning


class _Messages(logging.Handler):
    """Library warnings as our one-line messages on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"decant: {record.getMessage()}")


def _show_version(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
    """Print the versions of the package and of the bundles that come with it, and end."""
    if not asked or context.resilient_parsing:
        return
    from importlib.metadata import version

    from decant.bundles.bundle import installed_bundles

    click.echo(f"decant, version {version('decant-codec')}")
    for bundle in installed_bundles():
        made_by = f", made by decant {bundle.decant_version}" if bundle.decant_version else ""
        click.echo(f"{bundle.name}, version {bundle.version}, model id {bundle.model_id[:16]}{made_by}")
    context.exit()


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the versions of decant and of the bundles that come with it.",
)
def main() -> None:
    """Encode, decode, inspect and verify .dcn pictures and the bundles that decode them."""
    logger = logging.getLogger("decant")
    if not any(isinstance(handler, _Messages) for handler in logger.handlers):
        logger.addHandler(_Messages())
        logger.propagate = False
    warnings.simplefilter("always", DecantWarning)
    if warnings.showwarning is not _show_warning:
        _show_other.append(warnings.showwarning)
        warnings.showwarning = _show_warning


_show_other: list[Any] = []  # what showed warnings before


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **also: Any) -> None:
    """Our warnings as one line on stderr, others as before."""
    if issubclass(category, DecantWarning):
        say(f"decant: {message}")
    else:
        _show_other[-1](message, category, *where, **also)


_COMMANDS = (encode, decode, transcode, info, verify, models, bundle_group, adapt, archive, devices, fit)
for _command in _COMMANDS:
    main.add_command(_command)

if __name__ == "__main__":
    main()
