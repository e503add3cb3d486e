"""Files appear whole or not at all: links, devices, modes, names, mounts and killed processes."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from decant.errors import ImageError
from decant.formats.writing import (
    check_dcn_name,
    check_destination,
    is_same_file,
    remove_leftovers,
    write_atomically,
)

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX files")


def put(path: object, data: bytes = b"new") -> None:
    write_atomically(path, lambda stream: stream.write(data))


def hidden(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".tmp")]


def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"earlier")

    def fail(stream):
        stream.write(b"half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write_atomically(tmp_path / "a", fail)
    assert (tmp_path / "a").read_bytes() == b"earlier"
    assert os.listdir(tmp_path) == ["a"]


@posix
class TestLinksAndModes:
    def test_the_target_of_a_link_is_replaced_and_the_link_stays(self, tmp_path: Path):
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "real").write_bytes(b"earlier")
        (tmp_path / "middle").symlink_to("sub/real")
        (tmp_path / "link").symlink_to(tmp_path / "middle")
        put(tmp_path / "link")
        assert (tmp_path / "sub" / "real").read_bytes() == b"new"
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "middle").is_symlink()

    def test_a_link_that_leads_nowhere_gets_its_target(self, tmp_path: Path):
        (tmp_path / "link").symlink_to("real")
        put(tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real").read_bytes() == b"new"

    def test_a_loop_of_links_is_an_error_that_names_it(self, tmp_path: Path):
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        for action in (put, check_destination):
            with pytest.raises(OSError, match="Too many levels") as caught:
                action(tmp_path / "a")
            assert caught.value.filename == str(tmp_path / "a")

    @pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755])
    def test_an_existing_file_keeps_its_mode(self, tmp_path: Path, mode: int):
        (tmp_path / "a").write_bytes(b"earlier")
        (tmp_path / "a").chmod(mode)
        put(tmp_path / "a")
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode

    def test_a_new_file_has_the_mode_that_the_umask_gives(self, tmp_path: Path):
        (tmp_path / "usual").write_bytes(b"")
        put(tmp_path / "a")
        assert (tmp_path / "a").stat().st_mode == (tmp_path / "usual").stat().st_mode

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
    def test_an_existing_file_keeps_its_owner(self, tmp_path: Path):
        (tmp_path / "a").write_bytes(b"earlier")
        os.chown(tmp_path / "a", 12, 34)
        put(tmp_path / "a")
        assert ((tmp_path / "a").stat().st_uid, (tmp_path / "a").stat().st_gid) == (12, 34)


@posix
class TestStreams:
    def test_a_fifo_is_written_through(self, tmp_path: Path):
        os.mkfifo(tmp_path / "pipe")
        got = []
        reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
        reader.start()
        put(tmp_path / "pipe", b"x" * 300_000)
        reader.join()
        assert got == [b"x" * 300_000]
        assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
        with pytest.raises(OSError, match="device or FIFO"):
            check_destination(tmp_path / "pipe", streams=False)

    def test_a_device_is_written_through(self, tmp_path: Path):
        (tmp_path / "null").symlink_to("/dev/null")
        put(tmp_path / "null")
        put("/dev/null")
        assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
        assert (tmp_path / "null").is_symlink()

    @pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "link"])
    def test_standard_output_is_written_and_not_replaced(self, tmp_path: Path, name: str):
        (tmp_path / "link").symlink_to("/dev/stdout")
        code = (
            "import os, sys; from decant.formats.writing import write_atomically\n"
            "os.write(1, b'before '); write_atomically(sys.argv[1], lambda s: s.write(b'new'))"
        )
        with (tmp_path / "out").open("wb") as out:
            subprocess.run([sys.executable, "-c", code, name], stdout=out, cwd=tmp_path, check=True)
        assert (tmp_path / "out").read_bytes() == b"before new"

    def test_a_socket_and_a_folder_are_refused_by_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "folder").mkdir()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket")
            for name, message in (("socket", "a socket"), ("folder", "Is a folder")):
                for action in (put, check_destination):
                    with pytest.raises(OSError, match=message) as caught:
                        action(name)
                    assert caught.value.filename == name

    def test_a_block_device_is_never_written(self, tmp_path: Path):
        try:
            os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 211))
        except OSError:
            pytest.skip("may not make devices")
        for action in (put, check_destination):
            with pytest.raises(OSError, match="a block device, not a file to write"):
                action(tmp_path / "disk")


@posix
class TestNamesAndPlaces:
    @pytest.mark.parametrize("name", ["写" * 80 + ".dcn", "a" * 255, os.fsdecode(b"\xff\xfe.dcn")])
    def test_every_name_that_the_system_takes_can_be_written(self, tmp_path: Path, name: str):
        put(tmp_path / name)
        put(tmp_path / name, b"newer")
        assert (tmp_path / name).read_bytes() == b"newer"
        assert os.listdir(tmp_path) == [name]

    def test_errors_name_the_file_asked_for(self, tmp_path: Path):
        for path in (tmp_path / "absent" / "a", tmp_path / ("a" * 256)):
            with pytest.raises(OSError, match=r"No such file|too long") as caught:
                put(path)
            assert caught.value.filename == str(path)

    def test_a_missing_folder_is_told_before_the_work(self, tmp_path: Path):
        with pytest.raises(FileNotFoundError, match="No such folder"):
            check_destination(tmp_path / "absent" / "a")
        check_destination(tmp_path / "a")

    def test_a_file_that_is_mounted_by_itself_is_written_in_place(self, tmp_path: Path):
        (tmp_path / "host").write_bytes(b"earlier and longer")
        (tmp_path / "a").write_bytes(b"")
        code = "from decant.formats.writing import write_atomically as w; w('a', lambda s: s.write(b'new'))"
        script = f'mount --bind host a && "{sys.executable}" -c "{code}" && ls -A'
        run = subprocess.run(
            ["unshare", "-m", "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        if "unshare" in run.stderr or "mount" in run.stderr:
            pytest.skip("may not mount")
        assert run.stderr == ""
        assert run.stdout.split() == ["a", "host"]
        assert (tmp_path / "host").read_bytes() == b"new"

    def test_a_full_disk_leaves_the_earlier_file_and_names_it(self, tmp_path: Path):
        (tmp_path / "full").mkdir()
        code = (
            "from decant.formats.writing import write_atomically as w\n"
            "w('full/a', lambda s: s.write(b'earlier'))\n"
            "try: w('full/a', lambda s: s.write(bytes(1 << 20)))\n"
            "except OSError as error: print(error.filename, error.strerror)\n"
            "print(open('full/a').read())"
        )
        script = f"mount -t tmpfs -o size=64k none full && '{sys.executable}' -c \"{code}\" && ls -A full"
        run = subprocess.run(
            ["unshare", "-m", "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        if "unshare" in run.stderr or "mount" in run.stderr:
            pytest.skip("may not mount")
        assert run.stdout.splitlines() == ["full/a No space left on device", "earlier", "a"]

    def test_same_file_through_links(self, tmp_path: Path):
        (tmp_path / "a").write_bytes(b"a")
        (tmp_path / "soft").symlink_to("a")
        (tmp_path / "hard").hardlink_to(tmp_path / "a")
        (tmp_path / "copy").write_bytes(b"a")
        assert is_same_file(tmp_path / "a", tmp_path / "soft")
        assert is_same_file(tmp_path / "hard", tmp_path / "soft")
        assert not is_same_file(tmp_path / "a", tmp_path / "copy")
        assert not is_same_file(tmp_path / "a", tmp_path / "absent")

    def test_a_dcn_file_is_not_written_under_another_formats_name(self):
        for name in ("a.jpg", "a.PNG", "b/a.tiff"):
            with pytest.raises(ImageError, match=r"end the name in \.dcn"):
                check_dcn_name(name)
        for name in ("a.dcn", "a.jpg.dcn", "a", "a.dcn.part"):
            check_dcn_name(name)


STOPPED_IN_THE_MIDDLE = """
import sys
from decant.formats.writing import write_atomically
def write(stream):
    stream.write(b"half")
    stream.flush()
    print("writing", flush=True)
    sys.stdin.read()
