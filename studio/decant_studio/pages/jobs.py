"""The state of a job, and the files of its result."""

from flask import Blueprint, Response, jsonify

from decant_studio.errors import Refused
from decant_studio.jobs.pool import FAILED, Job, Pool
from decant_studio.settings import Settings


def blueprint(settings: Settings, pool: Pool) -> Blueprint:
    """``/api/jobs/...``."""
    pages = Blueprint("jobs", __name__)

    @pages.get("/api/jobs/<job_id>")
    def state(job_id: str) -> tuple[Response, int]:
        job = pool.job(job_id)
        return jsonify(job.described()), job.status if job.state == FAILED else 200

    @pages.get("/api/jobs/<job_id>/<name>")
    def file(job_id: str, name: str) -> Response:
        result = pool.job(job_id).result
        found = None if result is None else result.files.get(name)
        if found is None:
            raise Refused(404, "There is no such file in this result.")
        response = Response(found.data, mimetype=found.kind)
        shown = found.kind.startswith("image/")
        way = "inline" if shown else "attachment"
        response.headers["Content-Disposition"] = f'{way}; filename="{found.name}"'
        response.headers["Cache-Control"] = "private, max-age=3600"
        return response

    return pages


def accepted(job: Job) -> tuple[Response, int]:
    """The answer to a request that began a job."""
    return jsonify(job.described()), 202
