"""From choices to a ranking: wins with confidence intervals, and the model of Bradley and Terry (1952)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from decant_studio.votes.study import Answer

LEAST_RIGHT = 0.75  # share of honeypots that a session must have right to count
_Z = 1.959964  # of 95 %
_PRIOR = 0.5  # wins each way that are added to every pair compared, so that no strength is infinite


@dataclass(frozen=True)
class Ranked:
    """A codec: its ``wins`` of ``trials`` with the 95 % interval of the share (Wilson 1927), and its
    Bradley-Terry ``strength`` (natural logarithm, mean 0) with its 95 % interval.
    """

    codec: str
    wins: int
    trials: int
    share: float
    share_low: float
    share_high: float
    strength: float
    strength_low: float
    strength_high: float


@dataclass(frozen=True)
class Ranking:
    """Codecs, the strongest first. ``wins[i][j]``: how often codec i was chosen against j, in that order."""

    rows: list[Ranked]
    wins: list[list[int]]
    answers: int
    sessions: int
    excluded: int  # sessions that missed too many honeypots
    honeypots: int
    honeypots_right: int


def rank(answers: Sequence[Answer], codecs: Sequence[str]) -> Ranking:
    """The ranking of ``codecs``; sessions that miss more than a quarter of their honeypots do not count."""
    right: dict[str, list[bool]] = {}
    for one in answers:
        outcomes = right.setdefault(one.session, [])
        if one.honeypot:
            outcomes.append(one.winner != "honeypot")
    excluded = {
        session
        for session, outcomes in right.items()
        if outcomes and sum(outcomes) < LEAST_RIGHT * len(outcomes)
    }
    counted = [one for one in answers if not one.honeypot and one.session not in excluded]
    place = {codec: index for index, codec in enumerate(codecs)}
    wins = np.zeros((len(codecs), len(codecs)), int)
    for one in counted:
        wins[place[one.winner], place[one.loser]] += 1
    strength, deviation = bradley_terry(wins)
    rows = []
    for index, codec in enumerate(codecs):
        won, trials = int(wins[index].sum()), int(wins[index].sum() + wins[:, index].sum())
        low, high = wilson(won, trials)
        margin = _Z * float(deviation[index])
        value = float(strength[index])
        share = won / trials if trials else 0.5
        rows.append(Ranked(codec, won, trials, share, low, high, value, value - margin, value + margin))
    order = sorted(range(len(codecs)), key=lambda index: -rows[index].strength)
    checks = [outcome for outcomes in right.values() for outcome in outcomes]
    return Ranking(
        [rows[index] for index in order],
        wins[np.ix_(order, order)].tolist(),
        len(counted),
        len(right),
        len(excluded),
        len(checks),
        sum(checks),
    )


def wilson(wins: int, trials: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share (Wilson 1927); (0, 1) of no trials."""
    if not trials:
        return 0.0, 1.0
    share, square = wins / trials, _Z**2
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    margin = _Z * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2)) / (1 + square / trials)
    return middle - margin, middle + margin


def bradley_terry(wins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strengths (natural logarithms, mean 0) and their standard deviations, float64 (n,), of ``wins`` (n, n).

    Maximum likelihood by minorization and maximization (Hunter 2004, doi 10.1214/aos/1079120141), with half a
    win each way added to the pairs that were compared. Deviations come from the Fisher information.
    """
    compared = (wins + wins.T) > 0
    played = wins + _PRIOR * compared
    games = played + played.T
    worth = np.ones(len(wins))
    for _ in range(10_000):
        together = np.where(compared, games / (worth[:, None] + worth), 0).sum(axis=1)
        updated = np.where(together > 0, played.sum(axis=1) / np.maximum(together, 1e-300), worth)
        updated /= np.exp(np.log(updated).mean())
        done = np.abs(np.log(updated / worth)).max() < 1e-10
        worth = updated
        if done:
            break
    chance = worth[:, None] / (worth[:, None] + worth)
    information = np.where(compared, games * chance * (1 - chance), 0)
    fisher = np.diag(information.sum(axis=1)) - information
    variance = np.diag(np.linalg.pinv(fisher, hermitian=True))
    return np.log(worth), np.sqrt(np.maximum(variance, 0))
