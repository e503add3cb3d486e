"""``decant transcode``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from decant.commands.options import (
    json_option,
    quiet_option,
    running_options,
    skip_existing_option,
    target_bpp_option,
    target_ssimulacra2_option,
    tune_option,
)
from decant.commands.plugins import Failure
from decant.commands.running import (
    PATH,
    check_one_output,
    input_stream,
    memory_for,
    output_of,
    require,
    require_folder_output,
    run_folder,
    skipped_text,
    stopped_by_signals,
    write_output,
)
from decant.commands.terminal import say, show_lines
from decant.formats.plan import plan_folder
from decant.settings import DEFAULT_EFFORT, DEFAULT_MODEL, LARGEST_EFFORT, LARGEST_QUALITY

if TYPE_CHECKING:
    from decant.transcoding import FileTranscoder, Transcoded


@click.command()
@click.argument("source", metavar="IN", type=PATH)
@click.argument("target", metavar="OUT", type=PATH)
@click.option(
    "--model",
    metavar="NAME",
    default=DEFAULT_MODEL,
    show_default=True,
    help="Bundle to encode with: NAME, NAME@VERSION, or a bundle's folder.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, LARGEST_QUALITY),
    help=f"1 to {LARGEST_QUALITY}. Without it and without a target, each file keeps its quality.",
)
@click.option(
    "--effort",
    type=click.IntRange(0, LARGEST_EFFORT),
    help=f"As for decant encode. Default {DEFAULT_EFFORT}.",
)
@target_bpp_option
@click.option(
    "--target-psnr",
    type=click.FloatRange(0, min_open=True),
    metavar="DB",
    help="Use the lowest quality with at least this PSNR to the pixels of the old file.",
)
@target_ssimulacra2_option
@tune_option
@skip_existing_option
@json_option
@quiet_option
@running_options
def transcode(
    source: Path,
    target: Path,
    model: str,
    quality: int | None,
    effort: int | None,
    target_bpp: float | None,
    target_psnr: float | None,
    target_ssimulacra2: float | None,
    tune: str | None,
    skip_existing: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Encode .dcn files again with another model: a file, or every .dcn file of a folder.

    Each file is decoded with the model that it names. The output gives both sizes, and the PSNR of the
    new file's pixels against the old file's. Files of the new model are copied. EXIF, ICC, XMP and
    alpha are kept.
    """
    from decant.encoder import Encoder
    from decant.transcoding import FileTranscoder

    require(source)
    folder = source.is_dir()
    if folder:
        require_folder_output(target)
        plan = plan_folder(source, target, (".dcn",), ".dcn", kind=".dcn file", skip_existing=skip_existing)
        if not plan.total and not plan.skipped["existing"]:
            found = skipped_text(plan)
            raise Failure(f"{source}: nothing to do: no .dcn file in it{found and '; '}{found}")
    else:
        target = output_of(source, target, ".dcn")
        check_one_output(source, target)
        if skip_existing and target.is_file():
            if not quiet:
                say(f"decant: {target}: exists, skipped")
            return
    work = FileTranscoder(
        Encoder(model, **options),
        quality=quality,
        effort=effort,
        target_bpp=target_bpp,
        target_psnr=target_psnr,
        target_ssimulacra2=target_ssimulacra2,
        tune=tune,
        bundle_dir=options["bundle_dir"],
        decoder_options={name: value for name, value in options.items() if name != "bundle_dir"},
    )
    with stopped_by_signals():
        if not folder:
            _transcode_one(source, target, work)
        else:
            try:
                run_folder(plan, target, work, threads=options["threads"], quiet=quiet)
            finally:
                records = sorted(work.records, key=lambda record: record.source)
                if as_json:
                    show_lines(json.dumps([asdict(record) for record in records], indent=2))
                elif records and not quiet:
                    say(f"decant: {_total(records)}")
            return
    (record,) = work.records
    if as_json:
        show_lines(json.dumps(asdict(record), indent=2))
    elif not quiet:
        say(f"decant: {_line(record)}")


def _transcode_one(source: Path, target: Path, work: "FileTranscoder") -> None:
    from decant.formats.reading import read_dcn_stream

    with memory_for(source), input_stream(source) as (stream, name):
        data, record = work.transcode(read_dcn_stream(stream, name), name, str(target))
    write_output(target, lambda out: out.write(data))
    work.records.append(record)


def _line(record: "Transcoded") -> str:
    if record.unchanged:
        return f"{record.target}: {record.new_model} {record.new_version} already, copied"
    return (
        f"{record.target}: {record.old_model} {record.old_version} -> "
        f"{record.new_model} {record.new_version}, {record.old_bytes} -> {record.new_bytes} bytes, "
        f"{_decibels(record)} to what the old file decodes to"
    )


def _total(records: "list[Transcoded]") -> str:
    """One line of a folder: bytes before and after, and the file that lost most."""
    old, new = (sum(getattr(record, name) for record in records) for name in ("old_bytes", "new_bytes"))
    copied = sum(record.unchanged for record in records)
    lossy = [record for record in records if record.psnr_db is not None]
    text = f"{old} -> {new} bytes" + (f", {copied} copied that were of this model already" if copied else "")
    if not lossy:
        return text
    worst = min(lossy, key=lambda record: record.psnr_db or 0)
    mean = sum(record.psnr_db or 0 for record in lossy) / len(lossy)
    return (
        f"{text}; PSNR to what the old files decode to: {mean:.1f} dB in the mean, lowest {_decibels(worst)} "
        f"({worst.source})"
    )


def _decibels(record: "Transcoded") -> str:
    return "equal pixels" if record.psnr_db is None else f"{record.psnr_db:.1f} dB"
