"""Devices: what is here, what fails by name, and what may stand in for what. This machine has no NPU and no
GPU.
"""

import sys
from pathlib import Path

import bundles
import pytest
from decant import Bundle, Decoder, DeviceError, MissingExtraError, available_devices
from decant.backends import openvino
from decant.backends.device import Device
from decant.backends.devices import find_device
from decant.errors import BundleError
from decant.selection.candidates import AUTO_PRECISIONS, GraphRequest, candidates
from decant.verify import verify_bundle

pytestmark = pytest.mark.skipif(
    any(device.kind != "cpu" for device in available_devices()), reason="needs a machine without NPU and GPU"
)


@pytest.fixture
def claimed_npu(monkeypatch: pytest.MonkeyPatch):
    """OpenVINO lists an NPU that cannot compile, as its Linux packages do where the driver is missing."""
    here = openvino.openvino_devices()
    npu = Device("openvino", "npu", "Intel(R) AI Boost", "NPU")
    monkeypatch.setattr(openvino, "openvino_devices", lambda: [*here, npu])


def test_every_runtime_sees_the_cpu():
    assert {(device.runtime, device.kind) for device in available_devices()} == {
        ("native", "cpu"),
        ("onnxruntime", "cpu"),
        ("openvino", "cpu"),
    }


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("kind", ["npu", "gpu"])
def test_a_device_asked_for_and_absent_fails_by_name(tiny: Path, kind: str, strict: bool):
    with pytest.raises(
        DeviceError, match=rf"no {kind.upper()} here: onnxruntime sees CPU; openvino sees CPU"
    ):
        Decoder(str(tiny), device=kind, strict_device=strict)
    with pytest.raises(DeviceError, match=rf"no {kind.upper()} here: openvino sees CPU"):
        Decoder(str(tiny), device=kind, runtime="openvino", strict_device=strict)
    with pytest.raises(DeviceError, match=rf"no {kind.upper()} here"):
        find_device("openvino", kind)


def test_auto_ends_on_the_cpu_and_says_so(tiny: Path, caplog: pytest.LogCaptureFixture):
    decoder = Decoder(str(tiny), device="auto", denoise=True)
    assert (decoder.requested_device, decoder.device) == ("auto", "cpu")
    assert caplog.text.count("no npu or gpu could be used, running on the cpu") == 1


def test_auto_in_strict_mode_does_not_end_on_the_cpu(tiny: Path):
    with pytest.raises(DeviceError, match=r"no npu or gpu here: .*onnxruntime sees CPU"):
        Decoder(str(tiny), device="auto", strict_device=True)


def test_cpu_in_strict_mode_is_the_cpu(tiny: Path, caplog: pytest.LogCaptureFixture):
    decoder = Decoder(str(tiny), device="cpu", strict_device=True)
    assert (decoder.requested_device, decoder.device, caplog.text) == ("cpu", "cpu", "")


def test_an_npu_that_cannot_compile_fails_by_name(tiny: Path, claimed_npu: None):
    with pytest.raises(DeviceError, match=r"synthesis\.float \(openvino\) cannot be compiled for NPU"):
        Decoder(str(tiny), device="npu")


def test_auto_passes_over_an_npu_that_cannot_compile(
    tiny: Path, claimed_npu: None, caplog: pytest.LogCaptureFixture
):
    decoder = Decoder(str(tiny), device="auto")
    assert (decoder.requested_device, decoder.device) == ("auto", "cpu")
    assert "cannot be compiled for NPU" in decoder.notes[0]
    assert "cannot be compiled for NPU" in caplog.text
    with pytest.raises(DeviceError, match="cannot be compiled for NPU"):
        Decoder(str(tiny), device="auto", strict_device=True)


def test_the_first_choice_follows_the_table(tiny: Path):
    order = [
        (graph.runtime, graph.precision)
        for graph, _ in candidates(Bundle.open(tiny), "synthesis", GraphRequest())
    ]
    assert order == [("onnxruntime", "int8"), ("onnxruntime", "float"), ("openvino", "float")]
    assert AUTO_PRECISIONS["cpu"].index("int8") < AUTO_PRECISIONS["cpu"].index("float")


def test_a_runtime_asked_for_is_the_only_one_tried(tiny: Path):
    found = candidates(Bundle.open(tiny), "synthesis", GraphRequest(runtime="openvino"))
    assert [graph.runtime for graph, _ in found] == ["openvino"]


def test_a_graph_that_the_bundle_has_not(tiny: Path):
    with pytest.raises(
        BundleError, match=r"no graph synthesis int4; it has synthesis\.float \(onnxruntime\)"
    ):
        Decoder(str(tiny), precision="int4")
    with pytest.raises(BundleError, match="no graph synthesis int8 openvino"):
        Decoder(str(tiny), precision="int8", runtime="openvino")


def test_unknown_words_are_refused():
    for words in ({"device": "tpu"}, {"runtime": "torch"}):
        with pytest.raises(DeviceError, match="is unknown; one of auto"):
            GraphRequest(**words)


class TestWithoutOpenVino:
    @pytest.fixture(autouse=True)
    def _not_installed(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(openvino, "_core_made", None)
        monkeypatch.setitem(sys.modules, "openvino", None)

    def test_auto_uses_onnxruntime(self, tiny: Path):
        assert Decoder(str(tiny)).runtime == "onnxruntime"
        assert {device.runtime for device in available_devices()} == {"native", "onnxruntime"}

    def test_openvino_asked_for_is_an_error_with_the_command(self, tiny: Path):
        with pytest.raises(MissingExtraError, match=r"pip install 'decant-codec\[openvino\]'"):
            Decoder(str(tiny), runtime="openvino")

    def test_an_npu_asked_for_says_what_is_missing(self, tiny: Path):
        with pytest.raises(
            DeviceError, match=r"no NPU here: onnxruntime sees CPU; .*decant-codec\[openvino\]"
        ):
            Decoder(str(tiny), device="npu")

    def test_a_bundle_for_openvino_only_says_what_is_missing(self, tiny_copy: Path):
        def drop(manifest):
            manifest["graphs"] = [graph for graph in manifest["graphs"] if graph["runtime"] == "openvino"]

        bundles.reseal(tiny_copy, drop)
        with pytest.raises(MissingExtraError, match="openvino"):
            Decoder(str(tiny_copy))


def test_graphs_for_runtimes_of_the_future_are_kept_and_not_chosen(tiny_copy: Path):
    def add(manifest):
        graph = {**manifest["graphs"][0], "runtime": "qnn", "files": []}
        manifest["graphs"].insert(0, graph)

    bundles.reseal(tiny_copy, add)
    assert Decoder(str(tiny_copy), precision="float").runtime == "onnxruntime"
    skipped = [finding for finding in verify_bundle(tiny_copy) if finding.passed is None]
    assert [finding.detail for finding in skipped] == ["not run: runtime qnn is unknown to this decant"]
