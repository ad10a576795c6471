"""Takes that no store answers: when to ask again, and what the log says of it.

Rules:

* After a failure the store is asked again at once, and then ever less often: once in `MAX_PAUSE` seconds at last, for
  each group of counters. A take that is not answered may have been counted, so each of them costs tokens.
* One line is logged when it begins, with the reason, and one when it is over: when each group that had failed has been
  answered, or has not been asked for in `FORGET_AFTER` seconds.

Times are server time, in seconds since the Unix epoch.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from tenantcache.errors import FailoverError, StoreError

logger = logging.getLogger(__name__)

MIN_PAUSE, MAX_PAUSE = 0.1, 1.0
"""Seconds from the second failure in a row on. A store that is back must be in use within 3 s."""

FORGET_AFTER = 60.0


@dataclass(slots=True)
class Failure:
    """The last one of a group's takes. `resumes` is when another store takes over, if one does."""

    at: float
    pause: float
    resumes: float | None


class Outage:
    """`going_on` says what is admitted meanwhile."""

    def __init__(self, going_on: str) -> None:
        self.active: bool = False
        self._going_on = going_on
        self._failures: dict[int, Failure] = {}

    def begin(self, group: int, error: StoreError, now: float) -> Failure:
        """A take of `group` has failed."""
        last = self._failures.pop(group, None)
        pause = 0.0 if last is None else min(MAX_PAUSE, max(MIN_PAUSE, 2 * last.pause))
        failure = Failure(now, pause, error.until if isinstance(error, FailoverError) else None)
        self._failures[group] = failure  # behind all others, which are older
        if not self.active:
            self.active = True
            until = "only tokens that are held" if failure.resumes is not None else repr(self._going_on)
            logger.error("limits cannot be counted in the store (%s): going on with %s", error, until)
        return failure

    def paused(self, group: int, now: float) -> Failure | None:
        """The last failure of `group`, if its counters should not be asked yet."""
        failure = self._failures.get(group)
        # A clock that was set back must not make it a long pause.
        return failure if failure is not None and 0 <= now - failure.at < failure.pause else None

    def end(self, group: int, now: float, *, fails: bool = False) -> None:
        """A take of `group` was answered. `fails`: the last one of others in it was not."""
        if not self.active:
            return
        if not fails:
            self._failures.pop(group, None)
        while self._failures:
            oldest = next(iter(self._failures))
            if abs(now - self._failures[oldest].at) < FORGET_AFTER:
                return
            del self._failures[oldest]
        self.active = False
        logger.info("limits are counted in the store again")

    def clear(self) -> None:
        self.active = False
        self._failures.clear()
