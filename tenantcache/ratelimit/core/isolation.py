"""A process that sees no store: until when it is isolated, and which minutes are its own, or lost.

Rule 7 of `failover.py`. No process can ask another one how it stands: each judges it by its own times. Two tables say
what follows, `TRANSITIONS` from what a process sees, and `FOLLOWS` from how the running minute began.

All times are server time, in seconds since the Unix epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from math import inf
from typing import NamedTuple

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


class Contact(Enum):
    """How a process stands to the stores. The value is how diagrams name it."""

    CONNECTED = "connected"
    """It sees a store, and would know if others did not."""
    DOUBTFUL = "in doubt about others"
    """It sees Redis, and is not isolated. Others may be: the log is lost, and Redis has failed since."""
    UNSURE = "unsure"
    """It sees no store. It may just have stood still."""
    ISOLATED = "isolated"
    """It has seen no store for SURE_AFTER seconds. Only the log ends that, since it ends it for all at about the same
    time. A Redis that is back does not: it tells nothing to processes that do not know the running minute to be in
    Redis, and these may stay isolated for much longer."""


class Sight(Enum):
    """What a process sees when it looks. The value is how diagrams name it."""

    LOG = "the log is there"
    """Also while the row is being changed, although that does not say what counts: others may have read it just before,
    and the commit may take any time."""
    REDIS = "Redis alone, which has not failed since the last pull"
    REDIS_AGAIN = "Redis alone, which has failed since the last pull"
    NO_STORE = "no store"
    """Neither of them; or Postgres is to count and does not, although the log is there."""
    STILL_NO_STORE = "no store for a second"
    """SURE_AFTER. It comes before what the process sees then."""


TRANSITIONS: Mapping[Contact, Mapping[Sight, Contact]] = {
    Contact.CONNECTED: {Sight.REDIS_AGAIN: Contact.DOUBTFUL, Sight.NO_STORE: Contact.UNSURE},
    Contact.DOUBTFUL: {
        Sight.LOG: Contact.CONNECTED,
        Sight.REDIS: Contact.CONNECTED,
        Sight.NO_STORE: Contact.UNSURE,
    },
    Contact.UNSURE: {
        Sight.LOG: Contact.CONNECTED,
        Sight.REDIS: Contact.CONNECTED,
        Sight.REDIS_AGAIN: Contact.DOUBTFUL,
        Sight.STILL_NO_STORE: Contact.ISOLATED,
    },
    Contact.ISOLATED: {Sight.LOG: Contact.CONNECTED},
}
"""A sight that a state does not list leaves it as it is."""

MAY_BE_ISOLATED = frozenset({Contact.ISOLATED, Contact.DOUBTFUL})
"""This process is isolated, or another one may be."""


class Edge(Enum):
    """How the fleet stood when the running minute began, as one process judges it. The value is how documents name
    it."""

    NONE_ISOLATED = "no process was isolated"
    """It began more than ISOLATED_FOR seconds after the last time when one may have been, or a store answered shortly
    before it (SEEN_BEFORE)."""
    SOME_ISOLATED = "others may have been isolated"
    SOME_CONNECTED = "others may have seen a store"
    """This process was not isolated for ISOLATED_FOR seconds before it; or it has stood still since, and may have
    missed a store that was back."""
    SOME_KNOW_IT = "others may know which store counts it"
    """It began less than KNOWN_LATER seconds after all that this process knows."""
    ALL_ISOLATED = "all were isolated"
    """This process was, and was for long enough that the others knew of their isolation as well."""


class Consequence(NamedTuple):
    """`standing` is None if the running minute stays what it is: lost if it was lost before, or what the row says."""

    standing: MinuteStanding | None
    why: str


FOLLOWS: Mapping[Contact, Mapping[Edge, Consequence]] = {
    Contact.CONNECTED: {
        Edge.NONE_ISOLATED: Consequence(None, "all take their tokens of it from one store"),
        Edge.SOME_ISOLATED: Consequence(MinuteStanding.LOST, "they decide by themselves, and hear of a store later"),
        Edge.ALL_ISOLATED: Consequence(MinuteStanding.OWN, "the others decide by themselves as well, to its end"),
    },
    Contact.DOUBTFUL: dict.fromkeys(
        Edge, Consequence(None, "it is known to be in Redis, so that no process decides by itself in it")
    ),
    Contact.UNSURE: dict.fromkeys(Edge, Consequence(None, "this process may just have stood still")),
    Contact.ISOLATED: {
        Edge.SOME_CONNECTED: Consequence(MinuteStanding.LOST, "they may have been granted all of the limit"),
        Edge.SOME_KNOW_IT: Consequence(MinuteStanding.LOST, "they take tokens of it once Redis is back"),
        Edge.ALL_ISOLATED: Consequence(MinuteStanding.OWN, "no process takes tokens of it from a store"),
    },
}
"""What the running minute is to a process from now on, and why."""


class Isolation:
    """Both minutes are -1 until there is one."""

    contact: Contact
    lost_minute: int
    own_minute: int

    __slots__ = ("_awake_since", "_connected", "_last", "_since", "contact", "looked", "lost_minute", "own_minute")

    def __init__(self) -> None:
        self.contact = Contact.CONNECTED
        self.own_minute = self.lost_minute = -1
        """The last minute in which this process decides by itself, and in which it spends what it holds."""
        # Since when it has seen no store, if it is unsure or isolated.
        self._since = -inf
        # When it last was isolated, or another process last may have been.
        self._last = -inf
        self.looked: float = -inf
        """When `note` was last called."""
        # Since when that has been done several times a second.
        self._awake_since = -inf
        # The last two minutes at whose edges neither this process nor another one was isolated.
        self._connected = (-1, -1)

    def note(self, now: float, sight: Sight, *, known_until: float, answered: float) -> None:
        """To be called several times a second. Minutes that start before `known_until` are known: tokens of them may
        have been taken in advance. `answered`: when a store was last asked what it has answered."""
        if self.contact is Contact.UNSURE and now >= self._since + SURE_AFTER:
            self._see(Sight.STILL_NO_STORE, now)
        self._notice_pause(now)
        self._see(sight, now)
        if self.contact in MAY_BE_ISOLATED:
            self._last = now
        minute = minute_at(now)
        standing = FOLLOWS[self.contact][self._edge_of(minute, known_until)].standing
        if standing is MinuteStanding.OWN:
            self.own_minute = minute
        elif standing is MinuteStanding.LOST:
            self.lost_minute = minute
        if self.contact is Contact.CONNECTED:
            self._note_connected(answered)

    def _see(self, sight: Sight, now: float) -> None:
        before, self.contact = self.contact, TRANSITIONS[self.contact].get(sight, self.contact)
        if self.contact is Contact.UNSURE is not before:
            self._since = now

    def _notice_pause(self, now: float) -> None:
        """A process that was isolated when it stood still may have been isolated until now, and so may others."""
        if now > self.looked + STOOD_STILL:
            self._awake_since = now
            if self.contact in (Contact.UNSURE, Contact.ISOLATED):
                self._last = now
        self.looked = now

    def _edge_of(self, minute: int, known_until: float) -> Edge:
        """That of the running minute."""
        begun = minute * MINUTE
        if self.contact is Contact.ISOLATED:
            if begun < max(self._since, self._awake_since) + ISOLATED_FOR:
                return Edge.SOME_CONNECTED
            return Edge.SOME_KNOW_IT if begun < known_until + KNOWN_LATER else Edge.ALL_ISOLATED
        if minute == self.own_minute:
            return Edge.ALL_ISOLATED
        is_clear = minute in self._connected or begun > self._last + ISOLATED_FOR
        return Edge.NONE_ISOLATED if is_clear else Edge.SOME_ISOLATED

    def _note_connected(self, answered: float) -> None:
        minute = minute_at(answered + SEEN_BEFORE)
        if minute_at(answered) < minute != self._connected[1] and minute * MINUTE > self._last + ISOLATED_FOR:
            self._connected = self._connected[1], minute

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
        self._since += seconds
        self._last += seconds
        self.looked += seconds
        self._awake_since += seconds
        if seconds < 0:
            self._connected = (-1, -1)  # those minutes may come again
