"""What is left of an archive whose index is lost: it is made again from the part file."""

from typing import TYPE_CHECKING, Any

from decant.errors import FormatError

if TYPE_CHECKING:
    from decant.archive.reader import Archive


def index_of_part(archive: "Archive", part: int, reason: str) -> Any:
    """The index of a part, made from the part itself. Raises FormatError where that is damaged too."""
    import tempfile
    from pathlib import Path

    import pyarrow as pa

    from decant.archive.writer import index_tables

    name = archive.manifest.parts[part].name
    local = archive.store.local(name)
    try:
        if local is not None:
            return pa.concat_tables(index_tables(local))
        with tempfile.TemporaryDirectory(prefix="decant-") as folder:
            copy = Path(folder) / name
            copy.write_bytes(archive.store.read(name))
            return pa.concat_tables(index_tables(copy))
    except (pa.ArrowException, OSError) as error:
        raise FormatError(
            f"{archive.where(part)}: neither its index ({reason}) nor the part itself ({error}) can be read"
        ) from None
