"""`decant` on one file: which outputs are refused, `-`, names that terminals cannot show, what is said."""

import io
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import bundles
import numpy as np
import pytest
from commands import decant, refusal, usage_error
from decant import Decoder
from decant.formats import container
from PIL import Image

COMMAND = Path(sys.executable).with_name("decant")
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX files")


def picture(k: int = 3) -> Image.Image:
    return Image.fromarray(bundles.crops(200)[k])


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    picture().save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def coded(tiny: Path, photo: Path) -> Path:
    assert decant("encode", photo, photo.with_suffix(".dcn"), "--bundle-dir", tiny).exit_code == 0
    return photo.with_suffix(".dcn")


class TestOutputs:
    def test_the_input_is_not_overwritten_through_any_link(self, tiny: Path, photo: Path, tmp_path: Path):
        original = photo.read_bytes()
        (tmp_path / "soft.dcn").symlink_to("photo.png")
        (tmp_path / "hard.dcn").hardlink_to(photo)
        (tmp_path / "same.dcn").write_bytes(original)
        for source, target in ((photo, "soft.dcn"), (photo, "hard.dcn"), (tmp_path / "same.dcn", "same.dcn")):
            message = refusal("encode", source, tmp_path / target, "--bundle-dir", tiny)
            assert "is the input itself" in message
            assert (tmp_path / target).read_bytes() == original
        assert "OUT must end in .dcn, not .png" in usage_error("encode", photo, photo, "--bundle-dir", tiny)
        assert photo.read_bytes() == original

    def test_a_decoded_file_is_not_overwritten_either(self, tiny: Path, coded: Path, tmp_path: Path):
        (tmp_path / "link.png").symlink_to(coded)
        assert "is the input itself" in refusal("decode", coded, tmp_path / "link.png", "--bundle-dir", tiny)
        assert container.parse(coded.read_bytes()).name == "tiny"

    @pytest.mark.parametrize("name", ["out.jpg", "out.png", "out", "out.dcn.tmp"])
    def test_encode_writes_dcn_names_only(self, tiny: Path, photo: Path, tmp_path: Path, name: str):
        assert "OUT must end in .dcn, not" in usage_error("encode", photo, tmp_path / name)
        assert not (tmp_path / name).exists()

    def test_a_folder_gets_a_file_named_after_the_input(self, tiny: Path, photo: Path, tmp_path: Path):
        (tmp_path / "out").mkdir()
        assert decant("encode", photo, tmp_path / "out", "--bundle-dir", tiny).exit_code == 0
        coded = tmp_path / "out" / "photo.dcn"
        assert decant("decode", coded, tmp_path / "out", "--bundle-dir", tiny).exit_code == 0
        assert (
            decant("decode", coded, tmp_path / "out", "--format", "npy", "--bundle-dir", tiny).exit_code == 0
        )
        assert sorted(os.listdir(tmp_path / "out")) == ["photo.dcn", "photo.npy", "photo.png"]

    def test_outputs_are_checked_before_a_model_is_loaded(self, photo: Path, tmp_path: Path):
        empty = tmp_path / "empty"
        empty.mkdir()
        message = refusal("encode", photo, tmp_path / "absent" / "a.dcn", "--bundle-dir", empty)
        assert message == f"decant: {tmp_path / 'absent'}: No such folder\n"

    @posix
    def test_links_modes_and_long_names(self, tiny: Path, photo: Path, tmp_path: Path):
        (tmp_path / "real.dcn").write_bytes(b"earlier")
        (tmp_path / "real.dcn").chmod(0o600)
        (tmp_path / "link.dcn").symlink_to("real.dcn")
        long = tmp_path / ("写" * 80 + ".dcn")
        for target in (tmp_path / "link.dcn", long):
            assert decant("encode", photo, target, "--bundle-dir", tiny).exit_code == 0
        assert (tmp_path / "link.dcn").is_symlink()
        assert (tmp_path / "real.dcn").read_bytes() == long.read_bytes()
        assert stat.S_IMODE((tmp_path / "real.dcn").stat().st_mode) == 0o600

    @posix
    def test_devices_and_fifos_are_written_through(
        self, tiny: Path, coded: Path, photo: Path, tmp_path: Path
    ):
        os.mkfifo(tmp_path / "pipe")
        got: list[bytes] = []
        for arguments in (
            ("encode", photo, tmp_path / "pipe"),
            ("decode", coded, tmp_path / "pipe", "--format", "tiff"),
        ):
            reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
            reader.start()
            assert decant(*arguments, "--bundle-dir", tiny).exit_code == 0
            reader.join()
        assert got[0] == coded.read_bytes()
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(got[1]))), Decoder(tiny).decode(got[0]))
        assert decant("encode", photo, "/dev/null", "--bundle-dir", tiny).exit_code == 0
        assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)

    def test_skip_existing(self, tiny: Path, photo: Path, coded: Path, tmp_path: Path):
        coded.write_bytes(b"there")
        for arguments in (("encode", photo, coded), ("decode", coded, photo)):
            result = decant(*arguments, "--bundle-dir", tiny, "--skip-existing")
            assert (result.exit_code, result.stderr) == (0, f"decant: {arguments[2]}: exists, skipped\n")
        assert coded.read_bytes() == b"there"


