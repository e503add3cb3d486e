"""Pictures unlike photos: flat colours, edges, stripes, checks, text, modules of a QR code, dither.

int8 graphs are calibrated and checked on such pictures as well as on photos. A graph that was calibrated on
photos alone showed grey for pure green, and noise for stripes. Pictures of another ``seed`` have other
colours, words and positions: the pictures of the gate are not those of calibration.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HEIGHT, WIDTH = 64, 128  # pixels
FLAT = 64  # pixels on a side of a flat picture
FLATS = 24  # flat colours beside the corners of the RGB cube
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
CORNERS = tuple((r, g, b) for r in (0, 255) for g in (0, 255) for b in (0, 255))
FACE = (0, 60, 120, 180, 240, 255)  # levels of flat colours on a face of the RGB cube
_RESTS = tuple(product(FACE, FACE))
LETTERS = "ABCDEFGHKMNRSWabcdeghkmnorstw 0123456789"


@dataclass(frozen=True)
class Extremes:
    """Pictures uint8 (H, W, 3) by name. ``flats``: one colour each. ``edges``: large areas of saturated
    colours. ``busy``: all that changes within few pixels.
    """

    flats: dict[str, np.ndarray]
    edges: dict[str, np.ndarray]
    busy: dict[str, np.ndarray]

    @property
    def every(self) -> dict[str, np.ndarray]:
        """All of them."""
        return self.flats | self.edges | self.busy


def extremes(seed: int) -> Extremes:
    """The pictures of one seed; the same on every machine with the same fonts (Pillow's own)."""
    random = np.random.default_rng(seed)
    return Extremes(_flats(random), _edges(random), _busy(random))


def pictures(seed: int = 0) -> dict[str, np.ndarray]:
    """The pictures of one seed, and noise. No codec reproduces noise, but ranges must hold its values."""
    random = np.random.default_rng(seed)
    noise = {
        "noise": random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8),
        "noise of one bit": _two(random.integers(0, 2, (HEIGHT, WIDTH)) == 1, WHITE, BLACK),
    }
    return extremes(seed).every | noise


def saturated() -> dict[str, np.ndarray]:
    """Flat colours on all faces of the RGB cube, and pictures of every two of its corners side by side."""
    faces = {(*rest[:axis], end, *rest[axis:]) for axis in range(3) for end in (0, 255) for rest in _RESTS}
    found = {f"flat {r} {g} {b}": np.full((FLAT, FLAT, 3), (r, g, b), np.uint8) for r, g, b in sorted(faces)}
    columns = np.mgrid[:HEIGHT, :WIDTH][1]
    for one, other in permutations(CORNERS, 2):
        found[f"{one} beside {other}"] = _two(columns >= 64, one, other)
    return found


def _flats(random: np.random.Generator) -> dict[str, np.ndarray]:
    colours = [*CORNERS, *map(tuple, random.integers(0, 256, (FLATS, 3)).tolist())]
    # Half of the others on a face of the cube: saturated as far as they go.
    for i in range(len(CORNERS), len(colours), 2):
        face = list(colours[i])
        face[random.integers(3)] = int(random.integers(2)) * 255
        colours[i] = tuple(face)
    return {f"flat {r} {g} {b}": np.full((FLAT, FLAT, 3), (r, g, b), np.uint8) for r, g, b in colours}


def _edges(random: np.random.Generator) -> dict[str, np.ndarray]:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    found = {}
    for shift in (0, int(random.integers(1, 16))):
        found[f"vertical edge {shift}"] = _two(columns >= 64 + shift, WHITE, BLACK)
        found[f"horizontal edge {shift}"] = _two(rows >= 32 + shift, WHITE, BLACK)
    slope = random.uniform(0.3, 1.2)
    found["slanted edge"] = _two(rows + slope * columns >= 32 + slope * 64, WHITE, BLACK)
    for colour in CORNERS[1:]:
        found[f"squares {colour}"] = _two(_modules(random, 16), colour, BLACK)
    for side in (8, 16):
        found[f"rows {side}"] = _two(rows // side % 2 == 1, WHITE, BLACK)
        found[f"columns {side}"] = _two(columns // side % 2 == 1, WHITE, BLACK)
    pair = random.permutation(len(CORNERS))[:2]
    found["two colours"] = _two(columns >= 64, CORNERS[pair[0]], CORNERS[pair[1]])
    return found


def _busy(random: np.random.Generator) -> dict[str, np.ndarray]:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    found = {}
    for side in (1, 2, 3, 4):
        found[f"rows {side}"] = _two(rows // side % 2 == 1, WHITE, BLACK)
        found[f"columns {side}"] = _two(columns // side % 2 == 1, WHITE, BLACK)
        found[f"checks {side}"] = _two((rows // side + columns // side) % 2 == 1, WHITE, BLACK)
    for side in (2, 4, 8):
        first, second = random.permutation(len(CORNERS))[:2]
        mask = (rows // side + columns // side) % 2 == 1
        found[f"checks of colours {side}"] = _two(mask, CORNERS[first], CORNERS[second])
    for side in (2, 3, 4):
        found[f"modules {side}"] = _two(_modules(random, side), WHITE, BLACK)
    for size in (10, 14, 20):
        colours = [CORNERS[i] for i in random.permutation(7)[:4]]  # all but white
        found[f"coloured text {size}"] = _text(random, colours, WHITE, size)
    found["black text"] = _text(random, [BLACK], WHITE, 12)
    found["white text"] = _text(random, [WHITE], BLACK, 12)
    period = int(random.integers(17, 29))
    found["strokes"] = _two((columns % period < 2) | (rows % (period + 6) < 2), BLACK, WHITE)
    slope = 255 * (rows + columns) / (HEIGHT + WIDTH)
    ramp = Image.fromarray(slope.astype(np.uint8))
    found["dither"] = np.asarray(ramp.convert("1").convert("RGB"))
    found["chirp"] = np.repeat(
        (127.5 + 127.5 * np.sin(columns**2 / 90)).astype(np.uint8)[:, :, None], 3, axis=2
    )
    return found


def _two(mask: np.ndarray, inside: tuple[int, ...], outside: tuple[int, ...]) -> np.ndarray:
    return np.where(mask[:, :, None], np.array(inside, np.uint8), np.array(outside, np.uint8))


def _modules(random: np.random.Generator, side: int) -> np.ndarray:
    squares = random.integers(0, 2, (-(-HEIGHT // side), -(-WIDTH // side)))
    found: np.ndarray = np.kron(squares, np.ones((side, side), np.int64))[:HEIGHT, :WIDTH] == 1
    return found


def _text(
    random: np.random.Generator, colours: list[tuple[int, ...]], ground: tuple[int, ...], size: int
) -> np.ndarray:
    picture = Image.new("RGB", (WIDTH, HEIGHT), ground)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size)
    for i, y in enumerate(range(0, HEIGHT, size + 2)):
        words = "".join(random.choice(list(LETTERS), 24))
        draw.text((1, y), words, font=font, fill=colours[i % len(colours)])
    return np.asarray(picture)
