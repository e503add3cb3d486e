"""Hostile bundles. Each maker changes a copy of the good bundle ``tiny`` in its folder."""

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import onnx
import pytest
from attack_table import AttackTable
from click.testing import CliRunner
from decant.bundles.bundle import Bundle, seal
from decant.commands.cli import main
from decant.errors import BundleError
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

ATTACKS = AttackTable()
attack = ATTACKS.attack


def entry(manifest: dict[str, Any], path: str) -> dict[str, Any]:
    files = [*manifest["files"], *(file for graph in manifest["graphs"] for file in graph["files"])]
    return next(file for file in files if file["path"] == path)


def add_file(path: str, secret: Path | None = None) -> Callable[[dict[str, Any]], None]:
    """A change that lists one more file, with the hash of ``secret``."""
    data = secret.read_bytes() if secret else b""
    listed = {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return lambda manifest: manifest["files"].append(listed)


def secret_beside(folder: Path) -> Path:
    secret = folder.parent / "secret.txt"
    secret.write_text("private")
    return secret


@attack("a relative path with / and without .. expected")
def path_leads_out(folder: Path) -> None:
    """Reads a file of the user's."""
    bundles.reseal(folder, add_file("golden/../../secret.txt", secret_beside(folder)))


@attack("a relative path with / and without .. expected")
def path_is_absolute(folder: Path) -> None:
    """Joining an absolute path to a folder forgets the folder."""
    bundles.reseal(folder, add_file(str(secret_beside(folder))))


@attack("a relative path with / and without .. expected")
def path_of_windows(folder: Path) -> None:
    """Harmless here and a way out there."""
    bundles.reseal(folder, add_file("golden\\..\\..\\secret.txt"))


@attack("a relative path with / and without .. expected")
def path_with_a_nul(folder: Path) -> None:
    """The system's calls end a path there, or raise."""
    bundles.reseal(folder, add_file("model.json\x00.png"))


@attack("leads out of the bundle's folder")
def file_is_a_link_out(folder: Path) -> None:
    """The path is fine; the file behind it is not the bundle's."""
    secret = secret_beside(folder)
    (folder / "notes.txt").symlink_to(secret)
    bundles.reseal(folder, add_file("notes.txt", secret))


@attack("extra is not listed in bundle.json")
def folder_is_a_link_out(folder: Path) -> None:
    """The same, one level up; links are listed as files, never followed."""
    secret = secret_beside(folder)
    (folder / "extra").symlink_to(folder.parent)
    bundles.reseal(folder, add_file("extra/secret.txt", secret))


@attack("listed in bundle.json, but missing")
def link_to_itself(folder: Path) -> None:
    """Following it never ends."""
    (folder / "loop").symlink_to("loop")
    bundles.reseal(folder, add_file("loop"))


@attack("not a file")
def file_is_a_pipe(folder: Path) -> None:
    """Opening a pipe that nobody writes to waits for ever."""
    os.mkfifo(folder / "pipe")
    bundles.reseal(folder, add_file("pipe"))


@attack("172665 bytes; bundle.json says 1000000000000000")
def file_of_a_petabyte(folder: Path) -> None:
    """A reader that takes memory by the size in the list takes a petabyte."""
    bundles.reseal(folder, lambda m: entry(m, "synthesis.float.onnx").update(bytes=10**15))


@attack("checksum differs")
def floor_lowered(folder: Path) -> None:
    """A lower floor lets a graph through that decodes wrongly."""
    text = (folder / "bundle.json").read_text()
    (folder / "bundle.json").write_text(text.replace('"floor_db": 40.0', '"floor_db": 4.0'))


@attack("no 'checksum'")
def checksum_left_out(folder: Path) -> None:
    """Without it nothing protects the floors and terms."""
    manifest = json.loads((folder / "bundle.json").read_bytes())
    del manifest["checksum"]
    (folder / "bundle.json").write_text(json.dumps(manifest))


@attack("synthesis.int8 (onnxruntime)")
def graph_of_another_model(folder: Path) -> None:
    """All hashes right, other weights: only the golden files can tell."""
    model = onnx.load(folder / "synthesis.int8.onnx")
    for tensor in model.graph.initializer:
        if tensor.name == "linear.bias":
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, folder / "synthesis.int8.onnx")
    bundles.reseal(folder, lambda m: None, rehash=["synthesis.int8.onnx"])


@attack("external data are not allowed")
def graph_reads_other_files(folder: Path) -> None:
    """ONNX graphs may keep weights in any file that they name."""
    model = onnx.load(folder / "synthesis.int8.onnx")
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "last.weight")
    (folder.parent / "weights.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../weights.bin")
    (folder / "synthesis.int8.onnx").write_bytes(model.SerializeToString())
    bundles.reseal(folder, lambda m: None, rehash=["synthesis.int8.onnx"])


