"""Wilson intervals and Bradley-Terry strengths against their definitions."""

import numpy as np
import pytest
from decant_studio.votes.ranking import bradley_terry, rank, wilson
from decant_studio.votes.study import Answer


def test_wilson_is_the_published_interval() -> None:
    low, high = wilson(8, 10)  # Wilson 1927; figures of R's binom::binom.confint(8, 10, methods = "wilson")
    assert (low, high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 5)[0] == pytest.approx(0, abs=1e-12)


def test_two_codecs_give_the_logarithm_of_the_odds() -> None:
    strength, deviation = bradley_terry(np.array([[0, 30], [10, 0]]))
    assert strength[0] - strength[1] == pytest.approx(np.log(30.5 / 10.5))
    # Of a difference of two, the deviation of a logit; each has half of it.
    assert deviation[0] == pytest.approx(0.5 * np.sqrt(1 / 30.5 + 1 / 10.5), rel=1e-6)


def test_strengths_that_made_the_wins_are_found_again() -> None:
    true = np.array([1.2, 0.3, -0.4, -1.1])
    chance = 1 / (1 + np.exp(true[None] - true[:, None]))
    wins = np.rint(100_000 * chance).astype(int)
    np.fill_diagonal(wins, 0)
    strength, _ = bradley_terry(wins)
    assert strength == pytest.approx(true, abs=0.01)


def test_a_codec_that_always_wins_has_a_finite_strength() -> None:
    strength, deviation = bradley_terry(np.array([[0, 9, 9], [0, 0, 4], [0, 5, 0]]))
    assert np.isfinite(strength).all()
    assert np.isfinite(deviation).all()
    assert strength.argmax() == 0


def test_the_likelihood_is_at_its_maximum() -> None:
    wins = np.array([[0, 7, 3], [2, 0, 6], [4, 5, 0]])
    strength, _ = bradley_terry(wins)
    played = wins + 0.5 * (1 - np.eye(3))

    def likelihood(s: np.ndarray) -> float:
        return float((played * -np.log1p(np.exp(s[None] - s[:, None]))).sum())

    best = likelihood(strength)
    for move in np.random.default_rng(0).normal(0, 0.05, (50, 3)):
        assert likelihood(strength + move) <= best + 1e-9


def answer(session: str, winner: str, loser: str, *, honeypot: bool = False) -> Answer:
    return Answer(session, 0, "p", 0, honeypot, winner, loser, "left", 1, {}, "")


def test_sessions_count_with_three_of_four_honeypots() -> None:
    good = [answer("a", "x", "honeypot", honeypot=True)] * 3 + [answer("a", "honeypot", "x", honeypot=True)]
    bad = [answer("b", "x", "honeypot", honeypot=True), answer("b", "honeypot", "x", honeypot=True)]
    votes = [answer("a", "x", "y"), answer("b", "y", "x"), answer("c", "x", "y")]
    ranking = rank([*good, *bad, *votes], ["x", "y"])
    assert (ranking.answers, ranking.sessions, ranking.excluded) == (2, 3, 1)
    assert [row.codec for row in ranking.rows] == ["x", "y"]
    assert ranking.wins == [[0, 2], [0, 0]]
