"""Where pictures come from: patterns, tar files, WebDataset shards, Parquet files, other addresses."""

import io
import os
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archive_pictures import SETTINGS, files_of, picture, write_pictures
from decant import archive
from decant.archive.sources import items_of, read_item
from decant.errors import FormatError, ImageError
from PIL import Image


def keys(*places: object) -> list[str]:
    """The keys of the pictures of some places."""
    return [item.key for item in items_of([str(place) for place in places])]


def png(number: int) -> bytes:
    """The bytes of a small PNG file."""
    stream = io.BytesIO()
    Image.fromarray(picture(number)).save(stream, "PNG")
    return stream.getvalue()


def shard(path: Path, numbers: range) -> Path:
    """A WebDataset shard: a picture, a caption and a class for each sample."""
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            for suffix, data in ((".png", png(number)), (".txt", b"words"), (".cls", b"1")):
                member = tarfile.TarInfo(f"{number:04d}{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


def test_a_folder_gives_keys_in_the_order_of_bytes(tmp_path: Path):
    for name in ("b.png", "a/z.png", "a.png", "a-b.png", "é.png", "a/b/c.png", "x.txt", "._b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(1))
    found = keys(tmp_path)
    assert found == sorted(found, key=str.encode)
    assert found == ["a-b.png", "a.png", "a/b/c.png", "a/z.png", "b.png", "é.png"]


def test_names_that_are_no_text_have_keys(tmp_path: Path):
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(png(1))
    except OSError:
        pytest.skip("this file system takes names of UTF-8 alone")
    [item] = items_of([str(tmp_path)])
    assert item.key == "caf\\xe9.png"
    assert read_item(item) == png(1)


def test_the_archive_being_made_is_no_source(tmp_path: Path):
    write_pictures(tmp_path, 3)
    archive.pack(tmp_path, tmp_path / "out", engine="serial", **SETTINGS)
    assert len(archive.Archive(tmp_path / "out")) == 3
    found = [item.key for item in items_of([str(tmp_path)], leave_out=tmp_path / "out")]
    assert found == ["set0/0000.png", "set1/0001.png", "set2/0002.png"]


def test_patterns_keep_paths_below_their_fixed_part(tmp_path: Path):
    write_pictures(tmp_path, 6)
    assert keys(f"{tmp_path}/set[01]/*.png") == [
        "set0/0000.png",
        "set0/0003.png",
        "set1/0001.png",
        "set1/0004.png",
    ]
    with pytest.raises(FileNotFoundError, match="No file matches"):
        keys(f"{tmp_path}/*.gif")


def test_shards_give_their_pictures(tmp_path: Path):
    one, two = (shard(tmp_path / f"s-{n}.tar", range(3 * n, 3 * n + 3)) for n in (0, 1))
    assert keys(one) == ["0000.png", "0001.png", "0002.png"]
    both = ["s-0/0000.png", "s-0/0001.png", "s-0/0002.png", "s-1/0003.png", "s-1/0004.png", "s-1/0005.png"]
    assert keys(f"{tmp_path}/s-*.tar") == keys(one, two) == both
    items = list(items_of([str(two)]))
    assert [read_item(item) for item in items] == [png(number) for number in (3, 4, 5)]


def test_compressed_and_damaged_tar_files_are_refused(tmp_path: Path):
    whole = shard(tmp_path / "a.tar", range(2)).read_bytes()
    (tmp_path / "b.tar.gz").write_bytes(b"")
    with pytest.raises(ImageError, match=r"unpack it to \.tar first"):
        keys(tmp_path / "b.tar.gz")
    (tmp_path / "c.tar").write_bytes(b"no tar file" * 100)
    with pytest.raises(ImageError, match="not a readable tar file"):
        keys(tmp_path / "c.tar")
    (tmp_path / "d.tar").write_bytes(whole[:700])
    with pytest.raises(ImageError, match="not a readable tar file"):
        keys(tmp_path / "d.tar")


def test_a_column_of_images_is_read_row_by_row(tmp_path: Path):
    images = [{"bytes": png(n), "path": f"p{n}.png"} for n in range(5)]
    images[3] = None
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"label": range(5), "image": images}), path, row_group_size=2)
    items = list(items_of([str(path)]))
    assert [item.key for item in items] == ["p0.png", "p1.png", "p2.png", "p4.png"]
    assert [read_item(item) for item in items] == [png(n) for n in (0, 1, 2, 4)]
    pq.write_table(pa.table({"key": ["x", "y"], "png": [png(0), png(1)]}), tmp_path / "u.parquet")
    assert keys(tmp_path / "u.parquet") == ["x", "y"]
    pq.write_table(pa.table({"a": [1]}), tmp_path / "v.parquet")
    with pytest.raises(ImageError, match="no column of images"):
        keys(tmp_path / "v.parquet")


