"""``decant models`` and ``decant devices``: what is here."""

import json
from typing import TYPE_CHECKING, Any

import click

from decant.commands.options import bundle_dir_option, json_option
from decant.commands.terminal import say, show_lines

if TYPE_CHECKING:
    from decant.bundles.known_models import KnownModel


@click.group(invoke_without_command=True)
@bundle_dir_option
@json_option
@click.option("--all", "every", is_flag=True, help="List released models that are not installed, too.")
@click.pass_context
def models(context: click.Context, bundle_dir: str | None, as_json: bool, every: bool) -> None:
    """List the bundles that can be found: name, version, model id, size and terms."""
    if context.invoked_subcommand is not None:
        if bundle_dir is not None or as_json or every:
            raise click.UsageError(f"options go after {context.invoked_subcommand}")
        return
    from decant.bundles.bundle import list_bundles, search_folders
    from decant.bundles.known_models import EARLIER_PACKAGE
    from decant.bundles.names import version_key
    from decant.commands.describe import (
        commercial_use_of,
        describe_bundle,
        describe_missing,
        licence_lines,
        table,
    )

    found = sorted(list_bundles(bundle_dir), key=lambda bundle: version_key(bundle.version), reverse=True)
    missing = _missing({bundle.model_id for bundle in found}) if every else []
    if as_json:
        described = [describe_bundle(bundle) for bundle in found]
        show_lines(json.dumps([*described, *map(describe_missing, missing)], indent=2))
        return
    if not found and not missing:
        looked = ", ".join(map(str, search_folders(bundle_dir)))
        say(f"decant: no bundles; looked in {looked}")
        return
    rows = [
        {
            "name": bundle.name,
            "version": bundle.version,
            "model id": bundle.model_id[:16],
            "MB": f"{bundle.bytes / 1e6:.2f}",
            "commercial use": commercial_use_of(bundle) or "not stated",
            "encodes": "yes" if bundle.has("analysis") else "no",
            "pixels": "x".join(map(str, bundle.image)) if any(bundle.image) else "any",
            "folder": str(bundle.path),
        }
        for bundle in found
    ]
    rows += [
        {
            "name": model.name,
            "version": model.versions[-1],
            "model id": model.model_id[:16],
            "MB": "-",
            "commercial use": model.commercial_use,
            "encodes": "-",
            "pixels": "-",
            "folder": "not here: " + (EARLIER_PACKAGE if model.commit else "decant-codec") + " has it",
        }
        for model in missing
    ]
    rows.sort(key=lambda row: row["name"])
    show_lines(table(rows))
    if found:
        show_lines("\n" + "\n".join(licence_lines(found)))


def _missing(here: set[str]) -> "list[KnownModel]":
    """Released models that are not ``here``, by name and version."""
    from decant.bundles.known_models import known_models
    from decant.bundles.names import version_key

    left = [model for key, model in known_models().items() if key not in here]
    return sorted(left, key=lambda model: (model.name, version_key(model.versions[-1])))


@models.command()
@click.argument("model", metavar="ID")
@click.option("--from", "mirror", metavar="URL", help="Mirror: an http or https URL, or a folder.")
@click.option("--into", metavar="DIR", help="Folder for it; without it, bundles in the user's data folder.")
def fetch(model: str, mirror: str | None, into: str | None) -> None:
    """Fetch the bundle of a model from a mirror, and check it.

    ID is a model id (16 to 64 hexadecimal digits), or NAME@VERSION of a released model. Without --from the
    mirror is DECANT_MIRROR, or that of the settings file. Nothing is fetched unless this command is called.
    """
    from decant.bundles.fetch import fetch as fetch_bundle

    bundle = fetch_bundle(model, mirror, into)
    show_lines(
        f"{bundle.path}: {bundle.name} {bundle.version}, id {bundle.model_id[:16]}, {bundle.bytes} bytes"
    )


@click.command()
@json_option
@click.option(
    "--virtual", is_flag=True, help="Also devices that graphs can be compiled for and that are not here."
)
def devices(as_json: bool, virtual: bool) -> None:
    """List the devices that the installed runtimes see, and say how codec streams are decoded.

    For each: the runtime, what drives it, its driver, what it computes in, and whether it takes graphs of
    static shapes alone.
    """
    from dataclasses import asdict

    from decant.backends.devices import RUNTIMES, available_devices, virtual_devices
    from decant.backends.plugins import failures
    from decant.codec.entropy import native
    from decant.commands.describe import table
    from decant.errors import MissingExtraError

    found: list[dict[str, Any]] = []
    for runtime in RUNTIMES:
        try:
            found += [asdict(device) for device in available_devices(runtime)]
        except MissingExtraError as error:
            say(f"decant: {error}")
    if virtual:
        found += [asdict(device) for device in virtual_devices()]
    for plugin, reason in failures().items():
        say(f"decant: provider plugin {plugin} cannot be loaded: {reason}")
    if as_json:
        show_lines(json.dumps(found, indent=2))
        return
    if found:
        show_lines(table([_device_row(device) for device in found]))
    if native.missing():
        say(f"decant: {native.MISSING}")
    else:
        say(f"decant: codec streams are decoded {'in C' if native.available() else 'by numpy'}")


def _device_row(device: dict[str, Any]) -> dict[str, str]:
    return {
        "runtime": device["runtime"],
        "kind": device["kind"],
        "name": device["name"],
        "id": device["id"],
        "provider": device["provider"] or "-",
        "driver": device["driver"] or "-",
        "precisions": ", ".join(device["precisions"]) or "-",
        "static shapes": "yes" if device["static_shapes"] else "no",
    }
