"""``decant bundle slim``."""

import click

from decant.commands.options import bundle_dir_option
from decant.commands.terminal import show_lines


@click.group()
def bundle() -> None:
    """Make smaller bundles for clients."""


@bundle.command()
@click.argument("name")
@click.option("--out", required=True, metavar="DIR", help="New folder for the bundle.")
@click.option(
    "--runtime",
    type=click.Choice(["native", "onnxruntime", "openvino"]),
    default="native",
    show_default=True,
    help="Runtime that the client decodes with.",
)
@click.option(
    "--precision",
    type=click.Choice(["int8", "int16", "float32"]),
    help="Precision of the graphs. Default: int16 for native, int8 for the others.",
)
@bundle_dir_option
def slim(name: str, out: str, runtime: str, precision: str | None, bundle_dir: str | None) -> None:
    """Write a decoder-only bundle for clients, with the model id of NAME.

    NAME is a bundle's name, NAME@VERSION, or a bundle's folder. The new bundle holds the decoder for one
    runtime in one precision, two golden files and the card.
    """
    from decant.slim import slim as write

    made = write(name, out, runtime=runtime, precision=precision, bundle_dir=bundle_dir)
    show_lines(f"{made.path}: {made.name} {made.version}, id {made.model_id[:16]}, {made.bytes} bytes")
