"""Estimates from a sample of keys, with intervals.

All intervals are of a nominal 99 %. Those of skewed sizes and of rare patterns hold the truth less often than nominal
(Cochran, Sampling Techniques, 3rd ed. 1977, section 2.15), and 95 of 100 must hold in any series.

* Keys come in runs, as one SCAN gives them: cluster sampling. The share of a pattern is the ratio estimator of clusters
  of unequal size (Cochran 1977, section 3.12). Its interval is Wilson's, over the effective number of keys (Korn and
  Graubard, Survey Methodology 24, 1998; Franco et al., J. Survey Statistics and Methodology 7, 2019), with the
  correction for a finite population.
* Sizes are asked of a part of the keys: two-phase sampling. The interval of their mean is corrected for skewness by
  Hall's transformation (Hall, J. R. Statistical Society B 54, 1992), with Student's quantiles.
* Sums and products of estimates combine the distances to their limits (Zou and Donner, Statistics in Medicine 27,
  2008).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

NORMAL = 2.5758
"""The quantile of the normal distribution for intervals of 99 %."""

_STUDENT = (63.66, 9.925, 5.841, 4.604, 4.032)
"""Student's quantiles for 99 %, for 1 to 5 degrees of freedom."""

SIZE_CLASS = 16
"""Bytes from one size class of the allocator to the next, for small values (jemalloc)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, and the least and the most that it may be."""

    value: float
    low: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> Self:
        return cls(value, value, value)

    def times(self, factor: float) -> Estimate:
        """A factor that is known."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)

    def by(self, other: Estimate) -> Estimate:
        """The product with another estimate that does not depend on this one."""
        value = self.value * other.value
        if not value:
            return Estimate(value, self.low * other.low, self.high * other.high)
        below = math.hypot((self.value - self.low) / self.value, (other.value - other.low) / other.value)
        above = math.hypot((self.high - self.value) / self.value, (other.high - other.value) / other.value)
        return Estimate(value, value * max(0.0, 1 - below), value * (1 + above))

    def within(self, low: float, high: float) -> Estimate:
        """With limits that are known for certain."""
        return Estimate(*(min(max(number, low), high) for number in (self.value, self.low, self.high)))


def total(parts: Iterable[Estimate]) -> Estimate:
    """The sum of independent estimates."""
    kept = list(parts)
    value = sum(part.value for part in kept)
    below = math.hypot(*(part.value - part.low for part in kept))
    above = math.hypot(*(part.high - part.value for part in kept))
    return Estimate(value, value - below, value + above)


def estimate_share(hits: Mapping[int, int], sizes: Sequence[int], population: float) -> Estimate:
    """The share of keys that are hits. `sizes` are the keys of each run, and `hits` those of the runs that have any.

    `population` is the number of all keys. Raises ZeroDivisionError if the runs hold no key.
    """
    sample, runs = sum(sizes), len(sizes)
    share = sum(hits.values()) / sample
    unseen = max(0.0, 1 - sample / population)
    if not unseen:
        return Estimate.exactly(share)
    effective = sample / unseen
    if runs > 1:
        squares = sum(hit * hit - 2 * share * hit * sizes[run] for run, hit in hits.items())
        squares += share * share * sum(size * size for size in sizes)
        variance = runs / (runs - 1) * squares / sample**2
        simple = share * (1 - share) / sample
        effective /= max(1.0, variance / simple if simple else 1.0) * (student(runs - 1) / NORMAL) ** 2
    return _wilson(share, effective)


def _wilson(share: float, sample: float) -> Estimate:
    squared = NORMAL**2 / sample
    middle = (share + squared / 2) / (1 + squared)
    reach = NORMAL * math.sqrt(share * (1 - share) / sample + squared / (4 * sample)) / (1 + squared)
    return Estimate(share, max(0.0, middle - reach), min(1.0, middle + reach))


def estimate_mean(values: Sequence[float], population: float) -> Estimate:
    """The mean of `population` values of which these are a random sample. There must be one at least.

    Sizes go in steps: what a sample of n cannot show (a share of ln 100 / n) may be in the next size class.
    """
    count = len(values)
    mean = sum(values) / count
    unseen = math.sqrt(max(0.0, 1 - count / population))
    if count < 2:
        return Estimate.exactly(mean) if not unseen else Estimate(mean, 0.0, mean * _STUDENT[0])
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    skewness = sum((value - mean) ** 3 for value in values) / count / deviation**3 if deviation else 0.0
    reach = student(count - 1) / math.sqrt(count)
    step = SIZE_CLASS * min(1.0, math.log(100) / count)
    below = deviation * _hall(reach, skewness, count) + step
    above = step - deviation * _hall(-reach, skewness, count)
    return Estimate(mean, max(min(values), mean - unseen * max(step, below)), mean + unseen * max(step, above))


def _hall(quantile: float, skewness: float, count: int) -> float:
    """The inverse of Hall's transformation of the studentized mean."""
    if abs(skewness) < 0.001:
        return quantile
    return 3 / skewness * (math.cbrt(1 + skewness * (quantile - skewness / (6 * count))) - 1)


def student(freedom: int) -> float:
    """Student's quantile for 99 %, by the expansion of Abramowitz and Stegun, 26.7.5; `freedom` is 1 at least."""
    if freedom <= len(_STUDENT):
        return _STUDENT[freedom - 1]
    cube, fifth, seventh = NORMAL**3, NORMAL**5, NORMAL**7
    first = (cube + NORMAL) / (4 * freedom)
    second = (5 * fifth + 16 * cube + 3 * NORMAL) / (96 * freedom**2)
    return NORMAL + first + second + (3 * seventh + 19 * fifth + 17 * cube - 15 * NORMAL) / (384 * freedom**3)
