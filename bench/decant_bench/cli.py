"""``decant bench``: latency, quality, compare. Everything slow to import is imported inside the commands."""

from pathlib import Path
from typing import Any

import click

_PATH = click.Path(path_type=Path)
RUNTIMES = ("onnxruntime", "openvino")
METRICS = ("decode", "load", "load_cold", "first_decode", "import")  # of decant_bench.compare
_POSITIVE = click.IntRange(1)
_Parameter = click.Parameter | None
_Context = click.Context | None


class _Integers(click.ParamType[tuple[int, ...]]):
    """``1,2`` as (1, 2)."""

    name = "list"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Positive integers, without repeats, in order."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(dict.fromkeys(int(part) for part in str(value).split(",")))
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers such as 1,2", param, ctx)
        if min(numbers) < 1:
            self.fail(f"{value!r}: numbers from 1 on expected", param, ctx)
        return numbers


class _Names(click.ParamType[tuple[str, ...]]):
    """``a,b`` as ("a", "b")."""

    name = "list"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Names without repeats, in order."""
        if isinstance(value, tuple):
            return value
        return tuple(dict.fromkeys(part.strip() for part in str(value).split(",") if part.strip()))


@click.group()
def bench() -> None:
    """Measure latency and quality of bundles beside JPEG and its kin."""


@bench.command()
@click.argument("bundles", metavar="BUNDLE...", nargs=-1, required=True)
@click.option(
    "--images", metavar="DIR", type=_PATH, help="Pictures.  [default: crops of photos in the wheels]"
)
@click.option("--limit", type=_POSITIVE, default=64, show_default=True, help="Use so many pictures at most.")
@click.option(
    "--files",
    metavar="DIR",
    type=_PATH,
    help="Ready .dcn files of the pictures, for bundles without encoder.",
)
@click.option("--threads", type=_Integers(), default=(1, 2), help="Thread counts.  [default: 1,2]")
@click.option(
    "--runtime",
    "runtimes",
    type=_Names(),
    default=("onnxruntime", "openvino"),
    help="Runtimes.  [default: onnxruntime,openvino]",
)
@click.option("--device", type=click.Choice(["cpu", "npu", "gpu", "auto"]), default="cpu", show_default=True)
@click.option("--codecs", type=_Names(), help="Measured beside: jpeg-q90, png, avif, jxl ...")
@click.option("--rounds", type=_POSITIVE, default=20, show_default=True, help="Rounds of decodes.")
@click.option("--load-rounds", type=_POSITIVE, default=10, show_default=True, help="Rounds of loads.")
@click.option("--fresh-rounds", type=_POSITIVE, default=3, show_default=True, help="Processes each.")
@click.option("--min-samples", type=_POSITIVE, default=50, show_default=True, help="Decodes each.")
@click.option(
    "--min-seconds",
    type=click.FloatRange(0),
    default=0.25,
    show_default=True,
    help="Of decoding each, at least.",
)
@click.option(
    "--max-minutes", type=click.FloatRange(0), default=0.0, help="End earlier, after one round at least."
)
@click.option("--seed", default=0, show_default=True, help="Of the order of visits.")
@click.option("--bundle-dir", metavar="DIR", help="Look for bundles here first.")
@click.option("--json", "json_path", metavar="OUT", type=_PATH, help="Write the record here.")
def latency(
    bundles: tuple[str, ...],
    images: Path | None,
    limit: int,
    files: Path | None,
    bundle_dir: str | None,
    json_path: Path | None,
    **chosen: Any,
) -> None:
    """Load and decode times of every variant of BUNDLE, beside JPEG, PNG, WebP and AVIF in the same run."""
    from decant_bench import latency as lab
    from decant_bench import latency_table, record

    _known_runtimes(chosen["runtimes"])
    if chosen["codecs"] is None:
        chosen["codecs"] = lab.CODECS
    _known_codecs(chosen["codecs"])
    opened = _open(bundles, bundle_dir)
    pictures = _pictures(images, opened[0].image, limit)
    options = lab.Options(**chosen)
    result = lab.measure(opened, pictures, options, files=files, say=_say)
    if json_path is not None:
        record.write(result, json_path)
    click.echo(latency_table.as_text(result))


@bench.command()
@click.argument("first", metavar="A.json", type=_PATH)
@click.argument("second", metavar="B.json", type=_PATH)
@click.option("--metric", type=click.Choice(METRICS), default="decode", show_default=True)
@click.option("--force", is_flag=True, help="Compare records of different machines or configurations.")
@click.option(
    "--fail-above", metavar="RATIO", type=float, help="Exit 1 when a median grew by more than this."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(
    first: Path, second: Path, metric: str, force: bool, fail_above: float | None, as_json: bool
) -> None:
    """Compare two latency records of one machine: ratios of medians, and whether chance explains them."""
    import json

    from decant_bench import compare as comparing
    from decant_bench import record
    from decant_bench.errors import BenchError

    a, b = record.read(first, "latency"), record.read(second, "latency")
    found = comparing.compare(a, b, metric, force=force)
    click.echo(json.dumps(found.as_dict(), indent=1) if as_json else comparing.as_text(found))
    if fail_above is not None and (slower := found.slower_than(fail_above)):
        worst = max(slower, key=lambda line: line.change.ratio)
        raise BenchError(
            f"{len(slower)} of {len(found.lines)} medians grew by more than {fail_above}: "
            f"{worst.key} by {worst.change.ratio:.2f}"
        )


def _say(line: str) -> None:
    click.echo(f"decant: {line}", err=True)


def _open(names: tuple[str, ...], bundle_dir: str | None) -> list[Any]:
    """Bundles by name or folder."""
    from decant.bundle import Bundle, find_bundle

    return [
        Bundle.open(name) if Path(name, "bundle.json").is_file() else find_bundle(name, bundle_dir=bundle_dir)
        for name in names
    ]


def _pictures(folder: Path | None, size: tuple[int, int], limit: int) -> Any:
    from decant_bench import images
    from decant_bench.errors import BenchError

    if size[0] != size[1]:
        raise BenchError(f"a bundle of {size[0]}x{size[1]} pixels; square ones expected")
    return (
        images.wheel_crops(limit, size[0]) if folder is None else images.read_folder(folder, size[0], limit)
    )


def _known_runtimes(names: tuple[str, ...]) -> None:
    from decant.devices import RUNTIMES

    if unknown := [name for name in names if name not in RUNTIMES]:
        raise click.BadParameter(
            f"{unknown[0]!r} is unknown; known: {', '.join(RUNTIMES)}", param_hint="--runtime"
        )


def _known_codecs(labels: tuple[str, ...]) -> None:
    from decant_bench.baselines import setting

    for label in labels:
        try:
            setting(label)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--codecs") from None
