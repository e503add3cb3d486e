"""``decant verify``."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from decant.commands.options import (
    bundle_dir_option,
    json_option,
    quiet_option,
    size_limit_option,
    threads_option,
)
from decant.commands.plugins import Failure
from decant.commands.running import PATH, bundle_or_file, input_stream, skipped_text
from decant.commands.terminal import say, show, show_lines
from decant.errors import DecantError
from decant.formats.plan import FolderPlan, plan_folder

if TYPE_CHECKING:
    from decant.verify import Finding


@dataclass
class _Checks:
    """The checks of one path: ``kind`` is file, folder or bundle; ``findings`` come as they are made."""

    kind: str
    findings: "Iterator[Finding]"
    plan: FolderPlan = field(default_factory=FolderPlan)


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=PATH)
@bundle_dir_option
@json_option
@quiet_option
@threads_option
@size_limit_option
@click.option(
    "--require-model",
    is_flag=True,
    help="Fail for a file whose model is not installed. Otherwise header, checksums and alpha are checked.",
)
def verify(paths: tuple[Path, ...], as_json: bool, quiet: bool, **options: Any) -> None:
    """Check .dcn files, folders of them, or bundles.

    PATH is a .dcn file, - for standard input, a folder of .dcn files, a bundle's folder or a bundle's name.

    Of a .dcn file, every checksum is checked and all symbols are decoded. Of a bundle, every file is checked,
    and every graph runs on every runtime and device of this machine. Lines that begin with skip say what
    could not be checked.
    """
    reports = []
    total = 0
    failed: list[Finding] = []
    for path in paths:
        report: dict[str, Any] = {"path": str(path), "kind": None, "findings": []}
        reports.append(report)
        before = len(failed)
        for finding in _findings(path, report, alone=len(paths) == 1 and not as_json, quiet=quiet, **options):
            total += 1
            if finding.passed is False:
                failed.append(finding)
            if as_json:
                report["findings"].append(asdict(finding))
            elif not quiet or not finding.passed:
                show(str(finding))
        report["passed"] = len(failed) == before
    if as_json:
        show_lines(json.dumps(reports[0] if len(reports) == 1 else reports, indent=2))
    if failed:
        where = f"{paths[0]}: " if len(paths) == 1 else ""
        raise Failure(f"{where}{len(failed)} of {total} checks failed; the first: {failed[0].what}")


def _findings(
    path: Path, report: dict[str, Any], *, alone: bool, quiet: bool, **options: Any
) -> "Iterator[Finding]":
    """The findings for one path; fills in the report's ``kind`` and ``skipped``.

    What is wrong with a single path that is asked for ``alone`` is raised, so that it is said on stderr.
    """
    from decant.verify import Finding

    try:
        checks = _checks(path, **options)
    except (DecantError, OSError, Failure) as error:
        if alone:
            raise
        yield Finding(False, str(path), str(error))
        return
    report["kind"] = checks.kind
    passed = found = unknown = 0
    for finding in checks.findings:
        found += 1
        passed += finding.passed is not False
        unknown += finding.passed is None
        yield finding
    if checks.kind == "folder":
        report["skipped"] = dict(checks.plan.skipped)
        skipped = skipped_text(checks.plan)
        if not quiet:
            without = f"; {unknown} without their model: symbols not checked" if unknown else ""
            say(f"{passed} of {found} files in {path} are whole{without}{skipped and '; '}{skipped}")


def _checks(
    path: Path, bundle_dir: str | None, threads: int, size_limit: int, require_model: bool
) -> _Checks:
    from decant.verify import FileVerifier, Finding, verify_bundle, verify_files

    path = bundle_or_file(path, bundle_dir)
    if (path / "bundle.json").exists():
        return _Checks("bundle", verify_bundle(path, threads))
    if path.is_dir():
        plan = plan_folder(path, path, (".dcn",), "", kind=".dcn file", keep_suffix=True)
        if not plan.total:
            raise Failure(f"{path}: no .dcn file in it, and no bundle.json")

        def findings() -> Iterator[Finding]:
            for failed, message in plan.failed:
                yield Finding(False, str(failed), message)
            files = [source for source, _ in plan.jobs]
            yield from verify_files(files, bundle_dir, size_limit, threads, require_model=require_model)

        return _Checks("folder", findings(), plan)
    from decant.formats.reading import read_dcn_stream

    with input_stream(path) as (stream, name):
        data = read_dcn_stream(stream, name)
    verifier = FileVerifier(bundle_dir, size_limit, require_model=require_model)
    return _Checks("file", iter([verifier(data, name)]))
