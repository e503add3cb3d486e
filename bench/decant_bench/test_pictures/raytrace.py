"""A small ray tracer: boxes, balls and upright cylinders under one lamp and an even sky.

Each pixel is the mean of several rays. Each ray is shaded by one point of the lamp (soft shadows) and one
direction of the sky (ambient occlusion); glossy surfaces mirror what is near (Schlick 1994). The samples of
a pixel are an additive recurrence with a random start (Cranley and Patterson 1976), which leaves little
noise. Distances are metres, colours linear light, directions unit vectors; y points up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from decant_bench.test_pictures import srgb

Array = npt.NDArray[np.floating[Any]]  # float32
Paint = Callable[[Array, Array], Array]  # points (n, 3) on a surface and its normals (n, 3) -> albedo (n, 3)

_NEAR, _FAR = 1e-3, 1e6
_SKY_REACH = 1.5  # metres: what is farther away does not shade the sky's light
_ROWS = 48  # of a picture that are traced at once, for memory
_GOLDEN = 1.1673039782614187  # the root of x^5 = x + 1 ...
# ... whose powers fill four dimensions evenly.
_STEPS = np.array([_GOLDEN**-power for power in range(1, 5)], np.float32)


def vector(values: Sequence[float]) -> Array:
    """A point, a direction or a colour as float32 (3,)."""
    return np.array(values, np.float32)


class Shape(Protocol):
    """A body with a ``paint``; ``gloss``: its reflectance when looked at from straight above, 0 for matt."""

    @property
    def paint(self) -> Paint: ...

    @property
    def gloss(self) -> float: ...

    def hit(self, origin: Array, direction: Array) -> Array:
        """Distance (n,) at which rays (n, 3) first meet the body; ``_FAR`` where they do not."""
        ...

    def normal(self, points: Array) -> Array:
        """Outward normals (n, 3) at ``points`` (n, 3) of the surface."""
        ...


@dataclass(frozen=True)
class Box:
    """From the corner ``low`` to ``high``, along the axes. Rays that start inside meet its walls."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    paint: Paint
    gloss: float = 0.0

    def hit(self, origin: Array, direction: Array) -> Array:
        """See ``Shape``."""
        slope = 1 / np.where(np.abs(direction) < 1e-9, np.float32(1e-9), direction)
        to_low, to_high = ((vector(corner) - origin) * slope for corner in (self.low, self.high))
        enter = np.minimum(to_low, to_high).max(1)
        leave = np.maximum(to_low, to_high).min(1)
        first = np.where(enter > _NEAR, enter, leave)
        return np.where((enter <= leave) & (first > _NEAR), first, np.float32(_FAR))

    def normal(self, points: Array) -> Array:
        """See ``Shape``."""
        low, high = vector(self.low), vector(self.high)
        off = (points - (low + high) / 2) / ((high - low) / 2)
        axis = np.abs(off).argmax(1)
        found = np.zeros_like(points)
        rows = np.arange(len(points))
        found[rows, axis] = np.sign(off[rows, axis])
        return found


@dataclass(frozen=True)
class Ball:
    """A sphere."""

    centre: tuple[float, float, float]
    radius: float
    paint: Paint
    gloss: float = 0.0

    def hit(self, origin: Array, direction: Array) -> Array:
        """See ``Shape``."""
        away = origin - vector(self.centre)
        along = (away * direction).sum(1)
        return _first_root(along, (away * away).sum(1) - np.float32(self.radius**2), np.ones_like(along))

    def normal(self, points: Array) -> Array:
        """See ``Shape``."""
        return (points - vector(self.centre)) / np.float32(self.radius)


@dataclass(frozen=True)
class Cylinder:
    """Upright, closed above: ``foot`` is the middle of its lower end."""

    foot: tuple[float, float, float]
    radius: float
    height: float
    paint: Paint
    gloss: float = 0.0

    def hit(self, origin: Array, direction: Array) -> Array:
        """See ``Shape``."""
        away = origin - vector(self.foot)
        flat, heading = away[:, [0, 2]], direction[:, [0, 2]]
        squared = np.maximum((heading * heading).sum(1), np.float32(1e-9))
        along = (flat * heading).sum(1)
        side = _first_root(along, (flat * flat).sum(1) - np.float32(self.radius**2), squared)
        height = away[:, 1] + side * direction[:, 1]
        side = np.where((height >= 0) & (height <= self.height), side, np.float32(_FAR))
        falling = np.where(np.abs(direction[:, 1]) < 1e-9, np.float32(1e-9), direction[:, 1])
        lid = (np.float32(self.height) - away[:, 1]) / falling
        at = flat + lid[:, None] * heading
        inside = (lid > _NEAR) & ((at * at).sum(1) <= self.radius**2)
        return np.minimum(side, np.where(inside, lid, np.float32(_FAR)))

    def normal(self, points: Array) -> Array:
        """See ``Shape``."""
        away = points - vector(self.foot)
        found = away / np.float32(self.radius)
        found[:, 1] = 0
        found[away[:, 1] > self.height - 1e-4] = (0, 1, 0)
        return found


