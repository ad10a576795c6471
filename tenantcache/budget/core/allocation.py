"""How many keys of each pattern are asked for their size, type and time to live."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tenantcache.budget.core.estimates import SIZE_CLASS

PILOT = 8
"""Keys that each pattern is asked first, the most frequent patterns first."""


def allocate_pilot(keys: int, most: Mapping[str, int]) -> dict[str, int]:
    """Give each pattern `PILOT` of the first half of `keys`; `most` are those that may be asked, in order."""
    left = (keys + 1) // 2
    given = {}
    for pattern, available in most.items():
        given[pattern] = min(PILOT, available, left)
        left -= given[pattern]
    return given


def allocate(keys: int, weights: Mapping[str, float], most: Mapping[str, int]) -> dict[str, int]:
    """Divide `keys` by weight, and give no pattern more than its `most`.

    With the weight keys x deviation the error of the sum is least (Neyman's allocation; Cochran 1977, section 5.5).
    """
    given = dict.fromkeys(weights, 0)
    open_ = {pattern for pattern in weights if most[pattern] > 0 and weights[pattern] > 0}
    left = keys
    while left > 0 and open_:
        sum_of_weights = sum(weights[pattern] for pattern in open_)
        shares = {pattern: int(left * weights[pattern] / sum_of_weights) for pattern in open_}
        if not any(shares.values()):
            shares = dict.fromkeys(sorted(open_, key=lambda pattern: -weights[pattern])[:left], 1)
        for pattern, share in shares.items():
            more = min(share, most[pattern] - given[pattern])
            given[pattern] += more
            left -= more
            if given[pattern] == most[pattern]:
                open_.discard(pattern)
    return given


def weigh(keys: Mapping[str, int], sizes: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """The weight of each pattern: half by its keys, for shares of them, and half by keys x deviation of `sizes`."""
    spread = {pattern: count * _deviation(sizes.get(pattern, ())) for pattern, count in keys.items()}
    all_keys, all_spread = sum(keys.values()), sum(spread.values())
    return {pattern: count / all_keys + spread[pattern] / all_spread for pattern, count in keys.items()}


def _deviation(sizes: Sequence[int]) -> float:
    """At least that of one step between sizes, because few keys may look alike by chance."""
    if len(sizes) < 2:
        return SIZE_CLASS
    mean = sum(sizes) / len(sizes)
    return max(SIZE_CLASS, math.sqrt(sum((size - mean) ** 2 for size in sizes) / (len(sizes) - 1)))
