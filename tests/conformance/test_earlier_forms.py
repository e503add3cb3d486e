"""Bundles that hold the integer networks in files of their own, as 0.12.0 had them at first, still decode.

Of the released ``nano`` 0.12.0, from the repository's history: both forms of it were released.
"""

import json
from pathlib import Path

import decant
import earlier_form
import numpy as np
import pytest
import reference_synthesis
from decant.backends.sessions import create_session
from decant.bundles.bundle import Bundle
from decant.codec.decoder import GridDecoder
from decant.errors import BundleError
from decant.formats import container
from decant.formats.manifest import parse_manifest, seal
from decant.slim import slim
from released_models import released_model

BUNDLES = Path(__file__).parents[2] / "artifacts" / "decant_bundles"
pytest.importorskip("decant._libdcn", reason="libdcn is not built here")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """``nano`` 0.12.0 with its model file."""
    return released_model("nano", "0.12.0", tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="module")
def earlier(released: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same as it was released before, with the integer networks in files of their own."""
    return Bundle.open(earlier_form.write(released.path, tmp_path_factory.mktemp("earlier") / "nano"))


def in_python(bundle: Bundle) -> GridDecoder:
    sessions = [
        create_session(graph, [bundle.read(file) for file in graph.files], threads=1)
        for graph in (bundle.graph(role, "int16", "native") for role in ("hyper_mean", "synthesis"))
    ]
    return GridDecoder(bundle.layout, *sessions, overlap=False)


def test_its_files_are_those_that_were_released(earlier: Bundle):
    assert {file.path for graph in earlier.graphs for file in graph.files} >= {
        "hyper_mean.int16.safetensors",
        "synthesis.int16.safetensors",
    }
    earlier.verify()


def test_every_form_decodes_to_the_same_pixels(released: Bundle, earlier: Bundle, tmp_path: Path):
    client = slim(earlier, tmp_path / "client")
    assert "synthesis.int16.safetensors.gz" in {path.name for path in client.path.iterdir()}
    whole = [decant.Decoder(bundle, runtime="native").decode for bundle in (released, earlier, client)]
    parts = [in_python(bundle).decode for bundle in (released, earlier, client)]
    for golden in released.golden[4:]:
        data = released.read(golden.file)
        expected = whole[0](data)
        for decode in whole[1:]:
            np.testing.assert_array_equal(decode(data), expected)
        for decode in parts:
            np.testing.assert_array_equal(decode(container.parse(data)), expected)


def test_the_networks_of_a_model_file_are_those_of_the_document():
    bundle = Bundle.open(BUNDLES / "nano")
    model = earlier_form.reference_model_file.read(bundle.read("nano.dcnm"))
    mean, synthesis = (
        create_session(graph, [bundle.read("nano.dcnm")], threads=1)
        for graph in (bundle.graph(role, "int16", "native") for role in ("hyper_mean", "synthesis"))
    )
    random = np.random.default_rng(7)
    v = random.integers(-200, 200, (32, 1, 2))
    means = reference_synthesis.means(model.hyper, v)
    units = np.ldexp(np.float32(1), -model.hyper["exponent"].astype(int))[:, None, None]
    given = mean.run((v[None] / 16).astype(np.float32))
    np.testing.assert_array_equal(given[0], means * units)
    symbols = random.integers(-3, 4, means.shape)
    step = random.uniform(0.1, 1, len(means)).astype(np.float32)
    expected = reference_synthesis.pixels(model.synthesis, symbols, step, means)
    found = synthesis.run(symbols[None].astype(np.float32), given, step[None, :, None, None])
    np.testing.assert_array_equal(found[0], expected)


def changed(change) -> bytes:
    raw = json.loads((BUNDLES / "nano" / "bundle.json").read_bytes())
    del raw["checksum"]
    change(raw, [graph for graph in raw["graphs"] if graph["runtime"] == "native"])
    return seal(raw)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw, native: native[0].update(files=[]), "files must be nano.dcnm"),
        (lambda raw, native: native[0]["files"][0].update(path="other.dcnm"), "files must be nano.dcnm"),
        (lambda raw, native: native[0]["files"][0].update(sha256="0" * 64), "nano.dcnm is listed 2 times"),
        (lambda raw, native: raw.update(decant_version=5), "'decant_version' must be text"),
        (lambda raw, native: raw["files"].append(native[0]["files"][0]), "nano.dcnm is listed 2 times"),
    ],
)
def test_a_model_file_is_listed_once(change, said: str):
    with pytest.raises(BundleError, match=said):
        parse_manifest(changed(change), "bundle.json")


def test_a_damaged_model_file_is_refused():
    bundle = Bundle.open(BUNDLES / "nano")
    data = bytearray(bundle.read("nano.dcnm"))
    data[5000] ^= 1
    with pytest.raises(BundleError, match=r"synthesis\.int16 \(native\): checksum"):
        create_session(bundle.graph("synthesis", "int16", "native"), [bytes(data)], threads=1)
