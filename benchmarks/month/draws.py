"""Random numbers that the standard library lacks: how many requests come, and when.

Requests are a Poisson process. So those of a span are as many independent points, spread evenly over it, and any of
them can be drawn without the others: the simulation draws only those at which something happens.
"""

from __future__ import annotations

from math import exp, sqrt
from random import Random

NORMAL_FROM = 60.0
"""Mean from which a count is drawn from the normal distribution: its standard deviation is then 13 % of the mean."""


def poisson(random: Random, mean: float) -> int:
    """How many points of a Poisson process of that mean there are."""
    if mean >= NORMAL_FROM:
        return max(0, round(random.gauss(mean, sqrt(mean))))
    count, product, least = 0, random.random(), exp(-mean)
    while product > least:
        count += 1
        product *= random.random()
    return count


def binomial(random: Random, points: int, share: float) -> int:
    """How many of `points` lie in the first `share` of their span."""
    if points * min(share, 1 - share) >= NORMAL_FROM:
        return min(points, max(0, round(random.gauss(points * share, sqrt(points * share * (1 - share))))))
    return sum(random.random() < share for _ in range(points))


def place_of(random: Random, number: int, points: int, start: float, end: float) -> float:
    """Where the point of that number, from 1, lies, if `points` are spread evenly over a span."""
    if number == 1:
        share = 1 - float(random.random() ** (1 / points))
    elif number == points:
        share = float(random.random() ** (1 / points))
    else:
        share = random.betavariate(number, points - number + 1)
    return start + (end - start) * share
