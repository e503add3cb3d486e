"""Man-made scenes, ray traced: interiors, products and houses. Straight long edges, flat walls with soft
shadows, tiles and boards, printed labels.
"""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from decant_bench.test_pictures.raytrace import (
    Array,
    Ball,
    Box,
    Cylinder,
    Paint,
    Scene,
    Shape,
    render,
    vector,
)

WIDTH, HEIGHT, RAYS = 576, 400, 9


def plain(red: float, green: float, blue: float) -> Paint:
    """One colour, albedo 0..1."""
    return lambda points, normals: np.broadcast_to(vector((red, green, blue)), points.shape)


def tiles(side: float, joint: float, tile: Paint, between: Paint) -> Paint:
    """Square tiles of ``side`` metres with joints ``joint`` wide, on whatever way a surface faces."""

    def paint(points: Array, normals: Array) -> Array:
        u, v = _on_surface(points, normals)
        inside = (u % side > joint) & (v % side > joint)
        shade = _shade(np.floor(u / side), np.floor(v / side), 0.08)
        return np.where(inside[:, None], tile(points, normals) * shade[:, None], between(points, normals))

    return paint


def bricks(length: float, high: float, joint: float, brick: Paint, mortar: Paint) -> Paint:
    """Courses of bricks, every other one moved by half a brick."""

    def paint(points: Array, normals: Array) -> Array:
        u, v = _on_surface(points, normals)
        course = np.floor(v / high)
        u = u + 0.5 * length * (course % 2)
        inside = (u % length > joint) & (v % high > joint)
        shade = _shade(np.floor(u / length), course, 0.22)
        return np.where(inside[:, None], brick(points, normals) * shade[:, None], mortar(points, normals))

    return paint


def boards(broad: float, light: float) -> Paint:
    """Wooden boards along x, each of another shade, with grain; ``light``: albedo 0..1."""

    def paint(points: Array, normals: Array) -> Array:
        u, v = _on_surface(points, normals)
        board = np.floor(v / broad)
        wave = np.sin(v * 210 + 4 * np.sin(u * 2.1 + board * 1.7)) * np.sin(u * 9 + board)
        tone = light * _shade(board, np.zeros_like(board), 0.18) * (1 + 0.09 * wave)
        seam = v % broad < 0.004
        colour = tone[:, None] * vector((1.0, 0.72, 0.45))
        return np.where(seam[:, None], np.float32(0.04), colour)

    return paint


def books(thick: float) -> Paint:
    """Backs of books about ``thick`` metres wide, each of its own colour, with a band across."""

    def paint(points: Array, normals: Array) -> Array:
        u, v = _on_surface(points, normals)
        u = u + 0.3 * thick * np.sin(u / thick)
        book = np.floor(u / thick)
        zero = np.zeros_like(book)
        colour = np.stack([0.22 * _shade(book + 17 * channel, zero, 0.85) for channel in range(3)], 1)
        band = (u % thick > 0.1 * thick) & (np.abs(v % 0.4 - 0.15) < 0.012)
        gap = u % thick < 0.08 * thick
        return np.where(gap[:, None], np.float32(0.01), np.where(band[:, None], np.float32(0.6), colour))

    return paint


def windows(apart: float, storey: float, frame: Paint, wall: Paint) -> Paint:
    """Windows of two dark panes in frames, every ``apart`` metres in storeys of ``storey`` metres."""

    def paint(points: Array, normals: Array) -> Array:
        u, v = _on_surface(points, normals)
        column, row = np.floor(u / apart), np.floor((v - 100) / storey)
        across, above = u % apart, (v - 100) % storey
        framed = (across < 0.9) & (above > 0.7) & (above < 1.95)
        pane = framed & (across % 0.44 > 0.05) & (above > 0.77) & (above < 1.88)
        dark = 0.04 * _shade(column, row, 0.8)
        colour = np.where(framed[:, None], frame(points, normals), wall(points, normals))
        return np.where(pane[:, None], dark[:, None], colour)

    return paint


