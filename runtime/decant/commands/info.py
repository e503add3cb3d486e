"""``decant info``."""

import json
from pathlib import Path
from typing import Any

import click

from decant.commands.options import bundle_dir_option, json_option
from decant.commands.running import PATH, bundle_or_file, input_stream
from decant.commands.terminal import show_lines


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=PATH)
@bundle_dir_option
@json_option
def info(paths: tuple[Path, ...], bundle_dir: str | None, as_json: bool) -> None:
    """Show what .dcn files or bundles contain.

    PATH is a .dcn file, - for standard input, a bundle's folder or a bundle's name.
    """
    from decant.commands.describe import as_text

    described = [_describe(path, bundle_dir) for path in paths]
    if as_json:
        show_lines(json.dumps(described[0] if len(described) == 1 else described, indent=2))
    else:
        show_lines("\n\n".join(map(as_text, described)))


def _describe(path: Path, bundle_dir: str | None) -> dict[str, Any]:
    from decant.bundles.bundle import Bundle, find_bundle
    from decant.commands.describe import describe_bundle, describe_file
    from decant.errors import BundleError
    from decant.formats import container
    from decant.formats.reading import read_dcn_stream

    path = bundle_or_file(path, bundle_dir)
    if path.is_dir():
        return describe_bundle(Bundle.open(path))
    with input_stream(path) as (stream, name):
        data = read_dcn_stream(stream, name)
    file = container.parse(data, name)
    try:
        bundle = find_bundle(file.name, file.model_id, bundle_dir)
    except BundleError:
        bundle = None  # what the file itself says is said all the same
    return describe_file(file, name, len(data), bundle)
