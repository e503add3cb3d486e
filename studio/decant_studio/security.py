"""What holds for every request: known host names, a token on requests that change something, strict headers,
and errors as sentences.
"""

import secrets

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from decant_studio.errors import Refused
from decant_studio.settings import Settings

TOKEN_HEADER = "X-Studio-Token"
BODY_KIND = "application/octet-stream"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# A report's page has styles and scripts within it. It is shown without an origin and may ask for nothing.
REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_WORDS = {
    404: "There is no such page here.",
    405: "This address does not take such a request.",
    500: "Something went wrong inside the studio. The terminal where it runs has the details.",
}


def protect(app: Flask, settings: Settings) -> None:
    """Add these rules to ``app``."""
    token = secrets.token_urlsafe(24)
    app.config["STUDIO_TOKEN"] = token

    @app.before_request
    def check() -> None:
        _check_host(settings)
        if request.method not in ("GET", "HEAD"):
            _check_origin()
            if not secrets.compare_digest(request.headers.get(TOKEN_HEADER, "").encode(), token.encode()):
                raise Refused(403, "This page is from an earlier start of the studio. Reload it, please.")

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", POLICY)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.errorhandler(Refused)
    def refused(error: Refused) -> tuple[Response | str, int]:
        return _said(error.status, error.message)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> tuple[Response | str, int]:
        status = error.code or 500
        return _said(status, _WORDS.get(status, error.description or error.name))

    @app.context_processor
    def known() -> dict[str, str]:
        return {"token": token}


def _said(status: int, message: str) -> tuple[Response | str, int]:
    if request.path.startswith("/api/"):
        return jsonify(error=message), status
    try:
        return render_template("error.html", status=status, message=message), status
    except Exception:  # an error within the page of errors
        return message, status


def _check_host(settings: Settings) -> None:
    """Refuse other names of this address, as in DNS rebinding."""
    name = request.host.lower()
    name = name.rsplit(":", 1)[0] if name.rsplit(":", 1)[-1].isdigit() else name
    if name.strip("[]") not in settings.hosts:
        raise Refused(421, "This studio answers to its own address only, such as http://127.0.0.1.")


def _check_origin() -> None:
    origin = request.headers.get("Origin")
    if origin is not None and origin.split("://", 1)[-1] != request.host:
        raise Refused(403, "This request comes from another site; the studio refuses it.")
