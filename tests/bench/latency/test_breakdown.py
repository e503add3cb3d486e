"""The stages of a codec's decode: they are those of the real decoder, and they sum to the whole."""

import numpy as np
import pytest
from click.testing import CliRunner
from decant import Decoder, Encoder
from decant.bundles.bundle import Bundle
from decant.codec.entropy import native
from decant.commands.cli import main
from decant_bench.common import record
from decant_bench.common.pictures import Picture, PictureSet, wheel_pictures
from decant_bench.errors import BenchError
from decant_bench.latency import breakdown
from PIL import Image


@pytest.fixture(scope="module")
def pictures() -> PictureSet:
    """Two parts of photographs, of different sizes."""
    coffee = wheel_pictures(3).pictures[2].pixels
    parts = (coffee[100:196, 200:330], coffee[:80, :90])
    named = tuple(Picture(f"{i}.png", np.ascontiguousarray(part)) for i, part in enumerate(parts))
    return PictureSet(named, "parts")


def graphs(codec, role="synthesis"):
    found = Bundle.open(codec).graphs
    return [(graph.precision, graph.runtime) for graph in found if graph.role == role]


@pytest.mark.parametrize("streams", ["C", "numpy"])
def test_stages_are_those_of_a_whole_decode(codec, pictures, streams, monkeypatch):
    if streams == "numpy":
        monkeypatch.setenv(native.VARIABLE, "0")
    # In C the classes of groups are found with their symbols, in one call.
    together = {"scale indices"} if native.available() else set()
    for precision, runtime in graphs(codec):
        staged = breakdown.StagedDecoder(Bundle.open(codec), precision, runtime)
        assert (staged.precision, staged.runtime) == (precision, runtime)
        plain = Decoder(codec, precision=precision, runtime=runtime, threads=1)
        for picture in pictures.pictures:
            data = Encoder(codec).encode(picture.pixels, 50)
            for _ in range(2):  # the second is not added to the first
                pixels, stages = staged.decode(data)
            assert np.array_equal(pixels, plain.decode(data))
            assert tuple(stages) == breakdown.STAGES
            assert {stage for stage, spent in stages.items() if spent <= 0} == together


def test_a_noting_part_is_otherwise_the_part():
    spent: dict[str, int] = {}
    part = breakdown.Noting([3, 1, 2], {"index": "search"}, spent)
    assert part.count(3) == 1
    assert spent == {}
    assert part.index(2) == 2
    once = spent["search"]
    with pytest.raises(ValueError, match="is not in list"):
        part.index(7)
    assert spent["search"] > once > 0


def test_every_graph_has_a_row_with_a_sample_a_picture_and_round(codec, pictures, tmp_path):
    options = breakdown.Options(rounds=2, match_bpp=1.0)
    found = breakdown.measure([Bundle.open(codec)], pictures, options, command="decant bench latency")
    assert [(row["label"].split()[-1], row["runtime"]) for row in found["rows"]] == graphs(codec)
    for row in found["rows"]:
        assert row["refused"] is None
        assert [len(samples) for samples in row["stages_ns"].values()] == [4] * len(breakdown.STAGES)
        assert [len(samples) for samples in row["plain_ns"].values()] == [4, 4]
    record.write(found, tmp_path / "breakdown.json")
    assert record.read(tmp_path / "breakdown.json", "breakdown") == found
    text = breakdown.as_text(found)
    assert all(row["label"] in text for row in found["rows"])


def test_other_layouts_are_refused_by_name(tiny, pictures):
    with pytest.raises(BenchError, match="bundle tiny has layout vector; a codec bundle"):
        breakdown.measure([Bundle.open(tiny)], pictures)


def test_from_the_command_line(codec, pictures, tmp_path):
    (tmp_path / "in").mkdir()
    for picture in pictures.pictures:
        Image.fromarray(picture.pixels).save(tmp_path / "in" / picture.name)
    arguments = ["bench", "latency", "--breakdown", codec, "--images", tmp_path / "in", "--rounds", "1"]
    arguments += ["--runtime", "onnxruntime", "--match", "1", "--json", tmp_path / "out.json"]
    run = CliRunner().invoke(main, list(map(str, arguments)))
    assert run.exit_code == 0, run.output
    assert "mean graph" in run.stdout
    assert {row["runtime"] for row in record.read(tmp_path / "out.json", "breakdown")["rows"]} == {
        "onnxruntime"
    }
