"""``decant serve``: the studio in a browser."""

import webbrowser
from dataclasses import replace
from pathlib import Path

import click

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command(short_help="Compare, convert, vote and read reports in a local web page.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="Port; 0 takes any free one.",
)
@click.option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="NAME",
    help="Accept requests for this host name, too; repeatable.",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@click.option("--bundle-dir", type=_FOLDER, help="Folder in which bundles are looked up first.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for votes.  [default: studio in decant's user data folder]",
)
@click.option("--reports", type=_FOLDER, multiple=True, help="Folder of reports to show; repeatable.")
@click.option(
    "--workers",
    type=click.IntRange(1, 32),
    help="Pictures that are processed at a time.  [default: 1 or 2, by cores]",
)
@click.option(
    "--max-megapixels", type=click.IntRange(1, 1000), default=16, show_default=True, help="Largest picture."
)
@click.option(
    "--max-upload-mb", type=click.IntRange(1, 1000), default=32, show_default=True, help="Largest upload."
)
@click.option(
    "--time-limit", type=click.IntRange(1), default=300, show_default=True, help="Seconds for one picture."
)
def serve(
    host: str,
    port: int,
    names: tuple[str, ...],
    opens: bool,
    bundle_dir: Path | None,
    data_dir: Path | None,
    reports: tuple[Path, ...],
    workers: int | None,
    max_megapixels: int,
    max_upload_mb: int,
    time_limit: int,
) -> None:
    """Serve the studio at http://127.0.0.1:8765 until Ctrl-C. Pictures stay on this machine."""
    from decant.commands.plugins import Failure

    from decant_studio.app import create_app
    from decant_studio.server import Server
    from decant_studio.settings import MIB, Settings

    settings = Settings(
        bundle_dir=bundle_dir,
        reports=reports,
        upload_bytes=max_upload_mb * MIB,
        pixels=max_megapixels * 1_000_000,
        job_seconds=float(time_limit),
    )
    if host.lower() not in settings.hosts:
        click.echo(f"decant: the studio has no login; whoever reaches {host} can use it", err=True)
    settings = replace(settings, hosts=settings.hosts | {name.lower() for name in (host, *names)})
    if data_dir is not None:
        settings = replace(settings, data_dir=data_dir)
    if workers is not None:
        settings = replace(settings, workers=workers)
    app = create_app(settings)
    try:
        server = Server(host, port, app)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Failure(f"{host}:{port}: {reason}; choose another with --host or --port") from None
    click.echo(f"decant: the studio is at {server.url} (Ctrl-C ends it)", err=True)
    if opens:
        webbrowser.open(server.url)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
        app.extensions["studio"].close()
