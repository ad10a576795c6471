"""A circuit breaker: a store that is slow or unavailable is asked rarely, instead of by every request.

    closed   -> open     after `threshold` failures in a row; at once if the provider says that the account is suspended
    open     -> probing  when its pause is over: one caller may try
    probing  -> closed   on success
    probing  -> open     on failure, with twice the pause, up to `max_pause`

Times are seconds; `now` comes from the caller.
"""

from __future__ import annotations

from typing import Literal

BreakerState = Literal["closed", "open", "probing"]

SUSPENDED_PAUSE = 60.0
"""A quota that is used up does not come back within seconds, and some providers count refused commands too."""


class Breaker:
    __slots__ = (
        "_failures",
        "_max_pause",
        "_min_pause",
        "_opened_until",
        "_pause",
        "_threshold",
        "openings",
        "reason",
        "state",
        "suspended",
    )

    def __init__(self, *, threshold: int = 3, min_pause: float = 0.5, max_pause: float = 15.0) -> None:
        self.state: BreakerState = "closed"
        self.suspended: bool = False
        """Whether the provider's refusal was what opened it."""
        self.openings: int = 0
        """How often it has opened after it was closed."""
        self.reason: str | None = None
        """Why it is open: what `failed` was told when it opened, or of the last probe. None while it is closed."""
        self._threshold = threshold
        self._min_pause = min_pause
        self._max_pause = max_pause
        self._pause = min_pause
        self._failures = 0
        self._opened_until = 0.0

    def allows(self, now: float) -> bool:
        """Whether a call may be made. If this turns an open breaker to probing, the caller is the probe."""
        if self.state == "closed":
            return True
        if self.state == "open" and now >= self._opened_until:
            self.state = "probing"
            self._opened_until = now + self._pause  # a probe that is never heard of again does not block the next
            return True
        if self.state == "probing" and now >= self._opened_until:
            self._opened_until = now + self._pause
            return True
        return False

    def succeeded(self) -> None:
        self.state = "closed"
        self.suspended = False
        self.reason = None
        self._failures = 0
        self._pause = self._min_pause

    def failed(self, now: float, *, suspended: bool = False, reason: str | None = None) -> None:
        """Note a failure. `reason` is told to those who are not let through."""
        self._failures += 1
        if self.state == "probing":
            self._pause = min(self._pause * 2, self._max_pause)
        elif not suspended and self._failures < self._threshold:
            return
        self.openings += self.state == "closed"
        self.state = "open"
        self.suspended = suspended
        self.reason = reason or self.reason
        self._opened_until = now + (SUSPENDED_PAUSE if suspended else self._pause)
