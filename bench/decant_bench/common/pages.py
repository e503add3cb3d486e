"""HTML reports that load nothing from elsewhere: their parts, and writing them."""

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from decant_bench.common import metrics
from decant_bench.common.record import Record
from decant_bench.common.tables import Table, plainly

if TYPE_CHECKING:
    from jinja2 import Environment

GAIN = 8  # of the error pictures
SHOWN_AS = "JPEG of quality 90"  # figures come from the pixels
LARGEST_SIDE = 768  # pixels; of a larger picture the middle is shown


@dataclass(frozen=True)
class Plot:
    """A figure as an <svg> element (plots.as_svg), and what it shows, for those who cannot see it."""

    svg: Any
    label: str


@dataclass(frozen=True)
class Image:
    """A ready picture as a data: link, and its caption."""

    source: str
    label: str


@dataclass(frozen=True)
class Download:
    """A file within the page: its name, a data: link, and what it holds."""

    name: str
    link: str
    what: str


@dataclass(frozen=True)
class Section:
    """A part of a page, in this order below its title; ``pictures`` are those of ``compared``."""

    title: str
    notes: Sequence[str] = ()
    plots: Sequence[Plot] = ()
    images: Sequence[Image] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[dict[str, Any]] = ()
    downloads: Sequence[Download] = ()


@dataclass(frozen=True)
class Panel:
    """One of the pictures of a split view: ``source`` is a data: link."""

    label: str
    caption: str
    source: str


@dataclass(frozen=True)
class SplitPicture:
    """A split view: several versions of one picture, of which two are visible at a time
    (templates/split_view.html), and a table of them.
    """

    name: str
    width: int
    height: int
    panels: tuple[Panel, ...]
    table: Table

    def as_dict(self) -> dict[str, Any]:
        """What the template and its script need."""
        panels = [asdict(panel) for panel in self.panels]
        return {"name": self.name, "width": self.width, "height": self.height, "panels": panels}


def sections_page(
    title: str,
    command: str,
    sections: Sequence[Section],
    *,
    facts: Sequence[tuple[str, str]] = (),
    records: Sequence[tuple[str, Record]] = (),
) -> str:
    """A page of sections. ``facts``: (what, value) above them; ``records``: (what, record) that the figures
    come from, whose commands, machines and versions stand below.
    """
    origins = [origin(what, record) for what, record in records]
    return render(
        "sections.html", title=title, command=command, facts=facts, sections=sections, origins=origins
    )


def render(template: str, **context: Any) -> str:
    """A template of this package as HTML; a name that it lacks is an error."""
    given = {"lead": "", "gain": GAIN, "shown_as": SHOWN_AS} | context
    return environment().get_template(template).render(given)


@cache
def environment() -> "Environment":
    """The templates of this package, which escape what they are given."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("decant_bench"), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )


def table_html(table: Table) -> str:
    """A <table> with its note, for a page with this package's style."""
    module: Any = environment().get_template("parts.html").module
    return str(module.table(table))


def write(text: str, path: str | os.PathLike[str]) -> Path:
    """Write ``text`` to ``path``, which appears whole or not at all. Raises OSError."""
    target = Path(path)
    temporary = target.with_name(target.name + ".tmp")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, target)
    return target


def plot(svg: str, label: str) -> Plot:
    """A figure for a section; matplotlib has escaped the text in ``svg``."""
    from markupsafe import Markup

    return Plot(Markup(svg), label)


def image_file(path: Path, label: str) -> Image:
    """A .png or .svg file for a section. Raises OSError."""
    kind = {".png": "png", ".svg": "svg+xml"}[path.suffix]
    return Image(_link(f"image/{kind}", path.read_bytes()), label)


def download(name: str, text: str, what: str) -> Download:
    """A .csv or .json file for a section."""
    kind = {"csv": "text/csv", "json": "application/json"}[name.rsplit(".", 1)[-1]]
    return Download(name, _link(kind, text.encode("utf-8")), what)


def compared(name: str, original: np.ndarray, decoded: np.ndarray, caption: str) -> dict[str, Any]:
    """A picture, what became of it and the error between, uint8 (H, W, 3), for a section. Raises ValueError
    when they do not fit together.
    """
    error = metrics.error_picture(original, decoded, GAIN)
    height, width = original.shape[:2]
    middle = _middle(height, width)
    if max(height, width) > LARGEST_SIDE:
        caption += f"; the middle of {width}x{height} pixels"
    return {
        "name": name,
        "caption": caption,
        "height": min(height, LARGEST_SIDE),
        "width": min(width, LARGEST_SIDE),
        "original": picture_link(original[middle]),
        "decoded": picture_link(decoded[middle]),
        "error": picture_link(error[middle]),
    }


def panel(label: str, caption: str, pixels: np.ndarray) -> Panel:
    """For a split view, of uint8 (H, W, 3)."""
    return Panel(label, caption, picture_link(pixels))


def picture_link(pixels: np.ndarray) -> str:
    """uint8 (H, W, 3) as a data: link to what SHOWN_AS says."""
    from PIL import Image as Pillow

    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, "JPEG", quality=90, subsampling=0)
    return _link("image/jpeg", stream.getvalue())


def origin(what: str, record: Record) -> dict[str, Any]:
    """Where a record comes from, for the foot of a page."""
    facts = {**record["machine"], **record["versions"]}
    rows = [(key.replace("_", " "), plainly(value)) for key, value in facts.items() if value is not None]
    return {
        "what": what,
        "command": record["command"],
        "created": record["created"],
        "machine": Table(("what", "value"), rows),
    }


def _middle(height: int, width: int) -> tuple[slice, slice]:
    top, left = (max(0, (side - LARGEST_SIDE) // 2) for side in (height, width))
    return slice(top, top + LARGEST_SIDE), slice(left, left + LARGEST_SIDE)


def _link(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
