"""Small real bundles for tests: a PCA of crops of real photos, written as the graphs that docs/format.md
describes.

16x16 pixels, ``DIM`` latents. The synthesis graph is Linear -> ReLU -> ConvTranspose -> clip -> uint8 HWC,
with weights that make it exactly the inverse PCA: each feature goes in as itself and negated, so that both
halves survive the ReLU.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
import skimage.data
from decant.bundles.bundle import canonical_json, seal, tensor_sha256
from decant.formats import container
from decant.layouts.vector import VectorLayout
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from PIL import Image

SIDE = 16
DIM = 24
VALUES = SIDE * SIDE * 3


@cache
def crops(count: int, side: int = SIDE) -> np.ndarray:
    """``count`` crops of real photos, uint8 (count, side, side, 3); the same ones each time."""
    photos = [getattr(skimage.data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")]
    random = np.random.default_rng(7)
    taken = []
    for i in range(count):
        photo = photos[i % len(photos)]
        y, x = (int(random.integers(0, size - side)) for size in photo.shape[:2])
        taken.append(photo[y : y + side, x : x + side])
    return np.stack(taken)


def pca(pictures: np.ndarray, dim: int = DIM) -> tuple[np.ndarray, np.ndarray]:
    """Mean (768,) and orthonormal rows (dim, 768) of pictures in [0, 1], CHW order, float32."""
    flat = pictures.transpose(0, 3, 1, 2).reshape(len(pictures), -1) / 255.0
    mean = flat.mean(axis=0)
    _, _, rows = np.linalg.svd(flat - mean, full_matrices=False)
    return mean.astype(np.float32), rows[:dim].astype(np.float32)


@cache
def _basis() -> tuple[np.ndarray, np.ndarray]:
    return pca(crops(200))


def _model(name: str, nodes: list[Any], inputs: Any, outputs: Any, weights: dict[str, np.ndarray]) -> bytes:
    tensors = [numpy_helper.from_array(np.ascontiguousarray(w), key) for key, w in weights.items()]
    graph = helper.make_graph(nodes, name, [inputs], [outputs], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _pixels_out(x: str) -> list[Any]:
    return [
        helper.make_node("Mul", [x, "full"], ["scaled"]),
        helper.make_node("Round", ["scaled"], ["rounded"]),
        helper.make_node("Clip", ["rounded", "zero", "full"], ["clipped"]),
        helper.make_node("Cast", ["clipped"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Transpose", ["bytes"], ["pixels"], perm=[0, 2, 3, 1]),
    ]


_CONSTANTS = {"zero": np.float32(0), "full": np.float32(255)}
_PIXELS = ["n", SIDE, SIDE, 3]


def synthesis(mean: np.ndarray, rows: np.ndarray) -> bytes:
    """Latents float32 (n, dim) -> pixels uint8 (n, 16, 16, 3), as ONNX."""
    # Features: 48 = 3 channels x 4 x 4 block offsets, at 4 x 4 places.
    blocked = rows.reshape(-1, 3, 4, 4, 4, 4).transpose(0, 1, 3, 5, 2, 4).reshape(len(rows), 48 * 16)
    offset = mean.reshape(3, 4, 4, 4, 4).transpose(0, 2, 4, 1, 3).reshape(48 * 16)
    kernel = np.zeros((48, 3, 4, 4), np.float32)
    for feature in range(48):
        channel, place = divmod(feature, 16)
        kernel[feature, channel, place // 4, place % 4] = 1
    nodes = [
        helper.make_node("MatMul", ["latents", "linear.weight"], ["product"]),
        helper.make_node("Add", ["product", "linear.bias"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["positive"]),
        helper.make_node("Reshape", ["positive", "grid"], ["features"]),
        helper.make_node("ConvTranspose", ["features", "last.weight"], ["picture"], strides=[4, 4]),
        *_pixels_out("picture"),
    ]
    weights = {
        "linear.weight": np.concatenate([blocked, -blocked], axis=1),
        "linear.bias": np.concatenate([offset, -offset]),
        "grid": np.array([-1, 96, 4, 4]),
        "last.weight": np.concatenate([kernel, -kernel]),
        **_CONSTANTS,
    }
    inputs = helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["n", len(rows)])
    outputs = helper.make_tensor_value_info("pixels", TensorProto.UINT8, _PIXELS)
    return _model("synthesis", nodes, inputs, outputs, weights)


def analysis(mean: np.ndarray, rows: np.ndarray) -> bytes:
    """Pixels uint8 (n, 16, 16, 3) -> latents float32 (n, dim), as ONNX."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["values"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Reshape", ["planes", "flat"], ["vector"]),
        helper.make_node("Gemm", ["vector", "linear.weight", "linear.bias"], ["latents"]),
    ]
    weights = {
        "flat": np.array([-1, VALUES]),
        "linear.weight": rows.T / np.float32(255),
        "linear.bias": -(rows @ mean),
    }
    inputs = helper.make_tensor_value_info("pixels", TensorProto.UINT8, _PIXELS)
    outputs = helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["n", len(rows)])
    return _model("analysis", nodes, inputs, outputs, weights)


