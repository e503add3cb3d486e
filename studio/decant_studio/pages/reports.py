"""The page Reports: this machine, and the reports in the folders that the studio was started with."""

from itertools import groupby

from flask import Blueprint, Response, render_template

from decant_studio.errors import Refused
from decant_studio.jobs.pool import Pool
from decant_studio.pages.jobs import accepted
from decant_studio.reports.shelf import own_reports, report, reports
from decant_studio.reports.shown import body
from decant_studio.security import REPORT_POLICY
from decant_studio.settings import Settings

_PICTURES = {".svg": "image/svg+xml", ".png": "image/png", ".webp": "image/webp"}


def blueprint(settings: Settings, pool: Pool) -> Blueprint:
    """``/reports``, ``/reports/ID``, ``/api/reports/ID``, ``/api/devices`` and ``/api/latency``."""
    pages = Blueprint("reports", __name__)
    folders = list(settings.reports) or own_reports()

    @pages.get("/reports")
    def shelf() -> str:
        found = [one for one in reports(folders) if one.kind != "picture"]
        groups = [(folder, list(those)) for folder, those in groupby(found, lambda one: one.folder)]
        return render_template("reports.html", groups=groups, folders=[path.name for path in folders])

    @pages.get("/reports/<report_id>")
    def shown(report_id: str) -> Response | str:
        one = report(folders, report_id)
        if one.kind == "page":
            return _sandboxed(one.read(), "text/html")
        if one.kind == "picture":
            raise Refused(404, "There is no such report here.")
        beside = [
            other
            for other in reports(folders)
            if other.kind == "picture" and other.folder == one.folder and one.kind == "text"
        ]
        return render_template("report.html", report=one, body=body(one), pictures=beside)

    @pages.get("/api/reports/<report_id>")
    def file(report_id: str) -> Response:
        one = report(folders, report_id)
        if one.kind != "picture":
            raise Refused(404, "There is no such picture here.")
        return _sandboxed(one.read(), _PICTURES[one.path.suffix.lower()])

    @pages.post("/api/devices")
    def devices() -> tuple[Response, int]:
        return accepted(pool.submit("devices"))

    @pages.post("/api/latency")
    def latency() -> tuple[Response, int]:
        return accepted(pool.submit("latency"))

    return pages


def _sandboxed(data: bytes, kind: str) -> Response:
    response = Response(data, mimetype=kind)
    response.headers["Content-Security-Policy"] = REPORT_POLICY
    return response
