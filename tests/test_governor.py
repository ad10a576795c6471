"""The governor of each process: what it reads, proposes, says and tells."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Sequence
from uuid import UUID

import pytest

from tenantcache.budget.core.bands import DWELL, QUIET, Band, BandInForce, BandProposal
from tenantcache.budget.core.meter import Command, Meter, Purpose
from tenantcache.budget.core.period import Period, period_of
from tenantcache.budget.core.providerbill import ProviderBill
from tenantcache.budget.core.rate import KEPT, SPAN, Rate
from tenantcache.budget.fleetuse import FleetUse
from tenantcache.budget.governor import TAKE_OVER_AFTER, Governor
from tenantcache.budget.usestore import UseRow
from tenantcache.budget.webhook import Message, Told, Webhook
from tenantcache.errors import StoreError
from tenantcache.testing.bands import MemoryBands

START = 1_700_000_400.0


class OtherUse:
    """`UseStore` of a fleet whose other processes have used so much in this hour, and next to nothing in ten days."""

    def __init__(self) -> None:
        self.used = 1
        self.hour = int(START // 3600)
        self.failing = False

    async def exchange(self, process_id: UUID, rows: Sequence[UseRow], since: int) -> list[UseRow]:
        if self.failing:
            raise StoreError("down")
        rows = [UseRow(self.hour - 240, Purpose.RESERVATION, 1), UseRow(self.hour, Purpose.RESERVATION, self.used - 1)]
        return [row for row in rows if row.hour >= since]

    async def drop_before(self, hour: int) -> None:
        pass


class FakeWebhook:
    """A `Webhook` that keeps what it is told."""

    sent = failed = 0

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.confirms: list[Told] = []

    def tell(self, message: Message, told: Told) -> None:
        self.messages.append(message)
        self.confirms.append(told)


class FakeProvider:
    """A `ProviderWatch` whose figure the test gives."""

    def __init__(self, now: float) -> None:
        self.bill: ProviderBill | None = None
        self._period = int(period_of(now).start)

    def say(self, billed: int, *, counted: int) -> None:
        self.bill = ProviderBill(START, self._period, billed, counted)

    async def update(self, now: float, period: Period, counted: Callable[[], int]) -> None:
        pass


class World:
    """Governors of one fleet, of 100,000 commands a month."""

    def __init__(self) -> None:
        self.now = START
        self.others = OtherUse()
        self.bands = MemoryBands(lambda: self.now)
        self.asked = 0

    def governor(
        self,
        budget: int | None = 100_000,
        webhook: FakeWebhook | None = None,
        provider: FakeProvider | None = None,
    ) -> Governor:
        self.use = FleetUse(
            self.others,
            meter := Meter(),
            server_now=lambda: self.now,
            budget=budget,
            provider=provider,  # type: ignore[arg-type]
        )
        self.meter, self.in_force, self.seen = meter, BandInForce(), list[Band]()
        governor = Governor(
            self.bands,
            self.use,
            self.in_force,
            webhook,  # type: ignore[arg-type]
            server_now=lambda: self.now,
            processes=lambda: 2,
            ask_log=self._ask,
            on_change=self.seen.append,
        )
        governor.follow(self.bands.row)
        return governor

    def _ask(self) -> None:
        self.asked += 1

    async def pass_time(self, governor: Governor, seconds: float = 5.0, used: int | None = None) -> Band:
        """Another look, after a report and a pull."""
        self.now += seconds
        if used is not None:
            self.others.used = used
        await self.use.report()
        await governor.look(self.bands)
        governor.follow(self.bands.row)
        return self.in_force.band


async def test_a_fleet_goes_through_its_bands_and_back_at_the_periods_edge() -> None:
    world = World()
    governor = world.governor()
    assert await world.pass_time(governor, used=69_999) is Band.NORMAL
    assert await world.pass_time(governor, used=70_001) is Band.THRIFT
    assert await world.pass_time(governor, used=97_900) is Band.NO_COPIES
    assert await world.pass_time(governor, 299, used=99_000) is Band.NO_COPIES
    assert await world.pass_time(governor, 1) is Band.NO_REDIS
    assert world.seen == [Band.THRIFT, Band.NO_COPIES, Band.NO_REDIS]
    assert world.bands.row.budget == 100_000
    assert governor.changes.total() == 3
    assert governor.stats()["band"] == "no Redis"
    world.now = 1_701_388_800.0  # 2023-12-01
    world.others.hour = int(world.now // 3600)
    assert await world.pass_time(governor, 59, used=1) is Band.NO_REDIS
    assert await world.pass_time(governor, 1) is Band.NORMAL


async def test_what_this_process_has_not_reported_counts() -> None:
    world = World()
    governor = world.governor()
    await world.pass_time(governor, used=69_990)
    world.meter.send([Command(Purpose.RESERVATION, ("BITFIELD",))] * 9)
    await governor.look(world.bands)
    assert world.bands.row.version == 0
    world.meter.send([Command(Purpose.LOOKUP, ("GET",))])
    await governor.look(world.bands)
    assert (world.bands.row.version, world.bands.row.band) == (1, Band.THRIFT)


async def test_reports_are_asked_for_sooner_near_an_edge() -> None:
    world = World()
    governor = world.governor()
    await world.pass_time(governor, used=69_900)
    assert world.use.max_unreported == 25  # a quarter of what is left: half of it for two processes
    without = world.governor(budget=None)
    await without.look(world.bands)
    assert world.use.max_unreported is None


async def test_before_the_others_use_is_known_nothing_is_proposed() -> None:
    world = World()
    governor = world.governor(budget=10)
    world.meter.send([Command(Purpose.LOOKUP, ("GET",))] * 50)
    assert governor.use() is None
    await governor.look(world.bands)
    assert world.bands.row.version == 0


async def test_a_band_that_stood_through_an_outage_is_not_taken_back_before_use_is_known() -> None:
    world = World()
    await world.pass_time(world.governor(), used=75_000)
    world.now += 10_000
    restarted = world.governor()
    await restarted.look(world.bands)
    assert world.bands.row.band is Band.THRIFT
    assert await world.pass_time(restarted) is Band.THRIFT


async def test_one_of_several_processes_makes_a_change() -> None:
    world = World()
    first, second = world.governor(), world.governor()
    await world.pass_time(second, used=75_000)
    assert world.bands.row.version == 1
    await first.look(world.bands)  # it has not heard of it
    assert world.bands.row.version == 1


async def test_a_process_without_a_budget_obeys_and_takes_back_what_is_wanted_by_none() -> None:
    world = World()
    governor = world.governor()
    await world.pass_time(governor, used=75_000)
    without = world.governor(budget=None)
    for _ in range(29):
        assert await world.pass_time(without, 10) is Band.THRIFT
    assert await world.pass_time(without, 9) is Band.THRIFT
    assert await world.pass_time(without, 1) is Band.NORMAL


async def test_after_an_outage_of_postgres_those_with_a_budget_speak_first() -> None:
    """No process could say for an hour that it wants the band. One without a budget is the first to be back."""
    world = World()
    await world.pass_time(with_budget := world.governor(), used=75_000)
    use_with_budget = world.use
    without = world.governor(budget=None)
    world.now += 3_600
    without.follow(world.bands.row)
    assert await world.pass_time(without) is Band.THRIFT
    await use_with_budget.report()
    await with_budget.look(world.bands)
    assert world.bands.row.wanted_at == world.now
    assert await world.pass_time(without, 25) is Band.THRIFT


async def test_a_process_that_wants_the_band_keeps_it() -> None:
    world = World()
    high = world.governor()
    await world.pass_time(high, used=75_000)
    higher_budget = world.governor(budget=1_000_000)
    for _ in range(30):
        high.follow(world.bands.row)
        await high.look(world.bands)
        assert await world.pass_time(higher_budget, 10) is Band.THRIFT
    assert await world.pass_time(higher_budget, QUIET) is Band.NORMAL


async def test_a_change_is_logged_with_the_band_before_and_after(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    governor = world.governor()
    with caplog.at_level(logging.WARNING):
        await world.pass_time(governor, used=75_000)
    assert "the budget for Redis: from the band 'normal' to 'thrift'" in caplog.text
    assert "this process has chosen 'thrift': use has reached the next band's edge" in caplog.text


async def test_the_webhook_is_told_once_by_the_process_that_made_the_change() -> None:
    world, told, other = World(), FakeWebhook(), FakeWebhook()
    governor = world.governor(webhook=told)
    await world.pass_time(governor, used=75_000)
    [message] = told.messages
    assert message.id == "tenantcache-band-1-1700000405000000"  # two fleets may have the same URL
    assert json.loads(message.body) == {
        "type": "redis_budget.band_changed",
        "timestamp": "2023-11-14T22:20:05Z",
        "data": {
            "from": "normal",
            "to": "thrift",
            "why": "use has reached the next band's edge",
            "used": 75_000,
            "budget": 100_000,
            "share": 0.75,
            "period_start": "2023-11-01T00:00:00Z",
        },
    }
    await told.confirms[0]()
    assert world.bands.row.told == 1
    second = world.governor(webhook=other)
    second.follow(world.bands.row)
    await world.pass_time(second, TAKE_OVER_AFTER + 1)
    await world.pass_time(second, 1)
    assert other.messages == []


async def test_another_process_takes_over_if_the_webhook_was_not_told() -> None:
    world, told, other = World(), FakeWebhook(), FakeWebhook()
    governor = world.governor(webhook=told)
    await world.pass_time(governor, used=75_000)
    second = world.governor(webhook=other)
    for _ in range(35):
        second.follow(world.bands.row)
        await world.pass_time(second, 10)
    [message] = other.messages
    assert message.id == told.messages[0].id  # receivers drop what they have
    assert message.data["to"] == "thrift"


async def test_what_is_found_at_the_start_is_no_change() -> None:
    world = World()
    await world.pass_time(world.governor(), used=75_000)
    late = world.governor()
    assert (world.seen, late.changes.total()) == ([Band.THRIFT], 0)


async def test_a_failing_postgres_changes_nothing() -> None:
    world = World()
    governor = world.governor()
    await world.pass_time(governor, used=60_000)

    class Down(MemoryBands):
        async def change(self, proposal: BandProposal) -> bool:
            raise StoreError("down")

    world.others.used = 75_000
    await world.use.report()
    with pytest.raises(StoreError):
        await governor.look(Down(lambda: world.now))
    assert world.in_force.band is Band.NORMAL
    assert await world.pass_time(governor) is Band.THRIFT


async def test_the_margin_goes_by_the_highest_rate_of_late_and_by_the_mean_of_days() -> None:
    world = World()
    governor = world.governor()
    await world.pass_time(governor, used=1_000)
    use = governor.use()
    assert use is not None
    assert use.rate == pytest.approx(2 * world.use.per_day / 86_400)  # peaks are at twice the mean
    assert 0 < use.rate < 1
    await world.pass_time(governor, SPAN, used=13_000)
    use = governor.use()
    assert use is not None
    assert use.rate == pytest.approx(12_000 / SPAN)


async def test_what_others_used_while_this_process_was_stopped_is_not_its_rate() -> None:
    world = World()
    governor = world.governor()
    for _ in range(20):
        await world.pass_time(governor, 60)
    world.now += 36_000
    world.others.hour = int(world.now // 3600)
    await governor.look(world.bands)  # it runs again, and has read nothing yet
    for _ in range(12):
        await world.pass_time(governor, 60, used=36_001)  # one a second
    use = governor.use()
    assert use is not None and use.used == 36_001
    assert use.rate == pytest.approx(1.0, abs=0.05)
    assert world.bands.row.version == 0


async def test_what_was_read_before_this_process_was_stopped_takes_no_band_down() -> None:
    world = World()
    stopped = world.governor()
    await world.pass_time(stopped, used=10_000)
    use_of_stopped = world.use
    await world.pass_time(world.governor(), used=75_000)
    world.now += 3_600
    stopped.follow(world.bands.row)
    await stopped.look(world.bands)
    assert world.bands.row.band is Band.THRIFT
    await use_of_stopped.report()
    await stopped.look(world.bands)
    assert world.bands.row.band is Band.THRIFT
    assert world.bands.row.wanted_at == world.now


async def test_a_figure_of_the_provider_is_not_a_rate() -> None:
    """It has clients that were not counted: 50,000 commands of them became known in one moment."""
    world = World()
    provider = FakeProvider(START)
    governor = world.governor(provider=provider)
    for _ in range(15):
        await world.pass_time(governor, 60, used=10_000)
    provider.say(60_000, counted=10_000)
    for _ in range(12):
        await world.pass_time(governor, 60)
    use = governor.use()
    assert use is not None and use.used == 60_000
    assert use.rate < 10
    assert world.bands.row.version == 0


def test_a_rate_is_the_highest_of_late() -> None:
    rate = Rate()
    assert rate.highest == 0.0
    for seconds, used in [(0, 0), (300, 3_000), (600, 6_000), (900, 6_000), (1_500, 6_000)]:
        rate.note(used, START + seconds)
    assert rate.highest == 10.0
    rate.note(6_000, START + 600 + KEPT + 1)
    assert rate.highest < 5.1


def test_a_total_that_falls_begins_anew() -> None:
    rate = Rate()
    rate.note(5_000, START)
    rate.note(10, START + SPAN)
    assert rate.highest == 0.0
    rate.note(10 + int(SPAN), START + 2 * SPAN)
    assert rate.highest == 1.0


async def test_a_fork_drops_what_the_parent_has_to_tell() -> None:
    webhook = Webhook("http://127.0.0.1:1/", base64.b64decode(b"MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0"))
    world = World()
    governor = Governor(
        world.bands,
        FleetUse(None, Meter(), server_now=lambda: START),
        BandInForce(),
        webhook,
        server_now=lambda: START,
        processes=lambda: 1,
        ask_log=lambda: None,
    )
    governor.open()
    webhook.tell(Message("1", "t", START, {}), webhook.close)
    governor.forget()
    await governor.close()
    assert (webhook.sent, webhook.failed) == (0, 0)


def test_the_dwell_is_longer_than_a_process_goes_on_without_the_log() -> None:
    assert DWELL == 300.0  # the schema has the same number
