"""The ray tracer's bodies against the equations of their surfaces, and light against its law."""

import numpy as np
import pytest
from decant_bench.test_pictures import raytrace
from decant_bench.test_pictures.raytrace import Ball, Box, Cylinder, Scene, Shape, render


def _grey(points: raytrace.Array, normals: raytrace.Array) -> raytrace.Array:
    return np.full_like(points, 0.5)


SHAPES = {
    "box": (Box((-1, -0.5, -2), (1, 0.5, 2), _grey), lambda p: np.abs(p / (1, 0.5, 2)).max(1) - 1),
    "ball": (Ball((0, 0, 0), 1.5, _grey), lambda p: np.linalg.norm(p, axis=1) - 1.5),
    "cylinder": (
        Cylinder((0, -1, 0), 0.8, 2, _grey),
        lambda p: np.maximum(np.linalg.norm(p[:, [0, 2]], axis=1) - 0.8, np.abs(p[:, 1]) - 1),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_rays_meet_the_surface_from_outside(name: str) -> None:
    shape, inside = SHAPES[name]
    random = np.random.default_rng(0)
    direction = random.normal(size=(2000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    direction[:, 1] = -np.abs(direction[:, 1])  # cylinders have no floor
    origin = (-6 * direction + random.uniform(-1.6, 1.6, (2000, 3))).astype(np.float32)
    direction = direction.astype(np.float32)
    distance = shape.hit(origin, direction)
    met = distance < 100
    assert 0.1 < met.mean() < 0.99
    points = origin[met] + distance[met, None] * direction[met]
    assert np.abs(inside(points)).max() < 5e-3
    normals = shape.normal(points)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-3)
    assert ((normals * direction[met]).sum(1) < 1e-3).all()
    missed = origin[~met, None] + np.linspace(0, 12, 400)[:, None] * direction[~met, None]
    assert (inside(missed.reshape(-1, 3)) > -0.02).all()


def test_light_falls_with_the_square_of_the_distance() -> None:
    floor: list[Shape] = [Box((-9, -1, -9), (9, 0, 9), _grey)]
    found = []
    for height in (2.0, 4.0):
        scene = Scene(
            floor, (0, 1, 0.01), (0, 0, 0), (0, height, 0), 0.01, (1.0, 1.0, 1.0), (0, 0, 0), view=0.01
        )
        coded = render(scene, 4, 4, 4, seed=0).mean() / 255
        found.append(((coded + 0.055) / 1.055) ** 2.4)
    assert found[0] / found[1] == pytest.approx(4, rel=0.05)
    assert found[0] == pytest.approx(0.5 / 4, rel=0.02)


def test_a_shape_throws_a_shadow_and_a_seed_gives_the_same_picture() -> None:
    floor: list[Shape] = [Box((-9, -1, -9), (9, 0, 9), _grey)]
    ball: list[Shape] = [Ball((0, 1, 0), 0.3, _grey)]

    def seen(shapes: list[Shape]) -> np.ndarray:
        lamp = (0.0, 2.0, 0.0)
        scene = Scene(shapes, (0, 0.6, 0.8), (0, 0, 0), lamp, 0.1, (4.0, 4.0, 4.0), (0, 0, 0), view=0.1)
        return render(scene, 8, 8, 2, seed=1)

    lit, shaded = seen(floor), seen(floor + ball)
    assert lit.mean() > 100
    assert shaded.mean() < 1
    np.testing.assert_array_equal(lit, seen(floor))
