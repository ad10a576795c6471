"""Leaving Redis in the middle of a minute: what one process may hold of it, and what it has told the others.

The theory
----------
A minute that began in Redis can be counted on in Postgres at once if Postgres knows every token of it that was
granted. (`failover.py` has the rest: which store a minute belongs to, and changes at a minute's edge.) So each process
stands in a table of **holders** before it takes the first token from Redis. Once a change from Redis to Postgres is
announced, each of them **reports**: "of minute m I was granted so many tokens of each tenant, and I take no more of it
from Redis." Postgres moves the change to the running minute when the last holder has reported. The same transaction
enters the sum of all reports into its counters. From then on the minute's counter in Postgres says what the one in
Redis said, less what was debited there and granted to no process.

Rules
-----
1. A process takes from Redis for minute m, and enters m with tokens that were taken in advance, only if it is a holder
   *through* m. It becomes one for LEASE minutes and against the version of the row that it knows, under the lock under
   which minutes are handed over. So either the hand-over waits for it, or it learns that the row is another one. It
   renews that each minute. A minute that only Redis vouches for (rule 6 there: the log is unavailable) needs no
   renewal: it is not known whether any process can be told.
2. A process gives up before it counts what it was granted: from then on it takes nothing from Redis for any minute
   before the change begins. An answer of Redis that arrives afterwards is not used, neither for the minute nor for the
   day. What is held is spent as before. So what is counted can only become less while it is counted, in steps, between
   which requests are served. A count is void if another minute begins before its end, or the row is another one then.
3. A report names the version of the change and the minute. If it is made again (its answer was lost), it replaces
   itself.
4. A holder that does not report, because it was killed, stopped or cut off, keeps the minute from being handed over:
   the change begins at the edge that was agreed on. The others wait for it through the last minute that it may hold.
   If it comes back later, it has to become a holder again, and learns what has happened. A process to which Redis
   answers does not give it up if Postgres has not heard of a holder lately: it would be in vain.
5. A process that leaves in order reports what it has spent of the running minute, and is not a holder any more.
6. A process that has decided by itself in this minute (rule 7 there) admitted tokens that no counter has: it does not
   report. Nor does one that was isolated when the minute began, or shortly before: others may have decided by
   themselves. Neither leaves in order: it stays a holder until its lease ends. One that lost the last store later has
   spent no more than it held. It reports, and the minute is not lost to it any more once it is handed over. A minute
   that begins again because the server's clock was set back is not reported: a process knows only what it was granted
   the second time.

What remains are two faults at once: a process could not reach Postgres for more than LEASE minutes, while Redis
answered it, and Redis is lost before it has reached Postgres again. The others do not wait for it then, and what it
was granted of that one minute is admitted once more.
"""

from __future__ import annotations

from tenantcache.ratelimit.core.windows import minute_at

LEASE = 5
"""Minutes after the one in which it was last heard of for which a holder is waited for. An outage of Postgres that is
longer meets "what remains", and a process that was killed delays nothing for longer. `schema.sql` has the same."""


class Handover:
    """What one process has told Postgres. Minutes are numbers of minutes, `version` that of the row in Postgres."""

    through: int

    __slots__ = ("_begun_before", "_given_up", "_reported", "through")

    def __init__(self) -> None:
        self._begun_before = -1
        """The last minute that may have begun before, by a clock that was set back since."""
        self.start_anew()

    def start_anew(self) -> None:
        """This process is not a holder."""
        self.through = -1
        """The last minute that this process is waited for (rule 1)."""
        self._given_up: int | None = None
        self._reported: tuple[int, int] | None = None

    def clock_moved(self, seconds: float, now: float) -> None:
        """The server's clock was set by so much, to `now`. If it was set back over an edge, minutes begin again."""
        before = minute_at(now - seconds)
        if minute_at(now) < before:
            self._begun_before = max(self._begun_before, before)

    def covers(self, minute: int, *, is_vouched_for: bool) -> bool:
        """Rule 1. `is_vouched_for`: the minute is known by answers of Redis alone."""
        return minute <= self.through or (is_vouched_for and self.through >= 0)

    def has_given_up(self, version: int) -> bool:
        """Whether the minutes before the change to `version` are given up here."""
        return self._given_up == version

    def give_up(self, version: int) -> None:
        """Rule 2. What was granted of the running minute is counted next."""
        self._given_up = version

    def report(self, version: int, minute: int) -> None:
        """Postgres has confirmed the report."""
        self._reported = version, minute

    def has_to_report(self, version: int, minute: int) -> bool:
        """Rules 3 and 6. Whether a report of this minute would be right, and has not been made."""
        return minute > self._begun_before and self._reported != (version, minute)