def denoiser() -> bytes:
    """Pixels uint8 (n, 16, 16, 3) -> the same, each smoothed a little with its neighbours, as ONNX."""
    kernel = np.full((3, 1, 3, 3), 0.04 / 255, np.float32)
    kernel[:, :, 1, 1] = 0.68 / 255
    nodes = [
        helper.make_node("Cast", ["pixels_in"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["values"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["picture"], pads=[1, 1, 1, 1], group=3),
        *_pixels_out("picture"),
    ]
    inputs = helper.make_tensor_value_info("pixels_in", TensorProto.UINT8, _PIXELS)
    outputs = helper.make_tensor_value_info("pixels", TensorProto.UINT8, _PIXELS)
    return _model("denoiser", nodes, inputs, outputs, {"kernel": kernel, **_CONSTANTS})


def to_int8(model: bytes, scratch: Path) -> bytes:
    """The same graph with int8 weights and dynamically quantized activations in its MatMul."""
    source, target = scratch / "float.onnx", scratch / "int8.onnx"
    source.write_bytes(model)
    quantize_dynamic(source, target, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8)
    return target.read_bytes()


def to_openvino(model: bytes, scratch: Path) -> list[bytes]:
    """The same graph as OpenVINO IR: [.xml, .bin]."""
    ov.save_model(ov.Core().read_model(model), scratch / "ir.xml", compress_to_fp16=False)
    return [(scratch / "ir.xml").read_bytes(), (scratch / "ir.bin").read_bytes()]


def run_onnx(model: bytes, x: np.ndarray) -> np.ndarray:
    """One input through a graph, without any of decant."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    return y


def build(
    folder: Path, *, name: str = "tiny", coding: str = "float16", openvino: bool = True, offset: float = 0.0
) -> Path:
    """Write a bundle with every role, in float and int8 (ONNX Runtime) and float (OpenVINO). ``offset`` makes
    other weights.
    """
    scratch = folder.with_name(folder.name + ".scratch")
    (folder / "golden").mkdir(parents=True)
    scratch.mkdir()
    pictures = crops(200)
    mean, rows = _basis()
    mean = mean + np.float32(offset)
    float_graph = synthesis(mean, rows)
    graphs = {
        ("synthesis", "float", "onnxruntime"): [float_graph],
        ("synthesis", "int8", "onnxruntime"): [to_int8(float_graph, scratch)],
        ("analysis", "float", "onnxruntime"): [analysis(mean, rows)],
        ("denoiser", "float", "onnxruntime"): [denoiser()],
    }
    if openvino:
        graphs[("synthesis", "float", "openvino")] = to_openvino(float_graph, scratch)
        graphs[("analysis", "float", "openvino")] = to_openvino(analysis(mean, rows), scratch)
        graphs[("denoiser", "float", "openvino")] = to_openvino(denoiser(), scratch)

    latents = run_onnx(graphs[("analysis", "float", "onnxruntime")][0], pictures)
    layout = _layout(coding, latents)
    tables = layout.tables()
    model = {
        "schema": 1,
        "image": {"width": SIDE, "height": SIDE, "channels": 3, "colour": "srgb"},
        "latent": layout.to_model(),
        "tables": {key: tensor_sha256(table) for key, table in tables.items()},
        "synthesis": {"mean": tensor_sha256(mean), "rows": tensor_sha256(rows)},
    }
    (folder / "model.json").write_bytes(canonical_json(model))
    if tables:
        from safetensors.numpy import save_file

        save_file(tables, folder / "tables.safetensors")
    model_id = hashlib.sha256(canonical_json(model)).hexdigest()
    golden = []
    for i in range(4):
        payload = layout.pack(latents[i])
        file = container.DcnFile(name, bytes.fromhex(model_id)[:8], SIDE, SIDE, payload)
        (folder / f"golden/{i:03}.dcn").write_bytes(container.write(file))
        pixels = run_onnx(float_graph, layout.unpack(payload)[None])
        Image.fromarray(pixels[0]).save(folder / f"golden/{i:03}.png")
        Image.fromarray(run_onnx(denoiser(), pixels)[0]).save(folder / f"golden/{i:03}.denoised.png")
        golden.append(
            {
                "file": f"golden/{i:03}.dcn",
                "pixels": f"golden/{i:03}.png",
                "denoised": f"golden/{i:03}.denoised.png",
            }
        )
    for (role, precision, runtime), blobs in graphs.items():
        for suffix, blob in zip(_SUFFIXES[runtime], blobs, strict=True):
            (folder / f"{role}.{precision}{suffix}").write_bytes(blob)
    manifest = {
        "schema": 1,
        "name": name,
        "version": "1.0.0",
        "family": "pca",
        "model_id": model_id,
        "graphs": [_graph(folder, *key) for key in graphs],
        "refused": [],
        "files": [_entry(folder, path) for path in _others(folder, graphs)],
        "golden": golden,
        "licence": "CC0",
        "data": "crops of photos that come with scikit-image",
        "training": {},
    }
    (folder / "bundle.json").write_bytes(seal(manifest))
    shutil.rmtree(scratch)
    return folder


_SUFFIXES = {"onnxruntime": (".onnx",), "openvino": (".xml", ".bin")}


def _layout(coding: str, latents: np.ndarray) -> VectorLayout:
    if coding != "uint":
        return VectorLayout(DIM, coding)
    minimum, maximum = latents.min(axis=0), latents.max(axis=0)
    return VectorLayout(DIM, "uint", 8, minimum, (maximum - minimum) / np.float32(255))


def _entry(folder: Path, path: str) -> dict[str, Any]:
    data = (folder / path).read_bytes()
    return {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _others(folder: Path, graphs: Any) -> list[str]:
    taken = {f"{role}.{precision}" for role, precision, _ in graphs}
    paths = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in paths if path.rsplit(".", 1)[0] not in taken]


def _graph(folder: Path, role: str, precision: str, runtime: str) -> dict[str, Any]:
    pixels = {"name": "pixels", "dtype": "uint8", "shape": _PIXELS}
    latents = {"name": "latents", "dtype": "float32", "shape": ["n", DIM]}
    inputs = {"synthesis": latents, "analysis": pixels, "denoiser": {**pixels, "name": "pixels_in"}}[role]
    return {
        "role": role,
        "precision": precision,
        "runtime": runtime,
        "files": [_entry(folder, f"{role}.{precision}{suffix}") for suffix in _SUFFIXES[runtime]],
        "opset": 20 if runtime == "onnxruntime" else None,
        "inputs": [inputs],
        "outputs": [latents if role == "analysis" else pixels],
        "kmac_per_pixel": 0.1,
        "psnr_to_float_db": None,
        "floor_db": 40.0 if precision == "int8" else None,
    }


def reseal(folder: Path, change: Callable[[dict[str, Any]], object], rehash: Sequence[str] = ()) -> None:
    """Change bundle.json as somebody who knows the format would: hashes of the files in ``rehash`` and the
    checksum made right again.
    """
    manifest = json.loads((folder / "bundle.json").read_bytes())
    entries = [*manifest["files"], *(file for graph in manifest["graphs"] for file in graph["files"])]
    for path in rehash:
        next(entry for entry in entries if entry["path"] == path).update(_entry(folder, path))
    change(manifest)
    (folder / "bundle.json").write_bytes(seal(manifest))