def test_every_source_gives_the_same_payloads(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    for number in range(3):
        (tmp_path / "folder" / f"{number:04d}.png").write_bytes(png(number))
    shard(tmp_path / "s.tar", range(3))
    table = pa.table({"key": [f"{n:04d}.png" for n in range(3)], "image": [png(n) for n in range(3)]})
    pq.write_table(table, tmp_path / "t.parquet")
    parts = []
    for name in ("folder", "s.tar", "t.parquet"):
        archive.pack(tmp_path / name, tmp_path / f"a-{name}", engine="serial", **SETTINGS)
        parts.append((tmp_path / f"a-{name}" / "part-00000.parquet").read_bytes())
    assert parts[0] == parts[1] == parts[2]


def test_a_key_that_occurs_twice_fails_once(tmp_path: Path):
    write_pictures(tmp_path / "a", 1)
    write_pictures(tmp_path / "b", 1)
    Image.fromarray(picture(9)).save(tmp_path / "b" / "set0" / "0000.png")
    made = archive.pack([tmp_path / "a", tmp_path / "b"], tmp_path / "c", engine="serial", **SETTINGS)
    assert (made.pictures, made.failed) == (1, 1)
    [row] = pq.read_table(tmp_path / "c" / "_failures.parquet").to_pylist()
    assert "another picture has this key" in row["error"]


def test_a_duplicate_of_a_damaged_picture_fails_too(tmp_path: Path):
    write_pictures(tmp_path / "in", 3)
    for name in ("a", "b"):
        (tmp_path / "in" / f"{name}.png").write_bytes(png(1)[:80])
    made = archive.pack(tmp_path / "in", tmp_path / "out", engine="serial", **SETTINGS)
    assert (made.pictures, made.failed, made.duplicates) == (3, 2, 0)
    assert archive.verify(tmp_path / "out", engine="serial") == []


def test_the_date_a_picture_was_taken_is_kept(tmp_path: Path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[36867] = "2020:02:29 12:34:56"
    (tmp_path / "in").mkdir()
    Image.fromarray(picture(1)).save(tmp_path / "in" / "a.jpg", exif=exif)
    Image.fromarray(picture(2)).save(tmp_path / "in" / "b.jpg")
    archive.pack(tmp_path / "in", tmp_path / "out", engine="serial", **SETTINGS)
    dates = [row["date"] for row in archive.Archive(tmp_path / "out").rows(("date",))]
    assert [None if date is None else date.isoformat() for date in dates] == ["2020-02-29T12:34:56", None]


def test_archives_are_merged(tmp_path: Path):
    for name, numbers in (("a", range(4)), ("b", range(4, 9))):
        for number in numbers:
            path = tmp_path / name / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(number))
        archive.pack(tmp_path / name, tmp_path / f"{name}.archive", engine="serial", **SETTINGS)
    made = archive.merge([tmp_path / "a.archive", tmp_path / "b.archive"], tmp_path / "m")
    assert made.pictures == 9
    merged = archive.Archive(tmp_path / "m")
    for name, key in (("a", "a/3.png"), ("b", "b/8.png")):
        assert merged.payload(key) == archive.Archive(tmp_path / f"{name}.archive").payload(key)
    assert archive.verify(tmp_path / "m", engine="serial") == []
    with pytest.raises(FormatError, match="is also in"):
        archive.merge([tmp_path / "a.archive", tmp_path / "a.archive"], tmp_path / "n")


def test_a_folder_in_memory_is_a_store(packed: Path, pictures: Path):
    import fsspec

    memory = fsspec.filesystem("memory")
    for name, data in files_of(pictures).items():
        memory.pipe_file(f"/in/{name}", data)
    try:
        archive.pack("memory://in", "memory://out", engine="serial", **SETTINGS)
        stored = {name[5:]: memory.cat_file(name) for name in memory.find("/out")}
        expected = files_of(packed)
        assert set(stored) == set(expected)
        parts = [name for name in expected if name.startswith(("part-", "_index", "_bundle"))]
        assert {name: stored[name] for name in parts} == {name: expected[name] for name in parts}
        assert archive.verify("memory://out", engine="serial") == []
        dataset = archive.Dataset("memory://out")
        assert dataset["set0/0000.png"].shape == (3, 24, 24)
        assert archive.unpack("memory://out", "memory://pixels", engine="serial", output="ppm") == []
        assert len(memory.find("/pixels")) == 31
    finally:
        memory.rm("/", recursive=True)


def test_unknown_addresses_are_refused(tmp_path: Path):
    with pytest.raises(OSError, match="nowhere"):
        archive.Archive("nowhere://x/y")


def test_files_that_vanish_are_failures(tmp_path: Path):
    write_pictures(tmp_path / "in", 3)
    items = list(items_of([str(tmp_path / "in")]))
    shutil.rmtree(tmp_path / "in" / "set0")
    with pytest.raises(FileNotFoundError):
        read_item(items[0])
