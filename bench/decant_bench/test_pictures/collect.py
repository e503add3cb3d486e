"""A folder of pictures by what they show, from what is installed: for ``decant bench rd --groups``.

Nothing is fetched. What is drawn or made noisy follows a seed; with the same versions of numpy, Pillow and
matplotlib the files hold the same pixels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from decant.errors import DecantError
from decant.formats.opening import open_picture
from decant.formats.paths import takes_paths
from PIL import Image, ImageOps

from decant_bench.errors import BenchError
from decant_bench.test_pictures import camera, drawings, rooms, text_pages
from decant_bench.test_pictures import wheels as content_wheels

GROUPS = {
    "photos": "photographs by day",
    "faces": "people",
    "manmade": "rooms, products and houses, ray traced: straight long edges, flat walls",
    "textures": "brick, grass, gravel: detail everywhere",
    "science": "microscopes, telescopes, collections",
    "night": "little light: one photograph at dusk, others darkened with a camera's noise",
    "noise": "photographs with the noise of a camera, to be kept",
    "text": "scans and drawn pages of text",
    "screens": "user interfaces, light and dark, small type",
    "drawings": "plots, logos, flat colours",
}
LONGEST = 768  # pixels of a side
SMALLEST = 192  # pixels: no photograph is reduced below, for MS-SSIM needs 161
NIGHT = camera.Exposure(white=400, brightness=0.12)
# The strongest is that of a small sensor at dusk; the first is seen only when one looks for it.
NOISE = (camera.Exposure(4000), camera.Exposure(1000), camera.Exposure(250))
NIGHT_OF = ("chelsea", "coffee", "motorcycle_left")
NOISE_OF = ("coffee", "astronaut", "motorcycle_left")
OWN = 3  # of the user's photographs, how many are also shown by night and with noise


@dataclass(frozen=True)
class Piece:
    """One picture to be. ``make`` gives it, RGB; ``about`` says how it came to be."""

    group: str
    name: str
    about: str
    licence: str
    make: Callable[[], Image.Image]


@takes_paths
def pieces(photos: Path | None = None, seed: int = 0) -> list[Piece]:
    """Every picture, in order of group and name.

    ``photos``: a folder of the user's own. Its sub-folders with the name of a group go to that group, all
    else to ``photos``, and the first OWN of those by night and with noise too. Raises BenchError for a folder
    without pictures.
    """
    found = [*_wheels(), *_drawn(seed), *_exposed(seed)]
    if photos is not None:
        found += _own(photos, seed)
    order = list(GROUPS)
    return sorted(found, key=lambda piece: (order.index(piece.group), piece.name))


@takes_paths
def collect(out: Path, photos: Path | None = None, seed: int = 0) -> list[Path]:
    """Write ``out``/GROUP/NAME.png and ``out``/README.md with sources and licences; returns the pictures.

    Raises BenchError when ``out`` is there and not empty: old pictures would be measured with the new.
    """
    if out.exists() and any(out.iterdir()):
        raise BenchError(f"{out} is not empty; give a new folder")
    chosen = pieces(photos, seed)
    written = []
    for piece in chosen:
        path = out / piece.group / f"{piece.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        piece.make().save(path, optimize=True)
        written.append(path)
    (out / "README.md").write_text(_readme(chosen, seed), encoding="utf-8")
    return written


def _wheels() -> Iterator[Piece]:
    for picture in content_wheels.PICTURES:
        about = f"{picture.source}; {picture.folder}/{picture.file}"
        about += f", reduced to {picture.scale:g}" if picture.scale != 1 else ""
        yield Piece(picture.group, picture.name, about, picture.licence, picture.open)


def _drawn(seed: int) -> Iterator[Piece]:
    fonts = "drawn here; DejaVu fonts: Bitstream Vera's licence, Aileron: CC0"
    tables = (
        ("text", text_pages.TEXT, fonts),
        ("screens", text_pages.SCREENS, fonts),
        ("manmade", rooms.ROOMS, "drawn here; Pillow's own font, Aileron: CC0"),
        ("drawings", drawings.drawings(), "drawn here by matplotlib; DejaVu fonts"),
    )
    for group, table, licence in tables:
        for name, make in table.items():
            about = (make.__doc__ or "").rstrip(".").replace("\n", " ")
            yield Piece(group, name, f"{about}; seed {seed}", licence, partial(make, seed))


def _exposed(seed: int) -> Iterator[Piece]:
    shots = [("night", name, NIGHT) for name in NIGHT_OF]
    shots += [("noise", name, exposure) for name, exposure in zip(NOISE_OF, NOISE, strict=True)]
    for group, name, exposure in shots:
        picture = content_wheels.named(name)
        yield _shot(group, name, picture.licence, picture.open, exposure, seed)


def _shot(
    group: str,
    name: str,
    licence: str,
    scene: Callable[[], Image.Image],
    exposure: camera.Exposure,
    seed: int,
) -> Piece:
    def make() -> Image.Image:
        return Image.fromarray(camera.take(np.asarray(scene()), exposure, seed))

    about = f"{name}: {exposure.described}; seed {seed}"
    return Piece(group, f"{name}_{group}", about, licence, make)


def _own(folder: Path, seed: int) -> list[Piece]:
    from decant_train.data.folders import NoImagesError, image_files

    try:
        paths = image_files(folder)
    except NoImagesError as error:
        raise BenchError(str(error)) from None
    found = []
    for path in paths:
        below = path.relative_to(folder)
        group = below.parts[0] if len(below.parts) > 1 and below.parts[0] in GROUPS else "photos"
        name = "own_" + "_".join(below.with_suffix("").parts)
        make = _reader(path)
        found.append(Piece(group, name, f"{below.as_posix()}, of the user", "the user's", make))
    for index, piece in enumerate([piece for piece in found if piece.group == "photos"][:OWN]):
        for group, exposure in (("night", NIGHT), ("noise", NOISE[index % len(NOISE)])):
            found.append(_shot(group, piece.name, piece.licence, piece.make, exposure, seed))
    names = [(piece.group, piece.name) for piece in found]
    if twice := [name for group, name in names if names.count((group, name)) > 1]:
        raise BenchError(f"{folder}: two pictures would be called {twice[0]}; rename one")
    return found


def _reader(path: Path) -> Callable[[], Image.Image]:
    def read() -> Image.Image:
        try:
            with open_picture(path) as opened:
                lossy = opened.format in ("JPEG", "MPO")
                image = ImageOps.exif_transpose(opened).convert("RGB")
        except (DecantError, OSError) as error:
            raise BenchError(f"{path} cannot be read: {error}; remove it from the folder") from None
        reduced = content_wheels.REDUCED
        scale = reduced if lossy and reduced * min(image.size) >= SMALLEST else 1.0
        scale = min(scale, LONGEST / max(image.size))
        if scale == 1:
            return image
        size = (round(image.width * scale), round(image.height * scale))
        return image.resize(size, Image.Resampling.LANCZOS)

    return read


def _readme(chosen: list[Piece], seed: int) -> str:
    parts = [
        "# Pictures by content",
        f"Made by `decant bench content` with seed {seed}, for `decant bench rd --groups`. At most {LONGEST} "
        "pixels a side; what comes from a JPEG file is reduced (Lanczos), so that JPEG's blocks are mostly "
        f"gone. Night and noise are taken by a model of a camera (`test_pictures/camera.py`): Bayer filter, "
        f"Poisson noise of the electrons, read noise of {camera.READ_NOISE:g} electrons, bilinear "
        "development, no denoising; the noisy picture is what codecs have to keep.",
    ]
    for group, about in GROUPS.items():
        rows = [piece for piece in chosen if piece.group == group]
        lines = [f"| {piece.name}.png | {piece.about} | {piece.licence} |" for piece in rows]
        parts += [f"## {group}: {about}", "\n".join(["| file | what | licence |", "|---|---|---|", *lines])]
    return "\n\n".join(parts) + "\n"
