"""Studies in SQLite: pictures, pairs of codecs, sessions and answers; one file holds everything."""

import itertools
import json
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from decant_studio.errors import Refused

MOST_STUDIES, MOST_PICTURES, MOST_SESSIONS = 100, 200, 10_000
ORIGINAL, HONEYPOT = "original", "honeypot"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, created TEXT NOT NULL, codecs TEXT NOT NULL,
    bits_per_pixel REAL NOT NULL, per_session INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS stimuli (
    id TEXT PRIMARY KEY, study TEXT NOT NULL REFERENCES studies ON DELETE CASCADE, picture INTEGER NOT NULL,
    codec TEXT NOT NULL, quality INTEGER, bytes INTEGER, png BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS pairs (
    id TEXT PRIMARY KEY, study TEXT NOT NULL REFERENCES studies ON DELETE CASCADE, picture INTEGER NOT NULL,
    original TEXT NOT NULL, a TEXT NOT NULL, b TEXT NOT NULL, honeypot INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, study TEXT NOT NULL REFERENCES studies ON DELETE CASCADE, created TEXT NOT NULL,
    conditions TEXT NOT NULL, trials TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answers (
    session TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE, trial INTEGER NOT NULL, pair TEXT NOT NULL,
    chosen TEXT NOT NULL, side TEXT NOT NULL, ms INTEGER NOT NULL, conditions TEXT NOT NULL,
    created TEXT NOT NULL, PRIMARY KEY (session, trial));
CREATE INDEX IF NOT EXISTS stimuli_of ON stimuli (study);
CREATE INDEX IF NOT EXISTS pairs_of ON pairs (study);
CREATE INDEX IF NOT EXISTS sessions_of ON sessions (study);
"""


@dataclass(frozen=True)
class Study:
    """A vote: its codecs are compared at ``bits_per_pixel``; a session has ``per_session`` pairs, 0: all."""

    id: str
    title: str
    created: str
    codecs: tuple[str, ...]
    bits_per_pixel: float
    per_session: int


@dataclass(frozen=True)
class Stimulus:
    """A picture to be stored: ``codec`` is one of the study's, ``original`` or ``honeypot``."""

    codec: str
    png: bytes
    quality: int | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class Answer:
    """One choice, with the codecs behind it: ``winner`` was chosen, ``loser`` was not."""

    session: str
    trial: int
    pair: str
    picture: int
    honeypot: bool
    winner: str
    loser: str
    side: str
    ms: int
    conditions: dict[str, Any]
    created: str


class Votes:
    """All studies of one file, which is made with the first. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=20)
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.executescript(_SCHEMA)
            with connection:
                yield connection
        finally:
            connection.close()

    def studies(self) -> list[Study]:
        """All, the newest first."""
        if not self._path.exists():
            return []
        with self._open() as db:
            rows = db.execute("SELECT * FROM studies ORDER BY created DESC, id").fetchall()
        return [_study(row) for row in rows]

    def study(self, study_id: str) -> Study:
        """One of them. Raises Refused (404)."""
        with self._open() as db:
            row = db.execute("SELECT * FROM studies WHERE id = ?", (study_id,)).fetchone()
        if row is None:
            raise Refused(404, "There is no such vote here.")
        return _study(row)

    def create(self, title: str, codecs: Sequence[str], bits_per_pixel: float, per_session: int) -> Study:
        """A new study without pictures. Raises Refused."""
        if len(codecs) < 2 or len(set(codecs)) != len(codecs):
            raise Refused(400, "Choose at least two codecs to vote on.")
        study = Study(secrets.token_hex(6), title, _now(), tuple(codecs), bits_per_pixel, per_session)
        with self._open() as db:
            if db.execute("SELECT count(*) FROM studies").fetchone()[0] >= MOST_STUDIES:
                raise Refused(409, f"There are {MOST_STUDIES} votes already; delete one first.")
            db.execute(
                "INSERT INTO studies VALUES (?, ?, ?, ?, ?, ?)",
                (study.id, title, study.created, json.dumps(codecs), bits_per_pixel, per_session),
            )
        return study

    def delete(self, study_id: str) -> None:
        """A study with everything in it."""
        with self._open() as db:
            db.execute("DELETE FROM studies WHERE id = ?", (study_id,))
            db.commit()
            db.execute("VACUUM")

    def add_picture(self, study_id: str, stimuli: Sequence[Stimulus]) -> int:
        """Store the stimuli of one picture, all pairs of its codecs, and its honeypot; how many pairs there
        are now. Raises Refused.
        """
        study = self.study(study_id)
        ids = {one.codec: secrets.token_hex(8) for one in stimuli}
        with self._open() as db:
            picture = db.execute(
                "SELECT coalesce(max(picture) + 1, 0) FROM stimuli WHERE study = ?", (study_id,)
            ).fetchone()[0]
            if picture >= MOST_PICTURES:
                raise Refused(409, f"A vote has at most {MOST_PICTURES} pictures.")
            for one in stimuli:
                values = ids[one.codec], study_id, picture, one.codec, one.quality, one.bytes, one.png
                db.execute("INSERT INTO stimuli VALUES (?, ?, ?, ?, ?, ?, ?)", values)
            pairs = [(a, b, 0) for a, b in itertools.combinations(study.codecs, 2)]
            pairs.append((study.codecs[picture % len(study.codecs)], HONEYPOT, 1))
            for a, b, honeypot in pairs:
                if secrets.randbits(1):  # the order says nothing of the codecs
                    a, b = b, a
                shown = secrets.token_hex(8), study_id, picture, ids[ORIGINAL], ids[a], ids[b], honeypot
                db.execute("INSERT INTO pairs VALUES (?, ?, ?, ?, ?, ?, ?)", shown)
            count: int = db.execute("SELECT count(*) FROM pairs WHERE study = ?", (study_id,)).fetchone()[0]
        return count

    def counts(self, study_id: str) -> dict[str, int]:
        """How many pictures, pairs (honeypots included), honeypots, sessions and answers a study has."""
        queries = {
            "pictures": "SELECT count(DISTINCT picture) FROM stimuli WHERE study = ?",
            "pairs": "SELECT count(*) FROM pairs WHERE study = ?",
            "honeypots": "SELECT count(*) FROM pairs WHERE study = ? AND honeypot",
            "sessions": "SELECT count(*) FROM sessions WHERE study = ?",
            "answers": "SELECT count(*) FROM answers JOIN sessions ON session = id WHERE study = ?",
        }
        with self._open() as db:
            return {name: db.execute(query, (study_id,)).fetchone()[0] for name, query in queries.items()}

    def pairs(self, study_id: str) -> list[dict[str, str]]:
        """What a voter's page is told: ids of pairs and pictures, and nothing of codecs."""
        with self._open() as db:
            rows = db.execute(
                "SELECT id, original, a, b FROM pairs WHERE study = ? ORDER BY id", (study_id,)
            ).fetchall()
        return [dict(row) for row in rows]

    def picture(self, study_id: str, stimulus: str) -> bytes:
        """The PNG file of a stimulus. Raises Refused (404)."""
        with self._open() as db:
            row = db.execute(
                "SELECT png FROM stimuli WHERE study = ? AND id = ?", (study_id, stimulus)
            ).fetchone()
        if row is None:
            raise Refused(404, "There is no such picture in this vote.")
        return bytes(row["png"])

    def stimuli(self, study_id: str) -> Iterator[tuple[str, dict[str, Any], bytes]]:
        """(id, what is secret about it, PNG) of all stimuli."""
        with self._open() as db:
            cursor = db.execute("SELECT * FROM stimuli WHERE study = ? ORDER BY picture, codec", (study_id,))
            for row in cursor:
                secret = {key: row[key] for key in ("picture", "codec", "quality", "bytes")}
                yield row["id"], secret, bytes(row["png"])

    def begin(self, study_id: str, session: str, conditions: Any, trials: list[dict[str, str]]) -> None:
        """Store a session with its trials ({pair, left}) unless it is there. Raises Refused."""
        known = {pair["id"]: (pair["a"], pair["b"]) for pair in self.pairs(study_id)}
        for trial in trials:
            if trial["left"] not in known.get(trial["pair"], ()):
                raise Refused(400, "A trial of this session is not of this vote.")
        with self._open() as db:
            count = db.execute("SELECT count(*) FROM sessions WHERE study = ?", (study_id,)).fetchone()[0]
            if count >= MOST_SESSIONS:
                raise Refused(409, f"This vote has {MOST_SESSIONS} sessions; that is the limit.")
            row = db.execute("SELECT study FROM sessions WHERE id = ?", (session,)).fetchone()
            if row is not None and row["study"] != study_id:
                raise Refused(409, "A session of another vote has this id.")
            db.execute(
                "INSERT OR IGNORE INTO sessions VALUES (?, ?, ?, ?, ?)",
                (session, study_id, _now(), json.dumps(conditions), json.dumps(trials)),
            )

    def session(self, study_id: str, session: str) -> dict[str, Any]:
        """Its trials and which of them are answered. Raises Refused (404)."""
        with self._open() as db:
            row = db.execute(
                "SELECT trials FROM sessions WHERE id = ? AND study = ?", (session, study_id)
            ).fetchone()
            if row is None:
                raise Refused(404, "There is no such session.")
            answered = [
                one["trial"]
                for one in db.execute(
                    "SELECT trial FROM answers WHERE session = ? ORDER BY trial", (session,)
                )
            ]
        return {"trials": json.loads(row["trials"]), "answered": answered}

    def answer(self, study_id: str, session: str, trial: int, side: str, ms: int, conditions: Any) -> None:
        """Store the choice of ``side`` (left or right) in a trial, once. Raises Refused."""
        trials = self.session(study_id, session)["trials"]
        if not 0 <= trial < len(trials):
            raise Refused(400, "There is no such trial in this session.")
        with self._open() as db:
            pair = db.execute("SELECT * FROM pairs WHERE id = ?", (trials[trial]["pair"],)).fetchone()
            left = trials[trial]["left"]
            right = pair["b"] if left == pair["a"] else pair["a"]
            chosen = left if side == "left" else right
            values = session, trial, pair["id"], chosen, side, ms, json.dumps(conditions), _now()
            db.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def answers(self, study_id: str) -> list[Answer]:
        """All choices, session by session."""
        query = """
            SELECT answers.*, pairs.picture, pairs.honeypot, chosen_one.codec AS winner, other.codec AS loser
            FROM answers JOIN pairs ON pairs.id = answers.pair
            JOIN sessions ON sessions.id = answers.session
            JOIN stimuli AS chosen_one ON chosen_one.id = answers.chosen
            JOIN stimuli AS other
                ON other.id = CASE WHEN answers.chosen = pairs.a THEN pairs.b ELSE pairs.a END
            WHERE pairs.study = ? ORDER BY sessions.created, answers.session, answers.trial"""
        with self._open() as db:
            rows = db.execute(query, (study_id,)).fetchall()
        return [
            Answer(
                **{key: row[key] for key in ("session", "trial", "pair", "picture", "winner", "loser")},
                **{key: row[key] for key in ("side", "ms", "created")},
                honeypot=bool(row["honeypot"]),
                conditions=json.loads(row["conditions"]),
            )
            for row in rows
        ]


def _study(row: sqlite3.Row) -> Study:
    codecs = tuple(json.loads(row["codecs"]))
    return Study(row["id"], row["title"], row["created"], codecs, row["bits_per_pixel"], row["per_session"])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
