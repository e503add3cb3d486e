"""The page Vote: studies, blind pairs, sessions that can be resumed, ranking, CSV, export and import."""

import csv
import io
import json
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import png_of
from PIL import Image

CODECS = ["decant nano", "JPEG", "WebP"]
SESSION = "0123456789abcdef"


def created(browser, **changes: Any):
    wanted = {"title": "Which?", "codecs": CODECS, "bits_per_pixel": 1.0, "per_session": 0} | changes
    return browser.post("/api/vote/studies", json.dumps(wanted).encode())


@pytest.fixture(scope="module")
def filled(browser, photo) -> str:
    """The id of a study of two pictures: 6 pairs and 2 honeypots."""
    study: str = created(browser).json["id"]
    for turned in (photo, photo[:, ::-1]):
        job = browser.job(f"/api/vote/{study}/pictures", png_of(np.ascontiguousarray(turned[:96, :128])))
        assert job["state"] == "done", job
    assert job["figures"]["pairs"] == 8
    return study


def collect(browser, study: str, **message: Any):
    return browser.post(f"/api/vote/{study}/collect", json.dumps(message).encode())


def pixels_of(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def nearer(browser, pair: dict[str, str], pictures: str) -> str:
    """Of a pair, the picture with the smaller squared error."""
    original, a, b = (
        pixels_of(browser.get(f"{pictures}{pair[name]}.png").data).astype(int)
        for name in ("original", "a", "b")
    )
    return pair["a"] if np.square(a - original).sum() < np.square(b - original).sum() else pair["b"]


def vote(browser, study: str, session: str, count: int | None = None) -> int:
    """Vote as someone who sees squared errors; how many answers were given."""
    told = browser.get(f"/api/vote/{study}/study.json").json
    pairs = told["pairs"]
    trials = [{"pair": one["id"], "left": one["b"]} for one in pairs]
    begun = collect(
        browser, study, kind="session", session=session, trials=trials, conditions={"pixel_ratio": 2, "x": 1}
    )
    assert begun.status_code == 200, begun.text
    for index, pair in enumerate(pairs[:count]):
        side = "left" if nearer(browser, pair, told["pictures"]) == pair["b"] else "right"
        conditions = {"zoom": 1.5, "distance_cm": 60}
        said = collect(
            browser,
            study,
            kind="answer",
            session=session,
            trial=index,
            side=side,
            ms=900,
            conditions=conditions,
        )
        assert said.status_code == 200, said.text
    return len(pairs[:count])


def test_voters_are_told_nothing_of_codecs(browser, filled) -> None:
    told = browser.get(f"/api/vote/{filled}/study.json")
    assert not [name for name in (*CODECS, "honeypot") if name in told.text]
    assert len({pair["id"] for pair in told.json["pairs"]}) == 8
    page = browser.get(f"/vote/{filled}/ballot").text
    assert not [name for name in CODECS if name in page]


def test_every_codec_stays_within_the_bytes(browser, filled) -> None:
    with zipfile.ZipFile(io.BytesIO(browser.get(f"/api/vote/{filled}/export.zip").data)) as archive:
        key = json.loads(archive.read("key.json"))
    sizes = [one["bytes"] for one in key["stimuli"].values() if one["codec"] in CODECS]
    assert len(sizes) == 6
    assert max(sizes) <= 128 * 96 / 8
    assert min(sizes) > 0.6 * 128 * 96 / 8


def test_a_session_ends_in_a_ranking_and_a_csv(browser, filled) -> None:
    assert vote(browser, filled, SESSION) == 8
    ranking = browser.get(f"/api/vote/{filled}/ranking.json").json
    assert (ranking["answers"], ranking["sessions"], ranking["excluded"]) == (6, 1, 0)
    assert (ranking["honeypots"], ranking["honeypots_right"]) == (2, 2)
    assert sum(row["wins"] for row in ranking["rows"]) == 6
    assert [row["strength"] for row in ranking["rows"]] == sorted(
        (row["strength"] for row in ranking["rows"]), reverse=True
    )
    page = browser.get(f"/vote/{filled}/ranking").text
    assert all(f'<th scope="row">{name}</th>' in page for name in CODECS)
    lines = list(csv.DictReader(io.StringIO(browser.get(f"/api/vote/{filled}/answers.csv").text)))
    assert len(lines) == 8
    assert {line["session"] for line in lines} == {SESSION}
    assert {line["zoom"] for line in lines} == {"1.5"}
    assert {line["distance_cm"] for line in lines} == {"60.0"}
    assert sum(int(line["honeypot"]) for line in lines) == 2


def test_a_session_is_resumed_and_an_answer_counts_once(browser, filled) -> None:
    session = "f" * 32
    vote(browser, filled, session, 3)
    found = browser.get(f"/api/vote/{filled}/sessions/{session}").json
    assert found["answered"] == [0, 1, 2]
    assert len(found["trials"]) == 8
    before = browser.get(f"/api/vote/{filled}/answers.csv").text
    answer = {"kind": "answer", "session": session, "trial": 1, "ms": 5, "conditions": {}}
    for side in ("left", "right"):
        assert collect(browser, filled, side=side, **answer).status_code == 200
    assert browser.get(f"/api/vote/{filled}/answers.csv").text == before


def test_a_session_that_misses_honeypots_does_not_count(browser, photo) -> None:
    session = "d" * 16
    study = created(browser, codecs=["JPEG", "WebP"]).json["id"]
    job = browser.job(f"/api/vote/{study}/pictures", png_of(photo[:64, :64].copy()))
    assert "no file of at most 1 bits per pixel" in job["error"]  # JPEG's headers are longer than that
    browser.job(f"/api/vote/{study}/pictures", png_of(photo[:96, :128].copy()))
    told = browser.get(f"/api/vote/{study}/study.json").json
    trials = [{"pair": one["id"], "left": one["a"]} for one in told["pairs"]]
    collect(browser, study, kind="session", session=session, trials=trials, conditions=None)
    for index, pair in enumerate(told["pairs"]):
        wrong = "right" if nearer(browser, pair, told["pictures"]) == pair["a"] else "left"
        collect(browser, study, kind="answer", session=session, trial=index, side=wrong, ms=1, conditions=[])
    ranking = browser.get(f"/api/vote/{study}/ranking.json").json
    assert (ranking["answers"], ranking["excluded"], ranking["honeypots_right"]) == (0, 1, 0)
    assert browser.post(f"/api/vote/{study}/delete", b"{}").status_code == 200
    assert browser.get(f"/vote/{study}").status_code == 404


@pytest.mark.parametrize(
    "message",
    [
        [],
        {"kind": "session", "session": "../../etc", "trials": []},
        {"kind": "session", "session": "a" * 16, "trials": []},
        {"kind": "session", "session": "a" * 16, "trials": [{"pair": "x", "left": "y"}]},
        {"kind": "session", "session": "a" * 16, "trials": [{"pair": 1, "left": "y"}]},
        {"kind": "answer", "session": "a" * 16, "trial": 0, "side": "left", "ms": 3},
        {"kind": "answer", "session": SESSION, "trial": -1, "side": "left", "ms": 3},
        {"kind": "answer", "session": SESSION, "trial": 0, "side": "up", "ms": 3},
        {"kind": "answer", "session": SESSION, "trial": True, "side": "left", "ms": 3},
        {"kind": "drop"},
    ],
)
def test_messages_that_are_none_are_refused_in_words(browser, filled, message) -> None:
    answer = browser.post(f"/api/vote/{filled}/collect", json.dumps(message).encode())
    assert answer.status_code in (400, 404)
    assert answer.json["error"].endswith(".")


@pytest.mark.parametrize(
    "changes",
    [
        {"title": ""},
        {"title": "x" * 81},
        {"codecs": ["JPEG"]},
        {"codecs": ["JPEG", "JPEG"]},
        {"codecs": ["JPEG", "decant ../lite"]},
        {"bits_per_pixel": 0},
        {"bits_per_pixel": "1"},
        {"per_session": 1.5},
        {"per_session": None},
    ],
)
def test_studies_that_cannot_be_are_refused_in_words(browser, changes) -> None:
    answer = created(browser, **changes)
    assert answer.status_code == 400
    assert answer.json["error"].endswith(".")


def test_an_exported_vote_is_served_by_its_collector_and_imported(browser, filled, tmp_path: Path) -> None:
    data = browser.get(f"/api/vote/{filled}/export.zip").data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(tmp_path)
    site = tmp_path / "site"
    public = "".join(path.read_text() for path in site.rglob("*") if path.suffix in (".html", ".json"))
    assert not [name for name in (*CODECS, "honeypot") if name in public]
    assert "/static/" not in public
    command = [sys.executable, "-u", str(tmp_path / "collector.py"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[4]
            told = json.loads(urllib.request.urlopen(f"{address}study.json").read())
            pair = told["pairs"][0]
            assert pixels_of(urllib.request.urlopen(f"{address}pictures/{pair['a']}.png").read()).shape
            session = "c" * 16
            messages = [
                {"kind": "session", "session": session, "trials": [{"pair": pair["id"], "left": pair["a"]}]},
                {"kind": "answer", "session": session, "trial": 0, "side": "left", "ms": 10},
                {"kind": "answer", "session": session, "trial": 7, "side": "left", "ms": 10},
            ]
            for message in messages:
                request = urllib.request.Request(f"{address}collect", json.dumps(message).encode())
                assert urllib.request.urlopen(request).status == 200
            for wrong in (b"{", b"[]", b'{"kind": "answer", "session": "../x"}'):
                with pytest.raises(urllib.error.HTTPError, match="400"):
                    urllib.request.urlopen(urllib.request.Request(f"{address}collect", wrong))
            for hidden in ("../key.json", "pictures/", "..%2fkey.json"):
                with pytest.raises(urllib.error.HTTPError, match="404"):
                    urllib.request.urlopen(address + hidden)
        finally:
            process.kill()
        assert process.stderr is not None
        assert process.stderr.read() == ""  # nothing of the voters is logged
    kept = (tmp_path / "answers.jsonl").read_bytes()
    taken = browser.post(f"/api/vote/{filled}/import", kept).json
    assert taken == {"stored": 2, "refused": 1}
    assert f"{session},0,{pair['id']}" in browser.get(f"/api/vote/{filled}/answers.csv").text