def printed(text: str, box: tuple[float, float, float, float], ink: Paint, ground: Paint) -> Paint:
    """``text`` on surfaces that face z, within ``box``: its left, lower, right and upper edge in metres."""

    def paint(points: Array, normals: Array) -> Array:
        mask = _lettering(text)
        left, low, right, high = box
        column = (points[:, 0] - left) / (right - left) * mask.shape[1]
        row = (high - points[:, 1]) / (high - low) * mask.shape[0]
        on = (column >= 0) & (column < mask.shape[1]) & (row >= 0) & (row < mask.shape[0])
        on &= np.abs(normals[:, 2]) > 0.5
        cover = np.zeros(len(points), np.float32)
        cover[on] = mask[row[on].astype(int), column[on].astype(int)]
        return cover[:, None] * ink(points, normals) + (1 - cover[:, None]) * ground(points, normals)

    return paint


def living_room(seed: int) -> Image.Image:
    """A room with a shelf of books, a table and pictures on a plain wall."""
    random = np.random.default_rng(seed)
    white, wood = plain(0.75, 0.73, 0.69), boards(0.12, 0.42)
    shapes: list[Shape] = [
        Box((-2.5, 0, -3), (2.5, 2.6, 3), white),
        Box((-2.5, -0.1, -3), (2.5, 0.001, 3), wood, 0.03),
        Box((-0.6, 0.42, -1.5), (0.8, 0.46, -0.8), plain(0.30, 0.19, 0.12), 0.04),
        *(
            Box((x, 0, z), (x + 0.05, 0.42, z + 0.05), plain(0.05, 0.05, 0.05))
            for x in (-0.55, 0.7)
            for z in (-1.45, -0.9)
        ),
        Cylinder((0.3, 0.46, -1.15), 0.07, 0.22, plain(0.12, 0.32, 0.40), 0.05),
        Ball((0.0, 0.52, -1.1), 0.06, plain(0.70, 0.16, 0.08), 0.04),
    ]
    for x in (-0.55, 0.95):
        shapes.append(Box((x, 1.25, -2.99), (x + 0.75, 1.95, -2.96), plain(0.03, 0.03, 0.03)))
        shapes.append(
            Box((x + 0.05, 1.30, -2.97), (x + 0.70, 1.90, -2.95), plain(*random.uniform(0.1, 0.8, 3)))
        )
    for level in (0.35, 0.75, 1.15):
        shapes.append(Box((-2.0, level, -2.99), (-0.8, level + 0.03, -2.7), plain(0.62, 0.60, 0.57)))
        tall = random.uniform(0.2, 0.3)
        shapes.append(Box((-1.98, level + 0.03, -2.95), (-0.9, level + 0.03 + tall, -2.74), books(0.031)))
    return _picture(
        Scene(shapes, (0.4, 1.35, 2.4), (-0.15, 0.95, -2), (0.6, 2.4, -0.6), light=(3.4, 3.2, 2.8)), seed
    )


def bathroom(seed: int) -> Image.Image:
    """A tiled room with a mirroring floor, a basin and bottles."""
    tile = tiles(0.15, 0.006, plain(0.72, 0.76, 0.78), plain(0.42, 0.42, 0.42))
    floor = tiles(0.30, 0.008, plain(0.20, 0.22, 0.25), plain(0.08, 0.08, 0.08))
    shapes: list[Shape] = [
        Box((-1.5, 0, -2), (1.5, 2.4, 2.5), tile, 0.04),
        Box((-1.5, -0.1, -2), (1.5, 0.001, 2.5), floor, 0.06),
        Box((-0.6, 0.78, -2), (0.7, 0.9, -1.5), plain(0.85, 0.85, 0.83), 0.05),
        Box((-0.5, 1.15, -1.99), (0.6, 1.95, -1.97), plain(0.02, 0.02, 0.02), 0.85),
        Cylinder((0.5, 0.9, -1.7), 0.04, 0.2, plain(0.05, 0.25, 0.15), 0.06),
        Cylinder((0.38, 0.9, -1.75), 0.035, 0.14, plain(0.6, 0.35, 0.1), 0.06),
        Cylinder((0.0, 0.9, -1.85), 0.015, 0.16, plain(0.5, 0.5, 0.5), 0.5),
        Box((-1.49, 1.2, -0.9), (-1.46, 1.25, 0.1), plain(0.6, 0.6, 0.6), 0.5),
        Box((-1.47, 0.7, -0.7), (-1.42, 1.22, -0.1), plain(0.65, 0.25, 0.20)),
    ]
    return _picture(
        Scene(shapes, (0.7, 1.5, 1.9), (-0.15, 1.0, -1.9), (0.1, 2.3, -0.4), light=(3.6, 3.6, 3.4)), seed
    )


