"""The page Studio: a picture in decant and in another codec at equal bytes; files restored."""

from flask import Blueprint, Response, render_template

from decant_studio import uploads
from decant_studio.errors import Refused
from decant_studio.jobs.pool import Pool
from decant_studio.pages.jobs import accepted
from decant_studio.settings import MIB, Settings
from decant_studio.work import codecs

# What a value may be, by mode: lowest, highest, default.
MODES = {"quality": (1, 100, 60), "bpp": (0.02, 24, 0.6), "psnr": (15, 60, 36)}


def blueprint(settings: Settings, pool: Pool) -> Blueprint:
    """``/``, ``/api/compare`` and ``/api/restore``."""
    pages = Blueprint("studio", __name__)

    @pages.get("/")
    def studio() -> str:
        return render_template(
            "studio.html",
            models=codecs.models(settings.bundle_folder),
            peers={key: label for key, (label, _, _) in codecs.PEERS.items()},
            modes=MODES,
            megabytes=settings.upload_bytes // MIB,
            megapixels=settings.pixels // 1_000_000,
        )

    @pages.post("/api/compare")
    def compare() -> tuple[Response, int]:
        models = codecs.models(settings.bundle_folder)
        if not models:
            raise Refused(400, "No model here encodes pictures.")
        mode = uploads.choice("mode", tuple(MODES), "quality")
        low, high, default = MODES[mode]
        value = uploads.number("value", low, high, default, whole=mode == "quality")
        job = pool.submit(
            "compare",
            model=uploads.choice("model", models, models[0]),
            mode=mode,
            value=value,
            effort=int(uploads.number("effort", 0, 9, 2, whole=True)),
            peer=uploads.choice("peer", tuple(codecs.PEERS), "jpeg"),
            data=uploads.body(settings),
        )
        return accepted(job)

    @pages.post("/api/restore")
    def restore() -> tuple[Response, int]:
        return accepted(pool.submit("restore", data=uploads.body(settings)))

    return pages
