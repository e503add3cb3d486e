"""Graphs on the Qualcomm HTP emulator: the whole decoder there, nothing on the cpu, context binaries."""

from pathlib import Path

import numpy as np
import pytest
from decant import Bundle, Decoder, DeviceError
from decant.backends.compiled import CompiledStore
from decant.backends.devices import available_devices, find_device, virtual_devices
from decant.backends.sessions import compile_graph, create_session
from decant.selection import golden
from decant.selection.opening import open_graph
from decant.verify import verify_bundle
from device_packs import needs_emulator, needs_openvino_plugin, packed

BUNDLES = Path(__file__).parents[3] / "artifacts" / "decant_bundles"
SHIPPED = ("nano", "lite", "full", "small")
LEAST_DB = {"int8-static": 45.0, "float16": 60.0}


@pytest.fixture(scope="module")
def pack(codec: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return packed(codec, tmp_path_factory.mktemp("packs") / "codec")


@needs_emulator
class TestEmulator:
    @pytest.mark.parametrize("precision", LEAST_DB)
    def test_a_decoder_runs_there_wholly(self, pack: Bundle, precision: str):
        on = Decoder(pack, device="emulator", precision=precision, strict_device=True, check_golden="always")
        assert (on.requested_device, on.device, on.precision) == ("emulator", "emulator", precision)
        assert on.device_name == "Qualcomm HTP, emulated by the processor"
        assert on.golden_psnr_db is not None
        assert on.golden_psnr_db > 40

    @pytest.mark.slow
    @pytest.mark.parametrize("name", SHIPPED)
    @pytest.mark.parametrize("precision", LEAST_DB)
    def test_the_shipped_decoders_lie_within_the_bounds_to_float(
        self, name: str, precision: str, tmp_path: Path
    ):
        bundle = packed(BUNDLES / name, tmp_path / name, side=32)
        there = Decoder(bundle, device="emulator", precision=precision, strict_device=True)
        here = Decoder(bundle, runtime="onnxruntime", precision="float16", check_golden="never")
        assert (there.device, here.device) == ("emulator", "cpu")
        for item in sorted(bundle.golden, key=lambda item: len(bundle.read(item.file)))[-2:]:
            data = bundle.read(item.file)
            assert golden.psnr_db(there.decode(data), here.decode(data)) > LEAST_DB[precision]

    def test_a_graph_that_would_run_on_the_cpu_is_no_graph_of_the_device(self, pack: Bundle):
        """Neither with nor without --strict-device does a session name a device that ran nothing."""
        graph = pack.graph("synthesis", "float", "onnxruntime")  # its shapes are free
        for strict in (False, True):
            with pytest.raises(DeviceError, match=r"synthesis\.float"):
                open_graph(pack, graph, device="emulator", strict_device=strict)

    def test_auto_never_takes_an_emulator(self, pack: Bundle):
        decoder = Decoder(pack, device="auto")
        assert decoder.device == "cpu"
        with pytest.raises(DeviceError, match="no npu or gpu here"):
            Decoder(pack, device="auto", strict_device=True)

    def test_a_context_binary_is_written_and_loaded(self, pack: Bundle, tmp_path: Path):
        graph = pack.graph("synthesis", "int8-static", "onnxruntime")
        blobs = [pack.read(entry) for entry in graph.files]
        store = CompiledStore(tmp_path / "compiled", ["here"], write=True)
        inputs = [
            np.full((1, *spec.shape[1:]), 0.1, np.float32) for spec in graph.inputs if spec.name != "inside"
        ]
        sessions = [
            create_session(graph, blobs, device="emulator", strict_device=True, halo=2, store=store)
            for _ in range(2)
        ]
        assert store.used == ["written", "read"]
        (entry,) = (tmp_path / "compiled").glob("*.bin")
        assert b"EPContext" in entry.read_bytes()
        first, second = (session.run(*inputs) for session in sessions)
        assert np.array_equal(first, second)

    def test_verify_tries_static_graphs_there(self, tmp_path: Path, pack: Bundle):
        findings = [finding for finding in verify_bundle(pack.path, 1) if "emulator" in finding.what]
        assert {finding.passed for finding in findings} == {True, None}
        assert any("static shapes alone" in finding.detail for finding in findings)


@needs_openvino_plugin
class TestVirtualNpu:
    def test_it_is_listed_apart_and_never_selected(self, pack: Bundle):
        found = virtual_devices()
        assert found
        for device in found:
            assert (device.kind, device.static_shapes) == ("virtual", True)
            assert device.name.startswith("Intel NPU")
        assert not any(device.kind == "virtual" for device in available_devices())
        if not any(device.kind == "npu" for device in available_devices()):
            with pytest.raises(DeviceError, match="no NPU here"):
                find_device("onnxruntime", "npu")

    @pytest.mark.parametrize("precision", LEAST_DB)
    def test_the_compiler_is_called_and_its_absence_said_by_name(self, pack: Bundle, precision: str):
        graph = pack.graph("synthesis", precision, "onnxruntime")
        for device in virtual_devices():
            try:
                said = compile_graph(graph, pack.read(graph.files[0]), device)
            except DeviceError as error:
                said = str(error).encode()
            missing = f"cannot be compiled for {device.name}".encode()
            # A context binary is there where the driver's compiler is installed.
            assert b"EPContext" in said or (missing in said and b"compiler" in said)
