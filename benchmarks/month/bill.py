"""What Redis bills, by purpose; what of it falls to starts and stops; and what a month of it costs.

Prices: upstash.com/pricing/redis as of 2026-11-09 (docs.flexprice.io, "Upstash pricing", has the page as a picture) for
the free plan, pay as you go and the fixed plan of 250 MB; as of 2026-09-20 (api-evangelist/upstash,
plans/upstash-plans-pricing.yml) for the larger fixed plans, of which commands are not billed. All in dollars.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

PRICES_OF = "2026-11-09"
PER_COMMAND = 0.20 / 100_000
FREE_COMMANDS = 500_000
LEAST_FIXED_PLAN = 10.0
"""A month, for 250 MB, with 50 GB of traffic: commands are not billed."""

SECONDS_A_MONTH = 30 * 86_400


class Purpose(Enum):
    """What a command is for. The value is how tables name it."""

    TAKE = "takes of minutes"
    AHEAD = "of the next quarter"
    DAY = "of days"
    RETURN = "returns"
    EXPIRY = "expiries"
    LOOKUP = "lookups"
    FILL = "fills"
    PROBE = "probes"


class Answer(Enum):
    """To a request that the fast path has not admitted."""

    ADMITTED = "admitted"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


@dataclass
class Bill:
    """Billed commands. `starts` are those of processes in their first minute, `stops` of those that stop in order."""

    commands: Counter[Purpose] = field(default_factory=Counter)
    starts: int = 0
    stops: int = 0

    def add(self, purpose: Purpose, commands: int = 1) -> None:
        self.commands[purpose] += commands

    @property
    def total(self) -> int:
        return sum(self.commands.values())


@dataclass
class Answers:
    """What became of requests.

    `below`: refused although the tenant asked for no more than its limits, with 429. `unused`: what of a limit was not
    admitted although more was asked for. `unavailable`: answered 503. `over`: admitted beyond a limit.
    """

    requests: int = 0
    admitted: int = 0
    below: int = 0
    unused: int = 0
    unavailable: int = 0
    over: int = 0


@dataclass
class Day:
    """A day that was simulated, and how it went."""

    bill: Bill = field(default_factory=Bill)
    answers: Answers = field(default_factory=Answers)

    def add(self, other: Day, weight: int) -> None:
        """Count what happened to some tenants, each of whom stands for `weight`."""
        for purpose, commands in other.bill.commands.items():
            self.bill.add(purpose, commands * weight)
        self.bill.starts += other.bill.starts * weight
        self.bill.stops += other.bill.stops * weight
        for name, count in vars(other.answers).items():
            setattr(self.answers, name, getattr(self.answers, name) + count * weight)

    @property
    def per_request(self) -> float:
        """Commands for each request that was served: refused ones cost nothing, and would flatter."""
        return self.bill.total / max(1, self.answers.admitted)


USUAL, FAILOVER, BAD_TENANT = "usual day", "day of a failover", "day of a bad tenant"
WEIGHTS: Mapping[str, int] = {USUAL: 28, FAILOVER: 1, BAD_TENANT: 1}
"""How many of a month's thirty days are as each day that is simulated."""


@dataclass(frozen=True)
class Month:
    """Thirty days, of those that were simulated."""

    commands: Mapping[Purpose, float]
    starts: float
    stops: float
    served: float

    @property
    def total(self) -> float:
        return sum(self.commands.values())

    @property
    def per_request(self) -> float:
        return self.total / max(1.0, self.served)

    @property
    def free_rate(self) -> float:
        """Requests a second of a fleet that pays the same for each, and just fits the free plan."""
        return free_rate(self.per_request)


def month_of(days: Mapping[str, Day]) -> Month:
    weights = {name: weight for name, weight in WEIGHTS.items() if name in days}
    times = 30 / sum(weights.values())

    def whole(figure: Mapping[str, float]) -> float:
        return times * sum(weight * figure[name] for name, weight in weights.items())

    return Month(
        {purpose: whole({name: day.bill.commands[purpose] for name, day in days.items()}) for purpose in Purpose},
        whole({name: day.bill.starts for name, day in days.items()}),
        whole({name: day.bill.stops for name, day in days.items()}),
        30.0 * days[USUAL].answers.admitted,  # what a bad tenant is served beside that would flatter
    )


def free_rate(per_request: float) -> float:
    """Requests a second that the free plan carries at so many commands each."""
    return FREE_COMMANDS / SECONDS_A_MONTH / per_request if per_request else float("inf")


def pay_as_you_go(commands: float) -> float:
    """Dollars a month. The free plan ends at `FREE_COMMANDS`; past it every command is paid for."""
    return 0.0 if commands <= FREE_COMMANDS else commands * PER_COMMAND


def cheapest(commands: float) -> float:
    """Dollars a month on the plan that costs least."""
    return min(pay_as_you_go(commands), LEAST_FIXED_PLAN)
