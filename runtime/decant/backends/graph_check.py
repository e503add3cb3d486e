"""The check that every graph passes before a runtime reads it, whoever made the bundle."""

from collections.abc import Sequence

from decant.backends.ir_check import check_ir
from decant.backends.onnx_check import check_onnx


def check_graph(runtime: str, blobs: Sequence[bytes], where: str) -> None:
    """Refuse the graph in ``blobs`` (its files, in the order of ``manifest.graph_paths``) unless it holds
    only what ``decant.backends.graph_limits`` allows. ``where`` names it in messages. Raises BundleError.

    Graphs of the runtime ``native`` are read by decant itself, which checks them there.
    """
    if runtime == "onnxruntime":
        check_onnx(blobs[0], where)
    elif runtime == "openvino":
        xml, weights = blobs
        check_ir(xml, len(weights), where)