@attack("cannot be run here")
def graph_takes_all_memory(folder: Path) -> None:
    """A constant of 2^50 bytes; the allocation must fail as an error."""
    info = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Concat", ["before", "size"], ["pads"], axis=0),
        helper.make_node("Pad", ["root", "pads"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["zero"], keepdims=0),
        helper.make_node("ReduceSum", ["latents"], ["sum"], keepdims=0),
        helper.make_node("Add", ["zero", "sum"], ["value"]),
        helper.make_node("Add", ["value", "black"], ["grid"]),
        helper.make_node("Cast", ["grid"], ["pixels"], to=TensorProto.UINT8),
        helper.make_node("Mul", ["once", "once"], ["size"]),
    ]
    nodes = [nodes[-1], *nodes[:-1]]
    # The size goes through an input-dependent path, so that it is not folded away while loading.
    nodes.insert(0, helper.make_node("Cast", ["count"], ["once"], to=TensorProto.INT64))
    nodes.insert(0, helper.make_node("Add", ["nothing", "root"], ["count"]))
    nodes.insert(0, helper.make_node("ReduceSum", ["emptied"], ["nothing"], keepdims=0))
    nodes.insert(0, helper.make_node("Mul", ["latents", "naught"], ["emptied"]))
    weights = {
        "naught": np.float32(0),
        "root": np.array([2.0**24], np.float32),
        "before": np.array([0]),
        "black": np.zeros((1, 16, 16, 3), np.float32),
    }
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    inputs = [info("latents", TensorProto.FLOAT, ["n", bundles.DIM])]
    outputs = [info("pixels", TensorProto.UINT8, ["n", 16, 16, 3])]
    graph = helper.make_graph(nodes, "huge", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (folder / "synthesis.int8.onnx").write_bytes(model.SerializeToString())

    def declare_one_picture(manifest: dict[str, Any]) -> None:
        manifest["graphs"][1]["outputs"][0]["shape"][0] = 1

    bundles.reseal(folder, declare_one_picture, rehash=["synthesis.int8.onnx"])


@attack("bundle.json says")
def graph_of_another_shape(folder: Path) -> None:
    """Declared 16x16, made 8x32: the right number of values in the wrong places."""
    model = onnx.load(folder / "synthesis.int8.onnx")
    model.graph.node[-1].output[0] = "square"
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, 8, 32, 3]), "flat"))
    model.graph.node.append(helper.make_node("Reshape", ["square", "flat"], ["pixels"]))
    for size, value in zip(model.graph.output[0].type.tensor_type.shape.dim[1:3], (8, 32), strict=True):
        size.dim_value = value
    onnx.save(model, folder / "synthesis.int8.onnx")
    bundles.reseal(folder, lambda m: None, rehash=["synthesis.int8.onnx"])


@attack("decompression bomb")
def golden_picture_is_a_bomb(folder: Path) -> None:
    """A PNG of some kilobytes that unpacks to 1.2 GB."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer = zlib.compressobj(9)
    rows = packer.compress(bytes(1 << 20)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (folder / "golden/000.png").write_bytes(png)
    bundles.reseal(folder, lambda m: None, rehash=["golden/000.png"])


@attack("not a readable PNG")
def golden_picture_is_a_program(folder: Path) -> None:
    """Pillow gives PostScript to Ghostscript, whatever the file is called."""
    (folder / "golden/000.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n"
    )
    bundles.reseal(folder, lambda m: None, rehash=["golden/000.png"])


@attack("RGB (16, 16) expected")
def golden_picture_of_another_size(folder: Path) -> None:
    """Would be compared after broadcasting."""
    Image.new("RGB", (1, 1)).save(folder / "golden/000.png")
    bundles.reseal(folder, lambda m: None, rehash=["golden/000.png"])


@attack("no golden files")
def golden_files_left_out(folder: Path) -> None:
    """Nothing to fail is no proof."""
    bundles.reseal(folder, lambda m: m["golden"].clear())


@attack("nested deeper than 64")
def json_nested_deeply(folder: Path) -> None:
    """Readers that recurse run out of stack."""
    bundles.reseal(folder, lambda m: m.update(training=json.loads("[" * 900 + "]" * 900)))


@attack("not the JSON expected")
def json_nested_very_deeply(folder: Path) -> None:
    """Deeper than Python's own reader goes."""
    (folder / "bundle.json").write_text('{"a":' + "[" * 200_000 + "]" * 200_000 + "}")


@attack("a key is given twice")
def json_key_twice(folder: Path) -> None:
    """A checker that takes the first and a reader that takes the last see different bundles."""
    text = (folder / "bundle.json").read_text()
    (folder / "bundle.json").write_text(text.replace('"schema": 1,', '"schema": 1, "name": "other",', 1))


