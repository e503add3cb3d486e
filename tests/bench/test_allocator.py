"""Memory in the processes that are timed: kept for the next decode, or as glibc does by default."""

import platform
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from decant.commands.cli import main
from decant_bench.common import allocator
from decant_bench.common.baselines import CODECS, setting
from decant_bench.common.cases import CodecCase
from decant_bench.common.peer import PeerWork
from decant_bench.latency.case_process import CaseProcess

PICTURE = np.add.outer(np.arange(512), np.arange(1536)).reshape(512, 512, 3).astype(np.uint8)

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")


@pytest.mark.parametrize("name", ["jpeg-q90", "avif-q50"])
def test_a_codec_takes_its_memory_anew_only_by_default(name: str, tmp_path: Path, monkeypatch):
    for variable in allocator.variables("kept"):
        monkeypatch.delenv(variable, raising=False)
    file = tmp_path / "picture"
    file.write_bytes(setting(name).encode(PICTURE))
    faults = {}
    for chosen in allocator.ALLOCATORS:
        with CaseProcess(CodecCase(name), [file], allocator=chosen) as process:
            process.quickest(1)
            process.page_faults(1)  # the first count takes pages of its own
            faults[chosen] = process.page_faults(3)
    assert faults["kept"] < 20
    assert faults["default"] > 192  # the pages of the picture alone


@pytest.mark.parametrize("chosen", allocator.ALLOCATORS)
def test_processes_of_codecs_have_the_allocator_asked_for(chosen: str, monkeypatch):
    from decant_bench.common import peer

    environments = []
    popen = peer.subprocess.Popen

    def start(*arguments, env, **options):
        environments.append(env)
        return popen(*arguments, env=env, **options)

    monkeypatch.setattr(peer.subprocess, "Popen", start)
    small = [setting("png").encode(PICTURE[:8, :8])]
    with PeerWork("png", CODECS["png"], 1, small, allocator=chosen) as work:
        work.quickest(1)
    expected = allocator.variables("kept").items() <= environments[0].items()
    assert expected == (chosen == "kept")


def test_both_commands_name_one_default():
    for command in ("latency", "rd"):
        shown = CliRunner().invoke(main, ["bench", command, "--help"]).output
        assert "--allocator [kept|default]" in shown
