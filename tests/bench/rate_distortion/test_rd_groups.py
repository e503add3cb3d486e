"""BD-rates by content: each folder is a group with its own curves, and its own range of dB."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from decant.commands.cli import main
from decant.errors import ImageError
from decant_bench.common import record
from decant_bench.common.baselines import setting
from decant_bench.common.pictures import PictureSet, read_groups
from decant_bench.errors import BenchError
from decant_bench.rate_distortion import groups as rd_groups
from decant_bench.rate_distortion import groups_table as rd_groups_table
from decant_bench.rate_distortion import measure as rd
from decant_bench.rate_distortion import table as rd_table
from decant_bench.test_pictures import text_pages
from decant_bench.test_pictures import wheels as content_wheels

QUALITIES = (5, 20, 45, 70, 90)
OPTIONS = rd.Options(against=("jpeg", "webp"), qualities=QUALITIES, match_bpp=0, threads=(1,), groups=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two photographs and a page of text, in parts."""
    out = tmp_path_factory.mktemp("groups")
    parts = {
        "photos/a.png": content_wheels.named("astronaut").open().crop((100, 0, 300, 176)),
        "photos/b.png": content_wheels.named("coffee").open().crop((200, 100, 376, 300)),
        "text/page.png": text_pages.book(0).crop((0, 0, 256, 200)),
    }
    for name, image in parts.items():
        (out / name).parent.mkdir(exist_ok=True)
        image.save(out / name)
    return out


@pytest.fixture(scope="module")
def pictures(folder):
    return read_groups(folder)


@pytest.fixture(scope="module")
def measured(pictures):
    contenders, refused = rd.enter([], OPTIONS)
    return rd.measure(contenders, pictures, OPTIONS, refused=refused, command="decant bench rd --groups")


def test_a_group_alone_has_the_same_figures(measured, pictures):
    contenders, _ = rd.enter([], OPTIONS)
    alone = PictureSet(pictures.pictures[2:], "text")
    (only,) = rd.measure(contenders, alone, OPTIONS)["groups"]
    assert [group["group"] for group in measured["groups"]] == ["photos", "text"]
    assert only == measured["groups"][1]


def test_the_range_is_what_both_curves_reach(measured):
    photos, text = (group["rows"][0] for group in measured["groups"])
    for index, row in ((slice(0, 2), photos), (slice(2, 3), text)):
        ends = []
        for codec in measured["rows"]:
            values = [np.mean(point["psnr_db"][index]) for point in codec["points"]]
            ends.append((values[0], values[-1]))
        assert row["psnr"]["span_db"] == [max(low for low, _ in ends), min(high for _, high in ends)]
    for row in (photos, text):
        halves = row["psnr"]["halves"]
        assert min(halves) <= row["psnr"]["average"] <= max(halves)
        # The average of logarithms over two equal halves.
        whole = np.sqrt(np.prod([1 + half for half in halves])) - 1
        assert whole == pytest.approx(row["psnr"]["average"], rel=1e-6)
        assert row["psnr"]["rates"][0] < row["psnr"]["rates"][1]


def test_png_is_beside(measured, pictures):
    page = pictures.pictures[2]
    assert measured["groups"][1]["png_bits_per_pixel"] == pytest.approx(
        8 * len(setting("png").encode(page.pixels)) / page.pixel_count
    )


def test_the_groups_worse_than_the_anchor_are_named(measured):
    assert rd_groups.worse(measured, "webp", "psnr") == []
    assert "webp is worse than jpeg on no group in SSIMULACRA2; no group in PSNR" in rd_table.as_text(
        measured
    )
    contenders, _ = rd.enter([], replace(OPTIONS, anchor="webp"))
    turned = replace(OPTIONS, anchor="webp")
    pictures = PictureSet(read_back(measured).pictures[:1], "one")
    found = rd.measure(contenders, pictures, turned)
    assert rd_groups.worse(found, "jpeg", "psnr") == ["photos"]
    (line,) = rd_groups_table.verdicts(found)
    assert line.endswith("photos in PSNR; photos in MS-SSIM.")


def test_groups_where_single_pictures_disagree_are_marked(measured):
    other = copy.deepcopy(measured)
    other["groups"][0]["rows"][0]["psnr"]["average"] = 0.1
    assert other["groups"][0]["rows"][0]["pictures"][0] < 0
    (line,) = rd_groups_table.verdicts(other)
    assert "worse than jpeg on no group in SSIMULACRA2; photos in PSNR" in line
    assert "On photos only the averaged curve says so" in line


def read_back(measured):
    return read_groups(Path(measured["config"]["images"]["source"]))


def test_curves_without_a_common_range_have_no_figure_and_say_why(pictures):
    options = replace(OPTIONS, qualities=(5, 6, 7, 8))
    found = rd.measure(rd.enter([], options)[0], pictures, options)
    row = found["groups"][0]["rows"][0]
    assert row["psnr"]["average"] is None
    assert "3 expected" in row["psnr"]["why"]
    assert ("photos, webp, PSNR", row["psnr"]["why"]) in rd_table.missing(found)
    assert "| photos | webp | - | - | - |" in rd_table.as_markdown(found)


def test_pictures_outside_folders_are_refused(folder, pictures, tmp_path):
    loose = PictureSet((replace(pictures.pictures[0], name="a.png"),), "loose")
    with pytest.raises(BenchError, match=r"a\.png lies in no folder"):
        rd.measure(rd.enter([], OPTIONS)[0], loose, OPTIONS)
    with pytest.raises(ImageError, match="holds no folders"):
        read_groups(tmp_path)
    assert [picture.name for picture in read_groups(folder, 1).pictures] == ["photos/a.png", "text/page.png"]


def test_the_command_takes_a_folder_of_folders(folder, tmp_path):
    arguments = ["bench", "rd", "--groups", "--images", folder, "--limit", "1", "--match", "0"]
    arguments += ["--against", "jpeg,webp", "--qualities", "5,20,45,70,90", "--out", tmp_path]
    run = CliRunner().invoke(main, list(map(str, arguments)))
    assert run.exit_code == 0, run.output
    assert "worse than jpeg on" in run.stdout
    assert [group["group"] for group in record.read(tmp_path / "rd.json", "rd")["groups"]] == [
        "photos",
        "text",
    ]
    assert "## By content" in (tmp_path / "rd.md").read_text()
    run = CliRunner().invoke(main, ["bench", "rd", "--groups", "--out", str(tmp_path)])
    assert run.exit_code == 2
    assert "--groups needs --images" in run.stderr
