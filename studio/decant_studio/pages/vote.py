"""The page Vote: studies, the voter's page, the ranking, and export."""

import math
from typing import Any

from flask import Blueprint, Response, jsonify, render_template

from decant_studio import uploads
from decant_studio.errors import Refused
from decant_studio.jobs.pool import Pool
from decant_studio.pages.jobs import accepted
from decant_studio.settings import Settings
from decant_studio.votes import export, messages
from decant_studio.votes.ranking import rank
from decant_studio.votes.study import HONEYPOT, MOST_PICTURES, ORIGINAL, Stimulus, Votes
from decant_studio.work import stimuli
from decant_studio.work.result import Result

LOWEST_BPP, HIGHEST_BPP, DEFAULT_BPP = 0.05, 8.0, 0.3
LONGEST_TITLE = 80
MOST_PAIRS = 1000  # of a session


def blueprint(settings: Settings, pool: Pool) -> Blueprint:
    """``/vote``, ``/vote/ID``, ``/vote/ID/ballot``, ``/vote/ID/ranking`` and ``/api/vote/...``."""
    pages = Blueprint("vote", __name__)
    votes = Votes(settings.votes_file)
    _show(pages, settings, votes)
    _change(pages, settings, pool, votes)
    _collect(pages, settings, votes)
    return pages


def _show(pages: Blueprint, settings: Settings, votes: Votes) -> None:
    """The pages, and what they load."""

    @pages.get("/vote")
    def overview() -> str:
        return render_template(
            "vote.html",
            studies=[(study, votes.counts(study.id)) for study in votes.studies()],
            codecs=stimuli.choices(settings.bundle_folder),
            bpp=(LOWEST_BPP, HIGHEST_BPP, DEFAULT_BPP),
        )

    @pages.get("/vote/<study_id>")
    def study(study_id: str) -> str:
        found = votes.study(study_id)
        return render_template(
            "study.html", study=found, counts=votes.counts(study_id), side=stimuli.SIDE, most=MOST_PICTURES
        )

    @pages.get("/vote/<study_id>/ballot")
    def ballot(study_id: str) -> str:
        address = f"/api/vote/{study_id}/study.json"
        return render_template(
            "ballot.html",
            study=votes.study(study_id),
            address=address,
            assets="/static/",
            after=f"/vote/{study_id}/ranking",
            local=True,
        )

    @pages.get("/vote/<study_id>/ranking")
    def ranking(study_id: str) -> str:
        found = votes.study(study_id)
        return render_template(
            "ranking.html",
            study=found,
            counts=votes.counts(study_id),
            ranking=rank(votes.answers(study_id), found.codecs),
        )

    @pages.get("/api/vote/<study_id>/ranking.json")
    def ranking_json(study_id: str) -> Response:
        return jsonify(rank(votes.answers(study_id), votes.study(study_id).codecs))

    @pages.get("/api/vote/<study_id>/study.json")
    def study_json(study_id: str) -> Response:
        address = f"/api/vote/{study_id}"
        said = export.described(votes.study(study_id), votes, f"{address}/pictures/", f"{address}/collect")
        return jsonify(said | {"sessions": f"{address}/sessions/"})

    @pages.get("/api/vote/<study_id>/pictures/<stimulus>.png")
    def picture(study_id: str, stimulus: str) -> Response:
        response = Response(votes.picture(study_id, stimulus), mimetype="image/png")
        response.headers["Cache-Control"] = "private, max-age=3600"
        return response

    @pages.get("/api/vote/<study_id>/answers.csv")
    def answers_csv(study_id: str) -> Response:
        votes.study(study_id)
        return _saved(export.as_csv(votes.answers(study_id)).encode(), "text/csv", f"vote-{study_id}.csv")

    @pages.get("/api/vote/<study_id>/export.zip")
    def export_zip(study_id: str) -> Response:
        found = votes.study(study_id)
        page = render_template(
            "ballot.html", study=found, address="study.json", assets="", after="", local=False
        )
        return _saved(export.as_zip(found, votes, page), "application/zip", f"vote-{study_id}.zip")


