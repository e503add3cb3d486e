"""Pictures with latents far beyond those of photographs: patterns of full contrast, text, saturated colours.

They belong to the calibration of every quantized synthesis. Each is uint8 (HEIGHT, WIDTH, 3).
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HEIGHT, WIDTH = 128, 192
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_RED, _GREEN, _BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
_LETTERS = list("ABCDEFGHIJKLMWabcdefghijklmnopqw 0123456789.,:;")


def pictures(seed: int = 0) -> dict[str, np.ndarray]:
    """The pictures by name."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    found: dict[str, np.ndarray] = {}
    corners = [(r, g, b) for r in (0, 255) for g in (0, 255) for b in (0, 255)]
    for colour in corners:
        found["flat-{:02x}{:02x}{:02x}".format(*colour)] = np.full((HEIGHT, WIDTH, 3), colour, np.uint8)
    found["colours"] = _enlarged(random.integers(0, 256, (HEIGHT // 16, WIDTH // 16, 3)), 16)
    found["corners"] = _enlarged(255 * random.integers(0, 2, (HEIGHT // 16, WIDTH // 16, 3)), 16)
    for size in (1, 2, 3, 4, 8, 16):
        found[f"checks-{size}"] = _two((x // size + y // size) % 2 == 1)
    for size in (1, 2, 4, 8):
        found[f"columns-{size}"] = _two(x // size % 2 == 1)
        found[f"rows-{size}"] = _two(y // size % 2 == 1)
    found["red-green-2"] = _two((x // 2 + y // 2) % 2 == 1, _RED, _GREEN)
    found["blue-yellow-4"] = _two((x // 4 + y // 4) % 2 == 1, _BLUE, (255, 255, 0))
    found["magenta-green-8"] = _two(x // 8 % 2 == 1, (255, 0, 255), _GREEN)
    for size in (2, 3, 4, 8):  # modules of a QR code
        modules = random.integers(0, 2, (-(-HEIGHT // size), -(-WIDTH // size)))
        found[f"modules-{size}"] = _two(np.kron(modules, np.ones((size, size), int))[:HEIGHT, :WIDTH] == 1)
    found["edge-vertical"] = _two(x > WIDTH // 2 + 3)
    found["edge-horizontal"] = _two(y > HEIGHT // 2 + 1)
    found["edge-slanted"] = _two(0.7 * x + y > 130)
    found["strokes"] = _two((x % 23 >= 2) & (y % 31 >= 2))
    found["dots"] = _two((x % 7 == 0) & (y % 7 == 0))
    chirp = np.clip(127.5 + 127.5 * np.sin(x * x / 200), 0, 255).astype(np.uint8)
    found["chirp"] = np.repeat(chirp[:, :, None], 3, axis=2)
    found["noise"] = random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    found["noise-1-bit"] = _two(random.integers(0, 2, (HEIGHT, WIDTH)) == 1)
    ramp = np.repeat((x * 255 // (WIDTH - 1)).astype(np.uint8)[:, :, None], 3, axis=2)
    found["dithered"] = np.asarray(Image.fromarray(ramp).convert("1").convert("RGB"))
    for size in (10, 14, 22):
        inks = [_RED, _BLUE, _BLACK, (255, 0, 255), (0, 128, 0)]
        found[f"text-coloured-{size}"] = _text(random, inks, _WHITE, size)
    found["text-black"] = _text(random, [_BLACK], _WHITE, 12)
    found["text-white"] = _text(random, [_WHITE], _BLACK, 12)
    return found


def _two(
    mask: np.ndarray, inside: tuple[int, int, int] = _WHITE, outside: tuple[int, int, int] = _BLACK
) -> np.ndarray:
    """Two colours, chosen by ``mask``."""
    return np.where(mask[:, :, None], np.array(inside, np.uint8), np.array(outside, np.uint8))


def _enlarged(colours: np.ndarray, size: int) -> np.ndarray:
    return colours.astype(np.uint8).repeat(size, axis=0).repeat(size, axis=1)


def _text(
    random: np.random.Generator, inks: list[tuple[int, int, int]], ground: tuple[int, int, int], size: int
) -> np.ndarray:
    """Lines of random letters in these colours."""
    image = Image.new("RGB", (WIDTH, HEIGHT), ground)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    for i, top in enumerate(range(0, HEIGHT, size + size // 5 + 1)):
        draw.text((2, top), "".join(random.choice(_LETTERS, 40)), font=font, fill=inks[i % len(inks)])
    return np.asarray(image)
