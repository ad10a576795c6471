"""Counter-store failover: which store counts a fleet's limits, and since which minute, as one process knows it.

The theory
----------
A limit holds as long as every token of a window was debited in one counter. Two stores are two counters. So **each
minute belongs to one store**, and no process spends a token of a minute that was taken from the other one. The fleet
agrees by one row in Postgres, `StoreChoice`: minutes from `from_minute` on are counted in `store`, those before in
`previous`. Each change is a new `version`, and every pull of the log carries the row.

A process must also know that the row is not out of date. A process that changes it holds a lock and reads the server's
clock. The change begins with a minute that starts at least NOTICE seconds later. Take a pull that finds the lock free
at server time e, and reads the row after that. It has seen every change that begins before e + NOTICE: one that it has
not seen took the lock after e. So `settled_until` = e + NOTICE, and **a minute is known iff it starts before that**.
Both times are readings of one clock, the server's. How long a message or a commit was on its way does not enter.

Rules
-----
1. Tokens of a minute are taken from its store, and only once the minute is known. Tokens taken in advance carry the
   version under which they were taken. They are spent only if the minute, when it begins, is known to be of that
   version; otherwise they are lost, and fewer requests are admitted. (The store's name would not do: a store that was
   left may come back empty.) A minute that has begun stays what it is until all hand it over (rule 2).
2. A process announces Postgres if Redis is unavailable to it: Redis has not answered for UNAVAILABLE_AFTER seconds, or
   the provider refuses the account. Until the change begins each process spends what it holds, and refuses beyond
   that. The change begins within the running minute if all processes report what they were granted of it
   (`handover.py`), and at the edge otherwise. Once a take has failed, only counting is an answer: a server that is
   paused for writes, or a replica, still answers PING. Silence alone proves nothing, since this process may have been
   stopped. It must have asked, and failed, over more than FAILING_FOR seconds. What failed because this process did
   not run is not counted (`StoreError.starved`).
3. Any process to which Redis answers announces the way back, once no process has reported Redis unavailable for
   `quiet` seconds. Each process without Redis reports that every REPORT_INTERVAL. If Redis is left again within STEADY
   seconds, the fleet waits twice as long the next time, up to MAX_QUIET: a Redis that comes and goes is not followed
   each time.
4. If Redis has lost counters of MIN_TENANTS_WITH_LOST_COUNTERS tenants (FLUSHALL, a failover), a change from Redis to
   Redis is announced. It ends all tokens of later minutes, whose debits are lost. If Redis has lost counters again
   within STEADY seconds of the last change (it evicts keys, or something deletes them), Postgres is announced, for
   STEADY seconds at least.
5. A day that has seen a change is counted in Postgres to its end, and no day goes back. What Redis counts of a day is
   written to Postgres all along (by each process, at most MIRROR_INTERVAL late). Days that begin later go with the
   minutes. In the last GUARD seconds before a change no tokens of a day are taken, so that no counter grants any that
   others have left. Clocks of two processes differ by less.
6. *Without the log* (Postgres is unavailable, at least to this process) `settled_until` stands still, and a minute
   after that is not known. One exception keeps limits whole while Postgres restarts. If Redis has answered every
   WITNESS_GAP seconds since before the last pull, and never failed, its answers vouch for it: one that was asked for
   at s extends `settled_until` to s + NOTICE. If Redis fails for all processes or for none, that is exact: the process
   that announces a change has found Redis failing over more than WITNESS_GAP (rule 2), and this process would have
   found it failing too. So each process asks Redis twice a second (PING, which is free), also while all is well: the
   outage may be over when the log is lost. A budget can make the fleet leave a Redis that answers (rule 8), and that
   would reach no process without the log. So answers vouch for DWELL seconds after the last pull at most, and for
   nothing if that has told of a band in which the fleet may leave Redis next (rule 2 of `budget/core/bands.py`).
7. A process is *isolated* if it sees neither store, or if Postgres is to count and does not, although the log is there.
   It then decides by itself (`TENANTCACHE_ON_LIMITER_ERROR`), but only in whole minutes: those at whose beginning, by
   all that it knows, every process was isolated. In a minute that may have begun otherwise for others, it spends what
   it holds, and takes nothing more unless the minute is handed over (`handover.py`). So a fleet that loses everything
   together, and gets it back, exceeds no limit. `isolation.py` has a table of what begins and ends isolation, and one
   of what follows for the running minute. The reason of each case stands beside it.
8. *Planned:* in the band NO_REDIS any process announces Postgres, and none announces the way back. The minutes before
   the change are counted in Redis to their end, because it is there: no process gives one up, and none is refused.
   Redis is not asked whether it counts, since that is billed: PING alone tells of it.

What remains are two faults at once. One process lost Postgres and sees Redis, while others see Postgres and lost Redis
(or Redis was refused to them and not to it). Then the two sides use both stores, and up to one more limit a minute is
admitted for as long as both faults last. A process that sees neither store admits `limit / processes` a minute beside
what the others take (`TENANTCACHE_ON_LIMITER_ERROR=local`; "deny" admits nothing). It is the same if a
process stood still from before both stores were lost, over an edge, until after they were back. It takes tokens of that
minute from the store, beside the shares of the others: up to one more limit. A database that was restored to a time
before a change may bring back an older row: that is a change without notice.

All times are server time, in seconds since the Unix epoch.
"""

