"""Which store counts a fleet's limits, and since which minute: one process's view of what all have agreed on.

The theory
----------
A limit holds as long as every token of a window was debited in one counter. With two stores there are two counters; so
**each minute belongs to one store**, and nobody spends a token of a minute that was taken from the other one. The
agreement is one row in Postgres, `StoreChoice`: minutes from `from_minute` on are counted in `store`, those before in
`previous`. Each change is a new `version`, and every pull of the log carries the row.

What is left is to know that the row is not out of date. Whoever changes it holds a lock, reads the server's clock, and
lets the change begin at a minute that starts at least NOTICE seconds later. A pull that finds the lock free at server
time e, and reads the row after that, has therefore seen every change that begins before e + NOTICE: one that it has
not seen took the lock after e. So `settled_until` = e + NOTICE, and **a minute is known iff it starts before that**.
The comparison is between readings of one clock, the server's; how long a message or a commit was on its way does not
enter.

Rules
-----
1. Tokens of a minute are taken from its store, and only once the minute is known. Tokens taken in advance carry the
   version that they were taken under; they are spent only if the minute, when it begins, is known to be of that
   version. Otherwise they are lost: fewer are admitted. (Not the store's name but the version: a store that was left
   may come back empty.) A minute that has begun stays what it is until it is handed over by all (rule 2).
2. A process that finds Redis gone (no answer for GONE_AFTER seconds, or the provider refuses the account) announces
   Postgres. Until that begins each process spends what it holds, and says no beyond that. It begins within the running
   minute if all processes report what they were granted of it (`handover.py`), and at the edge otherwise. Once a take
   has failed, only counting is an answer: a server that is paused for writes, or a replica, still answers PING. Silence
   alone proves nothing, since this process may have been stopped: it must have asked, and failed, over more than
   FAILING_FOR seconds, and what failed because this process did not run is not counted (`StoreError.starved`).
3. The way back is announced by any process to which Redis answers, once no process has complained for `quiet`
   seconds; each process that has no Redis complains every COMPLAINT_INTERVAL. Whoever comes back within STEADY seconds
   has to wait twice as long the next time, up to MAX_QUIET: a Redis that comes and goes is not followed each time.
4. Redis that has lost counters of LOSERS tenants (FLUSHALL, a failover) is announced as well, as a change from Redis
   to Redis: it ends all tokens of later minutes, whose debits are lost. Where it has lost counters again within STEADY
   seconds of the last change (it evicts keys, or something deletes them), Postgres is announced, for STEADY at least.
5. A day that has seen a change is counted in Postgres to its end: what Redis had counted is written there all along
   (by each process, at most MIRROR_INTERVAL late), and no day goes back. Days that begin later go with the minutes. In
   the last GUARD seconds before a change no tokens of a day are taken, so that none is granted by a counter that
   others have left; clocks of two processes differ by less.
6. *Without the log* (Postgres is away, or out of this process's reach) `settled_until` stands still, and a minute
   after that is not known. One exception keeps limits whole while Postgres restarts: an answer of Redis that was
   asked at s extends it to s + NOTICE, if Redis has answered every WITNESS_GAP seconds since before the last pull, and
   never failed. For as long as Redis fails for everybody or for nobody, that is exact: whoever announces has found it
   failing over more than WITNESS_GAP (rule 2), and this process would have found it failing too. So each process asks
   Redis twice a second (PING, which is free), also while all is well: the outage may be over when the log is lost.
7. A process that sees neither store (or for which Postgres is to count and does not, although it has the log) decides
   by itself (`TENANTCACHE_ON_LIMITER_ERROR`), but only in whole minutes: in the one in which it lost the last store
   others may have been granted all of the limit, so it spends what it holds; and where a store comes back, it asks it
   from the next minute on. A minute is its own only where it has been alone for ALONE_FOR seconds before, so that those
   who find out a little later are alone at the edge as well; and who was alone until shortly before an edge spends only
   what it holds in that minute too, since others may have been alone at it. A fleet that loses everything together, and
   gets it back, so exceeds no limit.

What remains, two faults at once: a process that lost Postgres and sees Redis, while others see Postgres and lost Redis
(or Redis was refused to them and not to it). Then the two sides use both stores, and up to one more limit a minute is
admitted for as long as both faults last. A process that sees neither store admits `limit / processes` a minute beside
what the others take (`TENANTCACHE_ON_LIMITER_ERROR=local`; "deny" admits nothing). A database that was restored to a
time before a change may bring back an older row: that is a change without notice.

All times are server time, in seconds since the Unix epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal, NamedTuple

from tenantcache.ratelimit.core.handover import Handover
from tenantcache.ratelimit.core.windows import MINUTE, Window, minute_at

Store = Literal["redis", "postgres"]

NOTICE = 5.0
"""Seconds, at least, from an announcement to the minute that it begins with: five pulls of the log. `schema.sql` has
the same number; the two must agree."""

ALONE_AFTER = 3.0
"""Seconds without a pull, which comes every second, after which Postgres is out of reach."""

SURE_AFTER, ALONE_FOR = 1.0, 3.0
"""Seconds of being alone after which it is no pause of this process, and after which all others know it too: they
pull the log at other times of the second."""

GONE_AFTER = 2.0  # seconds after its last answer: a restart that is over before is sat out

WITNESS_GAP = 1.0
"""Seconds. Redis is asked twice a second, and four times while it fails."""

FAILING_FOR = 1.0  # seconds over more than which Redis must fail to be gone: not less than WITNESS_GAP

COMPLAINT_INTERVAL = 10.0
MIRROR_INTERVAL = 10.0
GUARD = 1.0

EARLIEST_DAY = 14 * 3600
"""Seconds by which a day of some time zone begins before that of UTC. One that may have begun before a change has."""

QUIET, MAX_QUIET = 60.0, 3600.0
STEADY = 600.0

LOSERS = 2
"""Tenants whose counters must be lost before Redis is said to have lost them: one may have been reset."""


@dataclass(frozen=True, slots=True)
class StoreChoice:
    """The row that all agree on. `store` is None until the first process of all has come.

    `complained_at` is when a process last said that it has no Redis; `quiet` how many seconds must pass after that.
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


