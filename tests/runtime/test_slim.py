"""Decoder-only bundles for clients: the same model id, the same pixels, fewer bytes."""

import gzip
import json
import os
import shutil
from pathlib import Path

import bundles
import numpy as np
import pytest
from commands import decant, refusal
from decant import Decoder, Encoder
from decant.bundles.bundle import Bundle, list_bundles
from decant.errors import BundleError
from decant.slim import PRECISIONS, slim
from decant.verify import verify_bundle

KINDS = [(runtime, precision) for runtime, precisions in PRECISIONS.items() for precision in precisions]


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def client(request: pytest.FixtureRequest, codec: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A client bundle of the small codec, for each runtime and precision."""
    runtime, precision = request.param
    return slim(codec, tmp_path_factory.mktemp("client") / "codec", runtime=runtime, precision=precision)


def test_it_verifies_and_is_smaller(client: Bundle, codec: Path) -> None:
    source = Bundle.open(codec)
    assert (client.model_id, client.name, client.version) == (source.model_id, source.name, source.version)
    assert client.manifest.raw["licence"] == source.manifest.raw["licence"]
    assert client.read("card.md")
    findings = list(verify_bundle(client.path, threads=1))
    assert not [str(finding) for finding in findings if finding.passed is False]
    assert sum(finding.passed is True for finding in findings) == 2  # the files, and the synthesis
    on_disk = sum(path.stat().st_size for path in client.path.rglob("*") if path.is_file())
    assert client.bytes == on_disk < source.bytes / 2


def test_it_decodes_as_the_same_graph_of_its_source(client: Bundle, codec: Path) -> None:
    graph = client.graph("synthesis")
    decoders = [
        Decoder(path, runtime=graph.runtime, precision=graph.precision, threads=1, check_golden="never")
        for path in (codec, client.path)
    ]
    for golden in Bundle.open(codec).golden:
        data = Bundle.open(codec).read(golden.file)
        a, b = (decoder.decode(data) for decoder in decoders)
        assert np.array_equal(a, b)
    assert Decoder(client.path, threads=1).precision == graph.precision


def test_it_does_not_encode(client: Bundle) -> None:
    with pytest.raises(BundleError, match="cannot encode: it has a decoder only"):
        Encoder(client.path)


def test_it_does_not_hide_the_encoder_of_its_model(
    client: Bundle, codec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DECANT_BUNDLES", os.pathsep.join([str(client.path), str(codec)]))
    assert [bundle.path for bundle in list_bundles()] == [codec]


def test_models_of_one_picture_size_have_client_bundles(tiny: Path, tmp_path: Path) -> None:
    result = decant("bundle", "slim", "tiny", "--bundle-dir", tiny, "--out", tmp_path / "new", "--runtime",
                    "onnxruntime", "--precision", "float32")  # fmt: skip
    assert result.exit_code == 0
    made = Bundle.open(tmp_path / "new")
    assert result.stdout == (
        f"{made.path}: tiny {made.version}, id {made.model_id[:16]}, {made.bytes} bytes\n"
    )
    assert b"Licence" in made.read("card.md")
    assert decant("verify", tmp_path / "new").exit_code == 0


def test_what_cannot_be_made_is_said_and_nothing_is_left(tiny: Path, codec: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    asked = ["bundle", "slim", str(tiny), "--out", target]
    assert "no graph synthesis int16 native; it has" in refusal(*asked)
    assert "no graph synthesis int16 onnxruntime" in refusal(
        "bundle", "slim", codec, "--out", target, "--runtime", "onnxruntime", "--precision", "int16"
    )
    with pytest.raises(BundleError, match="runtime 'tflite' is unknown; one of native"):
        slim(tiny, target, runtime="tflite")
    assert list(tmp_path.iterdir()) == []
    target.mkdir()
    (target / "mine.txt").touch()
    assert "is there already; give a new folder" in refusal(*asked, "--runtime", "onnxruntime")
    assert [path.name for path in target.iterdir()] == ["mine.txt"]


class TestPackedFiles:
    """Files that lie in a bundle as gzip: damage is found, and nothing unpacks to more than it should."""

    @pytest.fixture
    def packed(self, codec: Path, tmp_path: Path) -> Path:
        return slim(codec, tmp_path / "codec", runtime="onnxruntime", precision="float32").path

    def test_a_file_that_unpacks_to_more(self, packed: Path) -> None:
        bomb = gzip.compress(bytes(1 << 24), mtime=0)
        (packed / "tables.safetensors.gz").write_bytes(bomb)
        bundles.reseal(packed, lambda raw: _entry(raw).update(gzip_bytes=len(bomb)))
        with pytest.raises(BundleError, match="does not unpack to the"):
            Bundle.open(packed).verify()

    @pytest.mark.parametrize("more", [b"x", gzip.compress(b"x", mtime=0)])
    def test_bytes_after_it(self, packed: Path, more: bytes) -> None:
        path = packed / "tables.safetensors.gz"
        path.write_bytes(path.read_bytes() + more)
        bundles.reseal(packed, lambda raw: _entry(raw).update(gzip_bytes=path.stat().st_size))
        with pytest.raises(BundleError, match="does not unpack to the"):
            Bundle.open(packed).verify()

    def test_damage(self, packed: Path) -> None:
        path = packed / "tables.safetensors.gz"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
        with pytest.raises(BundleError, match=r"tables\.safetensors\.gz: "):
            Bundle.open(packed).verify()
        path.write_bytes(content[:-1])
        with pytest.raises(BundleError, match=r"tables\.safetensors\.gz: \d+ bytes; bundle\.json says"):
            Bundle.open(packed).verify()
        path.unlink()
        with pytest.raises(BundleError, match=r"listed in bundle\.json, but missing"):
            Bundle.open(packed).verify()

    def test_a_name_that_two_files_would_have(self, packed: Path) -> None:
        def clash(raw: dict) -> None:
            raw["files"].append({"path": "tables.safetensors.gz", "bytes": 1, "sha256": "0" * 64})

        bundles.reseal(packed, clash)
        with pytest.raises(BundleError, match=r"tables\.safetensors\.gz is listed 2 times"):
            Bundle.open(packed)

    def test_a_length_that_no_graph_has(self, packed: Path) -> None:
        bundles.reseal(packed, lambda raw: _entry(raw).update(bytes=1 << 40))
        with pytest.raises(BundleError, match="at most 100 times expected"):
            Bundle.open(packed)

    @pytest.mark.parametrize("size", [-1, 1.5, "1", None, True])
    def test_lengths_that_cannot_be(self, packed: Path, size: object) -> None:
        bundles.reseal(packed, lambda raw: _entry(raw).update(gzip_bytes=size))
        with pytest.raises(BundleError, match=r"'gzip_bytes' must be|a length of -1 bytes is not valid"):
            Bundle.open(packed)


def test_a_floor_that_the_kept_files_miss_is_lowered_but_never_to_noise(codec: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(codec, tmp_path / "source"))

    def raise_floor(raw: dict) -> None:
        for graph in raw["graphs"]:
            graph["floor_db"] = 300.0

    bundles.reseal(source, raise_floor)
    made = slim(source, tmp_path / "made", runtime="onnxruntime", precision="int8")
    assert 34 <= made.graph("synthesis").lowest_psnr_db < 300
    assert json.loads((made.path / "bundle.json").read_bytes())["graphs"][0]["floor_db"] < 300


def _entry(raw: dict) -> dict:
    return next(entry for entry in raw["files"] if entry["path"] == "tables.safetensors")
