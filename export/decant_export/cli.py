"""``decant export``: checkpoint in, bundle out."""

import json
from pathlib import Path
from typing import Any

import click

# As decant_export.common.variants has them; kept here so that --help imports neither torch nor onnx (a test
# compares them).
PRECISIONS = ("float", "int8", "int16", "int8-static", "int4")
RUNTIMES = ("onnxruntime", "openvino")
TARGETS = ("npu", "coreml", "litert", "ncnn")  # of --to


def _listed(known: tuple[str, ...]) -> Any:
    """A callback for an option that takes names separated by commas."""

    def parse(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
        for name in names:
            if name not in known:
                raise click.BadParameter(f"{name!r} is unknown; {', '.join(known)} expected")
        if not names:
            raise click.BadParameter(f"{', '.join(known)} expected")
        return names

    return parse


def _floors(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    floors = {}
    for value in values:
        precision, _, number = value.partition("=")
        try:
            floors[precision] = float(number)
        except ValueError:
            raise click.BadParameter(f"{value!r}; PRECISION=DB expected, int8=45 say") from None
        if precision not in PRECISIONS:
            raise click.BadParameter(f"{precision!r} is unknown; {', '.join(PRECISIONS)} expected")
    return floors


@click.command(short_help="Write the bundle of a checkpoint: graphs, golden files, figures.")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Bundle folder to write.")
@click.option("--name", help="Name of the model, which files will contain. Default: the name of the folder.")
@click.option("--version", default="1.0.0", show_default=True, help="Version of the bundle.")
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="Folder of images, for --archive and for the check of the encoder. For a codec: photos on which its "
    "tables are counted, a folder or a file of `decant train pack`.",
)
@click.option(
    "--card",
    type=click.Path(path_type=Path, exists=True),
    help="Markdown file to put into the bundle as card.md.",
)
@click.option("--part", help="Export the synthesis of this size, of a codec that was trained with --beside.")
@click.option(
    "--encoder-of",
    type=click.Path(path_type=Path, exists=True),
    help="Share the encoder of this codec bundle, which must lie next to --out and have the same encoder.",
)
@click.option("--denoiser", type=click.Path(path_type=Path), help="Checkpoint of a denoiser to put in.")
@click.option(
    "--precisions",
    default=",".join(PRECISIONS),
    show_default=True,
    callback=_listed(PRECISIONS),
    help="Precisions of the decoder, separated by commas. Those that the family has are written.",
)
@click.option(
    "--runtimes",
    default=",".join(RUNTIMES),
    show_default=True,
    callback=_listed(RUNTIMES),
    help="Runtimes to write graphs for, separated by commas.",
)
@click.option(
    "--latent-coding",
    show_default="float16",
    help="How files store latents: float16, float32, or uint1 to uint16.",
)
@click.option(
    "--encoder/--no-encoder", default=True, help="Put the encoder in, or make a decoder-only bundle."
)
@click.option(
    "--golden",
    show_default="4; of a codec 9",
    type=click.IntRange(1, 999),
    help="Number of golden files.",
)
@click.option(
    "--floor",
    "floors",
    multiple=True,
    callback=_floors,
    metavar="PRECISION=DB",
    help="Lowest PSNR to the pixels of the float graph; repeatable.",
)
@click.option("--licence", help="Licence of the bundle.")
@click.option(
    "--commercial-use",
    type=click.Choice(["yes", "no", "unclear"]),
    help="Whether the weights may be used commercially. Default: unclear.",
)
@click.option("--data", help="Training data and its terms. Default: from the checkpoint.")
@click.option(
    "--archive", type=click.Path(path_type=Path), help="Write every image as NAME.dcn to this folder too."
)
@click.option(
    "--requantize",
    is_flag=True,
    help="CHECKPOINT is the bundle of a codec. Its int8 and int16 graphs and golden files are built again "
    "from its float graphs.",
)
@click.option(
    "--keep-weights",
    is_flag=True,
    help="With --requantize: only the limits beyond which int8 graphs compute in floats are chosen anew.",
)
@click.option(
    "--to",
    "target",
    type=click.Choice(TARGETS),
    help="CHECKPOINT is a bundle, by name or folder. Writes its decoder for other devices: npu gives a "
    "bundle with graphs of static shapes; coreml, litert and ncnn give folders of model files.",
)
@click.option(
    "--tile-side",
    type=click.IntRange(8, 256),
    default=32,
    show_default=True,
    help="With --to: side of a tile in latents of 16 pixels, a multiple of 4.",
)
@click.option("--force", is_flag=True, help="Replace the bundle in --out.")
@click.option("--json", "as_json", is_flag=True, help="Print the bundle's description as JSON.")
def export(
    checkpoint: Path,
    images: Path | None,
    archive: Path | None,
    encoder: bool,
    card: Path | None,
    as_json: bool,
    requantize: bool,
    keep_weights: bool,
    target: str | None,
    tile_side: int,
    **given: Any,
) -> None:
    """Write the bundle of CHECKPOINT: graphs, golden files, figures. Graphs that fail the check are left out.

    Some options are for some families; an option that the family does not have is an error.
    """
    if archive is not None and not encoder:
        raise click.UsageError("--archive encodes images, which --no-encoder leaves out")
    if keep_weights and not requantize:
        raise click.UsageError("--keep-weights is for --requantize")
    if target is not None:
        _convert(str(checkpoint), target, given["out"], tile_side, given["force"])
        return
    try:
        import onnx  # noqa: F401
        import torch
    except ImportError as error:
        from decant.errors import MissingExtraError

        raise MissingExtraError(
            f"export needs torch and onnx ({error}): pip install 'decant-codec[export]'"
        ) from None
    from decant.process.cores import usable_cores

    from decant_export.archiving import named_images, write_archive
    from decant_export.exporting import export as write_bundle

    torch.set_num_threads(usable_cores())
    options = {key: value for key, value in given.items() if value is not None and value != {}}
    options |= {"images": images, "report": lambda line: click.echo(line, err=True)}
    if requantize:
        bundle = _requantized(checkpoint, options | {"keep_weights": keep_weights})
    else:
        if archive is not None:
            named_images(checkpoint, images)  # refuses a family that has none, before the export
        bundle = write_bundle(
            checkpoint,
            options.pop("out"),
            encoder=encoder,
            card=None if card is None else card.read_text(encoding="utf-8"),
            **options,
        )
        if archive is not None:
            count = write_archive(bundle, named_images(checkpoint, images), archive)
            click.echo(f"{count} images encoded to {archive}", err=True)
    click.echo(json.dumps(bundle.manifest.raw, indent=2) if as_json else _table(bundle))


def _convert(source: str, target: str, out: Path, side: int, force: bool) -> None:
    """Write the decoder of the bundle ``source`` for ``target``; needs no torch."""
    from decant.bundles.bundle import open_bundle
    from decant.errors import MissingExtraError

    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f"--to needs onnx ({error}): pip install 'decant-codec[npu]'") from None
    from decant_export.devices.converting import convert

    def report(line: str) -> None:
        click.echo(line, err=True)

    written = convert(open_bundle(source), target, out, side=side, force=force, report=report)
    click.echo(written)


