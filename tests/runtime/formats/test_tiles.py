"""Rectangles, windows and tiles: they cover a picture once, and a halo ends where the picture does."""

import numpy as np
from decant.formats.rectangles import Rectangle, Window, squares, whole, windows
from hypothesis import given
from hypothesis import strategies as st

sides = st.integers(1, 90)


@st.composite
def inside(draw: st.DrawFn, bounds: Rectangle) -> Rectangle:
    y0, x0 = draw(st.integers(0, bounds.height - 1)), draw(st.integers(0, bounds.width - 1))
    return Rectangle(
        y0, draw(st.integers(y0 + 1, bounds.height)), x0, draw(st.integers(x0 + 1, bounds.width))
    )


@given(sides, sides, st.integers(1, 40), st.integers(0, 9), st.data())
def test_the_cores_of_windows_cover_what_is_wanted_once(
    height: int, width: int, side: int, halo: int, data: st.DataObject
):
    bounds = whole(height, width)
    wanted = data.draw(inside(bounds))
    seen = np.zeros((height, width), int)
    for core, outer in windows(squares(bounds, side), wanted, halo, bounds):
        seen[core.y0 : core.y1, core.x0 : core.x1] += 1
        assert outer.cut(core) == core
        assert outer.cut(bounds) == outer
        assert outer.y0 == max(core.y0 - halo, 0)
        assert outer.x1 == min(core.x1 + halo, width)
    expected = np.zeros((height, width), int)
    expected[wanted.y0 : wanted.y1, wanted.x0 : wanted.x1] = 1
    assert (seen == expected).all()


@given(sides, sides, st.integers(1, 40))
def test_squares_cover_all_once_from_the_top_left(height: int, width: int, side: int):
    seen = np.zeros((height, width), int)
    for square in squares(whole(height, width), side):
        assert square.y0 % side == square.x0 % side == 0
        seen[square.y0 : square.y1, square.x0 : square.x1] += 1
    assert (seen == 1).all()


@given(sides, sides, st.integers(1, 9), st.data())
def test_the_coarser_rectangle_is_the_least_that_holds_it(
    height: int, width: int, factor: int, data: st.DataObject
):
    rectangle = data.draw(inside(whole(height, width)))
    coarse = rectangle.coarser(factor)
    assert rectangle.cut(coarse.finer(factor)) == rectangle
    assert rectangle.finer(factor).coarser(factor) == rectangle
    assert coarse.height <= -(-(rectangle.height + factor - 1) // factor)


@given(sides, sides, st.data())
def test_within_gives_the_same_places(height: int, width: int, data: st.DataObject):
    outer = data.draw(inside(whole(height, width)))
    inner = data.draw(inside(whole(outer.height, outer.width)))
    inner = Rectangle(inner.y0 + outer.y0, inner.y1 + outer.y0, inner.x0 + outer.x0, inner.x1 + outer.x0)
    grid = np.arange(height * width).reshape(height, width)
    part = grid[outer.y0 : outer.y1, outer.x0 : outer.x1]
    assert (part[inner.within(outer)] == grid[inner.y0 : inner.y1, inner.x0 : inner.x1]).all()


def test_a_window_of_a_whole_small_picture_is_the_picture():
    bounds = whole(30, 40)
    assert windows([(0, 30, 0, 40)], bounds, 3, bounds) == [Window(bounds, bounds)]
    assert windows([(0, 30, 0, 40)], Rectangle(5, 5, 0, 40), 3, bounds) == []
