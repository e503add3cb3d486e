"""The model file .dcnm: what export writes, what libdcn reads and refuses (docs/format/dcnm.md)."""

import struct
import zlib

import numpy as np
import pytest
import reference_model_file
from ctypes_dcn import BAD_MODEL, BUNDLES, Failed, Model
from decant.bundles.bundle import Bundle
from decant.errors import BundleError
from decant.formats import model_file

LARGEST = {"nano": 800_000, "lite": 1_000_000, "full": 1_500_000}


@pytest.fixture(scope="module")
def data() -> bytes:
    return (BUNDLES / "nano/nano.dcnm").read_bytes()


def resealed(data: bytes) -> bytes:
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))


def test_the_row_of_the_page():
    assert model_file._bits([np.array([0, 1, -1, 2])]) == bytes.fromhex("2085")


def test_a_row_of_zeros_and_one_beyond_the_escape():
    # k = 0: 24 zero bits, then 32 bits of the folded value 2 * 1000.
    row = [0] * 200 + [1000]
    bits = np.unpackbits(np.frombuffer(model_file._bits([np.array(row)]), np.uint8), bitorder="little")
    assert not bits[:5].any()
    assert bits[5:205].all()
    assert not bits[205:229].any()
    assert int(sum(int(bit) << i for i, bit in enumerate(bits[229:261]))) == 2000


@pytest.mark.parametrize("name", list(LARGEST))
def test_shipped_model_files_are_what_export_writes(name: str):
    bundle = Bundle.open(BUNDLES / name)
    written = bundle.read(f"{name}.dcnm")
    assert len(written) <= LARGEST[name]
    if name == "nano":  # packing the others takes long
        found = reference_model_file.read(written)
        assert bundle.model_id.startswith(found.model_id.hex())
        for key, tensor in found.tables.items():
            np.testing.assert_array_equal(tensor, bundle.tables[key], strict=True)
        latent = bundle.model["latent"]
        made = model_file.pack(name, bundle.model_id, latent, bundle.tables, found.hyper, found.synthesis)
        assert made == written
    model = Model(written)
    assert model.library.dcn_model_name(model.handle) == name.encode()
    model.close()


def test_other_layouts_have_none():
    with pytest.raises(BundleError, match="layout grid"):
        model_file.pack("small", "00" * 32, {"layout": "vector"}, {}, {}, {})


@pytest.mark.parametrize("size", [0, 3, 4, 40, 67, 70, 5000, -5, -1])
def test_a_cut_model_is_refused(data: bytes, size: int):
    for cut in (data[:size], resealed(data[:size]) if len(data[:size]) > 4 else b""):
        with pytest.raises(Failed) as failed:
            Model(cut)
        assert failed.value.status == BAD_MODEL
        assert str(failed.value)


@pytest.mark.parametrize(
    ("at", "value"), [(4, 2), (5, 0), (6, 0), (6, 9), (7, 9), (16, 255), (17, 17), (22, 3), (60, 1)]
)
def test_a_wrong_header_is_refused(data: bytes, at: int, value: int):
    changed = bytearray(data)
    changed[at] = value
    with pytest.raises(Failed) as failed:
        Model(resealed(bytes(changed)))
    assert failed.value.status == BAD_MODEL


def test_damage_is_found_by_the_checksum(data: bytes):
    changed = bytearray(data)
    changed[100_000] ^= 1
    with pytest.raises(Failed, match="checksum"):
        Model(bytes(changed))


def test_changed_rows_are_refused_or_make_a_model(data: bytes):
    random, statuses = np.random.default_rng(5), set()
    for _ in range(20):
        changed = bytearray(data)
        for at in random.integers(64, len(data) - 4, 3):
            changed[at] ^= 1 << int(random.integers(8))
        try:
            Model(resealed(bytes(changed))).close()
        except Failed as failed:
            statuses.add(failed.status)
    assert statuses <= {BAD_MODEL}
