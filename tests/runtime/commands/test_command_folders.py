"""`decant` on folders: every file is accounted for, and one bad file stops none of the others."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import bundles
import numpy as np
import pytest
from commands import decant, refusal
from decant import Decoder
from decant.formats import plan
from PIL import Image

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX files")


def picture(k: int = 3) -> Image.Image:
    return Image.fromarray(bundles.crops(200)[k])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four pictures, one of them in a folder in the folder."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for k, name in enumerate(("a.png", "b.bmp", "c.PNG", "sub/d.tif")):
        picture(k).save(folder / name)
    return folder


def coded_names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


ALL = ["a.dcn", "b.dcn", "c.dcn", "sub/d.dcn"]


class TestNameClashes:
    def test_both_files_fail_by_name_and_the_others_go_on(self, tiny: Path, photos: Path, tmp_path: Path):
        for name in ("x.png", "x.bmp", "x.tif", "sub/y.png", "sub/y.bmp"):
            picture(5).save(photos / name)
        result = decant("encode", photos, tmp_path / "out", "--bundle-dir", tiny)
        assert result.exit_code == 1
        *clashes, summary, last = result.stderr.splitlines()
        assert [line.split(": ")[1] for line in clashes] == [
            str(photos / name) for name in ("x.bmp", "x.png", "x.tif", "sub/y.bmp", "sub/y.png")
        ]
        assert clashes[0] == (
            f"decant: {photos / 'x.bmp'}: x.png, x.tif would also become {tmp_path / 'out' / 'x.dcn'}; "
            "--keep-suffix writes x.bmp.dcn"
        )
        assert summary == f"4 of 9 files written to {tmp_path / 'out'}"
        assert last == "decant: 5 of 9 files failed"
        assert coded_names(tmp_path / "out") == ALL

    def test_case_does_not_tell_files_apart_on_every_system(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        for name in ("a.png", "b.png", "A.bmp"):
            (tmp_path / name).write_bytes(b"")
        for ignored, jobs in ((False, 3), (True, 1)):
            monkeypatch.setattr(plan, "CASE_IS_IGNORED", ignored)
            assert len(plan.plan_folder(tmp_path, tmp_path / "out", (".png", ".bmp"), ".dcn").jobs) == jobs

    def test_keep_suffix_writes_all(self, tiny: Path, photos: Path, tmp_path: Path):
        picture(5).save(photos / "a.bmp")
        arguments = ("encode", photos, tmp_path / "out", "--bundle-dir", tiny, "--keep-suffix")
        assert decant(*arguments).exit_code == 0
        assert coded_names(tmp_path / "out") == [
            "a.bmp.dcn",
            "a.png.dcn",
            "b.bmp.dcn",
            "c.PNG.dcn",
            "sub/d.tif.dcn",
        ]
        assert decant("decode", tmp_path / "out", tmp_path / "back", "--bundle-dir", tiny).exit_code == 0
        assert "a.bmp.png" in coded_names(tmp_path / "back")


class TestSkipped:
    @posix
    def test_what_is_no_picture_is_counted_by_reason(self, tiny: Path, photos: Path, tmp_path: Path):
        for name in ("._a.png", ".DS_Store", "notes.txt", "film.mpg", "text.pdf", "phone.HEIC", "raw.cr2"):
            (photos / name).write_bytes(b"\0\5\x16\7 not a picture")
        (photos / "__MACOSX").mkdir()
        picture().save(photos / "__MACOSX" / "e.png")
        os.mkfifo(photos / "pipe.png")
        (photos / "zero.png").symlink_to("/dev/zero")
        (photos / "link").symlink_to("sub")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.relpath(photos / "socket.png"))
            result = decant("encode", photos, tmp_path / "out", "--bundle-dir", tiny)
        assert result.exit_code == 0
        assert result.stderr == (
            f"4 of 4 files written to {tmp_path / 'out'}; 12 skipped (link to a folder: 1, "
            "macOS metadata: 3, not a picture: 3, not a regular file: 3, unsupported format .cr2: 1, "
            "unsupported format .heic: 1)\n"
        )
        assert coded_names(tmp_path / "out") == ALL

    def test_skip_existing(self, tiny: Path, photos: Path, tmp_path: Path):
        out = tmp_path / "out"
        out.mkdir()
        (out / "b.dcn").write_bytes(b"there")
        arguments = ("encode", photos, out, "--bundle-dir", tiny, "--skip-existing")
        assert decant(*arguments).stderr == f"3 of 3 files written to {out}; 1 skipped (existing: 1)\n"
        assert (out / "b.dcn").read_bytes() == b"there"
        result = decant(*arguments)
        assert result.exit_code == 0
        assert result.stderr == f"0 of 0 files written to {out}; 4 skipped (existing: 4)\n"
        decant("encode", photos, out, "--bundle-dir", tiny)
        arguments = ("decode", out, tmp_path / "back", "--bundle-dir", tiny, "--skip-existing")
        decant(*arguments)
        assert decant(*arguments).stderr.endswith("4 skipped (existing: 4)\n")

    def test_animations_are_counted(self, tiny: Path, photos: Path, tmp_path: Path):
        frames = [picture(k) for k in range(3)]
        frames[0].save(photos / "film.png", save_all=True, append_images=frames[1:])
        result = decant("encode", photos, tmp_path / "out", "--bundle-dir", tiny)
        assert result.stderr == (
            f"5 of 5 files written to {tmp_path / 'out'}; "
            "1 with more frames or pages, of which only the first was encoded\n"
        )
        arguments = ("encode", photos, tmp_path / "out", "--bundle-dir", tiny, "--refuse-animated")
        result = decant(*arguments)
        assert result.exit_code == 1
        assert f"{photos / 'film.png'}: has more than one frame or page" in result.stderr
        assert f"4 of 5 files written to {tmp_path / 'out'}\n" in result.stderr

    def test_quiet_says_what_fails_and_nothing_else(self, tiny: Path, photos: Path, tmp_path: Path):
        arguments = ("encode", photos, tmp_path / "out", "--bundle-dir", tiny, "--quiet")
        assert decant(*arguments).output == ""
        (photos / "bad.png").write_bytes(b"")
        assert decant(*arguments).stderr.splitlines()[1:] == ["decant: 1 of 5 files failed"]


class TestFailures:
    @posix
    def test_each_is_named_and_the_others_go_on(self, tiny: Path, photos: Path, tmp_path: Path):
        out = tmp_path / "out"
        (out / "big.dcn").mkdir(parents=True)
        os.mkfifo(out / "pipe.dcn")
        (out / "self.dcn").symlink_to(photos / "self.png")
        for name in ("big.png", "pipe.png", "self.png"):
            picture().save(photos / name)
        (photos / "gone.png").symlink_to("nowhere")
        (photos / "empty.png").write_bytes(b"")
        Image.new("RGB", (17, 17)).save(photos / "size.png")
        result = decant("encode", photos, out, "--bundle-dir", tiny)
        assert result.exit_code == 1
        *failures, summary, last = result.stderr.splitlines()
        said = {Path(line.split(": ")[1]).name: line for line in failures}
        assert "Is a folder" in said["big.dcn"]
        assert "a device or FIFO" in said["pipe.dcn"]
        assert "is the input itself" in said["self.dcn"]
        assert "No such file" in said["gone.png"]
        assert "not an image" in said["empty.png"]
        assert "takes 16x16 only" in said["size.png"]
        assert (summary, last) == (f"4 of 10 files written to {out}", "decant: 6 of 10 files failed")

    def test_a_picture_too_large_for_the_memory(self, codec: Path, tmp_path: Path):
        """A small file of 13377x13377 pixels, with little more memory than the encoder itself takes."""
        (tmp_path / "in").mkdir()
        Image.new("1", (13377, 13377)).save(tmp_path / "in" / "bomb.tif", compression="group4")
        for k in range(3):
            picture(k).save(tmp_path / "in" / f"{k}.png")
        code = (
            "import resource, sys\n"
            "from pathlib import Path\n"
            "from decant import Encoder\n"
            "from decant.batch import FileEncoder, run_all\n"
            "work = FileEncoder(Encoder(sys.argv[1], threads=1), effort=0)\n"
            "jobs = [(path, Path('out') / (path.stem + '.dcn')) for path in sorted(Path('in').iterdir())]\n"
            "assert run_all(jobs[:1], work, print) == 0\n"
            "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
            "resource.setrlimit(resource.RLIMIT_AS, (used + (120 << 20),) * 2)\n"
            "print('failed', run_all(jobs, work, lambda job, result: print(job[0], result), 1))\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", code, str(codec)], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        lines = run.stdout.splitlines()
        assert "in/bomb.tif in/bomb.tif: not enough memory" in lines
        assert lines[-1] == "failed 1"
        assert coded_names(tmp_path / "out") == ["0.dcn", "1.dcn", "2.dcn"]

    def test_an_output_that_is_a_file(self, photos: Path, tmp_path: Path):
        (tmp_path / "out").write_bytes(b"earlier")
        result = decant("encode", photos, tmp_path / "out")
        assert result.exit_code == 2
        assert "IN is a folder, so OUT has to be one" in result.stderr


class TestVerify:
    @pytest.fixture
    def archive(self, tiny: Path, photos: Path, tmp_path: Path) -> Path:
        assert decant("encode", photos, tmp_path / "archive", "--bundle-dir", tiny).exit_code == 0
        return tmp_path / "archive"

    def test_a_folder_of_whole_files(self, tiny: Path, archive: Path):
        (archive / "notes.txt").write_text("x")
        result = decant("verify", archive, "--bundle-dir", tiny)
        assert result.exit_code == 0
        assert [line.split(":")[0] for line in result.stdout.splitlines()] == [
            f"ok   {archive / name}" for name in ALL
        ]
        assert result.stderr == f"4 of 4 files in {archive} are whole; 1 skipped (not a .dcn file: 1)\n"
        assert decant("verify", archive, "--bundle-dir", tiny, "--quiet").output == ""

    def test_two_suffixes_that_differ_in_case_are_two_files(self, tiny: Path, archive: Path, tmp_path: Path):
        shutil.copy(archive / "a.dcn", archive / "a.DCN")
        result = decant("verify", archive, "--bundle-dir", tiny)
        assert result.exit_code == 0
        assert result.stdout.count("ok ") == 5
        arguments = ("decode", archive, tmp_path / "back", "--bundle-dir", tiny)
        assert "2 of 5 files failed" in decant(*arguments).stderr
        assert decant(*arguments, "--keep-suffix").exit_code == 0
        assert (tmp_path / "back" / "a.DCN.png").exists()

    def test_damage_is_named_and_the_others_are_checked(self, tiny: Path, archive: Path):
        bad = archive / "b.dcn"
        bad.write_bytes(bad.read_bytes()[:-1])
        result = decant("verify", archive, "--bundle-dir", tiny, "--quiet")
        assert result.exit_code == 1
        assert result.stdout.startswith(f"FAIL {bad}: section 2 at byte")
        assert result.stdout.count("\n") == 1
        assert result.stderr == f"decant: {archive}: 1 of 4 checks failed; the first: {bad}\n"

    def test_json(self, tiny: Path, archive: Path):
        (archive / "b.dcn").write_bytes(b"")
        (archive / "c.txt").write_text("x")
        result = decant("verify", archive, "--bundle-dir", tiny, "--json")
        assert result.exit_code == 1
        said = json.loads(result.stdout)
        assert (said["path"], said["kind"], said["passed"]) == (str(archive), "folder", False)
        assert said["skipped"] == {"not a .dcn file": 1}
        assert [finding["passed"] for finding in said["findings"]] == [True, False, True, True]
        said = json.loads(decant("verify", archive / "a.dcn", "--bundle-dir", tiny, "--json").stdout)
        assert (said["kind"], said["passed"], len(said["findings"])) == ("file", True, 1)
        said = json.loads(decant("verify", archive / "b.dcn", "--bundle-dir", tiny, "--json").stdout)
        assert said["passed"] is False
        assert "cut off" in said["findings"][0]["detail"] or "not a .dcn" in said["findings"][0]["detail"]
        said = json.loads(decant("verify", tiny, "--json").stdout)
        assert (said["kind"], said["passed"], len(said["findings"])) == ("bundle", True, 8)

    def test_several_paths(self, tiny: Path, archive: Path):
        paths = [archive / "a.dcn", archive / "absent.dcn", archive / "sub"]
        result = decant("verify", *paths, "--bundle-dir", tiny)
        assert result.exit_code == 1
        assert [line[:4] for line in result.stdout.splitlines()] == ["ok  ", "FAIL", "ok  "]
        assert "1 of 3 checks failed" in result.stderr
        said = json.loads(decant("info", *paths[:1] * 2, "--json").stdout)
        assert [one["model"] for one in said] == ["tiny", "tiny"]

    def test_a_folder_without_files(self, tmp_path: Path):
        (tmp_path / "in").mkdir()
        assert "no .dcn file in it, and no bundle.json" in refusal("verify", tmp_path / "in")


class TestBundleNames:
    def test_info_and_verify_take_the_name_of_a_bundle(self, tiny: Path):
        for command in ("info", "verify"):
            by_name = decant(command, "tiny", "--bundle-dir", tiny)
            assert (by_name.exit_code, by_name.stdout) == (0, decant(command, tiny).stdout)

    def test_a_file_of_that_name_comes_first(
        self, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.chdir(tmp_path)
        Path("tiny").write_bytes(b"")
        assert "tiny: not a .dcn file" in refusal("info", "tiny", "--bundle-dir", tiny)

    def test_what_is_neither(self, tiny: Path):
        message = refusal("verify", "large", "--bundle-dir", tiny)
        assert "large: no such file or folder, and no bundle of that name; looked for bundles in" in message


def test_the_shape_of_a_folder_is_kept_both_ways(tiny: Path, photos: Path, tmp_path: Path):
    assert decant("encode", photos, tmp_path / "out", "--bundle-dir", tiny).exit_code == 0
    assert decant("decode", tmp_path / "out", tmp_path / "back", "--bundle-dir", tiny).exit_code == 0
    assert coded_names(tmp_path / "back") == [name.replace(".dcn", ".png") for name in ALL]
    shutil.rmtree(photos)
    decoder = Decoder(tiny)
    for name in ALL:
        pixels = np.asarray(Image.open(tmp_path / "back" / name.replace(".dcn", ".png")))
        assert np.array_equal(pixels, decoder.decode((tmp_path / "out" / name).read_bytes()))