def _change(pages: Blueprint, settings: Settings, pool: Pool, votes: Votes) -> None:
    """Making, filling and deleting studies."""

    @pages.post("/api/vote/studies")
    def create() -> tuple[Response, int]:
        wanted = messages.parsed(uploads.body(settings, messages.MOST_BYTES))
        if not isinstance(wanted, dict):
            raise Refused(400, "A title and codecs are expected.")
        study = votes.create(**_wanted(wanted, stimuli.choices(settings.bundle_folder)))
        return jsonify(id=study.id), 201

    @pages.post("/api/vote/<study_id>/pictures")
    def add(study_id: str) -> tuple[Response, int]:
        study = votes.study(study_id)

        def keep(result: Result) -> Result:
            shown = result.figures["stimuli"]
            parts = [Stimulus(name, result.files[name].data) for name in (ORIGINAL, HONEYPOT)]
            parts += [Stimulus(name, result.files[name].data, **shown[name]) for name in study.codecs]
            return Result(result.figures | {"pairs": votes.add_picture(study_id, parts)})

        data = uploads.body(settings)
        names, rate = list(study.codecs), study.bits_per_pixel
        return accepted(pool.submit("stimuli", then=keep, data=data, names=names, bits_per_pixel=rate))

    @pages.post("/api/vote/<study_id>/delete")
    def delete(study_id: str) -> Response:
        votes.study(study_id)
        votes.delete(study_id)
        return jsonify(deleted=study_id)


def _collect(pages: Blueprint, settings: Settings, votes: Votes) -> None:
    """Sessions and answers."""

    @pages.get("/api/vote/<study_id>/sessions/<session>")
    def resume(study_id: str, session: str) -> Response:
        return jsonify(votes.session(study_id, session))

    @pages.post("/api/vote/<study_id>/collect")
    def collect(study_id: str) -> Response:
        votes.study(study_id)
        messages.store(votes, study_id, messages.parsed(uploads.body(settings, messages.MOST_BYTES)))
        return jsonify(stored=True)

    @pages.post("/api/vote/<study_id>/import")
    def take(study_id: str) -> Response:
        votes.study(study_id)
        stored = refused = 0
        for message in messages.many(uploads.body(settings)):
            try:
                messages.store(votes, study_id, message)
                stored += 1
            except Refused:
                refused += 1
        return jsonify(stored=stored, refused=refused)


def _wanted(given: dict[str, Any], known: list[str]) -> dict[str, Any]:
    """The arguments of a new study. Raises Refused."""
    title, names = given.get("title"), given.get("codecs")
    if not isinstance(title, str) or not title.strip() or len(title) > LONGEST_TITLE:
        raise Refused(400, f"A vote needs a title of at most {LONGEST_TITLE} characters.")
    if not isinstance(names, list) or not all(name in known for name in names):
        raise Refused(400, f"codecs: choose among {', '.join(known)}.")
    rate, most = _number(given.get("bits_per_pixel")), _number(given.get("per_session"))
    if not LOWEST_BPP <= rate <= HIGHEST_BPP:
        raise Refused(400, f"bits per pixel: a number from {LOWEST_BPP:g} to {HIGHEST_BPP:g} expected.")
    if not 0 <= most <= MOST_PAIRS or most != int(most):
        raise Refused(400, f"pairs in a session: a whole number from 0 (all) to {MOST_PAIRS} expected.")
    return {
        "title": title.strip(),
        "codecs": names,
        "bits_per_pixel": rate,
        "per_session": int(most),
    }


def _number(value: Any) -> float:
    """``value`` where it is a number, else NaN, which is in no range."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _saved(data: bytes, kind: str, name: str) -> Response:
    response = Response(data, mimetype=kind)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