class TestInputs:
    @posix
    def test_only_regular_files_are_read(self, tiny: Path, tmp_path: Path):
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "zero.dcn").symlink_to("/dev/zero")
        for name, kind in (("pipe", "a FIFO"), ("zero.dcn", "a device")):
            for arguments in (
                ("encode", tmp_path / name, tmp_path / "out.dcn", "--bundle-dir", tiny),
                ("decode", tmp_path / name, tmp_path / "out.png", "--bundle-dir", tiny),
                ("info", tmp_path / name),
                ("verify", tmp_path / name),
            ):
                message = refusal(*arguments)
                assert f"{name}: is {kind}; a regular file expected (commands read pipes as -)" in message

    def test_a_side_that_no_file_can_hold_is_refused_before_encoding_by_name(
        self, codec: Path, tmp_path: Path
    ):
        Image.new("1", (30, 70000)).save(tmp_path / "tall.png")
        message = refusal("encode", tmp_path / "tall.png", tmp_path / "a.dcn", "--bundle-dir", codec)
        assert "tall.png: 30x70000 pixels; a side has at most 65535" in message

    def test_a_picture_too_large_for_the_memory_is_named(self, codec: Path, tmp_path: Path):
        Image.new("1", (13377, 13377)).save(tmp_path / "bomb.tif", compression="group4")
        code = (
            "import resource, sys\n"
            "from decant.commands.cli import main\n"
            "from decant import Encoder\n"
            "import PIL.Image, numpy\n"
            f"Encoder({str(codec)!r})\n"
            "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
            "resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20),) * 2)\n"
            "main()"
        )
        options = ["--bundle-dir", codec, "--threads", "1"]
        run = subprocess.run(
            [sys.executable, "-c", code, "encode", tmp_path / "bomb.tif", tmp_path / "a.dcn", *options],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 1
        assert run.stderr.startswith(f"decant: {tmp_path / 'bomb.tif'}: not enough memory")


class TestStandardStreams:
    def test_a_picture_goes_through_pipes_both_ways(self, tiny: Path, photo: Path, coded: Path):
        there = decant("encode", "-", "-", "--bundle-dir", tiny, stdin=photo.read_bytes())
        assert (there.exit_code, there.stdout_bytes) == (0, coded.read_bytes())
        assert there.stderr.startswith("decant: <stdout>: 16x16 pixels, ")
        for name in ("png", "tiff", "npy"):
            back = decant(
                "decode", "-", "-", "--format", name, "--bundle-dir", tiny, stdin=there.stdout_bytes
            )
            assert (back.exit_code, back.stderr) == (0, "")
            read = np.load if name == "npy" else lambda stream: np.asarray(Image.open(stream))
            pixels = read(io.BytesIO(back.stdout_bytes))
            assert np.array_equal(pixels, Decoder(tiny).decode(coded.read_bytes()))

    def test_info_and_verify_read_standard_input(self, tiny: Path, coded: Path):
        said = json.loads(decant("info", "-", "--json", stdin=coded.read_bytes()).stdout)
        assert (said["path"], said["model"]) == ("<stdin>", "tiny")
        result = decant("verify", "-", "--bundle-dir", tiny, stdin=coded.read_bytes())
        assert result.stdout == "ok   <stdin>: 16x16, model tiny 1.0.0, all checksums right\n"

    def test_what_is_wrong_is_said_of_stdin(self, tiny: Path, tmp_path: Path):
        (tmp_path / "out").mkdir()
        assert "<stdin>: not a .dcn file" in refusal("decode", "-", "-", stdin=b"\0" * 200)
        assert "<stdin>: not an image" in refusal("encode", "-", "-", "--bundle-dir", tiny, stdin=b"\0" * 200)
        assert "standard input has no name" in usage_error("encode", "-", tmp_path / "out", stdin=b"")
        assert "not standard output" in usage_error("decode", tmp_path / "out", "-")

    def test_a_terminal_gets_no_binary_data(self, tiny: Path, photo: Path):
        pty = pytest.importorskip("pty")
        main, other = pty.openpty()
        run = subprocess.run(
            [COMMAND, "encode", photo, "-"], stdout=other, stderr=subprocess.PIPE, text=True, check=False
        )
        os.close(other)
        os.close(main)
        assert run.returncode == 1
        assert "standard output is a terminal" in run.stderr


class TestWhatIsSaid:
    def test_an_encoded_file_is_said_with_its_size_and_bits_per_pixel(self, tiny: Path, photo: Path):
        target = photo.with_suffix(".dcn")
        result = decant("encode", photo, target, "--bundle-dir", tiny)
        size = target.stat().st_size
        assert result.stderr == (
            f"decant: {target}: 16x16 pixels, {size} bytes, {8 * size / 256:.3f} bits per pixel\n"
        )
        assert decant("encode", photo, target, "--bundle-dir", tiny, "--quiet").output == ""

    def test_other_frames_are_said_or_refused(self, tiny: Path, tmp_path: Path):
        frames = [picture(k) for k in range(3)]
        frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
        frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
        frames[0].save(tmp_path / "one.tif")
        for name in ("a.png", "a.tif"):
            source, target = tmp_path / name, tmp_path / "a.dcn"
            result = decant("encode", source, target, "--bundle-dir", tiny)
            assert result.exit_code == 0
            said = f"decant: {source}: has more frames or pages; only the first is encoded"
            assert result.stderr.splitlines()[0].startswith(said)
            result = decant("encode", source, target, "--bundle-dir", tiny, "--quiet")
            assert result.stderr.startswith(said)
            target.unlink()
            message = refusal("encode", source, target, "--bundle-dir", tiny, "--refuse-animated")
            assert "has more than one frame or page" in message
            assert not target.exists()
        one = ["encode", tmp_path / "one.tif", tmp_path / "one.dcn", "--bundle-dir", tiny]
        assert decant(*one, "--refuse-animated", "--quiet").output == ""

    def test_the_api_warns_of_other_frames(self, tiny: Path, tmp_path: Path):
        from decant import AnimationWarning, Encoder, pillow, save

        assert pillow.FORMAT == "DCN"  # registered with Pillow

        frames = [picture(k) for k in range(3)]
        frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
        with Image.open(tmp_path / "a.png") as image:
            with pytest.warns(AnimationWarning, match="only the first is encoded"):
                Encoder(tiny).encode(image)
            with pytest.warns(AnimationWarning):
                save(tmp_path / "a.dcn", image, tiny)
            with pytest.warns(AnimationWarning, match=r"b\.dcn: has more frames or pages"):
                image.save(tmp_path / "b.dcn", model=tiny)
            image.seek(1)
            Encoder(tiny).encode(image)  # a frame that was chosen
        Encoder(tiny).encode(frames[0])

    def test_the_api_refuses_the_names_of_other_formats(self, tiny: Path, tmp_path: Path):
        from decant import ImageError, save

        with pytest.raises(ImageError, match=r"end the name in \.dcn"):
            save(tmp_path / "a.jpg", picture(), tiny)
        with pytest.raises(FileNotFoundError, match="No such folder"):
            save(tmp_path / "absent" / "a.dcn", picture(), tiny)
        assert os.listdir(tmp_path) == []


@posix
class TestNamesAndTerminals:
    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("写.dcn", {"utf-8": "写.dcn", "cp1252": r"\u5199.dcn", "latin-1": r"\u5199.dcn"}),
            (os.fsdecode(b"caf\xe9.dcn"), dict.fromkeys(("utf-8", "cp1252", "latin-1"), r"caf\xe9.dcn")),
            ("a\x1b]0;x\x07.dcn", dict.fromkeys(("utf-8", "cp1252", "latin-1"), r"a\x1b]0;x\x07.dcn")),
        ],
    )
    def test_every_name_can_be_shown(self, tiny: Path, coded: Path, tmp_path: Path, name: str, shown: dict):
        (tmp_path / name).write_bytes(coded.read_bytes())
        (tmp_path / ("bad" + name)).write_bytes(b"no")
        for encoding, text in shown.items():
            environment = {**os.environ, "PYTHONIOENCODING": encoding}

            def run(*arguments: object, environment=environment, encoding=encoding):
                done = subprocess.run(
                    [COMMAND, *arguments], cwd=tmp_path, env=environment, capture_output=True, check=False
                )
                return done.returncode, done.stdout.decode(encoding), done.stderr.decode(encoding)

            code, out, err = run("verify", name, "--bundle-dir", tiny)
            assert (code, err) == (0, "")
            assert out.startswith(f"ok   {text}: 16x16, ")
            assert run("info", name)[1].splitlines()[1].split() == ["path", text]
            code, out, err = run("verify", "bad" + name)
            assert (code, out) == (1, "")
            assert err.startswith(f"decant: bad{text}: not a .dcn file")
            assert "\x1b" not in run("verify", "--" + name)[2]

    def test_a_name_of_several_lines_stays_one_line(self, tiny: Path, coded: Path, tmp_path: Path):
        whole, bad, absent = (tmp_path / f"a\nok   {k}.dcn" for k in range(3))
        whole.write_bytes(coded.read_bytes())
        bad.write_bytes(b"no")
        assert len(decant("verify", whole, "--bundle-dir", tiny).stdout.splitlines()) == 1
        assert len(decant("verify", whole, bad, absent, "--bundle-dir", tiny).stdout.splitlines()) == 3
        for path in (bad, absent):
            refusal("verify", path)
        rows = decant("info", whole, "--bundle-dir", tiny).stdout.splitlines()
        assert rows[1].endswith(r"a\nok   0.dcn")

    def test_escapes_in_a_bundles_texts_are_not_obeyed(self, tiny_copy: Path):
        bundles.reseal(tiny_copy, lambda m: m.update(licence="\x1b[2Jgone\nnew", version="1\u202e2"))
        for arguments in (
            ("info", tiny_copy),
            ("models", "--bundle-dir", tiny_copy),
            ("verify", tiny_copy),
        ):
            output = decant(*arguments).output
            assert "\x1b" not in output
            assert "\u202e" not in output
        assert r"licence         \x1b[2Jgone\nnew" in decant("info", tiny_copy).stdout


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_no_temporary_file(tiny: Path, coded: Path, tmp_path: Path, number: int):
    """The picture is half written when the signal comes."""
    (tmp_path / "out").mkdir()
    code = (
        "import sys, time\n"
        "from decant.formats import output_images as output\n"
        "from decant.commands.cli import main\n"
        "real = output.write_picture\n"
        "def slowly(stream, *rest):\n"
        "    stream.write(b'half'); stream.flush(); print('writing', flush=True)\n"
        "    time.sleep(60)\n"
        "output.write_picture = slowly\n"
        "main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "decode", coded, tmp_path / "out" / "a.png", "--bundle-dir", tiny],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    assert len(os.listdir(tmp_path / "out")) == 1
    started = time.monotonic()
    process.send_signal(number)
    process.communicate()
    assert time.monotonic() - started < 50
    assert process.returncode == (1 if number == signal.SIGINT else 128 + number)
    assert os.listdir(tmp_path / "out") == []
