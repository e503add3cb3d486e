"""The forms in which a bundle can hold a graph: precision x runtime."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import onnx
from decant.formats.manifest import (
    DEFAULT_FLOOR_DB,
    OTHER_FLOOR_DB,
    FileEntry,
    Graph,
    TensorSpec,
    graph_paths,
)

from decant_export.common.linears import has_linears, to_int4, to_int8, to_int8_weights
from decant_export.common.macs import kmac_per_pixel
from decant_export.common.onnx_graph import OPSET, serialise, tensor_shape
from decant_export.common.openvino_ir import to_ir

PRECISIONS = ("float", "int8", "int16", "int8-static", "int4")
RUNTIMES = ("onnxruntime", "openvino")
_DTYPES = {int(onnx.TensorProto.FLOAT): "float32", int(onnx.TensorProto.UINT8): "uint8"}

# How the Linear layers of a float graph are made small, by precision and runtime. What is not here does not
# exist: MatMulNBits is an operator of ONNX Runtime's own.
_LINEARS: Mapping[tuple[str, str], Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    ("int8", "onnxruntime"): to_int8,
    ("int8", "openvino"): to_int8_weights,
    ("int4", "onnxruntime"): to_int4,
}


@dataclass(frozen=True)
class Variant:
    """One graph in one form: the content of its files, in the order of ``paths``."""

    role: str
    precision: str
    runtime: str
    model: onnx.ModelProto
    blobs: tuple[bytes, ...]

    @property
    def label(self) -> str:
        """How messages name it: ``synthesis.int8 (onnxruntime)``."""
        return f"{self.role}.{self.precision} ({self.runtime})"

    def paths(self, name: str) -> tuple[str, ...]:
        """Names of its files in the bundle ``name``."""
        return graph_paths(name, self.role, self.precision, self.runtime)

    @property
    def bytes(self) -> int:
        """Length of its files together."""
        return sum(map(len, self.blobs))

    def described(
        self,
        files: Sequence[FileEntry] = (),
        image: tuple[int, int] | None = None,
        sizes: Mapping[str, int] = MappingProxyType({}),
    ) -> Graph:
        """What the runtime must know to load it; with ``image`` (width, height), its cost too, where the free
        dimensions are ``sizes``.
        """
        graph = self.model.graph
        return Graph(
            role=self.role,
            precision=self.precision,
            runtime=self.runtime,
            files=tuple(files),
            inputs=tuple(map(_spec, graph.input)),
            outputs=tuple(map(_spec, graph.output)),
            opset=OPSET if self.runtime == "onnxruntime" else None,
            kmac_per_pixel=kmac_per_pixel(self.model, image[0] * image[1], sizes) if image else None,
        )


def make(role: str, precision: str, runtime: str, model: onnx.ModelProto) -> Variant:
    """``model``, already in its precision, for ``runtime``."""
    blobs = to_ir(model) if runtime == "openvino" else (serialise(model),)
    return Variant(role, precision, runtime, model, blobs)


def variants(
    role: str,
    model: onnx.ModelProto,
    static: Callable[[], onnx.ModelProto | None],
    precisions: Sequence[str],
    runtimes: Sequence[str],
) -> Iterator[Variant]:
    """All requested forms that exist for the float graph ``model``. ``static`` builds its static int8 form
    and is called at most once.
    """
    for precision in precisions:
        rewritten = static() if precision == "int8-static" else None
        for runtime in runtimes:
            if precision == "float":
                yield make(role, precision, runtime, model)
            elif rewritten is not None:
                yield make(role, precision, runtime, rewritten)
            elif (precision, runtime) in _LINEARS and has_linears(model):
                yield make(role, precision, runtime, _LINEARS[precision, runtime](model))


def default_floor_db(precision: str) -> float:
    """The lowest PSNR to the float pixels that a precision may have (docs/format.md)."""
    return DEFAULT_FLOOR_DB.get(precision, OTHER_FLOOR_DB)


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    return TensorSpec(value.name, _DTYPES[value.type.tensor_type.elem_type], tuple(tensor_shape(value)))
