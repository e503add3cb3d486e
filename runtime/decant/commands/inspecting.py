"""``decant info`` and ``decant verify``."""

import json
from pathlib import Path

import click

from decant.commands.options import bundle_dir_option, json_option, size_limit_option, threads_option
from decant.commands.running import PATH, require


@click.command()
@click.argument("path", type=PATH)
@bundle_dir_option
@json_option
def info(path: Path, bundle_dir: str | None, as_json: bool) -> None:
    """Say what a .dcn file or a bundle holds."""
    from decant import container
    from decant.bundle import Bundle, find_bundle
    from decant.describe import as_text, describe_bundle, describe_file
    from decant.errors import BundleError

    require(path)
    if path.is_dir():
        described = describe_bundle(Bundle.open(path))
    else:
        data = path.read_bytes()
        file = container.parse(data, str(path))
        try:
            bundle = find_bundle(file.name, file.model_id, bundle_dir)
        except BundleError:
            bundle = None  # what the file itself says is said all the same
        described = describe_file(file, str(path), len(data), bundle)
    click.echo(json.dumps(described, indent=2) if as_json else as_text(described))


@click.command()
@click.argument("path", type=PATH)
@bundle_dir_option
@threads_option
@size_limit_option
def verify(path: Path, bundle_dir: str | None, threads: int, size_limit: int) -> None:
    """Check a .dcn file, or a bundle: every file, and every graph on every runtime and device here."""
    from decant.verify import require_passed, verify_bundle, verify_file

    require(path)
    if not path.is_dir():
        click.echo(verify_file(path, bundle_dir, size_limit))
        return
    findings = []
    for finding in verify_bundle(path, threads):
        click.echo(finding)
        findings.append(finding)
    require_passed(findings, str(path))
