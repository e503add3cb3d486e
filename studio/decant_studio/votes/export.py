"""A vote as files: answers as CSV, and the whole vote as a static page with a small collector."""

import csv
import io
import json
import zipfile
from importlib import resources
from typing import Any

from decant_studio.errors import Refused
from decant_studio.settings import MIB
from decant_studio.votes.study import Answer, Study, Votes

MOST_BYTES = 512 * MIB
_STATIC = ("studio.css", "vote.js", "api.js", "parts.js", "icon.svg", "theme.js")
_README = """\
A blind vote, made by decant.

site/          the page: any web server can host it as it is
collector.py   serves the page and keeps the answers: python collector.py --port 8000
               (Python 3.11 or later, nothing else; it listens at 127.0.0.1 unless told otherwise)
key.json       which codec made which picture; keep it away from voters

Without the collector, the page offers the answers as a file at the end of a session.
Give answers.jsonl, or such files, to the page of this vote in the studio: "Import answers".
"""
_COLUMNS = (
    *("session", "trial", "pair", "picture", "honeypot", "winner", "loser", "side", "ms", "created"),
    *("pixel_ratio", "zoom", "distance_cm", "screen_width", "screen_height", "view_width", "view_height"),
    "shown_width",
)


def as_csv(answers: list[Answer]) -> str:
    """One line for each answer, with its viewing conditions."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for one in answers:
        row = [getattr(one, name, one.conditions.get(name)) for name in _COLUMNS]
        writer.writerow([int(value) if isinstance(value, bool) else value for value in row])
    return stream.getvalue()


def described(study: Study, votes: Votes, pictures: str, collect: str) -> dict[str, Any]:
    """What the voter's page loads: pairs and where pictures are; nothing of codecs."""
    return {
        "id": study.id,
        "title": study.title,
        "per_session": study.per_session,
        "pictures": pictures,
        "collect": collect,
        "pairs": votes.pairs(study.id),
    }


def as_zip(study: Study, votes: Votes, page: str) -> bytes:
    """The vote as a zip file; ``page`` is the HTML of the voter's page. Raises Refused if too large."""
    stream, size = io.BytesIO(), 0
    key: dict[str, Any] = {"study": study.id, "codecs": study.codecs, "bits_per_pixel": study.bits_per_pixel}
    key["stimuli"] = {}
    package = resources.files("decant_studio")
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("README.txt", _README)
        archive.writestr("collector.py", package.joinpath("votes/collector.py").read_text("utf-8"))
        archive.writestr("site/index.html", page)
        data = described(study, votes, "pictures/", "collect")
        archive.writestr("site/study.json", json.dumps(data, indent=1))
        for name in _STATIC:
            archive.writestr(f"site/{name}", package.joinpath(f"static/{name}").read_bytes())
        for stimulus, secret, png in votes.stimuli(study.id):
            size += len(png)
            if size > MOST_BYTES:
                raise Refused(413, f"This vote has more than {MOST_BYTES // MIB} MB of pictures.")
            key["stimuli"][stimulus] = secret
            archive.writestr(f"site/pictures/{stimulus}.png", png)
        archive.writestr("key.json", json.dumps(key, indent=1))
    return stream.getvalue()
