"""``decant bench content``: pictures by content, for ``decant bench rd --groups``."""

from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.command()
@click.option(
    "--out", metavar="DIR", type=_PATH, required=True, help="New folder, with one folder per group."
)
@click.option("--photos", metavar="DIR", type=_PATH, help="Your photographs, which are added to the groups.")
@click.option("--seed", default=0, show_default=True, help="Seed of drawings and noise.")
def content(out: Path, photos: Path | None, seed: int) -> None:
    """Collect pictures by content: photos, faces, text, screens, drawings, night, noise ...

    They come from installed packages. DIR/README.md names their sources and licences.
    """
    from decant_bench.test_pictures import collect as collecting

    written = collecting.collect(out, photos, seed)
    groups = {path.parent.name: 0 for path in written}
    for path in written:
        groups[path.parent.name] += 1
    click.echo(", ".join(f"{group} {count}" for group, count in groups.items()))
