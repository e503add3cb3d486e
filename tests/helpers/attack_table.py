"""A table of attacks: makers of hostile inputs, by name, each with the words that its refusal must hold."""

from collections.abc import Callable
from typing import Any

Maker = Callable[[Any], Any]


class AttackTable(dict[str, tuple[Maker, str]]):
    """Maker and words by name; the maker's docstring is the reason for the attack."""

    def attack(self, words: str) -> Callable[[Maker], Maker]:
        """Register the decorated maker."""

        def register(maker: Maker) -> Maker:
            assert maker.__doc__, f"{maker.__name__}: the reason is missing"
            self[maker.__name__] = (maker, words)
            return maker

        return register
