"""Parameter types of the command line: lists written with commas."""

from typing import Any

import click


class Integers(click.ParamType[tuple[int, ...]]):
    """``1,2`` as (1, 2): from ``least`` on, and to ``most`` where there is one."""

    name = "list"

    def __init__(self, least: int = 1, most: int | None = None) -> None:
        self.least, self.most = least, most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Whole numbers, without repeats, in order."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(dict.fromkeys(int(part) for part in str(value).split(",")))
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers such as 1,2", param, ctx)
        if min(numbers) < self.least:
            self.fail(f"{value!r}: numbers from {self.least} on expected", param, ctx)
        if self.most is not None and max(numbers) > self.most:
            self.fail(f"{value!r}: numbers up to {self.most} expected", param, ctx)
        return numbers


class Names(click.ParamType[tuple[str, ...]]):
    """``a,b`` as ("a", "b")."""

    name = "list"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Names without repeats, in order."""
        if isinstance(value, tuple):
            return value
        return tuple(dict.fromkeys(part.strip() for part in str(value).split(",") if part.strip()))


class Pair(click.ParamType[tuple[float, float]]):
    """``28,38`` as (28.0, 38.0); ``ascending``: the second must be the larger."""

    name = "pair"

    def __init__(self, ascending: bool = False) -> None:
        self.ascending = ascending

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Two numbers."""
        if isinstance(value, tuple):
            return value
        try:
            first, second = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no pair of numbers such as 28,38", param, ctx)
        if self.ascending and not first < second:
            self.fail(f"{value!r}: the larger number last", param, ctx)
        return first, second
