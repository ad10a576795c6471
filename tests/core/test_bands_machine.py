"""A fleet and its budget in virtual time: whatever processes know and do, the bands keep their rules.

Processes report at most REPORT_AGE seconds late. They are paused and restarted. Each has read the row and others' use
at another time. The rate of the fleet may double for minutes. It sends until some time after Redis is left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tenantcache.budget.core.bands import (
    CHANGES,
    DWELL,
    LATE,
    LEAVING,
    REPORT_AGE,
    SHARES,
    SURGE,
    Band,
    BandChoice,
    BandProposal,
    Cause,
    Use,
    has_to_want,
    propose,
)
from tests.thorough import effort

BUDGET, DAY = 100_000, 86_400.0
START = 20_000 * DAY + 1_000
NEW = BandChoice()
STEP = 5.0


@dataclass
class Process:
    """`unreported` commands, `known` of all, and the row as it was read last."""

    budget: int | None
    unreported: float = 0.0
    known: float = 0.0
    period: float = 0.0
    next_report: float = 0.0
    row: BandChoice = NEW
    paused_until: float = -inf


class Fleet(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.row = BandChoice()
        self.reported = 0.0
        self.sent = 0.0
        self.left_at = inf
        self.rate = 0.0
        self.surges_until = self.jumped_at = -inf
        self.measured = 0.0
        self.processes: list[Process] = []
        self.history: list[tuple[BandChoice, Cause]] = []

    @initialize(size=st.integers(1, 5), rate=st.sampled_from([0.0, 0.5, 5.0, 10.0]))
    def begin(self, size: int, rate: float) -> None:
        self.rate = self.measured = rate
        self.processes = [Process(BUDGET, next_report=START + place) for place in range(size)]

    @property
    def period(self) -> float:
        return self.now // DAY * DAY

    # The rules.

    @rule(seconds=st.sampled_from([STEP, 60.0, 200.0, 400.0, 3_000.0]))
    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self._step()

    @rule(share=st.sampled_from([0.5, 0.69, 0.85]))
    @precondition(lambda self: self.row.band is not Band.NO_REDIS)
    def others_have_used(self, share: float) -> None:
        """Before this fleet came, or from a bill of the provider's."""
        if self.sent < share * BUDGET:
            self.reported += share * BUDGET - self.sent
            self.sent = share * BUDGET
            self.jumped_at = self.now

    @rule(place=st.integers(0, 4), seconds=st.sampled_from([30.0, 400.0, 4_000.0]))
    def pause(self, place: int, seconds: float) -> None:
        if place > 0 and place < len(self.processes):  # one is always there
            self.processes[place].paused_until = self.now + seconds

    @rule(place=st.integers(0, 4))
    def restart(self, place: int) -> None:
        if place < len(self.processes):
            process = self.processes[place]
            self.reported += process.unreported  # an orderly stop
            self.processes[place] = Process(process.budget, next_report=self.now)

    @rule()
    def traffic_doubles_for_a_while(self) -> None:
        self.surges_until = self.now + REPORT_AGE + LEAVING

    @rule()
    def a_day_passes(self) -> None:
        self.now = self.period + DAY - 100.0
        for process in self.processes:
            process.paused_until = -inf
        self.pass_time(100.0 + LATE + 3 * STEP + 70.0)

    # What happens by itself.

    def _step(self) -> None:
        before = self.period
        self.now += STEP
        if self.period != before:
            self.reported = self.sent = 0.0
            for process in self.processes:
                process.unreported = 0.0
        if self.row.band is not Band.NO_REDIS:
            self.left_at = inf
        if self.now < self.left_at:
            spent = self.rate * STEP * (SURGE if self.now < self.surges_until else 1.0)
            self.sent += spent
            live = [process for process in self.processes if process.paused_until <= self.now]
            for process in live:
                process.unreported += spent / len(live)
        for process in self.processes:
            if process.paused_until <= self.now:
                self._act(process)

    def _act(self, process: Process) -> None:
        # It acts by what it knew before it hears of anything else, as after a pause.
        use = self._use(process)
        if (proposal := propose(process.row, use, self.now)) is not None:
            self._change(proposal)
        elif has_to_want(process.row, use, self.now):
            self.row = replace(self.row, wanted_at=self.now)
        process.row = self.row
        if self.now >= process.next_report:
            self.reported += process.unreported
            process.unreported, process.known, process.period = 0.0, self.reported, self.period
            process.next_report = self.now + REPORT_AGE

    def _use(self, process: Process) -> Use | None:
        if process.budget is None:
            return None
        known = process.known if process.period == self.period else 0.0
        return Use(self.period, int(known + process.unreported), process.budget, self.measured, len(self.processes))

    def _change(self, proposal: BandProposal) -> None:
        """As `change_band`."""
        if proposal.version != self.row.version:
            return
        dwelt = self.row.band is Band.NO_COPIES and self.now >= self.row.changed_at + DWELL
        if proposal.band is Band.NO_REDIS and not dwelt:
            return
        row = BandChoice(
            self.row.version + 1, proposal.band, proposal.period, proposal.budget, proposal.edge, self.now, self.now
        )
        assert CHANGES[self.row.band][proposal.cause] is proposal.band
        self.history.append((row, proposal.cause))
        self.row = row
        if row.band is Band.NO_REDIS:
            self.left_at = self.now + LEAVING - STEP

    # What must hold.

    @invariant()
    def redis_is_never_past_its_budget(self) -> None:
        assert self.sent <= BUDGET

    @invariant()
    def no_band_begins_before_its_time_and_none_flaps(self) -> None:
        changes = [
            (row, cause, before) for (before, _), (row, cause) in zip(self.history, self.history[1:], strict=False)
        ]
        for row, cause, before in changes:
            if cause is Cause.RISES and row.period == before.period:
                assert row.band is not before.band
            assert cause is not Cause.FALLS  # use never falls within a period
            assert cause is not Cause.LAPSED  # a process that has a budget is always there

    @invariant()
    def a_band_is_never_lower_than_its_use_for_long(self) -> None:
        if self.now < max(self.row.changed_at, self.jumped_at) + DWELL + 2 * REPORT_AGE:
            return
        if self.now < self.period + LATE + 2 * REPORT_AGE:
            return
        wanted = [band for band, share in SHARES.items() if self.sent - self._late() >= share * BUDGET]
        order = list(Band)
        assert order.index(self.row.band) >= max((order.index(band) for band in wanted), default=0)

    def _late(self) -> float:
        """What may be known to no process that acts."""
        paused = sum(process.unreported for process in self.processes)
        return paused + SURGE * self.rate * 2 * REPORT_AGE


Fleet.TestCase.settings = settings(max_examples=effort(60, 400), stateful_step_count=30, deadline=None)
test_the_bands_keep_their_rules = Fleet.TestCase
