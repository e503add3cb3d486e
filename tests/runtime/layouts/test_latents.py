"""The vector layout: exact payloads, round trips, and what is refused."""

import numpy as np
import pytest
from decant.errors import BundleError, FormatError, ImageError
from decant.formats.container import DcnFile
from decant.layouts.registry import layout_of
from decant.layouts.vector import VectorLayout
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays


def uint(bits: int, dim: int = 3, minimum: float = -1.0, step: float = 0.5) -> VectorLayout:
    return VectorLayout(dim, "uint", bits, np.full(dim, minimum, np.float32), np.full(dim, step, np.float32))


@pytest.mark.parametrize(
    ("layout", "payload"),
    [
        (VectorLayout(3, "float32"), "0000803f 000000bf 00000040"),
        (VectorLayout(3, "float16"), "003c 00b8 0040"),
        (uint(8), "04 01 06"),
        # 3-bit numbers 4, 1, 6 from the lowest bit up: 100 001 110 -> bits 0..8 = 0 0 1, 1 0 0, 0 1 1
        (uint(3), "8c 01"),
        (uint(12), "04 10 00 06 00"),
    ],
)
def test_a_payload_has_these_bytes(layout: VectorLayout, payload: str):
    latents = np.array([1.0, -0.5, 2.0], np.float32)
    assert layout.pack(latents).hex() == payload.replace(" ", "")
    assert layout.payload_bytes == len(bytes.fromhex(payload))
    assert layout.unpack(bytes.fromhex(payload)).tolist() == latents.tolist()


@given(st.integers(1, 16), st.integers(1, 40), st.data())
def test_uint_numbers_come_back_exactly(bits: int, dim: int, data: st.DataObject):
    numbers = data.draw(arrays(np.uint16, dim, elements=st.integers(0, 2**bits - 1)))
    layout = uint(bits, dim, minimum=-3.0, step=0.25)  # powers of two, so that every value is exact
    latents = (-3.0 + 0.25 * numbers).astype(np.float32)
    payload = layout.pack(latents)
    assert len(payload) == layout.payload_bytes == (dim * bits + 7) // 8
    assert (layout.unpack(payload) == latents).all()


@given(arrays(np.float32, 5, elements=st.floats(-60000, 60000, width=32)))
def test_floats_come_back_as_the_nearest_storable(latents: np.ndarray):
    assert (VectorLayout(5, "float32").unpack(VectorLayout(5, "float32").pack(latents)) == latents).all()
    half = VectorLayout(5, "float16")
    assert (half.unpack(half.pack(latents)) == latents.astype(np.float16)).all()


def test_uint_clips_and_rounds_to_its_range():
    assert uint(4).unpack(uint(4).pack(np.array([-9, 0.6, 99], np.float32))).tolist() == [-1.0, 0.5, 6.5]


def test_a_latent_that_never_varies_needs_no_step():
    layout = VectorLayout(2, "uint", 8, np.array([7, 0], np.float32), np.array([0, 1], np.float32))
    assert layout.unpack(layout.pack(np.array([7, 3], np.float32))).tolist() == [7, 3]


@given(st.binary(max_size=40))
def test_any_payload_gives_finite_latents_or_is_refused(payload: bytes):
    for layout in (
        VectorLayout(4, "float16"),
        VectorLayout(2, "float32"),
        uint(5, 4),
        uint(16, 2, step=3e38),
    ):
        try:
            latents = layout.unpack(payload)
        except FormatError:
            continue
        assert latents.dtype == np.float32
        assert latents.shape == (layout.dim,)
        assert np.isfinite(latents).all()


@pytest.mark.parametrize(
    ("layout", "payload", "message"),
    [
        (VectorLayout(2, "float16"), "003c 007e", "latent 1 is not a finite number"),
        (VectorLayout(2, "float16"), "007c 003c", "latent 0 is not a finite number"),
        (VectorLayout(1, "float32"), "000080ff", "latent 0 is not a finite number"),
        (VectorLayout(2, "float16"), "003c", "latents of 2 bytes; this model has 4"),
        (uint(3), "8c 03", "the bits after the last latent are not zero"),
    ],
)
def test_payloads_that_are_refused(layout: VectorLayout, payload: str, message: str):
    with pytest.raises(FormatError, match=message):
        layout.unpack(bytes.fromhex(payload))


def test_latents_that_cannot_be_stored_are_refused():
    for layout, latents in (
        (VectorLayout(1, "float16"), [70000.0]),
        (VectorLayout(1, "float32"), [np.inf]),
        (uint(8, 1), [np.nan]),
        (VectorLayout(2), [1.0]),
    ):
        with pytest.raises(ImageError):
            layout.pack(np.array(latents, np.float32))


@pytest.mark.parametrize(
    "change", [{"width": 15}, {"height": 17}, {"grey": True}, {"alpha": b""}, {"quality": 50}]
)
def test_files_of_pictures_that_the_model_cannot_make(change: dict[str, object]):
    fields: dict[str, object] = {
        "name": "small",
        "model_id": bytes(8),
        "width": 16,
        "height": 16,
        "latents": b"",
    }
    VectorLayout(1).check(DcnFile(**fields), (16, 16), "photo.dcn")
    with pytest.raises(FormatError, match=r"photo\.dcn: .*small"):
        VectorLayout(1).check(DcnFile(**{**fields, **change}), (16, 16), "photo.dcn")


@pytest.mark.parametrize(
    "latent",
    [
        {"layout": "spiral"},
        {"layout": "vector"},
        {"layout": "vector", "dim": 0, "coding": "float16"},
        {"layout": "vector", "dim": True, "coding": "float16"},
        {"layout": "vector", "dim": 10**12, "coding": "float16"},
        {"layout": "vector", "dim": "16", "coding": "float16"},
        {"layout": "vector", "dim": 4, "coding": "bfloat16"},
        {"layout": "vector", "dim": 4, "coding": ["float16"]},
        {"layout": "vector", "dim": 4, "coding": "float16", "bits": 8},
        {"layout": "vector", "dim": 4, "coding": "uint", "bits": 17},
        {"layout": "vector", "dim": 4, "coding": "uint", "bits": 8},
        {"layout": "vector", "dim": 4, "coding": "float16", "gamma": 2},
    ],
)
def test_layouts_that_are_refused(latent: dict[str, object]):
    with pytest.raises(BundleError, match="latent layout"):
        layout_of({"latent": latent}, {})


def test_a_layout_is_described_and_found_again():
    layout = uint(6)
    found = layout_of({"latent": layout.to_model()}, layout.tables())
    assert isinstance(found, VectorLayout)
    assert (found.dim, found.coding, found.bits) == (3, "uint", 6)
    assert (found.unpack(bytes(3)) == layout.unpack(bytes(3))).all()


def test_tables_must_be_usable():
    good = np.ones(2, np.float32)
    for minimum, step in (
        (good, -good),
        (good * np.nan, good),
        (good.astype(np.float64), good),
        (np.ones(3, np.float32), good),
    ):
        with pytest.raises(BundleError, match=r"latent\.(minimum|step)"):
            VectorLayout(2, "uint", 8, minimum, step)
