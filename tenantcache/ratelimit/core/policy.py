"""How much to take in advance: the numbers, and the figure behind each.

Nothing here can let a limit be exceeded. It decides what the counters cost and how much of a limit can be used;
`benchmarks/simulate_limits` measures both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, log, sqrt


@dataclass(frozen=True, slots=True)
class ReservePolicy:
    """How much a process takes, leaves and gives back."""

    reserve: float = 0.1
    """Share of a limit that all idle processes together may reserve in advance: at least 90 % must stay usable."""

    reserve_of_day: float = 0.01
    """Share of what is left of a day that all idle processes together may hold."""

    day_ahead: float = 20.0
    """Minutes of demand below which a day's tokens are topped up along with those of other tenants."""

    learns_below: float = 0.5
    """Use of the limit up to which a process that starts expects what the others are asked for. If all requests come to
    another one from then on, what it took is missing there, often to the end of the minute."""

    learns_most: float = 0.3
    """Share of the limit that all processes may then take. Of 16 processes that start together, one could use 70 % of
    the limit at least, instead of 54 %, and starts cost no more. At 0.1 it was 88 %, and starts cost 1.6 times as much.
    """

    pressure: float = 0.9
    """Use of the limit above which nothing is reserved in advance: there an idle token is a refused request."""

    margin: float = 4.0
    """Standard deviations of a Poisson demand asked for on top of its mean: 1 minute in 30,000 needs a second take. A
    process takes for hundreds of tenants at once, and each of them may need one."""

    trigger: float = 1.0
    """Standard deviations on top of it that are expected before a refill is worth a command."""

    least_in_advance: int = 4
    """Tokens of a minute to reserve for a tenant with little demand. With one, a fleet of 8 processes with 2,000
    tenants at 50 requests/s sent twice as many commands: each of them is asked for two requests a minute at times."""

    margin_in_advance: float = 5.0
    """`margin` for what is reserved in advance, once for all minutes of a quarter of an hour."""

    held_back: float = 1 / 3
    """Share of a fair share left in the counter while demand may stay below it, for processes that need more.
    At 1/2 a demand of two thirds of the limit needs two takes a minute; at 0 a demand of just the limit loses 3 %."""

    least: float = 0.01
    """Share of a limit asked for at least when all of it will be spent: fewer takes for the last tokens."""

    lead: float = 0.25
    """Seconds of demand left when a background refill starts: several round trips to a remote Redis."""

    quiet: float = 1.0
    """Seconds without a request, at least, before tokens are given back."""

    missed: float = 10.0
    """Requests that must have failed to come as well: by chance that happens in one gap of e**10 = 22,000. At 5 a
    steady tenant at its limit gives back by mistake every other minute, and use falls below 90 % in some minutes."""

    cut_settles: float = 5.0
    """Seconds after which every process has followed a lowered limit: longer than the bound on staleness, 3 s."""

    slide: float = 1 / 30
    """Share of a limit that must have become free again before a refusal in a sliding minute ends: one look at the
    counters every two seconds."""

    keep: float = 0.02
    """Share of a limit that is not worth a command to give back: three idle processes leave 94 %."""

    def pool(self, limit: int) -> int:
        """Return the tokens of each minute that all processes together may reserve in advance."""
        return int(self.reserve * limit)

    def in_advance(self, limit: int, processes: int, used: int, mean: float) -> int:
        """Return the tokens of each minute that one of `processes` reserves, given a demand of `mean` a minute.

        `used`: taken by all lately. At least `least_in_advance`, if its part of the pool allows that: demand may come.
        """
        if self.pressed(limit, used):
            return 0
        wanted = max(self.least_in_advance, ceil(mean + self.margin_in_advance * sqrt(mean)))
        return min(int(self.reserve * limit / processes), wanted)

    def demand_behind(self, tokens: float) -> float:
        """Return the demand a minute behind so many: the reverse of `in_advance`. 0 if any process has as many."""
        if tokens <= self.least_in_advance:
            return 0.0
        margin = self.margin_in_advance
        return ((sqrt(margin * margin + 4 * tokens) - margin) / 2) ** 2

    def slide_step(self, limit: int) -> int:
        return max(1, int(self.slide * limit))

    def pressed(self, limit: int, used: int) -> bool:
        return used > self.pressure * limit

    def wanted(self, expected: float, fair: float, least: int, limit: int) -> int:
        """Return the tokens to hold, given the `expected` demand and a `fair` share of what is left of `limit`.

        If the demand is above the fair share for certain, all of the share will be spent here: take it at once.
        """
        noise = self.margin * sqrt(expected)
        if expected - noise >= fair:
            return int(max(fair, self.least * limit))
        tokens = min(expected + noise, fair * (1 - self.held_back))
        return int(max(tokens, min(least, fair)))

    def day_chunk(self, mean: float, left: int, processes: int) -> int:
        """Return the day's tokens to take: an hour of `mean` a minute or a reserve, at most half a fair share."""
        fair = left / processes
        return int(min(max(60 * mean, self.reserve_of_day * fair), fair / 2))

    def reserved_of_day(self, limit: int, processes: int) -> float:
        """Return what idle processes may hold of a day at most. If they started one after the other, the first one
        reserved its part of one, the second one that of two, and so on: 1 + 1/2 + ... + 1/n is at most 1 + ln n."""
        return self.reserve_of_day * limit * (1 + log(processes))


DEFAULT_POLICY = ReservePolicy()

THRIFTY_POLICY = replace(DEFAULT_POLICY, reserve=0.3, reserve_of_day=0.04, day_ahead=60.0, least_in_advance=8)
"""For a fleet whose budget is being used up. 300 tenants with 15 requests/s at 4 processes sent 32 commands in their
busiest hour instead of 232. What idle processes hold is up to 30 % of a limit instead of 10 %, if traffic jumps."""
