"""A process that sees neither store: which minutes are its own, and which are lost to it (rule 7 of `failover.py`).

All times are server time, in seconds since the Unix epoch.
"""

from __future__ import annotations

from math import inf

from tenantcache.ratelimit.core.minutestanding import MinuteStanding
from tenantcache.ratelimit.core.windows import MINUTE, minute_at

SURE_AFTER, ISOLATED_FOR = 1.0, 3.0
"""Seconds of isolation after which it is not a pause of this process, and after which all others know of theirs too:
they pull the log at other times of the second."""

SEEN_BEFORE = 1.0
"""Seconds before a minute. A store that answered what it was asked then was there for other processes too: none of them
is isolated for ISOLATED_FOR seconds when the minute begins. That a process does not know itself to be isolated proves
nothing: it may have stood still."""

STOOD_STILL = 1.0
"""Seconds between two looks after which a process does not know whether it was isolated all the time. It is less than
ISOLATED_FOR by what it takes to hear of a store that is back."""


KNOWN_LATER = 2.0
"""Seconds by which what another process knows may end later than what this one knows: it has pulled the log later, or
has heard Redis later. If it is not sure of its isolation when Redis is back, it takes tokens of what it knows."""


class Isolation:
    """Both minutes are -1 until there is one."""

    lost_minute: int
    own_minute: int

    __slots__ = ("_awake_since", "_connected", "_doubted", "_last", "_since", "looked", "lost_minute", "own_minute")

    def __init__(self) -> None:
        self.own_minute = self.lost_minute = -1
        """The last minute in which this process decides by itself, and in which it spends what it holds."""
        self._since: float | None = None
        # When it last was isolated, and when another process last may have been.
        self._last = self._doubted = -inf
        self.looked: float = -inf
        """When `note` was last called."""
        # Since when that has been done several times a second.
        self._awake_since = -inf
        # The last two minutes at whose edges neither this process nor another one was isolated.
        self._connected = (-1, -1)

    def note(
        self, now: float, *, isolated: bool, has_log: bool, known_until: float, seen: float, doubted: bool
    ) -> None:
        """To be called several times a second. Minutes that start before `known_until` are known: tokens of them may
        have been taken in advance. `seen`: when a store was last asked what it has answered.

        Once it is sure, isolation lasts until the log is back. A Redis that answers again ends it only for processes
        that knew the running minute to be in Redis. The others may be isolated for much longer. `doubted`: this process
        would not know if another one is, since the log is lost, and Redis has failed since.
        """
        minute = minute_at(now)
        self._notice_pause(now)
        is_sure = self._since is not None and now >= self._since + SURE_AFTER
        if not isolated and (has_log or not is_sure):
            self._since = None
            if doubted:
                self._doubted = now
            elif minute * MINUTE <= self._last_alone + ISOLATED_FOR and minute not in (
                self.own_minute,
                *self._connected,
            ):
                self.lost_minute = minute
            self._note_connected(seen)
            return
        if self._since is None:
            self._since = now
        isolated_since = max(self._since, self._awake_since)
        if minute * MINUTE >= max(isolated_since + ISOLATED_FOR, known_until + KNOWN_LATER):
            self.own_minute, self._last = minute, now
        elif now >= self._since + SURE_AFTER:
            self.lost_minute, self._last = minute, now

    def _notice_pause(self, now: float) -> None:
        """A process that was isolated when it stood still may have been isolated until now, and so may others."""
        if now > self.looked + STOOD_STILL:
            self._awake_since = now
            if self._since is not None:
                self._last = now
        self.looked = now

    def _note_connected(self, seen: float) -> None:
        minute = minute_at(seen + SEEN_BEFORE)
        if minute_at(seen) < minute != self._connected[1] and minute * MINUTE > self._last_alone + ISOLATED_FOR:
            self._connected = self._connected[1], minute

    @property
    def _last_alone(self) -> float:
        """When this process or another one may have been isolated last."""
        return max(self._last, self._doubted)

    def standing_of(self, minute: int) -> MinuteStanding | None:
        """None if the row decides."""
        if minute == self.own_minute:
            return MinuteStanding.OWN
        return MinuteStanding.LOST if minute == self.lost_minute else None

    def has_spent_alone(self, minute: int) -> bool:
        """Whether this process, or another one, may have admitted tokens of `minute` that no counter has.

        If it was lost after it had begun, each has spent of it what was granted.
        """
        if minute == self.own_minute:
            return True
        return minute == self.lost_minute and minute not in self._connected

    def recover(self, minute: int) -> None:
        """`minute` was handed over, and the report of this process is in it: it is not lost any more."""
        if minute == self.lost_minute and minute in self._connected:
            self.lost_minute = -1

    def clock_moved(self, seconds: float) -> None:
        """The server's clock was set by so much."""
        self._last += seconds
        self._doubted += seconds
        self.looked += seconds
        self._awake_since += seconds
        if seconds < 0:
            self._connected = (-1, -1)  # those minutes may come again
        if self._since is not None:
            self._since += seconds
