"""The month in virtual time: what it skips changes nothing, what it bills a server bills, and it sees limits broken."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from random import Random

import pytest

from benchmarks.month import bill, report
from benchmarks.month.bill import Answer, Bill, Day, Purpose
from benchmarks.month.counting import Counters, Taker
from benchmarks.month.draws import binomial, place_of, poisson
from benchmarks.month.fleets import EPOCH, FLEETS, HOUR, PLANS, Course, plan_of
from benchmarks.month.life import LOOK_EVERY, Life
from benchmarks.month.others import COMMANDS
from benchmarks.month.run import Options, simulate
from benchmarks.month.stores import Stores
from tenantcache.ratelimit.core.windows import DAY, MINUTE, CounterValue
from tenantcache.ratelimit.counterstore import AccountDebits
from tenantcache.stores.redis import RedisLink
from tenantcache.stores.rediscounters import RedisCounters
from tenantcache.tenant import Limits
from tests.servers.billing import BilledCommands

RATES = (12.0, 4.0, 1.0, 0.3, 0.1, 0.03, 0.03, 0.01)
LIMITS = [Limits(600, 100_000)] * len(RATES)
"""The first tenant asks for more than it may."""
STEADY = Course([1.0])


def living(rates: Sequence[float] = RATES, processes: int = 3, *, seed: int = 1, warm_up: bool = True) -> Life:
    return Life(rates, LIMITS[: len(rates)], processes, EPOCH, Random(seed), STEADY, warm_up=warm_up)


NOT_OF_COUNTERS = {Purpose.LOOKUP, Purpose.FILL, Purpose.PROBE}


def live_for_an_hour() -> Day:
    """All that is billed, from the start."""
    life = Life(RATES, LIMITS, 3, EPOCH - HOUR // 2, Random(1), STEADY, warm_up=True)
    life.deploy(EPOCH - 600, 60)
    day = Day(life.counters.bill)
    day.add(life.run(EPOCH + HOUR // 2), 1)
    return day


def one_by_one(rates: Sequence[float], seed: int, seconds: float) -> Bill:
    """The same requests, each of them drawn and asked for."""
    random, stores, now = Random(seed), Stores(EPOCH), float(EPOCH)
    counters, loop, takers = Counters(stores), asyncio.new_event_loop(), list[Taker]()
    changed: list[tuple[int, int]] = []
    for place in range(3):
        note = partial(lambda place, tenant: changed.append((place, tenant)), place)
        takers.append(Taker(counters, LIMITS[: len(rates)], 3, lambda: now, loop, lambda tenant: None, note))
        takers[-1].warm()
    counters.bill, next_look = Bill(), EPOCH
    coming = now + random.expovariate(sum(rates))
    while (now := min(coming, next_look)) < EPOCH + seconds:
        if now == next_look:
            stores.note_time(now)
            for taker in takers if now % LOOK_EVERY == 0 else ():
                taker.look()
            next_look += 1
        else:
            coming = now + random.expovariate(sum(rates))
            tenant, taker = random.choices(range(len(rates)), rates)[0], random.choice(takers)
            lease = taker.reservation(tenant)
            if lease.hot_until <= now < lease.until:
                lease.lend(lease.until)
            if now < lease.hot_until and lease.left >= 1:
                lease.left -= 1
            else:
                assert taker.ask(tenant) is not Answer.UNAVAILABLE
        for place, tenant in changed:
            if takers[place].reservation(tenant).watched:
                takers[place].watch(tenant)
        changed.clear()
    loop.close()
    return counters.bill


@pytest.mark.slow
def test_what_is_skipped_changes_nothing() -> None:
    """Of tenants below their limits: one that is at its limit costs up to a third more in one hour than in another."""
    rates = RATES[1:]
    skipping = sum(living(rates, seed=seed).run(EPOCH + HOUR).bill.total for seed in range(6))
    asking = sum(one_by_one(rates, seed, HOUR).total for seed in range(6))
    assert asking > 1_000, "or nothing is shown"
    assert skipping == pytest.approx(asking, rel=0.02)


@pytest.mark.slow
async def test_what_it_bills_a_server_bills(
    redis_url: str, billed_commands: BilledCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[Sequence[AccountDebits], list[list[CounterValue]]]] = []
    debit = Counters.debit

    def noted(counters: Counters, batch: Sequence[AccountDebits], now: float) -> list[list[CounterValue]]:
        values = debit(counters, batch, now)
        sent.append((batch, values))
        return values

    monkeypatch.setattr(Counters, "debit", noted)
    day = await asyncio.to_thread(live_for_an_hour)
    assert min(day.bill.commands[purpose] for purpose in set(Purpose) - NOT_OF_COUNTERS) > 1

    link = RedisLink(redis_url, timeout=5.0)
    counters = RedisCounters(link, prefix="test")
    for batch, values in sent:
        assert await counters.debit(batch) == values
    await counters.close()
    assert billed_commands.total() == day.bill.total
    assert billed_commands.by_command()["expire"] == day.bill.commands[Purpose.EXPIRY]
    await link.close()


@pytest.mark.slow
def test_the_rates_are_those_that_were_asked_for() -> None:
    day = Life([5.0], [Limits(6_000, 1_000_000)], 2, EPOCH, Random(1), Course(), warm_up=True).run(EPOCH + DAY)
    assert day.answers.requests == pytest.approx(5 * DAY, rel=0.01)
    assert day.answers.admitted == day.answers.requests
    assert (day.answers.below, day.answers.unused, day.answers.over) == (0, 0, 0)


def test_a_limit_is_used_and_not_exceeded() -> None:
    answers = living((20.0,)).run(EPOCH + HOUR).answers
    assert answers.admitted + answers.unused == 60 * 600
    assert answers.unused < 0.1 * 60 * 600
    assert answers.over == 0


def test_it_sees_a_limit_exceeded() -> None:
    life = living((20.0,))
    life.limits = [Limits(500, 100_000)]  # is held against; the reservations go on with 600
    assert life.run(EPOCH + 10 * MINUTE).answers.over == pytest.approx(1_000, abs=20)
    life = Life([20.0], [Limits(600, 100_000)], 3, EPOCH - 600, Random(1), STEADY, warm_up=True)
    life.limits = [Limits(600, 5_000)]
    assert life.run(EPOCH).answers.over == pytest.approx(1_000, abs=20)


@pytest.mark.slow
def test_a_tenant_that_asks_for_too_much_costs_nothing_more() -> None:
    calm = living((1.0, 1.0))
    calm.run(EPOCH + HOUR)
    life = living((1.0, 1.0))
    life.run(EPOCH + HOUR)
    life.ask_for(-1, 100.0)
    day, usual = life.run(EPOCH + HOUR + 5 * MINUTE), calm.run(EPOCH + HOUR + 5 * MINUTE)
    assert day.answers.requests == pytest.approx(5 * 60 * 101, rel=0.02)
    assert day.answers.admitted == pytest.approx(5 * 60 + 5 * 600, rel=0.05)
    assert (day.answers.below, day.answers.over) == (0, 0)
    assert day.bill.total < usual.bill.total + 5 * 3 * 10, "a few takes a minute and process"


def test_lookups_are_billed_for_each_process_that_is_cold() -> None:
    life = living((4.0, 1.0), warm_up=False)
    life.deploy(EPOCH + 600, 30)
    commands = life.run(EPOCH + 1_800).bill.commands
    assert (commands[Purpose.LOOKUP], commands[Purpose.FILL]) == (2 * 2 * 3, 2)


def test_a_start_and_a_stop_are_told_apart() -> None:
    life = living()
    life.run(EPOCH + 600)
    life.deploy(EPOCH + 610, 20)
    bill = life.run(EPOCH + 1_800).bill
    assert bill.stops == 3 * 2, "a command for each string: of the quarter of an hour, and of the day"
    assert 3 * 2 < bill.starts < bill.total / 2


@pytest.mark.slow
def test_a_fleet_survives_redis() -> None:
    """It counts in Postgres, pays nothing for it, comes back, and exceeds no limit."""
    life = living()
    life.run(EPOCH + HOUR)
    life.lose_redis(EPOCH + HOUR + 70.0, 300.0)
    first = life.run(EPOCH + HOUR + 120)
    gone = life.run(EPOCH + HOUR + 360)
    back = life.run(EPOCH + 2 * HOUR)
    assert gone.bill.total == 0
    assert gone.answers.admitted > 1_000
    assert back.bill.commands[Purpose.PROBE] == 2 * 3
    assert back.bill.commands[Purpose.EXPIRY] >= 5, "Redis is empty, and its keys are new"
    assert first.answers.over == gone.answers.over == back.answers.over == 0
    assert first.answers.unavailable <= 3 * sum(RATES), "Postgres counts after three seconds at most"
    assert gone.answers.unavailable == back.answers.unavailable == 0


def test_draws_have_the_means_that_they_should() -> None:
    random = Random(1)
    for mean in (0.1, 3.0, 400.0):
        assert sum(poisson(random, mean) for _ in range(4_000)) / 4_000 == pytest.approx(mean, rel=0.1)
    for points, share in ((7, 0.3), (1_000, 0.2)):
        drawn = sum(binomial(random, points, share) for _ in range(4_000)) / 4_000
        assert drawn == pytest.approx(points * share, rel=0.05)
    for number in (1, 4, 9):
        drawn = sum(place_of(random, number, 9, 10.0, 20.0) for _ in range(4_000)) / 4_000
        assert drawn == pytest.approx(10 + number, abs=0.1), "nine points divide ten seconds"


def test_a_day_has_its_hours() -> None:
    course = Course([1.0, 3.0])
    assert course.factor(EPOCH) == 0.5
    assert course.factor(EPOCH + DAY - 1) == 1.5
    assert course.after(EPOCH, DAY / 4) == EPOCH + DAY / 2
    assert course.after(EPOCH + DAY / 2, DAY) == EPOCH + 1.5 * DAY
    assert Course().factor(EPOCH + 10 * HOUR) == pytest.approx(1.72, abs=0.01)


def test_tenants_have_the_plan_that_suits_them() -> None:
    assert plan_of(0.01) == PLANS[0]
    assert plan_of(5.0) == PLANS[1]
    assert plan_of(100.0) == PLANS[2]


def test_strata_stand_for_all_tenants() -> None:
    for fleet in FLEETS.values():
        assert sum(len(stratum.ranks) * stratum.weight for stratum in fleet.strata()) == fleet.tenants
        rates = fleet.rates()
        drawn = sum(rates[rank] * stratum.weight for stratum in fleet.strata() for rank in stratum.ranks)
        assert drawn == pytest.approx(fleet.rate, rel=0.01)


def test_a_month_and_its_price() -> None:
    days = {name: Day() for name in bill.WEIGHTS}
    for day, commands in zip(days.values(), (1_000, 4_000, 7_000), strict=True):
        day.bill.add(Purpose.TAKE, commands)
        day.answers.admitted = 100_000
    month = bill.month_of(days)
    assert month.total == 28 * 1_000 + 4_000 + 7_000
    assert month.per_request == 39_000 / 3_000_000
    assert month.free_rate == pytest.approx(500_000 / 2_592_000 / 0.013)
    assert bill.pay_as_you_go(500_000) == 0
    assert bill.pay_as_you_go(12_000_000) == pytest.approx(24)
    assert bill.cheapest(12_000_000) == 10


def test_the_guides_pattern_carries_what_its_readers_found() -> None:
    assert COMMANDS["the guide's pattern"] == 3
    assert round(bill.free_rate(3), 2) == 0.06


@pytest.mark.slow
def test_the_documents_tables() -> None:
    options = Options(warm_up=False, processes=(2, 4), part=0.1, compares=("hobby",))
    [results] = simulate(["hobby"], options, workers=1)
    assert results.days[bill.USUAL].answers.over == 0
    document = report.document([results])
    assert "| hobby: 100 tenants, 1 request/s, 2 processes |" in document
    assert "0.06" in report.headline([results])