from __future__ import annotations

from math import inf

from tenantcache.budget.core.bands import DWELL, Band
from tenantcache.ratelimit.core.agreement import (
    CHANGES,
    MAX_QUIET,
    NOTICE,
    QUIET,
    STORE_OF_CHANGE,
    Agreement,
    Cause,
    Phase,
    Proposal,
    Store,
    StoreChoice,
)
from tenantcache.ratelimit.core.handover import Handover
from tenantcache.ratelimit.core.isolation import Isolation, Sight
from tenantcache.ratelimit.core.lostcounters import LostCounters
from tenantcache.ratelimit.core.minutestanding import STORE_OF, TAKES, MinuteStanding
from tenantcache.ratelimit.core.redishealth import RedisEvent, RedisHealth, RedisState
from tenantcache.ratelimit.core.windows import MINUTE, Window, minute_at

ISOLATED_AFTER = 3.0
"""Seconds without a pull, which comes every second, after which Postgres is unavailable."""

REPORT_INTERVAL = 10.0
MIRROR_INTERVAL = 10.0
GUARD = 1.0

EARLIEST_DAY = 14 * 3600
"""Seconds by which a day of some time zone begins before that of UTC. One that may have begun before a change has."""

STEADY = 600.0


class Failover:
    """What one process knows, and what it may do and has to say because of that."""

    __slots__ = (
        "_lost",
        "_postgres_failing_since",
        "agreement",
        "band",
        "handover",
        "has_counted",
        "isolation",
        "redis",
    )

    def __init__(self, *, has_redis: bool) -> None:
        self.redis: RedisHealth = RedisHealth(has_redis=has_redis)
        self.agreement: Agreement = Agreement()
        self.handover: Handover = Handover()
        self.isolation: Isolation = Isolation()
        self.band: Band = Band.NORMAL
        """The band of the budget, as the last pull has told it."""
        self.has_counted: bool = False
        """Whether this process has counted anything: one that never does needs no store."""
        self._lost = LostCounters()
        self._postgres_failing_since: float | None = None

    @property
    def choice(self) -> StoreChoice:
        return self.agreement.choice

    # What is learned.

    def follow(
        self,
        choice: StoreChoice,
        settled_until: float | None,
        band: Band = Band.NORMAL,
        *,
        read_at: float = -inf,
    ) -> bool:
        """Take in what a pull has brought. `settled_until` is None if the row was being changed; then `read_at` says
        when it was read. Returns whether it has another version."""
        is_news = choice.version != self.choice.version
        is_handed_over = not is_news and choice.from_minute < self.choice.from_minute
        self.band = band
        if self.agreement.follow(choice, settled_until, read_at=read_at):
            self.handover.start_anew()
        if is_handed_over and self.handover.has_given_up(choice.version):
            self.isolation.recover(choice.from_minute)
        if settled_until is not None:
            self._vouch()
        return is_news

    def redis_answered(self, asked: float, now: float, event: RedisEvent = RedisEvent.COUNTED) -> None:
        """Redis has answered `now` what it was asked at `asked`."""
        self.redis.answered(event, asked, now)
        self._vouch()

    def redis_failed(self, event: RedisEvent, why: str, now: float, *, asked: float | None = None) -> None:
        """Redis did not answer, or refused. `asked`: when that was, if it was sent for certain."""
        self.redis.failed(event, why, now, asked=asked)

    def _vouch(self) -> None:
        """Rule 6."""
        if self.choice.store == "redis" and self.band.has_copies:
            pulled = self.agreement.pulled
            self.agreement.settle(min(self.redis.heard_since(pulled) + NOTICE, pulled + DWELL))

    def redis_lost(self, owner: str, window: Window) -> None:
        """The counter that Redis has for `owner` and `window` did not hold what was debited there."""
        if self.choice.store == "redis" and window.start >= self.choice.from_minute * MINUTE:
            self._lost.note(owner, self.choice.version)

    def postgres_answered(self) -> None:
        self._postgres_failing_since = None

    def postgres_failed(self, now: float) -> None:
        """Postgres did not count (rule 7): it takes no writes, say, or its table is locked."""
        if self._postgres_failing_since is None:
            self._postgres_failing_since = now

    @property
    def postgres_fails(self) -> bool:
        return self._postgres_failing_since is not None

    def note_time(self, now: float) -> None:
        """Rule 7; to be called several times a second."""
        # A minute of Postgres may be known. What was reserved of it counts in the process's own share.
        known_until = -inf if self._postgres_is_broken(now) else self.agreement.settled_until
        answered = max(self.redis.asked, self.agreement.heard)
        self.isolation.note(now, self._sight(now), known_until=known_until, answered=answered)

    def _sight(self, now: float) -> Sight:
        if self.is_isolated(now):
            return Sight.NO_STORE
        if self._has_log(now):
            return Sight.LOG
        return Sight.REDIS_AGAIN if self.redis.failed_at >= self.agreement.pulled else Sight.REDIS

    def clock_moved(self, seconds: float, now: float) -> None:
        """The server's clock was set by so much, to `now`: what happened here, and what is due, has other times by it.

        The lease of `handover` stays as it is, since Postgres has the same number.
        """
        self.agreement.clock_moved(seconds)
        self.redis.clock_moved(seconds)
        self.handover.clock_moved(seconds, now)
        self.isolation.clock_moved(seconds)
        if self._postgres_failing_since is not None:
            self._postgres_failing_since += seconds

    # What may be done.

    def standing_of(self, minute: int) -> MinuteStanding:
        """What `minute` is to this process, as far as that is known now."""
        return self.isolation.standing_of(minute) or self._agreed(minute)

    def _agreed(self, minute: int) -> MinuteStanding:
        """By the row alone. A minute that is the process's own, or lost to it, belongs to a store nevertheless."""
        store, choice = self.agreement.store_of(minute), self.choice
        if store is None:
            return MinuteStanding.UNKNOWN
        if minute < choice.from_minute and self.handover.has_given_up(choice.version):
            return MinuteStanding.GIVEN_UP
        if store == "postgres":
            return MinuteStanding.IN_POSTGRES
        is_vouched_for = minute * MINUTE >= self.agreement.pulled + NOTICE
        if self.handover.covers(minute, is_vouched_for=is_vouched_for):
            return MinuteStanding.IN_REDIS
        return MinuteStanding.UNREGISTERED

    def store_of(self, minute: int) -> Store | None:
        """The store that counts `minute`; None if that is not known, or the minute is about to be handed over."""
        return STORE_OF.get(self._agreed(minute))

    def version_of(self, minute: int) -> tuple[int, int] | None:
        """The version that `minute` belongs to, for tokens to carry; None if no tokens of it may be taken or spent."""
        return self.agreement.version_of(minute) if self._agreed(minute) in TAKES else None

    def day_store(self, window: Window, now: float) -> Store | None:
        """The store that counts a day, for a take `now`; None if it is not known, or about to change (rule 5)."""
        store = self.store_of(minute_at(now))
        begins = self.begins(now)
        if store is None or self.store_of(minute_at(now + GUARD)) is None:
            return None
        if begins is not None and now >= begins - GUARD:
            return None
        since = self.choice.from_minute if begins is None else self.choice.previous_from
        return store if window.start - EARLIEST_DAY >= since * MINUTE else "postgres"

    def begins(self, now: float) -> float | None:
        """When a change begins that is announced and has not begun; None if there is none."""
        return self.agreement.begins(now)

    def is_isolated(self, now: float) -> bool:
        """Rule 7. The log is lost and so is Redis, or Redis may not be asked; or Postgres is to count and does not."""
        if self._postgres_is_broken(now):
            return True
        sees_redis = self.redis.answers and self.store_of(minute_at(now)) == "redis"
        return not self._has_log(now) and not sees_redis

    def _has_log(self, now: float) -> bool:
        """Also while the row is being changed: others may have read it before."""
        return now < self.agreement.heard + ISOLATED_AFTER

    def _postgres_is_broken(self, now: float) -> bool:
        since = self._postgres_failing_since
        return since is not None and now >= since + ISOLATED_AFTER and self.store_of(minute_at(now)) == "postgres"

    # What is to be said.

    def has_to_hand_over(self, now: float) -> bool:
        """Whether to report what was granted here of the running minute, which began in Redis (`handover.py`)."""
        choice, minute = self.choice, minute_at(now)
        if self.agreement.phase(now) is not Phase.LEAVING_REDIS or minute < choice.previous_from:
            return False
        if self.isolation.has_spent_alone(minute):
            return False  # rule 6 there
        if not self.band.may_count and self.redis.answers:
            return False  # rule 8
        return self.handover.has_to_report(choice.version, minute)

    def has_to_report_unavailable(self, now: float) -> bool:
        """Rule 3. While the fleet may go back, and no process has said lately that it may not."""
        is_due = self.choice.store == "postgres" and now >= self.choice.complained_at + REPORT_INTERVAL
        return is_due and (self.has_counted if self.redis.state is RedisState.ABSENT else not self.redis.answers)

    def propose(self, now: float) -> Proposal | None:
        """The change to announce now, if any."""
        phase, cause = self.agreement.phase(now), self._cause(now)
        if cause is None:
            return None
        why = self.redis.reason if cause is Cause.UNAVAILABLE else cause.why
        return Proposal(self.choice.version, STORE_OF_CHANGE[CHANGES[phase][cause]], why, self._quiet_after(cause, now))

    def _cause(self, now: float) -> Cause | None:
        choice, begun = self.choice, self.choice.from_minute * MINUTE
        match self.agreement.phase(now):
            case Phase.UNDECIDED:
                has_redis = self.redis.answers and self.band.may_count
                return Cause.FIRST_WITH_REDIS if has_redis else Cause.FIRST_WITHOUT_REDIS
            case Phase.REDIS if self._redis_is_unavailable(now):
                return Cause.UNAVAILABLE
            case Phase.REDIS if not self.band.may_count:
                return Cause.BUDGET
            case Phase.REDIS if self._lost.are_lost(choice.version):
                return Cause.LOST_COUNTERS if now >= begun + STEADY else Cause.LOST_COUNTERS_AGAIN
            case Phase.POSTGRES if self._may_return and now >= max(choice.complained_at, begun) + choice.quiet:
                return Cause.ANSWERS_AGAIN
        return None  # one change at a time

    @property
    def _may_return(self) -> bool:
        return self.redis.answers and self.band.may_count

    def _redis_is_unavailable(self, now: float) -> bool:
        """Rule 2. A process that was given no Redis is without it once it counts."""
        return self.has_counted if self.redis.state is RedisState.ABSENT else self.redis.is_unavailable(now)

    def _quiet_after(self, cause: Cause, now: float) -> float:
        """Rules 3 and 4: twice as long if Redis was not kept for long."""
        is_kept = self.choice.previous != "postgres" or now >= self.choice.from_minute * MINUTE + STEADY
        doubled = QUIET if is_kept else min(2 * self.choice.quiet, MAX_QUIET)
        match cause:
            case Cause.UNAVAILABLE:
                return doubled
            case Cause.LOST_COUNTERS_AGAIN:
                return max(STEADY, doubled)
            case Cause.LOST_COUNTERS | Cause.ANSWERS_AGAIN:
                return self.choice.quiet
        return QUIET