class FleetStore:
    """What one process knows. `has_redis`: whether it was given one."""

    __slots__ = (
        "_alone_last",
        "_alone_since",
        "_answering_since",
        "_begun_before",
        "_failing_since",
        "_failing_until",
        "_generation",
        "_heard",
        "_losers",
        "_lost_in",
        "_postgres_failing_since",
        "_reason",
        "_silent_since",
        "choice",
        "counts",
        "doubted",
        "handover",
        "has_redis",
        "lost_minute",
        "own_minute",
        "pulled",
        "refuses",
        "settled_until",
        "suspended",
    )

    def __init__(self, *, has_redis: bool) -> None:
        self.has_redis = has_redis
        self.handover = Handover()
        self.choice = StoreChoice(0, None)
        self.counts = False
        """Whether this process has counted anything: one that never does needs no store."""
        self.settled_until = -inf
        """Minutes that start before this are known (rules 1 and 6)."""
        self.pulled = -inf
        """When the row was read that is known here."""
        self.suspended = False
        """The provider refuses the account."""
        self.refuses = False
        """Redis answers, and does not count: suspended, read-only, out of memory. PING tells nothing then."""
        self.own_minute = self.lost_minute = -1
        """Rule 7: the last minute in which this process decides by itself, and in which it spends what it holds."""
        self._alone_since: float | None = None
        self._alone_last = -inf
        self._generation = 0
        # Redis has answered without a gap since then, and the last answer was asked for at `_heard`.
        self._answering_since = self._heard = -inf
        self._failing_since: float | None = None
        # The last answer was asked for, and the last failure was found, then.
        self._silent_since = self._failing_until = -inf
        self.doubted = False
        """A take has failed since Redis has counted: PING proves nothing."""
        self._postgres_failing_since: float | None = None
        self._begun_before = -1
        """The last minute that may have begun before, by a clock that was set back since."""
        self._reason = "" if has_redis else "a process has no Redis URL"
        self._lost_in, self._losers = -1, set[str]()

    # What is learnt.

    def follow(self, choice: StoreChoice, settled_until: float | None) -> bool:
        """Take in what a pull has brought; `settled_until` None: somebody was changing it. True where it is news."""
        news = choice.version != self.choice.version
        if choice.version < self.choice.version:
            # Another history, in which the same numbers mean other changes.
            self._generation += 1
            self.handover = Handover()
            self.settled_until = self.pulled = -inf
        self.choice = choice
        if settled_until is not None:
            self.settled_until = max(self.settled_until, settled_until)
            self.pulled = max(self.pulled, settled_until - NOTICE)
            self._vouch()
        return news

    def redis_answered(self, asked: float, now: float, *, counted: bool = True) -> None:
        """Redis has answered `now` what was asked then. `counted`: by counting, and not only to PING."""
        if self.doubted and not counted:
            return
        self._failing_since, self.suspended, self.refuses, self.doubted = None, False, False, False
        self._silent_since = max(self._silent_since, asked)
        if asked > self._heard + WITNESS_GAP:
            self._answering_since = now
        self._heard = max(self._heard, asked)
        self._vouch()

    def _vouch(self) -> None:
        """Rule 6."""
        if self.choice.store == "redis" and self._answering_since <= self.pulled:
            self.settled_until = max(self.settled_until, self._heard + NOTICE)

    def redis_failed(
        self,
        now: float,
        why: str,
        *,
        asked: float | None = None,
        suspended: bool = False,
        refused: bool = False,
        counting: bool = False,
    ) -> None:
        """Redis did not answer what was asked, or refused it. `asked`: when that was, where it was sent for certain;
        `counting`: it was asked to count."""
        self._heard = -inf
        self.doubted = self.doubted or counting or refused or suspended
        self._reason = why
        self.suspended = self.suspended or suspended
        self.refuses = self.refuses or refused or suspended
        self._failing_since = self._failing_since or now
        self._failing_until = self._failing_until if asked is None else asked

    def postgres_answered(self) -> None:
        self._postgres_failing_since = None

    def postgres_failed(self, now: float) -> None:
        """Postgres did not count (rule 7): it takes no writes, say, or its table is locked."""
        self._postgres_failing_since = self._postgres_failing_since or now

    @property
    def postgres_fails(self) -> bool:
        return self._postgres_failing_since is not None

    def redis_lost(self, owner: str, window: Window) -> None:
        """The counter that Redis has for `owner` and `window` did not hold what was debited there."""
        if self.choice.store == "redis" and window.start >= self.choice.from_minute * MINUTE:
            if self._lost_in != self.choice.version:
                self._lost_in, self._losers = self.choice.version, set()
            if len(self._losers) < LOSERS:
                self._losers.add(owner)

    def clock_moved(self, seconds: float, now: float) -> None:
        """The server's clock was set by so much, to `now`: what happened here, and what is due, has other times by it.

        A clock that was set forward leaves `settled_until` where it was, because a change may have been announced
        before that. One that was set back over an edge lets minutes begin again, of which a report would leave out what
        was granted the first time. The lease stays as it is, since Postgres has the same number.
        """
        if minute_at(now) < minute_at(now - seconds):
            self._begun_before = max(self._begun_before, minute_at(now - seconds))
        self.settled_until += min(0.0, seconds)
        self.pulled += seconds
        self._heard += seconds
        self._answering_since += seconds
        self._alone_last += seconds
        self._silent_since += seconds
        self._failing_until += seconds
        if self._failing_since is not None:
            self._failing_since += seconds
        if self._postgres_failing_since is not None:
            self._postgres_failing_since += seconds
        if self._alone_since is not None:
            self._alone_since += seconds

    # What may be done.

    def store_of(self, minute: int) -> Store | None:
        """The store that counts `minute`; None where that is not known, or the minute is about to be handed over."""
        choice = self.choice
        if choice.store is None or minute * MINUTE >= self.settled_until:
            return None
        if minute >= choice.from_minute:
            return choice.store
        if minute < choice.previous_from or self.handover.has_given_up(choice.version):
            return None
        return choice.previous

    def may_take(self, minute: int) -> bool:
        """Whether tokens of `minute` may be taken, and those taken in advance be spent, as far as that is known."""
        store = self.store_of(minute)
        if store != "redis":
            return store is not None
        return self.handover.covers(minute, is_vouched_for=minute * MINUTE >= self.pulled + NOTICE)

    def has_to_hand_over(self, now: float) -> bool:
        """Whether to report what was granted here of the running minute, which began in Redis (`handover.py`)."""
        choice, minute = self.choice, minute_at(now)
        is_leaving = choice.previous == "redis" and choice.store == "postgres" and self.begins(now) is not None
        if not is_leaving or minute < choice.previous_from or minute <= self._begun_before:
            return False
        if minute in (self.own_minute, self.lost_minute):
            return False
        return not self.handover.has_reported(choice.version, minute)

    def note_time(self, now: float) -> None:
        """Rule 7; to be called several times a second."""
        minute = minute_at(now)
        if not self.is_alone(now):
            self._alone_since = None
            if minute * MINUTE <= self._alone_last + ALONE_FOR and self.own_minute != minute:
                self.lost_minute = minute
            return
        if self._alone_since is None:
            self._alone_since = now
        # Nothing is taken in advance from Postgres, so a minute of its may be known.
        known_until = -inf if self._postgres_is_broken(now) else self.settled_until
        if minute * MINUTE >= max(self._alone_since + ALONE_FOR, known_until):
            self.own_minute, self._alone_last = minute, now
        elif now >= self._alone_since + SURE_AFTER:
            self.lost_minute, self._alone_last = minute, now

    def is_alone(self, now: float) -> bool:
        """Whether this process sees neither store: not the log, and not Redis where Redis may be asked; or whether
        Postgres counts, and does not count here."""
        if self._postgres_is_broken(now):
            return True
        sees_redis = self.redis_answers and self.store_of(minute_at(now)) == "redis"
        return now >= self.pulled + ALONE_AFTER and not sees_redis

    def _postgres_is_broken(self, now: float) -> bool:
        since = self._postgres_failing_since
        return since is not None and now >= since + ALONE_AFTER and self.store_of(minute_at(now)) == "postgres"

    def version_of(self, minute: int) -> tuple[int, int] | None:
        """The version that `minute` belongs to, for tokens to carry; None where it is not known."""
        if not self.may_take(minute):
            return None
        return self._generation, self.choice.version - (minute < self.choice.from_minute)

    def day_store(self, window: Window, now: float) -> Store | None:
        """The store that counts a day, for a take `now`; None where it is not known, or about to change (rule 5)."""
        store = self.store_of(minute_at(now))
        begins = self.begins(now)
        if store is None or self.store_of(minute_at(now + GUARD)) is None:
            return None
        if begins is not None and now >= begins - GUARD:
            return None
        since = self.choice.from_minute if begins is None else self.choice.previous_from
        return store if window.start - EARLIEST_DAY >= since * MINUTE else "postgres"

    def begins(self, now: float) -> float | None:
        """When a change begins that is announced and has not begun; None where there is none."""
        start = float(self.choice.from_minute * MINUTE)
        return start if now < start else None

    # What is to be said.

    def redis_gone(self, now: float) -> bool:
        """Whether this process has no Redis. It stays so until Redis has answered."""
        if not self.has_redis:
            return self.counts
        if self.suspended:
            return True
        if self._failing_since is None or now < self._silent_since + GONE_AFTER:
            return False
        return self._failing_until > self._failing_since + FAILING_FOR

    def is_silent(self, now: float, seconds: float) -> bool:
        """Whether Redis has not been heard of for so long."""
        return now >= self._heard + seconds

    @property
    def redis_answers(self) -> bool:
        """Whether nothing is known against Redis."""
        return self.has_redis and self._failing_since is None

    def propose(self, now: float) -> Proposal | None:
        """The change to announce now, if any."""
        choice = self.choice
        if choice.store is None:
            store: Store = "redis" if self.redis_answers else "postgres"
            return Proposal(choice.version, store, "the first process has come", QUIET)
        if self.begins(now) is not None:
            return None  # one change at a time
        if choice.store == "redis":
            if self.redis_gone(now):
                return Proposal(choice.version, "postgres", self._reason, self._next_quiet(now))
            if self._lost_in == choice.version and len(self._losers) >= LOSERS:
                return self._leave_lost_counters(now)
        elif self.redis_answers and now >= max(choice.complained_at, choice.from_minute * MINUTE) + choice.quiet:
            return Proposal(choice.version, "redis", "Redis answers every process again", choice.quiet)
        return None

    def _leave_lost_counters(self, now: float) -> Proposal:
        """Rule 4."""
        if now >= self.choice.from_minute * MINUTE + STEADY:
            return Proposal(self.choice.version, "redis", "Redis has lost its counters", self.choice.quiet)
        quiet = max(STEADY, self._next_quiet(now))
        return Proposal(self.choice.version, "postgres", "Redis loses its counters again and again", quiet)

    def _next_quiet(self, now: float) -> float:
        """Rule 3: twice as long where Redis was not kept for long."""
        if self.choice.previous != "postgres" or now >= self.choice.from_minute * MINUTE + STEADY:
            return QUIET
        return min(2 * self.choice.quiet, MAX_QUIET)

    def complains(self, now: float) -> bool:
        """Whether to tell the others that there is no Redis here: while they may go back, and nobody else has."""
        return (
            (self.redis_gone(now) or self._failing_since is not None)
            and self.choice.store == "postgres"
            and now >= self.choice.complained_at + COMPLAINT_INTERVAL
        )
