"""A bundle on disk: what opening says, how it is found, and that no damage passes."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import bundles
import numpy as np
import pytest
from decant.bundles.bundle import (
    Bundle,
    canonical_json,
    find_bundle,
    list_bundles,
    seal,
    shipped_folders,
    tensor_sha256,
)
from decant.errors import BundleError, ModelNotFoundError
from decant.formats import manifest
from decant.layouts.vector import VectorLayout
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def test_opening_says_what_is_there(tiny: Path):
    bundle = Bundle.open(tiny)
    assert (bundle.name, bundle.version, bundle.family, bundle.image) == ("tiny", "1.0.0", "pca", (16, 16))
    assert {(graph.role, graph.precision, graph.runtime) for graph in bundle.graphs} >= {
        ("synthesis", "float", "onnxruntime"),
        ("synthesis", "int8", "onnxruntime"),
        ("synthesis", "float", "openvino"),
    }
    assert isinstance(bundle.layout, VectorLayout)
    assert bundle.layout.payload_bytes == 2 * bundles.DIM
    bundle.verify()


def test_a_graph_is_found_by_role_precision_and_runtime(tiny: Path):
    bundle = Bundle.open(tiny)
    assert bundle.graph("synthesis", "int8").runtime == "onnxruntime"
    assert bundle.graph("synthesis", runtime="openvino").precision == "float"
    with pytest.raises(BundleError, match=r"no graph synthesis int4; it has synthesis\.float"):
        bundle.graph("synthesis", "int4")


def test_tables_are_read_and_checked(tmp_path: Path):
    folder = bundles.build(tmp_path / "tiny", coding="uint", openvino=False)
    bundle = Bundle.open(folder)
    bundle.verify()
    assert isinstance(bundle.layout, VectorLayout)
    assert bundle.layout.payload_bytes == bundles.DIM
    assert set(bundle.tables) == {"latent.minimum", "latent.step"}


def test_floor_defaults_by_precision(tiny: Path):
    bundle = Bundle.open(tiny)
    assert bundle.graph("synthesis", "float").floor_db is None
    assert bundle.graph("synthesis", "float").lowest_psnr_db == 48
    assert bundle.graph("synthesis", "int8").lowest_psnr_db == 40


_FILES = st.sampled_from(
    [
        "bundle.json",
        "model.json",
        "synthesis.float.onnx",
        "synthesis.float.xml",
        "synthesis.float.bin",
        "golden/000.png",
    ]
)


@given(path=_FILES, data=st.data())
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_every_flipped_byte_is_noticed(tiny: Path, tiny_copy: Path, path: str, data: st.DataObject):
    raw = bytearray((tiny / path).read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    (tiny_copy / path).write_bytes(bytes(raw))
    try:
        if path == "bundle.json" and same_meaning(bytes(raw), (tiny / path).read_bytes()):
            return
        with pytest.raises(BundleError):
            Bundle.open(tiny_copy).verify()
    finally:
        shutil.copy(tiny / path, tiny_copy / path)


def same_meaning(a: bytes, b: bytes) -> bool:
    """White space is free in bundle.json: a space that becomes a tab changes nothing."""
    try:
        return json.loads(a) == json.loads(b)
    except ValueError:
        return False


@given(path=_FILES, keep=st.floats(0, 0.999))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_cut_is_noticed(tiny: Path, tiny_copy: Path, path: str, keep: float):
    raw = (tiny / path).read_bytes()
    cut = raw[: int(len(raw) * keep)]
    (tiny_copy / path).write_bytes(cut)
    try:
        with pytest.raises(BundleError):
            Bundle.open(tiny_copy).verify()
    finally:
        (tiny_copy / path).write_bytes(raw)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda x: st.lists(x, max_size=3)
    ),
    st.data(),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_wrong_values_under_a_right_checksum_are_refused_or_harmless(
    tiny: Path, value: object, data: st.DataObject
):
    raw = json.loads((tiny / "bundle.json").read_bytes())
    places = list(_places(raw))
    holder, key = data.draw(st.sampled_from(places))
    holder[key] = value
    with contextlib.suppress(BundleError):  # any other exception fails the test
        manifest.parse_manifest(seal(raw), "bundle.json")


def _places(value: object):
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def test_a_file_that_no_list_names_fails_verification(tiny_copy: Path):
    (tiny_copy / "golden" / "notes.txt").write_text("hello")
    with pytest.raises(BundleError, match=r"golden/notes\.txt is not listed"):
        Bundle.open(tiny_copy).verify()


def test_a_missing_file_fails_verification(tiny_copy: Path):
    (tiny_copy / "synthesis.int8.onnx").unlink()
    with pytest.raises(BundleError, match=r"synthesis\.int8\.onnx: listed in bundle\.json, but missing"):
        Bundle.open(tiny_copy).verify()


def test_another_models_json_is_refused(tiny_copy: Path, tmp_path: Path):
    other = bundles.build(tmp_path / "other", offset=0.1, openvino=False)
    shutil.copy(other / "model.json", tiny_copy / "model.json")
    bundles.reseal(tiny_copy, lambda m: None, rehash=["model.json"])
    with pytest.raises(BundleError, match="its SHA-256 is not the bundle's model id"):
        Bundle.open(tiny_copy)


def test_an_empty_folder_is_no_bundle(tmp_path: Path):
    with pytest.raises(ModelNotFoundError, match="no bundle here"):
        Bundle.open(tmp_path)


class TestLookUp:
    """Order: the folder given, DECANT_BUNDLES, the user's data folder, the installed package."""

    @pytest.fixture
    def places(self, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
        places = {name: tmp_path / name for name in ("given", "first", "second", "data/decant/bundles")}
        for place in places.values():
            shutil.copytree(tiny, place / "tiny")
        monkeypatch.setenv("DECANT_BUNDLES", os.pathsep.join([str(places["first"]), str(places["second"])]))
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        return places

    def test_order(self, places: dict[str, Path]):
        assert find_bundle("tiny", bundle_dir=places["given"]).path == places["given"] / "tiny"
        for place in list(places.values())[1:]:
            assert find_bundle("tiny").path == place / "tiny"
            shutil.rmtree(place / "tiny")

    def test_the_installed_package_is_looked_in(
        self, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ):
        assert [folder.name for folder in shipped_folders()] == ["decant_bundles"]
        monkeypatch.setattr("decant.bundles.places.shipped_folders", shipped_folders)
        with pytest.raises(ModelNotFoundError, match="decant_bundles"):
            find_bundle("nowhere")

    def test_a_folder_given_may_be_the_bundle(self, places: dict[str, Path]):
        bundle = places["given"] / "tiny"
        assert find_bundle("tiny", bundle_dir=bundle).path == bundle
        assert find_bundle(str(bundle)).path == bundle

    def test_each_model_is_listed_once(self, places: dict[str, Path]):
        assert [bundle.path for bundle in list_bundles(places["given"])] == [places["given"] / "tiny"]

    def test_the_id_decides_not_the_name(self, places: dict[str, Path], tmp_path: Path):
        other = bundles.build(tmp_path / "more" / "tiny", offset=0.1, openvino=False)
        wanted = Bundle.open(other).model_id
        with pytest.raises(
            ModelNotFoundError, match=rf"tiny with id {wanted[:16]} is not here \(.*tiny has id"
        ):
            find_bundle("tiny", wanted[:16])
        shutil.copytree(other, places["second"] / "renamed")
        assert find_bundle("tiny", bytes.fromhex(wanted)[:8]).path == places["second"] / "renamed"

    def test_the_working_folder_is_not_looked_in(
        self, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.chdir(places["given"])
        assert find_bundle("tiny").path == places["first"] / "tiny"
        assert find_bundle("./tiny").path == Path("tiny")

    def test_a_damaged_bundle_of_that_name_is_passed_over_with_a_warning(
        self, places: dict[str, Path], caplog: pytest.LogCaptureFixture
    ):
        (places["first"] / "tiny" / "model.json").write_text("{}")
        assert find_bundle("tiny").path == places["second"] / "tiny"
        assert "model.json: 2 bytes" in caplog.text
        assert [bundle.path for bundle in list_bundles()] == [places["second"] / "tiny"]
        assert "model.json" in caplog.text


def test_canonical_json_is_one_text_for_one_value():
    assert canonical_json({"b": [1, 2.5, None], "a": "é"}) == b'{"a":"\\u00e9","b":[1,2.5,null]}\n'


def test_a_tensor_has_this_hash():
    # sha256 of b"float32|2,2|" and 16 little-endian bytes
    expected = "7859892fce43c525a980b24151125a116198a84d5893b076db4cf1bcbc92a666"
    array = np.array([[1, 2], [3, 4]], np.float32)
    assert tensor_sha256(array) == expected
    assert tensor_sha256(array.astype(">f4")) == expected
    assert tensor_sha256(np.asfortranarray(array)) == expected
    assert tensor_sha256(array.reshape(4)) != expected


class TestVersions:
    """Several versions of one name: the newest counts, others are asked for."""

    @pytest.fixture
    def versions(self, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "data" / "decant" / "bundles"
        for offset, version in ((0.0, "0.9.0"), (0.1, "0.10.0"), (0.2, "0.9.1")):
            bundles.build(folder / f"tiny-{version}", name="tiny", offset=offset, openvino=False)
            bundles.reseal(folder / f"tiny-{version}", lambda raw, v=version: raw.update(version=v))
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        return folder

    def test_by_name_version_and_id(self, versions: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch):
        assert find_bundle("tiny").version == "0.10.0"
        assert find_bundle("tiny@0.9").version == "0.9.1"
        assert find_bundle("tiny@0.9.0").version == "0.9.0"
        wanted = Bundle.open(versions / "tiny-0.9.0").model_id
        assert find_bundle(f"tiny@{wanted[:12]}").version == "0.9.0"
        assert find_bundle("tiny@0.10", wanted).version == "0.9.0"  # a file's id decides
        monkeypatch.setenv("DECANT_BUNDLES", str(versions / "tiny-0.9.0"))
        assert find_bundle("tiny").version == "0.9.0"  # named folders come before all others

    def test_a_version_that_is_not_here_is_named(self, versions: Path):
        with pytest.raises(ModelNotFoundError, match=r"model tiny 2\.0 is not here \(.*looked in "):
            find_bundle("tiny@2.0")
        with pytest.raises(
            ModelNotFoundError, match=r"model lite 0\.9 with id f8b691d4dbb05374 is not here; .*models fetch"
        ):
            find_bundle("lite@0.9")