@attack("NaN is not a JSON number")
def json_nan_floor(folder: Path) -> None:
    """Nothing is below a floor that is not a number."""
    text = (folder / "bundle.json").read_text()
    (folder / "bundle.json").write_text(text.replace('"floor_db": 40.0', '"floor_db": NaN'))


@attack("must be a number or null")
def floor_beyond_floats(folder: Path) -> None:
    """An integer that no float holds."""
    bundles.reseal(folder, lambda m: m["graphs"][0].update(floor_db=-(10**400)))


@attack("bytes; at most 16777216 expected")
def json_of_many_megabytes(folder: Path) -> None:
    """Takes memory many times its size to read."""
    (folder / "bundle.json").write_bytes(b" " * (17 << 20))


@attack("not the JSON expected")
def json_is_binary(folder: Path) -> None:
    """Not text at all."""
    (folder / "bundle.json").write_bytes(b"\xff\xfe\x00\x01" * 50)


@attack("is listed 2 times")
def file_listed_twice(folder: Path) -> None:
    """Two entries for one file: one hash is checked, the other used."""
    bundles.reseal(folder, lambda m: m["files"].append(dict(m["files"][0])))


@attack("files must be synthesis.float.onnx, in this order")
def graph_without_files(folder: Path) -> None:
    """A graph that consists of nothing."""
    bundles.reseal(folder, lambda m: m["graphs"][0]["files"].clear())


@attack("'of' is for the graphs analysis, hyper_analysis")
def decoder_of_another_bundle(folder: Path) -> None:
    """Verification leaves out what is not there of a bundle that lends; a decoder must be there."""
    bundles.reseal(folder, lambda m: m["graphs"][0]["files"][0].update(of="other"))


@attack("'of' is '..', which is not valid")
def encoder_of_the_folder_above(folder: Path) -> None:
    """The folder beside this one, by a name that leads up instead."""

    def change(manifest: dict[str, Any]) -> None:
        manifest["graphs"][0] |= {"role": "analysis"}
        manifest["graphs"][0]["files"][0] |= {"of": ".."}

    bundles.reseal(folder, change)


@attack("image width and height must both be 0 (any size) or both be given")
def picture_without_area(folder: Path) -> None:
    """A model of 0 x 16 pixels, with the right id."""
    model = json.loads((folder / "model.json").read_bytes())
    model["image"]["width"] = 0
    (folder / "model.json").write_text(json.dumps(model))
    digest = hashlib.sha256((folder / "model.json").read_bytes()).hexdigest()
    bundles.reseal(folder, lambda m: m.update(model_id=digest), rehash=["model.json"])


@pytest.mark.parametrize("name", ATTACKS)
def test_the_bundle_is_refused_by_name(tiny_copy: Path, name: str):
    """``verify`` names it, and says so by its exit code."""
    maker, message = ATTACKS[name]
    maker(tiny_copy)
    result = CliRunner().invoke(main, ["verify", str(tiny_copy)])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1
    assert result.stderr.startswith("decant: ")
    assert result.stderr.count("\n") == 1
    assert message in result.output


@pytest.mark.parametrize("name", ATTACKS)
def test_decoding_with_it_is_refused_or_right(tiny: Path, tiny_copy: Path, tmp_path: Path, name: str):
    """Where decoding does not touch what is wrong, the pixels are the golden ones; else one line and nothing
    written.
    """
    ATTACKS[name][0](tiny_copy)
    source, target = str(tiny / "golden/001.dcn"), tmp_path / "out.png"
    options = ["--bundle-dir", str(tiny_copy), "--precision", "int8"]
    result = CliRunner().invoke(main, ["decode", source, str(target), *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    if result.exit_code == 0:
        CliRunner().invoke(main, ["decode", source, str(tmp_path / "good.png"), "--bundle-dir", str(tiny)])
        assert np.array_equal(np.asarray(Image.open(target)), np.asarray(Image.open(tmp_path / "good.png")))
    else:
        assert result.exit_code == 1
        assert result.stderr.startswith("decant: ")
        assert result.stderr.count("\n") == 1
        assert not target.exists()


def test_sealing_is_what_makes_these_attacks_reach_their_aim(tiny_copy: Path):
    """A resealed, otherwise unchanged bundle is good."""
    bundles.reseal(tiny_copy, lambda m: None)
    assert CliRunner().invoke(main, ["verify", str(tiny_copy)]).exit_code == 0
    manifest = json.loads((tiny_copy / "bundle.json").read_bytes())
    assert seal(manifest) == (tiny_copy / "bundle.json").read_bytes()


def test_reading_never_follows_a_folder_out(tiny_copy: Path):
    folder_is_a_link_out(tiny_copy)
    with pytest.raises(BundleError, match="leads out of the bundle's folder"):
        Bundle.open(tiny_copy).read("extra/secret.txt")
