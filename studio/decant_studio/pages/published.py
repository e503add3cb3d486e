"""The page Published systems: autoencoders of one picture size, and K-means colour quantization."""

from flask import Blueprint, Response, render_template

from decant_studio import uploads
from decant_studio.errors import Refused
from decant_studio.jobs.pool import Pool
from decant_studio.pages.jobs import accepted
from decant_studio.settings import MIB, Settings
from decant_studio.work.kmeans import LARGEST_K
from decant_studio.work.published import systems


def blueprint(settings: Settings, pool: Pool) -> Blueprint:
    """``/published``, ``/api/compress``, ``/api/decompress`` and ``/api/kmeans``."""
    pages = Blueprint("published", __name__)

    @pages.get("/published")
    def published() -> str:
        found = systems(settings.bundle_folder)
        return render_template(
            "published.html",
            systems=found,
            families={system.family for system in found},
            largest_k=LARGEST_K,
            megabytes=settings.upload_bytes // MIB,
        )

    def work(task: str) -> tuple[Response, int]:
        names = [system.name for system in systems(settings.bundle_folder)]
        if not names:
            raise Refused(400, "There is no published system here.")
        system = uploads.choice("system", names, names[0])
        denoise = uploads.choice("denoise", ("0", "1"), "0") == "1"
        return accepted(pool.submit(task, system=system, denoise=denoise, data=uploads.body(settings)))

    @pages.post("/api/compress")
    def compress() -> tuple[Response, int]:
        return work("compress")

    @pages.post("/api/decompress")
    def decompress() -> tuple[Response, int]:
        return work("decompress")

    @pages.post("/api/kmeans")
    def kmeans() -> tuple[Response, int]:
        k = int(uploads.number("k", 1, LARGEST_K, 8, whole=True))
        return accepted(pool.submit("kmeans", k=k, data=uploads.body(settings)))

    return pages
