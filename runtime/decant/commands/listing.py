"""``decant models`` and ``decant devices``: what is here."""

import json

import click

from decant.commands.options import bundle_dir_option, json_option
from decant.commands.terminal import say, show_lines


@click.command()
@bundle_dir_option
@json_option
def models(bundle_dir: str | None, as_json: bool) -> None:
    """List the bundles that can be found."""
    from decant.bundles.bundle import list_bundles, search_folders
    from decant.commands.describe import describe_bundle, licence_lines, table

    found = list_bundles(bundle_dir)
    if as_json:
        show_lines(json.dumps([describe_bundle(bundle) for bundle in found], indent=2))
        return
    if not found:
        looked = ", ".join(map(str, search_folders(bundle_dir)))
        say(f"decant: no bundles; looked in {looked}")
        return
    rows = [
        {
            "name": bundle.name,
            "version": bundle.version,
            "model id": bundle.model_id[:16],
            "encodes": "yes" if bundle.has("analysis") else "no",
            "pixels": "x".join(map(str, bundle.image)) if any(bundle.image) else "any",
            "folder": str(bundle.path),
        }
        for bundle in found
    ]
    show_lines(table(rows))
    show_lines("\n" + "\n".join(licence_lines(found)))


@click.command()
@json_option
def devices(as_json: bool) -> None:
    """List the devices that the installed runtimes see, and say how codec streams are decoded."""
    from dataclasses import asdict

    from decant.backends.devices import RUNTIMES, available_devices
    from decant.codec.entropy import native
    from decant.commands.describe import table
    from decant.errors import MissingExtraError

    found = []
    for runtime in RUNTIMES:
        try:
            found += [asdict(device) for device in available_devices(runtime)]
        except MissingExtraError as error:
            say(f"decant: {error}")
    if as_json:
        show_lines(json.dumps(found, indent=2))
        return
    if found:
        show_lines(table(found))
    if native.missing():
        say(f"decant: {native.MISSING}")
    else:
        say(f"decant: codec streams are decoded {'in C' if native.available() else 'by numpy'}")