def corridor(seed: int) -> Image.Image:
    """A long corridor with doors, lamps' reflections on the floor, and a sign."""
    sign = printed("EXIT 12", (-0.42, 2.02, 0.42, 2.22), plain(0.9, 0.9, 0.9), plain(0.02, 0.32, 0.12))
    shapes: list[Shape] = [
        Box((-1.1, 0, -12), (1.1, 2.6, 3), plain(0.66, 0.66, 0.62)),
        Box(
            (-1.1, -0.1, -12),
            (1.1, 0.001, 3),
            tiles(0.6, 0.004, plain(0.34, 0.33, 0.31), plain(0.1, 0.1, 0.1)),
            0.08,
        ),
        Box((-0.5, 1.95, -3.02), (0.5, 2.3, -3.0), sign),
        *(
            Box((side * 1.09 - 0.02, 0, -z), (side * 1.09 + 0.02, 2.05, -z + 0.9), plain(0.20, 0.26, 0.34))
            for z in (1.5, 4, 6.5, 9)
            for side in (-1, 1)
        ),
        *(Box((-1.1, high, -12), (-1.07, high + 0.08, 3), plain(0.15, 0.15, 0.16)) for high in (0.02, 0.9)),
    ]
    return _picture(
        Scene(shapes, (0.25, 1.5, 2.2), (0, 1.25, -6), (0, 2.4, -2.2), 1.6, (2.6, 2.6, 2.5)), seed
    )


def product(seed: int) -> Image.Image:
    """Packages and tins with printed labels on a seamless white ground, as a shop shows them."""
    label = printed(
        "decant 500 g", (-0.19, 0.12, 0.11, 0.19), plain(0.95, 0.95, 0.9), plain(0.55, 0.05, 0.06)
    )
    small = printed(
        "NET WT 17.6 OZ  BEST BEFORE 2031",
        (0.18, 0.05, 0.42, 0.075),
        plain(0.02, 0.02, 0.02),
        plain(0.86, 0.83, 0.7),
    )
    shapes: list[Shape] = [
        Box((-6, -0.1, -6), (6, 0, 6), plain(0.86, 0.86, 0.86), 0.02),
        Box((-6, 0, -1.4), (6, 5, -1.3), plain(0.86, 0.86, 0.86)),
        Box((-0.22, 0, -0.15), (0.14, 0.34, 0.05), label, 0.02),
        Box((0.17, 0, -0.1), (0.45, 0.24, 0.06), small),
        Cylinder((-0.42, 0, 0.0), 0.11, 0.26, plain(0.55, 0.57, 0.6), 0.35),
        Cylinder((-0.33, 0, 0.24), 0.06, 0.09, plain(0.08, 0.20, 0.50), 0.08),
        Ball((0.05, 0.055, 0.24), 0.055, plain(0.75, 0.42, 0.03), 0.05),
        Ball((0.19, 0.045, 0.27), 0.045, plain(0.10, 0.35, 0.05), 0.05),
    ]
    return _picture(
        Scene(shapes, (0.28, 0.52, 1.35), (0.0, 0.13, 0), (-0.8, 1.7, 0.9), 0.7, (2.2, 2.2, 2.1)), seed
    )


