"""Redis as one process sees it: whether it answers, whether it counts, and for how long it has done neither.

The state says what was learned last. That Redis is *unavailable* is a conclusion from the state and from time
(rule 2 of `failover.py`). Redis must have been silent for UNAVAILABLE_AFTER seconds, and must have failed over more
than FAILING_FOR of them. An account that the provider refuses is unavailable at once.

All times are server time, in seconds since the Unix epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from math import inf
from typing import Literal

UNAVAILABLE_AFTER = 2.0  # seconds after its last answer: a restart that is over before is sat out

WITNESS_GAP = 1.0
"""Seconds. Redis is asked twice a second, and four times while it fails."""

FAILING_FOR = 1.0  # seconds over more than which Redis must fail to be unavailable: not less than WITNESS_GAP

RedisReport = Literal["none", "answering", "failing", "gone", "refusing", "suspended"]


class RedisState(Enum):
    """The value is how diagrams name it."""

    ABSENT = "absent"
    """This process has no Redis URL, or is told to count in Postgres."""
    ANSWERING = "answering"
    """Nothing is known against it."""
    FAILING = "failing"
    """It does not answer PING."""
    NOT_COUNTING = "not counting"
    """A take has failed, so PING proves nothing: a server that is paused for writes answers it."""
    REFUSING = "refusing"
    """It answers, and refuses to count: it is read-only, say, or out of memory."""
    SUSPENDED = "suspended"
    """The provider refuses the account."""


class RedisEvent(Enum):
    """What a process can learn. The value is how diagrams name it."""

    PINGED = "PING is answered"
    COUNTED = "a take is answered"
    SILENT = "PING fails"
    NOT_COUNTED = "a take fails"
    REFUSED = "a take is refused"
    ACCOUNT_REFUSED = "the account is refused"


TRANSITIONS: Mapping[RedisState, Mapping[RedisEvent, RedisState]] = {
    RedisState.ABSENT: {},
    RedisState.ANSWERING: {
        RedisEvent.SILENT: RedisState.FAILING,
        RedisEvent.NOT_COUNTED: RedisState.NOT_COUNTING,
        RedisEvent.REFUSED: RedisState.REFUSING,
        RedisEvent.ACCOUNT_REFUSED: RedisState.SUSPENDED,
    },
    RedisState.FAILING: {
        RedisEvent.PINGED: RedisState.ANSWERING,
        RedisEvent.COUNTED: RedisState.ANSWERING,
        RedisEvent.NOT_COUNTED: RedisState.NOT_COUNTING,
        RedisEvent.REFUSED: RedisState.REFUSING,
        RedisEvent.ACCOUNT_REFUSED: RedisState.SUSPENDED,
    },
    RedisState.NOT_COUNTING: {
        RedisEvent.COUNTED: RedisState.ANSWERING,
        RedisEvent.REFUSED: RedisState.REFUSING,
        RedisEvent.ACCOUNT_REFUSED: RedisState.SUSPENDED,
    },
    RedisState.REFUSING: {
        RedisEvent.COUNTED: RedisState.ANSWERING,
        RedisEvent.ACCOUNT_REFUSED: RedisState.SUSPENDED,
    },
    RedisState.SUSPENDED: {RedisEvent.COUNTED: RedisState.ANSWERING},
}
"""An event that a state does not list leaves it as it is. Only a take that is answered proves that Redis counts."""


class RedisHealth:
    """`has_redis`: whether this process may count in Redis."""

    __slots__ = (
        "_answering_since",
        "_failing_since",
        "_failing_until",
        "_heard",
        "asked",
        "failed_at",
        "reason",
        "state",
    )

    def __init__(self, *, has_redis: bool) -> None:
        self.state = RedisState.ANSWERING if has_redis else RedisState.ABSENT
        self.reason = "" if has_redis else "a process counts without Redis"
        """Of the last failure."""
        # Redis has answered without a gap since then, and the last of these answers was asked for at `_heard`.
        self._answering_since = self._heard = -inf
        # The last answer was asked for then, however long ago.
        self.asked = -inf
        self._failing_since = self._failing_until = -inf
        # When it last failed.
        self.failed_at = -inf

    def answered(self, event: RedisEvent, asked: float, now: float) -> None:
        """Redis has answered `now` what was asked at `asked`: `PINGED` or `COUNTED`."""
        self.state = TRANSITIONS[self.state].get(event, self.state)
        if self.state is not RedisState.ANSWERING:
            return
        self.asked = max(self.asked, asked)
        if asked > self._heard + WITNESS_GAP:
            self._answering_since = now
        self._heard = max(self._heard, asked)

    def failed(self, event: RedisEvent, why: str, now: float, *, asked: float | None = None) -> None:
        """Redis did not answer, or refused. `asked`: when that was, if it was sent for certain."""
        if self.state is RedisState.ANSWERING:
            self._failing_since = now
        self.state = TRANSITIONS[self.state].get(event, self.state)
        self.reason = why
        self.failed_at = now
        self._heard = -inf
        self._failing_until = self._failing_until if asked is None else asked

    def clock_moved(self, seconds: float) -> None:
        """The server's clock was set by so much: what happened here has other times by it."""
        self._answering_since += seconds
        self._heard += seconds
        self.asked += seconds
        self._failing_since += seconds
        self._failing_until += seconds
        self.failed_at += seconds

    @property
    def answers(self) -> bool:
        """Whether nothing is known against Redis."""
        return self.state is RedisState.ANSWERING

    @property
    def ping_suffices(self) -> bool:
        """Whether PING is enough to prove that Redis counts."""
        return self.state in (RedisState.ANSWERING, RedisState.FAILING)

    @property
    def refuses(self) -> bool:
        """Whether Redis answers, and does not count. PING tells nothing then."""
        return self.state in (RedisState.REFUSING, RedisState.SUSPENDED)

    def is_unavailable(self, now: float) -> bool:
        """Rule 2 of `failover.py`. It stays so until Redis has answered."""
        if self.state in (RedisState.ABSENT, RedisState.ANSWERING, RedisState.SUSPENDED):
            return self.state is RedisState.SUSPENDED
        if now < self.asked + UNAVAILABLE_AFTER:
            return False
        return self._failing_until > self._failing_since + FAILING_FOR

    def is_silent(self, now: float, seconds: float) -> bool:
        """Whether Redis has not been heard of for so long."""
        return now >= self._heard + seconds

    def heard_since(self, then: float) -> float:
        """When the last answer was asked for, if Redis has answered without a gap since `then`; -inf if not."""
        return self._heard if self._answering_since <= then else -inf

    def describe(self, now: float) -> RedisReport:
        """What `stats()` says of it."""
        match self.state:
            case RedisState.ABSENT:
                return "none"
            case RedisState.SUSPENDED:
                return "suspended"
            case RedisState.ANSWERING:
                return "answering"
        if not self.is_unavailable(now):
            return "failing"
        return "refusing" if self.refuses else "gone"
