"""docs/studio.md names tests and limits that there are."""

import re
from pathlib import Path

from click.testing import CliRunner
from decant.commands.cli import main
from decant_studio import server
from decant_studio.settings import MIB, Settings
from decant_studio.uploads import AT_ONCE
from decant_studio.work.compare import ERROR_GAIN
from decant_studio.work.figures import SSIM_PIXELS, SSIMULACRA2_PIXELS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "studio.md").read_text()


def test_every_function_of_the_publications_names_a_test_that_there_is() -> None:
    section = PAGE.split("## Features of the published web applications")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    named = [re.search(r"`(tests/[\w/]+\.py): (test_\w+)` \|$", row) for row in rows]
    assert len(named) == len(rows) > 7
    for match in named:
        assert match
        assert f"\ndef {match[2]}(" in (ROOT / match[1]).read_text()


def test_the_limits_are_those_of_the_code() -> None:
    limits = Settings()
    for row in (
        f"| an upload | {limits.upload_bytes // MIB} MB |",
        f"| a picture | {limits.pixels // 1_000_000} megapixels |",
        f"| work on one picture | {limits.job_seconds:g} s |",
        f"| pictures waiting | {limits.waiting}; more get status 429 |",
        f"| memory of a worker | {limits.memory_bytes >> 30} GiB ",
        f"| an upload's time | {limits.upload_seconds:g} s |",
        f"| results in memory | {limits.kept_bytes // MIB} MiB, {limits.kept_jobs} results |",
        f"| connections | {server.CONNECTIONS} |",
        f"| bytes received at once | {AT_ONCE} uploads of the largest size |",
    ):
        assert row in PAGE
    assert f"maps of the error times {ERROR_GAIN}." in PAGE
    assert f"left out above {SSIMULACRA2_PIXELS // 1_000_000} megapixels" in PAGE
    assert f"SSIM above {SSIM_PIXELS // 1_000_000} megapixels" in PAGE


def test_the_options_are_those_of_the_command() -> None:
    told = CliRunner().invoke(main, ["serve", "--help"]).output
    for option in set(re.findall(r"--[a-z][a-z-]+", PAGE)) - {"--max-minutes", "--out"}:
        assert f"  {option}" in told
