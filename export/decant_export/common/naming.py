"""Names that files can carry."""

from decant.formats.container import NAME_PATTERN

from decant_export.errors import ExportError


def checked_name(name: str) -> str:
    """``name``, where files can carry it. Raises ExportError elsewhere."""
    if not NAME_PATTERN.fullmatch(name):
        raise ExportError(
            f"bundle name {name!r}; 1 to 64 of a-z 0-9 . _ - expected, a letter or digit first; give --name"
        )
    return name
