"""``decant transcode``: files move to another model, and what that loses is measured."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import decant, refusal
from decant import Decoder, Encoder, Metadata
from decant.bundles.bundle import Bundle
from decant.formats import container
from decant_train.data import wheel_photos

SIDE = 80
# Files of ``nano`` move to ``lite``.
MODELS = Path(__file__).parents[2] / "artifacts" / "decant_bundles"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files of ``nano``: colour with metadata, grey, and alpha."""
    folder = tmp_path_factory.mktemp("files")
    encoder = Encoder(MODELS / "nano", threads=1)
    picture = wheel_photos.crops(1, 128)[0][:SIDE, :SIDE]
    alpha = np.tile(np.arange(SIDE, dtype=np.uint8), (SIDE, 1))[:, :, None]
    metadata = Metadata(icc=b"profile", xmp=b"<x/>")
    encoded = {
        "colour": encoder.encode(picture, 70, effort=1, metadata=metadata),
        "grey": encoder.encode(picture[:, :, 0], 50, effort=1),
        "alpha": encoder.encode(np.concatenate([picture, alpha], axis=2), 60, effort=1),
    }
    for name, data in encoded.items():
        (folder / f"{name}.dcn").write_bytes(data)
    return folder


def run(*arguments: object) -> list[dict]:
    result = decant("transcode", *arguments, "--model", MODELS / "lite", "--bundle-dir", MODELS, "--json",
                    "--effort", 1, "--threads", 1)  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    return found if isinstance(found, list) else [found]


def test_a_folder(files: Path, tmp_path: Path) -> None:
    records = run(files, tmp_path / "new")
    assert [Path(record["source"]).stem for record in records] == ["alpha", "colour", "grey"]
    old, new = (Decoder(MODELS / name, threads=1) for name in ("nano", "lite"))
    for record in records:
        data, again = (Path(record[name]).read_bytes() for name in ("source", "target"))
        before, after = container.parse(data), container.parse(again)
        assert (record["old_bytes"], record["new_bytes"]) == (len(data), len(again))
        assert new.bundle.model_id.startswith(after.model_id.hex())
        assert (record["old_quality"], record["new_quality"]) == (before.quality, after.quality)
        assert before.quality == after.quality
        for kept in ("width", "height", "grey", "alpha", "icc", "xmp"):
            assert getattr(before, kept) == getattr(after, kept), kept
        a, b = (x.astype(np.float64) for x in (old.decode(data), new.decode(again)))
        shown = a[:, :, 3] > 0 if a.shape[2] == 4 else np.ones(a.shape[:2], bool)
        error = np.mean((a - b)[shown][:, :3] ** 2)
        assert record["psnr_db"] == pytest.approx(10 * np.log10(255**2 / error))


def test_files_of_the_new_model_are_copied(files: Path, tmp_path: Path) -> None:
    run(files / "grey.dcn", tmp_path / "first.dcn")
    (record,) = run(tmp_path / "first.dcn", tmp_path / "second.dcn")
    assert record["unchanged"]
    assert record["psnr_db"] is None
    assert (tmp_path / "first.dcn").read_bytes() == (tmp_path / "second.dcn").read_bytes()


def test_a_target_is_that_of_the_old_pixels(files: Path, tmp_path: Path) -> None:
    (free,) = run(files / "colour.dcn", tmp_path / "free.dcn", "--quality", 40)
    assert free["new_quality"] == 40
    wanted = free["psnr_db"] - 1
    (record,) = run(files / "colour.dcn", tmp_path / "made.dcn", "--target-psnr", wanted)
    assert record["psnr_db"] >= wanted
    assert record["new_quality"] <= 40


def test_messages_and_files_that_are_there(files: Path, tmp_path: Path) -> None:
    options = ["--model", MODELS / "lite", "--bundle-dir", MODELS, "--effort", 0, "--threads", 1]
    one = decant("transcode", files / "colour.dcn", tmp_path / "a.dcn", *options)
    version = Bundle.open(MODELS / "lite").version
    assert f"nano {version} -> lite {version}" in one.stderr
    assert "dB to what the old file decodes to" in one.stderr
    before = (tmp_path / "a.dcn").read_bytes()
    again = decant("transcode", files / "grey.dcn", tmp_path / "a.dcn", *options, "--skip-existing")
    assert "exists, skipped" in again.stderr
    assert (tmp_path / "a.dcn").read_bytes() == before
    folder = decant("transcode", files, tmp_path / "new", *options)
    assert "3 of 3 files written" in folder.stderr
    assert "PSNR to what the old files decode to" in folder.stderr
    whole = decant("transcode", files, tmp_path / "new", *options, "--skip-existing")
    assert whole.exit_code == 0
    assert "existing: 3" in whole.stderr


def test_what_cannot_be_done_is_said(files: Path, tmp_path: Path) -> None:
    options = ["--model", MODELS / "lite", "--effort", 0]
    data = files / "colour.dcn"
    assert "is the input itself" in refusal("transcode", data, data, *options)
    # Without --bundle-dir the file's model is not found.
    assert "with id" in refusal("transcode", data, tmp_path / "a.dcn", *options)
    assert not (tmp_path / "a.dcn").exists()
    assert "no .dcn file in it" in refusal("transcode", tmp_path, tmp_path / "b", *options)
