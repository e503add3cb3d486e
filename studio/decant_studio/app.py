"""The Flask application: pages, rules for every request, and the pool of workers."""

import atexit

from flask import Flask

from decant_studio import uploads
from decant_studio.jobs.pool import Pool
from decant_studio.pages import jobs, published, reports, studio, vote
from decant_studio.security import protect
from decant_studio.settings import Settings


def create_app(settings: Settings | None = None) -> Flask:
    """A WSGI application with a pool of its own, in ``app.extensions['studio']``. One process serves it: jobs
    and their results live in its memory.
    """
    settings = settings or Settings()
    app = Flask("decant_studio", static_folder="static", template_folder="templates")
    app.config["MAX_CONTENT_LENGTH"] = settings.upload_bytes
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    pool = Pool(settings)
    atexit.register(pool.close)
    app.extensions["studio"] = pool
    app.extensions[uploads.ALLOWANCE] = uploads.Allowance(uploads.AT_ONCE * settings.upload_bytes)
    protect(app, settings)
    for page in (jobs, studio, published, vote, reports):
        app.register_blueprint(page.blueprint(settings, pool))
    return app
