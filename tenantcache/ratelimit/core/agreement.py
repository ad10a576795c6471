"""The row that a fleet agrees on, what changes it, and until when one process knows that it is not out of date.

`failover.py` has the theory. All times are server time, in seconds since the Unix epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Literal, NamedTuple

from tenantcache.ratelimit.core.windows import MINUTE

Store = Literal["redis", "postgres"]

NOTICE = 5.0
"""Seconds, at least, from an announcement to the minute that it begins with: five pulls of the log. `schema.sql` has
the same number; the two must agree."""

QUIET, MAX_QUIET = 60.0, 3600.0
"""Seconds without a report that Redis is unavailable, before the fleet returns to it (rule 3 of `failover.py`)."""


@dataclass(frozen=True, slots=True)
class StoreChoice:
    """The row. Its fields are named as the columns. `store` is None until the first process of all has come.

    `complained_at` is when a process last reported Redis unavailable; `quiet` is how many seconds must pass after that.
    """

    version: int
    store: Store | None
    from_minute: int = 0
    previous: Store | None = None
    previous_from: int = 0
    why: str = ""
    changed_at: float = 0.0
    complained_at: float = -inf
    quiet: float = QUIET


class Proposal(NamedTuple):
    """A change to announce, made against `version`: it is void if another one has been made meanwhile."""

    version: int
    store: Store
    why: str
    quiet: float


class Phase(Enum):
    """How far the fleet is. The value is how diagrams name it."""

    UNDECIDED = "undecided"
    REDIS = "Redis counts"
    LEAVING_REDIS = "leaving Redis"
    RENEWING = "starting anew in Redis"
    POSTGRES = "Postgres counts"
    RETURNING = "returning to Redis"


class Cause(Enum):
    """What takes the fleet from one phase to the next. The value is how diagrams name it."""

    FIRST_WITH_REDIS = "the first process has come, and has Redis"
    FIRST_WITHOUT_REDIS = "the first process has come, without Redis"
    UNAVAILABLE = "Redis is unavailable to a process"
    LOST_COUNTERS = "Redis has lost its counters"
    LOST_COUNTERS_AGAIN = "Redis loses its counters again and again"
    BUDGET = "the budget for Redis is nearly used up"
    ANSWERS_AGAIN = "Redis answers every process again"
    BEGINS = "the minute comes that was announced"
    ALL_REPORTED = "all processes have reported"

    @property
    def why(self) -> str:
        """What logs and `stats()` say of it."""
        return self.value.partition(", ")[0]


CHANGES: Mapping[Phase, Mapping[Cause, Phase]] = {
    Phase.UNDECIDED: {Cause.FIRST_WITH_REDIS: Phase.REDIS, Cause.FIRST_WITHOUT_REDIS: Phase.POSTGRES},
    Phase.REDIS: {
        Cause.UNAVAILABLE: Phase.LEAVING_REDIS,
        Cause.LOST_COUNTERS: Phase.RENEWING,
        Cause.LOST_COUNTERS_AGAIN: Phase.LEAVING_REDIS,
        Cause.BUDGET: Phase.LEAVING_REDIS,
    },
    Phase.LEAVING_REDIS: {Cause.BEGINS: Phase.POSTGRES, Cause.ALL_REPORTED: Phase.POSTGRES},
    Phase.RENEWING: {Cause.BEGINS: Phase.REDIS},
    Phase.POSTGRES: {Cause.ANSWERS_AGAIN: Phase.RETURNING},
    Phase.RETURNING: {Cause.BEGINS: Phase.REDIS},
}
"""The phase that each cause leads to. A change that is announced ends before the next one: no other cause counts."""

STORE_OF_CHANGE: Mapping[Phase, Store] = {
    Phase.REDIS: "redis",
    Phase.LEAVING_REDIS: "postgres",
    Phase.RENEWING: "redis",
    Phase.POSTGRES: "postgres",
    Phase.RETURNING: "redis",
}
"""The store that the row names in each phase."""


class Agreement:
    """The row as one process knows it."""

    __slots__ = ("_timeline", "choice", "heard", "pulled", "settled_until")

    def __init__(self) -> None:
        self.choice: StoreChoice = StoreChoice(0, None)
        self.settled_until: float = -inf
        """Minutes that start before this are known (rules 1 and 6 of `failover.py`)."""
        self.pulled: float = -inf
        """When the row was read that is known here."""
        self.heard: float = -inf
        """When the row was last read, also if it was being changed then."""
        self._timeline = 0

    def follow(self, choice: StoreChoice, settled_until: float | None, *, read_at: float = -inf) -> bool:
        """Take in what a pull has brought, which was read at `read_at`. `settled_until` is None if the row was being
        changed. Returns whether the row is of another timeline, in which the same numbers mean other changes."""
        is_other_timeline = choice.version < self.choice.version
        if is_other_timeline:
            self._timeline += 1
            self.settled_until = self.pulled = self.heard = -inf
        self.choice = choice
        self.heard = max(self.heard, read_at)
        if settled_until is not None:
            self.settled_until = max(self.settled_until, settled_until)
            self.pulled = max(self.pulled, settled_until - NOTICE)
            self.heard = max(self.heard, self.pulled)
        return is_other_timeline

    def settle(self, until: float) -> None:
        """No change begins before `until` that is not known here."""
        self.settled_until = max(self.settled_until, until)

    def clock_moved(self, seconds: float) -> None:
        """The server's clock was set by so much. If it was set forward, `settled_until` stays where it was, because a
        change may have been announced before that."""
        self.settled_until += min(0.0, seconds)
        self.pulled += seconds
        self.heard += seconds

    def store_of(self, minute: int) -> Store | None:
        """The store that counts `minute` by the row; None if that is not known."""
        choice = self.choice
        if choice.store is None or minute * MINUTE >= self.settled_until:
            return None
        if minute >= choice.from_minute:
            return choice.store
        return choice.previous if minute >= choice.previous_from else None

    def version_of(self, minute: int) -> tuple[int, int]:
        """The version that a known minute belongs to. The version alone is not enough: timelines count anew."""
        return self._timeline, self.choice.version - (minute < self.choice.from_minute)

    def begins(self, now: float) -> float | None:
        """When a change begins that is announced and has not begun; None if there is none."""
        start = float(self.choice.from_minute * MINUTE)
        return start if now < start else None

    def phase(self, now: float) -> Phase:
        choice = self.choice
        if choice.store is None:
            return Phase.UNDECIDED
        if self.begins(now) is None:
            return Phase.REDIS if choice.store == "redis" else Phase.POSTGRES
        if choice.store == "postgres":
            return Phase.LEAVING_REDIS
        return Phase.RENEWING if choice.previous == "redis" else Phase.RETURNING
