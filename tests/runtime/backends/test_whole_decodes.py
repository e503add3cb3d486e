"""dcndec decodes whole files to the same pixels on every machine: here, NEON (qemu), WASM SIMD (node)."""

import cross
import decant
import numpy as np
import pytest
from decant.bundles.bundle import find_bundle
from PIL import Image

SOURCES = ("tools/dcndec.c", *sorted(f"src/{path.name}" for path in (cross.LIBDCN / "src").glob("*.c")))
SIZES = [(1, 1), (17, 40), (80, 63)]  # width, height: odd ones, and parts of a latent


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="session", params=["nano", "full"])
def files(request, folder):
    """A model file and files of it, each with its pixels: golden ones and ones of odd sizes."""
    name = request.param
    path = find_bundle(name).path
    model = path / f"{name}.dcnm"
    golden = sorted((path / "golden").glob("*.dcn"))[0]
    photo = Image.fromarray(decant.decode(golden.read_bytes())[:, :, :3])
    datas = [golden.read_bytes()]
    datas += [
        decant.encode(photo.resize(size), find_bundle(name), 60, effort=0) for size in SIZES if name == "nano"
    ]
    decoder = decant.Decoder(name, runtime="native")
    return model, [(data, decoder.decode(data)) for data in datas]


@pytest.mark.parametrize("target", cross.TARGETS)
def test_files_decode_to_the_same_pixels(target, folder, files, monkeypatch):
    model, decoded = files
    program = cross.built(target, folder, SOURCES, ("-O3",))
    for i, (data, pixels) in enumerate(decoded):
        given, raw = folder / f"{target}{i}.dcn", folder / f"{target}{i}.raw"
        given.write_bytes(data)
        kernels = ("portable", "avx2", "") if target == "native" else ("",)
        for chosen in kernels:
            monkeypatch.setenv("DCN_KERNELS", chosen)
            code, said = cross.run(
                target, program, ["-m", str(model), "-t", "2", "-f", "raw", str(given), str(raw)]
            )
            assert code == 0, said
            found = np.fromfile(raw, np.uint8).reshape(pixels.shape)
            np.testing.assert_array_equal(found, pixels)
