"""The codecs that ship in the wheel, and the decoders that each of them has."""

from pathlib import Path

from decant.bundles.bundle import Bundle

SHIPPED = Path(__file__).parents[2] / "artifacts" / "decant_bundles"
CODECS = ("nano", "lite", "full")


def decoders(name: str) -> list[tuple[str, str]]:
    """Runtime and precision of each synthesis of a codec. Export's gate may have refused its int8 graphs."""
    graphs = [graph for graph in Bundle.open(SHIPPED / name).graphs if graph.role == "synthesis"]
    return [(graph.runtime, graph.precision) for graph in graphs]


def precisions(name: str) -> list[str]:
    """``float``, the integers of ``int16``, and int8 where the codec has it."""
    have = {precision for _, precision in decoders(name)}
    assert have >= {"float", "int16"}, name
    return ["float", "int16", *(["int8"] if "int8" in have else [])]
