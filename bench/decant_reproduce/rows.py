"""One line of a table "published / ours"."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """``figure``: what was measured; ``published`` and ``ours`` with their units; ``remark``: where the data,
    the weights or the method differ.
    """

    figure: str
    published: str
    ours: str
    remark: str = ""