write_atomically("a", write)
"""


@posix
class TestKilledWriters:
    @pytest.fixture
    def writer(self, tmp_path: Path):
        process = subprocess.Popen(
            [sys.executable, "-c", STOPPED_IN_THE_MIDDLE],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout.readline() == b"writing\n"
        yield process
        process.communicate()

    @pytest.mark.parametrize("clean", [put, remove_leftovers])
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_what_it_left_goes_at_the_next_write_of_the_name(
        self, tmp_path: Path, writer: subprocess.Popen, number: int, clean
    ):
        writer.send_signal(number)
        writer.wait()
        assert len(hidden(tmp_path)) == 1
        clean(tmp_path / "a")
        assert not hidden(tmp_path)

    def test_a_writer_at_work_is_left_alone(self, tmp_path: Path, writer: subprocess.Popen):
        remove_leftovers(tmp_path / "a")
        put(tmp_path / "a", b"first")
        assert (tmp_path / "a").read_bytes() == b"first"
        assert len(hidden(tmp_path)) == 1
        writer.communicate(b"")
        assert writer.returncode == 0
        assert (tmp_path / "a").read_bytes() == b"half"
        assert not hidden(tmp_path)

    def test_many_writers_of_one_name(self, tmp_path: Path):
        threads = [
            threading.Thread(target=lambda k=k: [put(tmp_path / "a", bytes([k]) * 5000) for _ in range(30)])
            for k in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        data = (tmp_path / "a").read_bytes()
        assert len(data) == 5000
        assert len(set(data)) == 1
        assert os.listdir(tmp_path) == ["a"]