def house(seed: int) -> Image.Image:
    """A brick front with many windows in the sun, seen at an angle, and a paved street."""
    brick = bricks(0.25, 0.08, 0.012, plain(0.42, 0.17, 0.11), plain(0.52, 0.50, 0.46))
    wall = windows(1.7, 2.1, plain(0.70, 0.70, 0.68), brick)
    shapes: list[Shape] = [
        Box((-9, 0, -4), (9, 9, -3), wall),
        Box(
            (-40, -0.2, -40), (40, 0, 40), tiles(0.4, 0.02, plain(0.34, 0.33, 0.32), plain(0.16, 0.16, 0.15))
        ),
        Box((-9.2, 4.45, -3.02), (9.2, 4.6, -2.9), plain(0.6, 0.58, 0.54)),
    ]
    return _picture(
        Scene(
            shapes,
            (-5.5, 1.7, 5.0),
            (0.6, 3.1, -3),
            (-14, 17, 16),
            0.4,
            (520, 500, 450),
            (0.36, 0.42, 0.55),
            1.5,
        ),
        seed,
    )


def warehouse(seed: int) -> Image.Image:
    """Racks of cardboard boxes with labels under a lamp, far into the dark."""
    random = np.random.default_rng(seed)
    shapes: list[Shape] = [
        Box((-4, 0, -14), (4, 5, 3), plain(0.45, 0.46, 0.47)),
        Box((-4, -0.1, -14), (4, 0.001, 3), plain(0.36, 0.36, 0.35), 0.05),
    ]
    for side in (-1, 1):
        for high in (0.1, 1.5):
            edge = sorted((side * 1.2, side * 2.2))
            shapes.append(Box((edge[0], high, -11), (edge[1], high + 0.06, 0.6), plain(0.75, 0.30, 0.02)))
            for z in np.arange(-8, 0.4, 1.6):
                tall, deep = random.uniform(0.4, 1.0), random.uniform(0.7, 1.1)
                tone = random.uniform(0.75, 1.1)
                card = plain(0.46 * tone, 0.32 * tone, 0.19 * tone)
                shapes.append(
                    Box(
                        (edge[0] + 0.05, high + 0.06, z), (edge[1] - 0.05, high + 0.06 + tall, z + deep), card
                    )
                )
    return _picture(Scene(shapes, (0.2, 1.7, 2.6), (0, 1.45, -6), (0, 4.6, -1.5), 1.2, (16, 15.5, 15)), seed)


ROOMS = {
    "living_room": living_room,
    "bathroom": bathroom,
    "corridor": corridor,
    "product": product,
    "house": house,
    "warehouse": warehouse,
}


def _picture(scene: Scene, seed: int) -> Image.Image:
    return Image.fromarray(render(scene, WIDTH, HEIGHT, RAYS, seed))


def _on_surface(points: Array, normals: Array) -> tuple[Array, Array]:
    """Two coordinates (n,) along the surface: of a wall the horizontal one and the height, of a
    floor x and z.
    """
    axis = np.abs(normals).argmax(1)
    u = np.where(axis == 0, points[:, 2], points[:, 0])
    v = np.where(axis == 1, points[:, 2], points[:, 1])
    return u + 100, v + 100


def _shade(column: Array, row: Array, amount: float) -> Array:
    """A random brightness (n,) of each tile, 1 - amount to 1 + amount, by its place."""
    mixed = np.sin(column * 127.1 + row * 311.7) * 43758.5453
    return np.asarray(1 + amount * (2 * (mixed - np.floor(mixed)) - 1), np.float32)


@cache
def _lettering(text: str) -> Array:
    """``text`` as coverage 0..1 (rows, columns), in Pillow's own font."""
    font = ImageFont.load_default(64)
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8))
    ImageDraw.Draw(image).text((4 - left, 4 - top), text, fill=255, font=font)
    return np.asarray(image, np.float32) / 255
