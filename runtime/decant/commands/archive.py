"""``decant archive``: pack, unpack, list, extract, verify, merge, stat."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from decant.commands.options import (
    bundle_dir_option,
    combined,
    json_option,
    png_level_option,
    quiet_option,
    size_limit_option,
)
from decant.commands.plugins import Failure
from decant.commands.progress import Shown
from decant.commands.running import stopped_by_signals
from decant.commands.terminal import say, show, show_lines
from decant.settings import DEFAULT_MODEL, LARGEST_EFFORT, LARGEST_QUALITY
from decant.text import escaped

if TYPE_CHECKING:
    from decant.archive.settings import PackSettings

_workers = click.option(
    "--workers",
    type=click.IntRange(0, 1024),
    default=0,
    show_default=True,
    help="Processes; 0 means all cores.",
)
_engine = click.option(
    "--engine",
    type=click.Choice(["local", "serial", "ray"]),
    default="local",
    show_default=True,
    help="Processes of this machine, this process alone, or a Ray cluster.",
)
_resume = click.option("--resume", is_flag=True, help="Go on with what an earlier run left unfinished.")
_running = combined(_workers, _engine, _resume, quiet_option)
_place = click.argument("place", metavar="ARCHIVE")


@click.group()
def archive() -> None:
    """Many pictures as one Parquet data set with its decoder: pack, unpack, look up, verify.

    ARCHIVE is a folder, or an address such as s3://bucket/folder.
    """


@archive.command()
@click.argument("places", metavar="SOURCE... OUT", nargs=-1, required=True)
@click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    metavar="NAME",
    help="Bundle to encode with: a name, or a bundle's folder.",
)
@click.option("--quality", type=click.IntRange(1, LARGEST_QUALITY), help="1 to 100.")
@click.option("--effort", type=click.IntRange(0, LARGEST_EFFORT), help="0 to 9, as for decant encode.")
@click.option("--target-bpp", type=click.FloatRange(0, min_open=True), metavar="BITS", help="Bits a pixel.")
@click.option(
    "--target-psnr", type=click.FloatRange(0, min_open=True), metavar="DB", help="At least so many dB."
)
@click.option("--to-srgb", is_flag=True, help="Convert colours to sRGB by the ICC profile.")
@click.option("--depth", type=click.Choice(["8"]), help="Round 16 bits to 8; without it they are refused.")
@click.option(
    "--embed",
    type=click.Choice(["slim", "full", "none"]),
    default="slim",
    show_default=True,
    help="What of the bundle goes into the archive: its decoder, all of it, or nothing.",
)
@click.option(
    "--keep-duplicates", is_flag=True, help="Encode equal files again instead of storing them once."
)
@click.option(
    "--adapt",
    "level",
    type=click.Choice(["tables", "prior", "synthesis", "whole"]),
    help="First adapt the bundle to the pictures, as decant adapt does; used where the archive gets smaller.",
)
@click.option(
    "--adapt-minutes",
    "minutes",
    type=click.FloatRange(0, min_open=True),
    default=5.0,
    show_default=True,
    help="How long to train, at levels above tables.",
)
@_running
@bundle_dir_option
@size_limit_option
def pack(
    places: tuple[str, ...],
    level: str | None,
    minutes: float,
    resume: bool,
    engine: str,
    workers: int,
    quiet: bool,
    depth: str | None,
    **settings: Any,
) -> None:
    """Pack pictures into a new archive.

    SOURCE is a folder, a quoted glob pattern, a tar file (a WebDataset shard), a Parquet file with a column
    of images, or an address. A picture that cannot be packed is entered into the failures table, and the exit
    code is 1. After a kill, --resume goes on.
    """
    if len(places) < 2:
        raise click.UsageError("SOURCE... OUT: at least one source and the archive to make expected")
    *sources, out = places
    with _needs_extra(), stopped_by_signals():
        from decant.archive.packing import pack as run
        from decant.archive.settings import PackSettings

        given = PackSettings(depth=None if depth is None else int(depth), **settings)
        if level is not None:
            given = _adapted(sources, out, given, level=level, minutes=minutes, resume=resume, quiet=quiet)
        with Shown("packed", quiet) as report:
            made = run(sources, out, given, resume=resume, engine=engine, workers=workers, report=report)
    if not quiet:
        share = f", {made.bytes / made.source_bytes:.3f} of the sources' bytes" if made.source_bytes else ""
        say(
            f"{out}: {made.pictures} pictures ({made.duplicates} duplicates), {made.bytes} bytes, "
            f"of which {made.bundle_bytes} are the decoder{share}"
        )
    if made.failed:
        raise Failure(
            f"{made.failed} of {made.pictures + made.failed} pictures failed; decant archive list "
            f"--failures {out} names them"
        )


def _adapted(
    sources: list[str],
    out: str,
    given: "PackSettings",
    *,
    level: str,
    minutes: float,
    resume: bool,
    quiet: bool,
) -> "PackSettings":
    """The settings to pack with, and a line that says what was measured."""
    from decant.archive.adapting import adapted

    tell = (lambda line: None) if quiet else say
    found = adapted(sources, out, given, level=level, minutes=minutes, resume=resume, report=tell)
    if found.gain is not None and found.decoders is not None:
        gain, (before, after) = found.gain, found.decoders
        tell(
            f"adapted, {level}: {gain.bytes_before:.0f} -> {gain.bytes_after:.0f} bytes per picture at "
            f"{gain.psnr_db:.2f} dB, decoder {before} -> {after} bytes: "
            + (
                f"used; the bundle is {found.settings.model}"
                if found.used
                else "not used, the archive would grow"
            )
        )
    return found.settings


@archive.command()
@_place
@click.argument("out", metavar="OUT")
@click.option(
    "--output",
    type=click.Choice(["png", "jpeg", "webp", "ppm", "npy", "dcn"]),
    default="png",
    show_default=True,
    help="Of the pictures; dcn gives the stored files.",
)
@click.option("--tar", is_flag=True, help="A tar file for each part instead of single files.")
@click.option("--quality", type=click.IntRange(1, 100), help="Of jpeg and webp; webp without it is lossless.")
@png_level_option
@click.option("--upright", is_flag=True, help="Turn pictures as their EXIF orientation says.")
@_running
@bundle_dir_option
@size_limit_option
def unpack(
    place: str, out: str, resume: bool, engine: str, workers: int, quiet: bool, **settings: Any
) -> None:
    """Decode all pictures of an archive into the folder OUT.

    A picture that cannot be decoded is named, the others go on, and the exit code is 1.
    """
    with _needs_extra(), stopped_by_signals():
        from decant.archive.settings import UnpackSettings
        from decant.archive.unpacking import unpack as run

        given = UnpackSettings(**settings)
        with Shown("unpacked", quiet) as report:
            failures = run(place, out, given, resume=resume, engine=engine, workers=workers, report=report)
    for line in failures:
        say(f"decant: {line}")
    if failures:
        raise Failure(f"{len(failures)} pictures failed")


@archive.command("list")
@_place
@click.option("--prefix", default="", metavar="TEXT", help="Only keys that begin so.")
@click.option("--failures", is_flag=True, help="The pictures that could not be packed, and why.")
@json_option
def list_command(place: str, prefix: str, failures: bool, as_json: bool) -> None:
    """List the pictures of an archive: key, size in pixels, bytes, status."""
    with _needs_extra():
        from decant.archive.reader import Archive
        from decant.archive.statistics import failures_of

        opened = Archive(place)
        rows = failures_of(opened) if failures else opened.rows()
        for row in rows:
            if not row["key"].startswith(prefix):
                continue
            if as_json:
                show(json.dumps({name: _plain(value) for name, value in row.items()}))
            elif failures:
                show(f"{row['key']}: {row['error']}")
            elif row["same_as"]:
                show(f"{row['key']}  same as {row['same_as']}")
            else:
                show(f"{row['key']}  {row['width']}x{row['height']}  {row['bytes']} bytes  {row['status']}")


@archive.command()
@_place
@click.argument("keys", metavar="KEY... OUT", nargs=-1, required=True)
@bundle_dir_option
def extract(place: str, keys: tuple[str, ...], bundle_dir: str | None) -> None:
    """Decode single pictures by key into the file or folder OUT.

    The suffix of OUT says the format: .png, .jpg, .webp, .ppm, .npy or .dcn; in a folder, PNG.
    """
    if len(keys) < 2:
        raise click.UsageError("KEY... OUT: at least one key and the file or folder to write expected")
    *wanted, out = keys
    target = Path(out)
    if len(wanted) > 1 and not target.is_dir():
        raise click.UsageError(f"{escaped(out)}: several keys need a folder that exists")
    with _needs_extra():
        from decant.archive.extraction import extract as run

        for key in wanted:
            show(str(run(place, key, target, bundle_dir)))


@archive.command()
@_place
@click.option("--sample", default="100%", metavar="SHARE", help="Check a share of the pictures: 1% or 0.01.")
@_workers
@_engine
@quiet_option
@bundle_dir_option
@json_option
def verify(
    place: str, sample: str, workers: int, engine: str, quiet: bool, bundle_dir: str | None, as_json: bool
) -> None:
    """Check an archive: hashes of files and payloads, and that all symbols decode.

    Damage is named by key; the exit code is 1 where there is any.
    """
    with _needs_extra(), stopped_by_signals():
        from decant.archive.verification import verify as run

        with Shown("verified", quiet) as report:
            faults = run(
                place,
                sample=_share(sample),
                bundle_dir=bundle_dir,
                engine=engine,
                workers=workers,
                report=report,
            )
    if as_json:
        show_lines(json.dumps({"path": place, "passed": not faults, "faults": faults}, indent=2))
    else:
        for fault in faults:
            show(f"FAIL {fault}")
    if faults:
        raise Failure(f"{place}: {len(faults)} faults")
    if not quiet and not as_json:
        show(f"ok   {place}")


@archive.command()
@click.argument("places", metavar="ARCHIVE... OUT", nargs=-1, required=True)
def merge(places: tuple[str, ...]) -> None:
    """Merge archives into a new one. Nothing is decoded; keys must differ."""
    if len(places) < 3:
        raise click.UsageError("ARCHIVE... OUT: at least two archives and the one to make expected")
    *archives, out = places
    with _needs_extra():
        from decant.archive.merging import merge as run

        made = run(archives, out)
    say(f"{out}: {made.pictures} pictures in {len(made.parts)} parts, {made.bytes} bytes")


@archive.command()
@_place
@json_option
def stat(place: str, as_json: bool) -> None:
    """Count what an archive holds: pictures, bytes, models, sizes."""
    with _needs_extra():
        from decant.archive.reader import Archive
        from decant.archive.statistics import statistics

        found = statistics(Archive(place))
    if as_json:
        show_lines(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        show(f"{name.replace('_', ' ')}: {value}")


def _share(text: str) -> float:
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise click.UsageError(f"--sample {escaped(text)}: a share such as 1% or 0.01 expected") from None


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if hasattr(value, "isoformat") else value


@contextmanager
def _needs_extra() -> Iterator[None]:
    """The error with the pip command where pyarrow or fsspec is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "decant").startswith("decant"):
            raise
        from decant.commands.extras import missing

        raise missing(error, "decant archive") from None
