"""Hostile files: libdcn refuses what Python refuses, and never takes more memory than it says."""

import ctypes
from pathlib import Path

import numpy as np
import pytest
from ctypes_dcn import BAD_FILE, Allocate, Allocator, Failed, Model, Release, info, load, python_decoder
from decant import Encoder
from decant.errors import FormatError
from decant.formats import container

TESTS = Path(__file__).parents[1]
NANO = TESTS.parent / "artifacts/decant_bundles/nano"
CORPUS = sorted(
    p for folder in ("container", "layouts") for p in (TESTS / "attacks/corpus" / folder).iterdir()
)


@pytest.fixture(scope="module")
def nano() -> Model:
    return Model((NANO / "nano.dcnm").read_bytes())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_corpus_is_refused_as_python_refuses_it(path: Path):
    data = path.read_bytes()
    try:
        container.parse(data)
    except FormatError:
        with pytest.raises(Failed) as failed:
            info(data)
        assert failed.value.status == BAD_FILE
        assert str(failed.value)
    else:
        assert info(data).latents.size == len(container.parse(data).latents)


def test_damaged_latents_end_alike_in_c_and_python(nano: Model):
    decoder, random = python_decoder("nano"), np.random.default_rng(3)
    good = container.parse((NANO / "golden/004.dcn").read_bytes())
    ends = set()
    for _ in range(60):
        latents = bytearray(good.latents)
        if random.integers(4) == 0:
            del latents[int(random.integers(len(latents))) :]
        else:
            latents[int(random.integers(len(latents)))] ^= 1 << int(random.integers(8))
        file = container.DcnFile(
            good.name, good.model_id, good.width, good.height, bytes(latents), good.quality
        )
        data, refusal = container.write(file), None
        try:
            expected = decoder.decode(file)
        except FormatError as error:
            refusal = str(error)
        if refusal is None:
            assert np.array_equal(nano.decode(data), expected)
        else:
            with pytest.raises(Failed) as failed:
                nano.decode(data)
            assert refusal == f"<bytes>: {failed.value}"
        ends.add(refusal is None)
    assert False in ends


@pytest.mark.parametrize("kind", ["constant", "noise", "slopes", "two"])
def test_alpha_is_exact_and_damage_is_refused(nano: Model, kind: str):
    height, width = 37, 53
    rows, columns = np.indices((height, width))
    planes = {
        "constant": np.full((height, width), 77),
        "noise": np.random.default_rng(1).integers(0, 256, (height, width)),
        "slopes": (3 * rows + 2 * columns) % 256,
        "two": np.where((rows - 18) ** 2 + (columns - 20) ** 2 < 200, 255, 10),
    }
    pixels = np.full((height, width, 4), 90, np.uint8)
    pixels[:, :, 3] = planes[kind]
    data = Encoder("nano").encode(pixels, quality=30, effort=0)
    assert np.array_equal(nano.decode(data, channels=4)[:, :, 3], planes[kind])
    assert np.array_equal(
        nano.decode(data, channels=4, x=5, y=9, width=20, height=11)[:, :, 3], planes[kind][9:20, 5:25]
    )
    file = container.parse(data)
    assert file.alpha is not None
    for wrong in (b"", file.alpha[:-1], file.alpha + b"\0", bytes([9]) + file.alpha[1:]):
        other = container.write(
            container.DcnFile(
                file.name, file.model_id, width, height, file.latents, file.quality, alpha=wrong
            )
        )
        with pytest.raises(Failed) as failed:
            nano.decode(other, channels=4)
        assert failed.value.status == BAD_FILE


def empty_streams(width: int, height: int) -> bytes:
    """A file whose streams are all empty, which is valid."""
    tiles = -(-width // 1024) * -(-height // 1024)
    good = container.parse((NANO / "golden/004.dcn").read_bytes())
    return container.write(container.DcnFile(good.name, good.model_id, width, height, bytes(tiles), 60))


def test_memory_stays_below_what_is_announced(nano: Model):
    library, data = load(), empty_streams(3000, 1200)
    bound = nano.memory(data)
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    libc.free.argtypes = (ctypes.c_void_p,)
    sizes: dict[int, int] = {}
    most = 0

    def allocate(_: int, size: int) -> int:
        nonlocal most
        place: int = libc.malloc(size)
        sizes[place] = size
        most = max(most, sum(sizes.values()))
        return place

    def release(_: int, place: int | None) -> None:
        sizes.pop(place or 0, None)
        libc.free(place)

    allocator = Allocator(Allocate(allocate), Release(release), None)
    library.dcn_set_allocator(ctypes.byref(allocator))
    try:
        nano.decode(data)
    finally:
        library.dcn_set_allocator(None)
    assert not sizes
    assert 0 < most <= bound


def test_24_megapixels_need_at_most_120_megabytes(nano: Model):
    assert nano.memory(empty_streams(6000, 4000), threads=1) <= 120_000_000 + nano.memory(empty_streams(1, 1))
