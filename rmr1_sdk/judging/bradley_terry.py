"""Bradley-Terry model: strengths with standard errors from soft outcomes of duels. Pure functions."""

from collections.abc import Sequence
from math import exp, log1p, sqrt
from operator import mul
from typing import NamedTuple

__all__ = ["PRIOR_SD", "Fit", "Played", "fit", "win_probability"]

PRIOR_SD = 2.0
"""The standard deviation, in logits, that strengths are expected to have before any duel.

It keeps an answer that won all its duels finite. About as strong as half a win each way: three duels won
outright, and no other, come to a win probability of 0.88.
"""

_STEPS = 100
_CLOSE = 1e-8  # a Newton step this short leaves an error of its square
_SURE = 0.01  # a step this short ends nearer to the maximum, though rounding may hide it in the likelihood


class Played(NamedTuple):
    """A duel that was asked for, by index. `p` is the probability that i beats j; None where it failed."""

    i: int
    j: int
    p: float | None


class Fit(NamedTuple):
    """Strengths in logits, of mean 0, and their covariance."""

    strengths: list[float]
    covariance: list[list[float]]

    def variance(self, i: int, j: int) -> float:
        """The variance of the difference of two strengths."""
        c = self.covariance
        return c[i][i] + c[j][j] - 2 * c[i][j]


def win_probability(difference: float) -> float:
    """The logistic function: how likely the one that is stronger by so many logits wins."""
    if difference < 0:
        return 1 - win_probability(-difference)
    return 1 / (1 + exp(-difference))


def fit(n: int, played: Sequence[Played]) -> Fit:
    """The most probable strengths of n answers (Bradley and Terry 1952), by Newton's method.

    A duel adds p log P(i wins) + (1 - p) log P(j wins) to the likelihood: one observation, however many
    votes it took. Strengths are independent and normal with `PRIOR_SD` beforehand, so the maximum exists,
    is unique, and answers that no chain of duels connects are compared by the prior alone. The covariance
    is the inverse of the observed Fisher information, the prior's included. Failed duels add nothing.
    """
    duels = [duel for duel in played if duel.p is not None]
    strengths = [0.0] * n
    now = _log_posterior(strengths, duels)
    for _ in range(_STEPS):
        gradient, information = _derivatives(strengths, duels)
        step = _solve(_cholesky(information), gradient)
        while True:
            ahead = [s + d for s, d in zip(strengths, step, strict=True)]
            then = _log_posterior(ahead, duels)
            size = max(map(abs, step), default=0.0)
            if then >= now or size < _SURE:
                break
            step = [d / 2 for d in step]  # too far: the quadratic is only a local picture
        strengths, now = ahead, then
        if size < _CLOSE:
            break
    return Fit(strengths, _inverse(_cholesky(_derivatives(strengths, duels)[1])))


def _log_posterior(strengths: Sequence[float], duels: Sequence[Played]) -> float:
    total = -sum(s * s for s in strengths) / (2 * PRIOR_SD**2)
    for i, j, p in duels:
        difference = strengths[i] - strengths[j]
        total += (p or 0.0) * difference - _softplus(difference)
    return total


def _softplus(x: float) -> float:
    return max(x, 0.0) + log1p(exp(-abs(x)))


def _derivatives(strengths: Sequence[float], duels: Sequence[Played]) -> tuple[list[float], list[list[float]]]:
    """The gradient of the log posterior, and its negated second derivative."""
    precision = 1 / PRIOR_SD**2
    gradient = [-s * precision for s in strengths]
    information = [[precision * (i == j) for j in range(len(strengths))] for i in range(len(strengths))]
    for i, j, p in duels:
        expected = win_probability(strengths[i] - strengths[j])
        surprise, weight = (p or 0.0) - expected, expected * (1 - expected)
        gradient[i] += surprise
        gradient[j] -= surprise
        information[i][i] += weight
        information[j][j] += weight
        information[i][j] -= weight
        information[j][i] -= weight
    return gradient, information


def _cholesky(matrix: Sequence[Sequence[float]]) -> list[list[float]]:
    """The rows of the lower triangle L with L L' = matrix, each as long as it has entries."""
    lower: list[list[float]] = []
    for i, values in enumerate(matrix):
        row: list[float] = []
        for j in range(i):
            row.append((values[j] - sum(map(mul, row, lower[j]))) / lower[j][j])
        lower.append([*row, sqrt(values[i] - sum(map(mul, row, row)))])
    return lower


def _solve(lower: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    forward: list[float] = []
    for row, value in zip(lower, right, strict=True):
        forward.append((value - sum(map(mul, row, forward))) / row[-1])
    solution = forward
    for i in reversed(range(len(lower))):
        solution[i] /= lower[i][i]
        for j in range(i):
            solution[j] -= lower[i][j] * solution[i]
    return solution


def _inverse(lower: Sequence[Sequence[float]]) -> list[list[float]]:
    n = len(lower)
    return [_solve(lower, [float(i == j) for j in range(n)]) for i in range(n)]
