"""What earlier releases encode, this version decodes: to the same symbols, and in float32 to the same bytes.

The wheels of the releases are built from the repository's history, once: ``build/upgrade`` keeps them.
"""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from decant import Decoder
from decant.bundles.bundle import find_bundle
from decant.formats import container
from golden_symbols import symbols_sha256

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build" / "upgrade"
# Version of the release's bundles -> commit.
RELEASES = {
    "0.9.0": "cddb5a083941cee7f6a21919cae425012d6764c4",
    "0.12.0": "91d64e088eac2ed16d3bb1dff115813c4d344611",
}
PROGRAM = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
import decant
try:
    from decant.bundle import find_bundle
    from decant.grid_decoder import groups_of
    from decant import container
except ImportError:
    from decant.bundles.bundle import find_bundle
    from decant.codec.decoder import groups_of
    from decant.formats import container
out = Path(sys.argv[1])
assert Path(decant.__file__).is_relative_to(sys.argv[2]), decant.__file__
pictures = np.load(out / "pictures.npy")
symbols = {}
for name in ("lite", "nano", "full"):
    bundle = find_bundle(name)
    layout = getattr(bundle, "layout", None) or bundle.latents
    encoder = decant.Encoder(name, threads=1)
    decoder = decant.Decoder(name, precision="float", runtime="onnxruntime", threads=1)
    for i, picture in enumerate(pictures):
        data = encoder.encode(picture, 40 + 30 * i, effort=1)
        (out / f"{name}-{i}.dcn").write_bytes(data)
        np.save(out / f"{name}-{i}.npy", decoder.decode(data))
        digest = hashlib.sha256()
        for tile in groups_of(layout, container.parse(data), name):
            digest.update(tile.astype("<i2").tobytes())
        symbols[f"{name}-{i}.dcn"] = digest.hexdigest()
print(json.dumps(symbols))
"""


def wheel_of(commit: str) -> Path:
    """The unpacked wheel of a commit."""
    unpacked = CACHE / commit[:12]
    if unpacked.is_dir():
        return unpacked
    git = ["git", "-C", str(ROOT), "archive", "--format=zip", "-o"]
    CACHE.mkdir(parents=True, exist_ok=True)
    packed = CACHE / f"{commit[:12]}-{os.getpid()}.zip"
    made = subprocess.run([*git, str(packed), commit], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("the history is cut short, or this is no git checkout: git fetch --unshallow")
    source = CACHE / f"source-{commit[:12]}-{os.getpid()}"
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(source)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "-w",
        str(source / "dist"),
        str(source),
    ]
    built = subprocess.run(pip, capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.skip(f"the wheel cannot be built here: {built.stderr.strip().splitlines()[-1:]}")
    with zipfile.ZipFile(next((source / "dist").glob("*.whl"))) as wheel:
        wheel.extractall(source / "unpacked")
    (source / "unpacked").rename(unpacked)
    packed.unlink()
    return unpacked


@pytest.mark.slow
@pytest.mark.parametrize("version", RELEASES)
def test_files_of_the_release_decode_to_the_same_pixels(
    version: str, earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from decant_train.data import wheel_photos

    release = wheel_of(RELEASES[version])
    np.save(tmp_path / "pictures.npy", np.stack([crop[:88, :120] for crop in wheel_photos.crops(2, 128)]))
    environment = {**os.environ, "PYTHONPATH": str(release)}
    run = [sys.executable, "-c", PROGRAM, str(tmp_path), str(release)]
    made = subprocess.run(run, env=environment, cwd=tmp_path, check=True, capture_output=True)
    symbols = json.loads(made.stdout)
    assert len(symbols) == 6
    monkeypatch.setattr("decant.bundles.places.earlier_folders", lambda: [earlier])
    for name in symbols:
        data = (tmp_path / name).read_bytes()
        file = container.parse(data)
        bundle = find_bundle(file.name, file.model_id)
        decoder = Decoder(bundle, precision="float", runtime="onnxruntime", threads=1)
        assert np.array_equal(decoder.decode(data), np.load(tmp_path / f"{name[:-4]}.npy")), name
        assert symbols_sha256(bundle, data) == symbols[name]
