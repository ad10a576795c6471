"""The rows in Postgres by which a simulated fleet agrees: the store that counts, the band, and the minute's holders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from math import ceil

from tenantcache.budget.core.bands import DWELL, Band, BandChoice
from tenantcache.ratelimit.core.agreement import NOTICE, Proposal, StoreChoice
from tenantcache.ratelimit.core.handover import LEASE
from tenantcache.ratelimit.core.windows import Window, minute_at
from tests.core.virtualtime import VirtualTime

NOTICE_GIVEN = NOTICE
"""What an announcement gives; a test that takes it away must see the limit broken."""
DWELL_GIVEN = DWELL
"""How long the band before the last one is in force; the same."""
WAITS_FOR_ALL = True
"""Whether a minute is handed over only once all holders have reported; the same."""

_NOTHING_REPORTED = (0, 0, 0)


class Postgres:
    """As the functions of the schema: each reads the clock under the lock, and its commit may come late.

    `on_commit` is called after each commit, and `on_choice` after that of another store.
    """

    def __init__(
        self, time: VirtualTime, on_commit: Callable[[], None], on_choice: Callable[[StoreChoice], None]
    ) -> None:
        self.row = StoreChoice(0, None)
        self.band = BandChoice()
        self.counters: Counter[Window] = Counter()
        self.changes: list[StoreChoice] = []
        self.handed_over: list[int] = []
        self.commits = [0.0, 0.1, 2.0, 8.0]
        """Seconds that a commit may take."""
        self._time, self._on_commit, self._on_choice = time, on_commit, on_choice
        self._locked_until = 0.0
        self._holders: dict[int, int] = {}
        """The minute through which each holder is waited for."""
        self._reports: dict[int, tuple[int, int, int]] = {}
        """Version, minute and tokens that each holder has reported last."""
        self._left: Counter[int] = Counter()
        """Tokens that processes had spent of a minute when they left in order."""

    @property
    def settled(self) -> float | None:
        """Until when a pull of now knows the store that counts."""
        return self._time.now + NOTICE if self._time.now > self._locked_until else None

    def waits(self, work: Callable[[], None]) -> bool:
        """Whether the lock is held; then `work` is done once it is free."""
        if self._time.now > self._locked_until:
            return False
        self._time.at(self._locked_until + 0.001, work)
        return True

    def lock(self) -> None:
        """For this instant."""
        self._locked_until = self._time.now

    def _commit_later(self, commit: Callable[[], None], commits: list[float]) -> None:
        self._locked_until = self._time.now + self._time.random.choice(commits)
        self._time.at(self._locked_until, commit)

    # Which store counts.

    def report_unavailable(self) -> None:
        """Redis."""
        self.row = replace(self.row, complained_at=self._time.now)

    def choose(self, proposal: Proposal) -> None:
        """As `choose_counter_store`."""
        if self.waits(lambda: self.choose(proposal)):
            return
        row, now, first = self.row, self._time.now, self.row.store is None
        back = not first and row.store != proposal.store == "redis"
        if row.version != proposal.version or row.from_minute * 60 > now:
            return
        if back and row.complained_at > now - proposal.quiet:
            return
        if row.store != proposal.store == "redis" and not self.band.band.may_count:
            return
        new = StoreChoice(
            row.version + 1,
            proposal.store,
            0 if first else ceil((now + NOTICE_GIVEN) / 60),
            row.store,
            row.from_minute,
            proposal.why,
            now,
            now if proposal.store == "postgres" and not first else row.complained_at,
            proposal.quiet,
        )
        self._commit_later(lambda: self._commit(new), self.commits)

    def _commit(self, new: StoreChoice) -> None:
        self.row = new
        self.changes.append(new)
        self._on_commit()
        self._on_choice(new)

    # The band.

    def change_band(self, band: Band) -> None:
        """As `change_band` in the schema."""
        if self.waits(lambda: self.change_band(band)):
            return
        row, comes_too_soon = self.band, self._time.now < self.band.changed_at + DWELL_GIVEN
        if band is Band.NO_REDIS and (row.band is not Band.NO_COPIES or comes_too_soon):
            return
        new = BandChoice(row.version + 1, band, changed_at=self._time.now)
        self._commit_later(lambda: self._commit_band(new), self.commits)

    def _commit_band(self, new: BandChoice) -> None:
        self.band = new
        self._on_commit()

    # Handing a minute over.

    def register(self, name: int, version: int) -> int | None:
        """The minute through which that process may hold tokens of Redis; None if the fleet has gone on."""
        if self.row.version != version:
            return None
        through = minute_at(self._time.now) + LEASE
        self._holders[name] = max(through, self._holders.get(name, 0))
        return through

    def report(self, name: int, version: int, minute: int, granted: int) -> None:
        self._reports[name] = version, minute, granted
        self._finish(version, minute)

    def leave(self, name: int, minute: int, spent: int) -> None:
        """That process ends, and will not report."""
        self._holders.pop(name, None)
        if self._reports.pop(name, _NOTHING_REPORTED)[1] != minute or self.row.from_minute > minute:
            self._left[minute] += spent
        self._finish(self.row.version, minute)

    def _finish(self, version: int, minute: int) -> None:
        """As `hand_over_counters`."""
        row = self.row
        if (row.version, row.store, row.previous) != (version, "postgres", "redis"):
            return
        if not row.previous_from <= minute < row.from_minute or minute != minute_at(self._time.now):
            return
        awaited = [name for name, through in self._holders.items() if through >= minute]
        reported = [self._reports.get(name, _NOTHING_REPORTED)[:2] == (version, minute) for name in awaited]
        if WAITS_FOR_ALL and not all(reported):
            return
        of_minute = [tokens for _, reported, tokens in self._reports.values() if reported == minute]
        granted = sum(of_minute) + self._left[minute]
        self._commit_later(lambda: self._commit_hand_over(minute, granted), self.commits[:3])

    def _commit_hand_over(self, minute: int, granted: int) -> None:
        self.row = replace(self.row, from_minute=minute)
        self.counters[Window("minute", minute)] += granted
        self.handed_over.append(minute)
        self._on_commit()