def _requantized(source: Path, options: dict[str, Any]) -> Any:
    """The bundle in ``source`` with graphs made anew; its version stays where none was given."""
    from decant_export.families.codec.requantize import requantize

    source_of = click.get_current_context().get_parameter_source
    given = [n for n in ("version", "precisions") if source_of(n) is click.core.ParameterSource.COMMANDLINE]
    chosen = {name: options[name] for name in ("images", "force", "report", "keep_weights", *given)}
    return requantize(source, options["out"], **chosen)


def _table(bundle: Any) -> str:
    from decant.commands.describe import table

    rows = [
        {
            "role": graph.role,
            "precision": graph.precision,
            "runtime": graph.runtime,
            "bytes": f"{graph.bytes}",
            "dB to float": "-" if graph.psnr_to_float_db is None else f"{graph.psnr_to_float_db:.1f}",
            "kMAC/pixel": f"{graph.kmac_per_pixel}",
            "": "",
        }
        for graph in bundle.graphs
    ]
    rows += [
        {
            "role": refused["role"],
            "precision": refused["precision"],
            "runtime": refused["runtime"],
            "bytes": "-",
            "dB to float": f"{refused['psnr_to_float_db'] or '-'}",
            "kMAC/pixel": "-",
            "": f"refused: {refused['reason']}",
        }
        for refused in bundle.manifest.raw["refused"]
    ]
    return f"{bundle.path} {bundle.name} {bundle.version} {bundle.model_id}\n{table(rows)}"
