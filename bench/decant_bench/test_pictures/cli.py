"""``decant bench content``: pictures by content, for ``decant bench rd --groups``."""

from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--out", metavar="DIR", type=_PATH, required=True, help="A new folder; a sub-folder a group.")
@click.option("--photos", metavar="DIR", type=_PATH, help="Photographs of yours, added to the groups.")
@click.option("--seed", default=0, show_default=True, help="Of drawings and noise.")
def content(out: Path, photos: Path | None, seed: int) -> None:
    """Collect pictures by content (photos, faces, text, screens, drawings, night, noise ...) from installed
    packages, with sources and licences in DIR/README.md.
    """
    from decant_bench.test_pictures import collect as collecting

    written = collecting.collect(out, photos, seed)
    groups = {path.parent.name: 0 for path in written}
    for path in written:
        groups[path.parent.name] += 1
    click.echo(", ".join(f"{group} {count}" for group, count in groups.items()))
