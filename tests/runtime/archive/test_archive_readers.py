"""Other programs read archives: pyarrow, pandas, DuckDB, Hugging Face datasets, Ray."""

from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from archive_pictures import NANO
from decant import Decoder, archive


def test_pyarrow_reads_a_folder(packed: Path):
    dataset = ds.dataset(packed, format="parquet")
    assert dataset.count_rows() == 31
    table = dataset.to_table(columns=["key", "width"], filter=ds.field("status") == "encoded")
    assert table.num_rows == 30


def test_pandas_reads_a_part(packed: Path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.read_parquet(packed / "part-00000.parquet")
    assert frame.image[0]["bytes"] == archive.Archive(packed).payload(0)


def test_duckdb_counts_and_lists_by_sql(packed: Path):
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed")
    parts = f"read_parquet('{packed}/part-*.parquet')"
    [(count, total)] = duckdb.sql(f"select count(*), sum(bytes) from {parts}").fetchall()
    manifest = archive.Archive(packed).manifest
    assert (count, total) == (manifest.pictures, manifest.payload_bytes)
    rows = duckdb.sql(f"select key from {parts} where key like 'set1/%' order by key limit 2").fetchall()
    assert rows == [("set1/0001.png",), ("set1/0004.png",)]
    joined = duckdb.sql(
        f"select a.key, coalesce(a.image, b.image).bytes from {parts} a left join {parts} b "
        "on a.same_as = b.key where a.status = 'duplicate'"
    ).fetchall()
    assert joined == [("set1/again.png", archive.Archive(packed).payload("set0/0000.png"))]
    failed = duckdb.sql(f"select key from '{packed}/_failures.parquet'").fetchall()
    assert failed == [("set2/broken.png",)]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_hugging_face_datasets_shows_pictures(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    import decant.pillow  # noqa: F401  - Pillow opens .dcn files from here on

    monkeypatch.setenv("DECANT_BUNDLES", str(NANO))
    loaded = datasets.load_dataset(
        "parquet", data_files=f"{packed}/part-*.parquet", split="train", cache_dir=str(tmp_path)
    )
    assert len(loaded) == 31
    row = loaded[0]
    assert row["key"] == "set0/0000.png"
    expected = Decoder(NANO).decode(archive.Archive(packed).payload(0))
    assert np.array_equal(np.asarray(row["image"]), expected)


def test_parts_have_what_readers_look_for(packed: Path):
    file = pq.ParquetFile(packed / "part-00000.parquet")
    assert b"huggingface" in file.schema_arrow.metadata
    assert file.schema_arrow.metadata[b"decant.archive"] == b"1"
    column = file.metadata.row_group(0).column(0)
    assert (column.path_in_schema, column.has_offset_index, column.has_column_index) == ("key", True, True)
    assert column.statistics.min == "set0/0000.png"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_ray_gives_the_same_bytes_as_local_workers(packed: Path, pictures: Path, tmp_path: Path):
    ray = pytest.importorskip("ray", reason="Ray is not installed (extra ray)")
    pytest.importorskip("ray.data", reason="Ray Data is not installed (extra ray)")
    from archive_pictures import SETTINGS, files_of

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    try:
        archive.pack(pictures, tmp_path / "a", engine="ray", **SETTINGS)
        assert files_of(tmp_path / "a") == files_of(packed)
        archive.unpack(packed, tmp_path / "u", engine="ray", output="ppm")
        assert archive.verify(packed, engine="ray") == []
        assert ray.data.read_parquet(str(packed / "part-00000.parquet")).count() == 12
        archive.unpack(packed, tmp_path / "v", engine="serial", output="ppm")
        assert files_of(tmp_path / "u") == files_of(tmp_path / "v")
    finally:
        ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_an_object_store_holds_an_archive(packed: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch):
    """A local server with the interface of S3; workers are processes of their own."""
    server_of = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    from archive_pictures import SETTINGS, files_of

    server = server_of.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    try:
        system = s3fs.S3FileSystem()
        system.mkdir("bucket")
        system.put(str(pictures), "bucket/in", recursive=True)
        archive.pack("s3://bucket/in", "s3://bucket/out", workers=1, **SETTINGS)
        expected = files_of(packed)
        found = {
            name.removeprefix("bucket/out/"): system.cat_file(name) for name in system.find("bucket/out")
        }
        assert set(found) == set(expected)
        assert found["part-00001.parquet"] == expected["part-00001.parquet"]
        assert archive.verify("s3://bucket/out", workers=1) == []
        assert archive.Dataset("s3://bucket/out")["set0/0000.png"].shape == (3, 24, 24)
    finally:
        server.stop()