@dataclass(frozen=True)
class Scene:
    """``lamp``: the lamp's middle; ``lamp_size``: side of the level square that it fills, metres; ``light``:
    what it sends, as irradiance at one metre; ``sky``: even light from everywhere. The camera is at ``eye``,
    looks at ``target``, and sees ``view`` metres of width at one metre.
    """

    shapes: Sequence[Shape]
    eye: tuple[float, float, float]
    target: tuple[float, float, float]
    lamp: tuple[float, float, float]
    lamp_size: float = 0.6
    light: tuple[float, float, float] = (6.0, 5.7, 5.2)
    sky: tuple[float, float, float] = (0.32, 0.34, 0.38)
    view: float = 1.1


def render(scene: Scene, width: int, height: int, rays: int, seed: int) -> npt.NDArray[np.uint8]:
    """``scene`` as uint8 (height, width, 3), sRGB; ``rays`` for each pixel. The same for the same seed."""
    random = np.random.default_rng(seed)
    eye = vector(scene.eye)
    forward = _unit(vector(scene.target) - eye)
    right = _unit(np.cross(forward, vector((0, 1, 0))))
    up = np.cross(right, forward)
    rows = []
    for top in range(0, height, _ROWS):
        y, x = np.mgrid[top : min(top + _ROWS, height), :width].astype(np.float32)
        light = np.zeros((y.size, 3), np.float32)
        start = random.random((y.size, 4), np.float32)
        for ray in range(rays):
            sample = (start + ray * _STEPS) % 1
            across = ((x.ravel() + sample[:, 0]) / width - 0.5) * scene.view
            above = (0.5 * height - y.ravel() - sample[:, 1]) / width * scene.view
            direction = _unit(forward + across[:, None] * right + above[:, None] * up)
            light += _seen(scene, np.broadcast_to(eye, direction.shape), direction, sample, mirrors=True)
        rows.append((light / rays).reshape(*y.shape, 3))
    return srgb.pixels(np.concatenate(rows))


def _seen(scene: Scene, origin: Array, direction: Array, sample: Array, mirrors: bool) -> Array:
    """Light (n, 3) that arrives at ``origin`` (n, 3) against ``direction`` (n, 3).

    ``sample``: (n, 4) in 0..1.
    """
    distances = np.stack([shape.hit(origin, direction) for shape in scene.shapes])
    nearest = distances.argmin(0)
    distance = distances.min(0)
    points = origin + distance[:, None] * direction
    normals, albedo = np.zeros_like(points), np.zeros_like(points)
    gloss = np.array([shape.gloss for shape in scene.shapes], np.float32)[nearest]
    for index, shape in enumerate(scene.shapes):
        of = nearest == index
        if of.any():
            normals[of] = shape.normal(points[of])
            albedo[of] = shape.paint(points[of], normals[of])
    facing = (normals * direction).sum(1, keepdims=True)
    normals = np.where(facing > 0, -normals, normals)  # from inside of a room
    points = points + _NEAR * normals
    light = albedo * (_lamplight(scene, points, normals, sample) + _skylight(scene, points, normals, sample))
    light = np.where(distance[:, None] < _FAR, light, vector(scene.sky))
    shiny = (gloss > 0) & (distance < _FAR)
    if mirrors and shiny.any():
        cosine = np.abs(facing[shiny])
        away = direction[shiny] + 2 * cosine * normals[shiny]
        share = gloss[shiny, None] + (1 - gloss[shiny, None]) * (1 - cosine) ** 5
        mirrored = _seen(scene, points[shiny], _unit(away), sample[shiny], mirrors=False)
        light[shiny] = (1 - share) * light[shiny] + share * mirrored
    return light


def _lamplight(scene: Scene, points: Array, normals: Array, sample: Array) -> Array:
    towards = vector(scene.lamp) - points
    towards[:, [0, 2]] += (sample[:, 2:] - np.float32(0.5)) * np.float32(scene.lamp_size)
    distance = np.sqrt((towards * towards).sum(1))
    towards /= distance[:, None]
    cosine = np.maximum((towards * normals).sum(1), 0)
    open_ = _free(scene, points, towards, distance)
    arriving: Array = (open_ * cosine / distance**2)[:, None] * vector(scene.light)
    return arriving


def _skylight(scene: Scene, points: Array, normals: Array, sample: Array) -> Array:
    height, turn = 2 * sample[:, 0] - 1, 2 * np.pi * sample[:, 3]
    flat = np.sqrt(1 - height**2)
    ball = np.stack((flat * np.cos(turn), height, flat * np.sin(turn)), 1)
    scattered = _unit(normals * np.float32(1.001) + ball)  # distributed by the cosine to the normal
    open_ = _free(scene, points, scattered, np.full(len(points), _SKY_REACH, np.float32))
    arriving: Array = (0.35 + 0.65 * open_)[:, None] * vector(scene.sky)  # walls give some of it back
    return arriving


def _free(scene: Scene, points: Array, direction: Array, most: Array) -> Array:
    """1 where nothing lies within ``most`` (n,) of ``points`` along ``direction``, else 0."""
    nearest = np.min([shape.hit(points, direction) for shape in scene.shapes], axis=0)
    return np.asarray(nearest >= most, np.float32)


def _first_root(along: Array, beyond: Array, squared: Array) -> Array:
    """The first distance t > 0 with squared t^2 + 2 along t + beyond = 0."""
    root = np.sqrt(np.maximum(along * along - squared * beyond, 0))
    near, far = (-along - root) / squared, (-along + root) / squared
    first = np.where(near > _NEAR, near, far)
    return np.where((along * along > squared * beyond) & (first > _NEAR), first, np.float32(_FAR))


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)
