"""The shell around counter-store failover: where debits go, and what is done when a store does not answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast
from uuid import UUID

import pytest

from tenantcache.budget.core.bands import Band, BandChoice
from tenantcache.errors import FailoverError, RejectedError, StoreError
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.freshness.log import Pull
from tenantcache.ratelimit.core.agreement import Proposal, StoreChoice
from tenantcache.ratelimit.core.isolation import Contact
from tenantcache.ratelimit.core.windows import OUT_OF_REACH, Debit, Window
from tenantcache.ratelimit.counters import FleetCounters
from tenantcache.ratelimit.counterstore import Account, AccountDebits, Held
from tenantcache.ratelimit.daymirror import DayMirror
from tenantcache.ratelimit.limiter import Limiter
from tenantcache.ratelimit.slots import MemorySlots, Slots
from tenantcache.stores.counterchoice import PostgresChoices
from tests.fakes import FakeClock, FakeCounters, debit_one, limited, until
from tests.handingover import FakeTokens

IN_REDIS = StoreChoice(1, "redis")
OWNER = "acme"


class FakeChoices:
    """The row, and who asked for what. A change begins with the next minute that is 5 s away."""

    def __init__(self, clock: FakeClock) -> None:
        self.row = StoreChoice(0, None)
        self.reports_of_redis = 0
        self.days: dict[tuple[str, int], int] = {}
        self.failing = False
        self.others_report = False
        """Whether all other holders have reported what they were granted of this minute."""
        self.reports: list[tuple[int, dict[str, int]]] = []
        self.holds: list[bool] = []
        self.registers_none = False
        self.left = 0
        self.holders: list[UUID] = []
        self._clock = clock

    async def choose(self, proposal: Proposal) -> bool:
        self._require_up()
        if proposal.version != self.row.version:
            return False
        now = self._clock.server_time()
        start = 0 if self.row.store is None else int((now + 5) // 60) + 1
        self.row = StoreChoice(
            self.row.version + 1, proposal.store, start, self.row.store, self.row.from_minute, proposal.why, now, now
        )
        return True

    async def report_unavailable(self) -> None:
        self._require_up()
        self.reports_of_redis += 1
        self.row = replace(self.row, complained_at=self._clock.server_time())

    async def mirror(self, days: Mapping[tuple[str, int], int]) -> None:
        self._require_up()
        self.days |= days

    async def hold(self, process: UUID, version: int, *, holds: bool) -> Held:
        self._require_up()
        self.holders.append(process)
        self.holds.append(holds)
        if self.registers_none:
            raise StoreError("the fake database did not answer in time")
        is_holder = holds and version == self.row.version
        return Held(int(self._clock.server_time() // 60) + 5 if is_holder else None, 0, 4)

    async def accounts(self) -> list[Account]:
        return [Account("acme", 0)]

    async def misses_a_holder(self) -> bool:
        self._require_up()
        return not self.others_report

    async def report(self, process: UUID, minute: int, tokens: Mapping[str, int]) -> None:
        self._require_up()
        self.reports.append((minute, dict(tokens)))

    async def hand_over(self, process: UUID, version: int, minute: int, *, leaves: bool = False) -> bool:
        self._require_up()
        self.left += leaves
        if self.others_report and version == self.row.version:
            self.row = replace(self.row, from_minute=minute)
        return self.others_report

    def _require_up(self) -> None:
        if self.failing:
            raise StoreError("the fake database is unavailable")


class FakeLink:
    """`Probe`."""

    def __init__(self) -> None:
        self.pings = self.tries = 0
        self.error: StoreError | None = None
        self.refusal: StoreError | None = None

    async def ping(self) -> None:
        self.pings += 1
        if self.error is not None:
            raise self.error

    async def try_to_count(self) -> None:
        self.tries += 1
        if error := self.refusal or self.error:
            raise error


def partial(values: list[list[int | None]]) -> StoreError:
    error = StoreError("Redis did not answer all of it")
    error.values = values
    return error


class Fleet:
    """One process' counters, with its two stores and the log in hand."""

    def __init__(self, clock: FakeClock, *, has_redis: bool = True) -> None:
        self.clock = clock
        self.redis, self.postgres = FakeCounters(), FakeCounters()
        self.choices, self.link = FakeChoices(clock), FakeLink()
        self.tokens = FakeTokens()
        self.log_is_away = False
        self.band = BandChoice()
        self.counters = FleetCounters(
            self.redis if has_redis else None,
            self.postgres,
            cast(PostgresChoices, self.choices),
            self.link if has_redis else None,
        )

    async def open(self, *, redis_found: bool = True) -> None:
        self.pull()
        await self.counters.open(self.clock.server_time, self.pull, self.tokens, redis_found=redis_found)

    def pull(self) -> None:
        if self.log_is_away:
            return
        now = self.clock.server_time()
        head = LogMark(1, int(now * 1e6))
        self.counters.follow(Pull(now, "one", head, True, 1, False, (), self.choices.row, now + 5, self.band))

    def keep_days_in_postgres(self) -> None:
        """The fleet has changed its store today, and counts minutes in Redis."""
        before = self.choices.row
        self.choices.row = StoreChoice(before.version + 1, "redis", self.minute().number, "redis", 0, "a flush")
        self.pull()

    def later(self, seconds: float) -> None:
        """Time passes, and the log is pulled all the time, as followers do."""
        for _ in range(int(seconds * 2)):
            self.look(0.5)
            self.pull()

    def look(self, seconds: float) -> None:
        """Time passes, and the process looks all the time how it stands."""
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)
            self.counters.failover.note_time(self.clock.server_time())

    def minute(self, number: int = 0) -> Window:
        return Window("minute", int(self.clock.server_time() // 60) + number)

    def quarter(self) -> Window:
        return Window("quarter", int(self.clock.server_time() // 900))

    def day(self) -> Window:
        return Window("day", int(self.clock.server_time() // 86400))

    async def debit(self, *windows: Window, amount: int = 1) -> list[int]:
        return await debit_one(self.counters, OWNER, [Debit(window, amount) for window in windows])


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def fleet(clock: FakeClock) -> AsyncIterator[Fleet]:
    fleet = Fleet(clock)
    await fleet.open()
    yield fleet
    await fleet.counters.close()


async def let(condition: Callable[[], bool]) -> None:
    await until(condition)


async def fail_over_to_postgres(fleet: Fleet) -> None:
    """Redis fails, is found gone, and the minute comes with which Postgres begins."""
    fleet.redis.failing, fleet.link.error = True, StoreError("Redis is not running")
    with pytest.raises(FailoverError):
        await fleet.debit(fleet.minute())
    fleet.later(2.5)
    await let(lambda: fleet.choices.row.version == 2)
    fleet.later(65)


# Where debits go.


async def test_the_first_process_chooses_redis_where_it_has_one(fleet: Fleet) -> None:
    assert fleet.choices.row == replace(fleet.choices.row, version=1, store="redis", from_minute=0)
    assert await fleet.debit(fleet.minute(), fleet.minute(1), fleet.day()) == [1, 1, 1]
    assert len(fleet.redis.takes) == 1
    assert fleet.postgres.takes == []


async def test_without_redis_postgres_counts_from_the_first_request_on(clock: FakeClock) -> None:
    fleet = Fleet(clock, has_redis=False)
    await fleet.open(redis_found=False)
    assert await fleet.debit(fleet.minute(), fleet.day()) == [1, 1]
    assert len(fleet.postgres.takes) == 1
    await fleet.counters.close()


async def test_the_first_process_of_all_does_not_choose_a_redis_that_is_not_there(clock: FakeClock) -> None:
    fleet = Fleet(clock)
    fleet.link.error = StoreError("Redis is not running")
    await fleet.open(redis_found=False)
    assert fleet.choices.row.store == "postgres"
    await fleet.counters.close()


async def test_debits_go_to_the_store_of_their_minute(fleet: Fleet) -> None:
    await fleet.debit(fleet.minute(), fleet.day(), amount=7)
    await fail_over_to_postgres(fleet)
    assert await fleet.debit(fleet.minute(), fleet.minute(1)) == [1, 1]
    assert len(fleet.postgres.takes) == 1
    stats = fleet.counters.stats()
    assert (stats["store"], stats["redis"]) == ("postgres", "gone")
    assert stats["why"] in ("Redis is not running", "the fake counters are unavailable")  # whichever was asked last


async def test_a_day_goes_on_where_redis_left_it(fleet: Fleet) -> None:
    assert await fleet.debit(fleet.day(), amount=40) == [40]
    day = fleet.day().number
    fleet.later(10)
    await let(lambda: fleet.choices.days == {(OWNER, day): 40})
    await fail_over_to_postgres(fleet)
    await fleet.debit(fleet.day(), amount=3)
    assert [debit for take in fleet.postgres.takes for debit in take] == [Debit(Window("day", day), 3)]


async def test_days_of_many_tenants_are_written_down_in_parts(fleet: Fleet) -> None:
    """What Postgres has taken of them is not sent again."""
    day, mirror, parts = fleet.day().number, fleet.choices.mirror, [0]

    async def fail_at_the_third(days: Mapping[tuple[str, int], int]) -> None:
        parts.append(len(days))
        if len(parts) == 4:
            raise StoreError("the answer is lost")
        await mirror(days)

    fleet.choices.mirror = fail_at_the_third  # type: ignore[method-assign]
    batch = [AccountDebits(Account(f"tenant-{number}", number), [Debit(fleet.day(), 7)]) for number in range(4_500)]
    await fleet.counters.debit(batch)
    fleet.later(10)
    await let(lambda: len(parts) == 4)
    fleet.later(10)
    await let(lambda: not fleet.counters.coordinator.days.days)
    assert parts == [0, 2_000, 2_000, 500, 500]
    assert fleet.choices.days == {(f"tenant-{number}", day): 7 for number in range(4_500)}


async def test_what_redis_counted_last_is_written_down_before_postgres_is_asked(fleet: Fleet) -> None:
    await fleet.debit(fleet.day(), amount=40)
    fleet.choices.days.clear()
    fleet.counters.coordinator.days.days[OWNER, fleet.day().number] = 41  # since the last time
    await fail_over_to_postgres(fleet)
    fleet.counters.coordinator.days.days[OWNER, fleet.day().number] = 42
    await fleet.debit(fleet.day())
    assert fleet.choices.days == {(OWNER, fleet.day().number): 42}


async def test_each_account_of_a_batch_is_answered_from_the_stores_of_its_windows(fleet: Fleet) -> None:
    """After a change that day, the day is in Postgres and the minutes are in Redis."""
    fleet.keep_days_in_postgres()
    await debit_one(fleet.redis, "globex", [Debit(fleet.minute(), 30)])
    await debit_one(fleet.postgres, "initech", [Debit(fleet.day(), 200)])
    batch = [
        AccountDebits(Account(OWNER, 0), [Debit(fleet.minute(), 5), Debit(fleet.quarter(), 2), Debit(fleet.day(), 40)]),
        AccountDebits(Account("globex", 1), [Debit(fleet.minute(), 3), Debit(fleet.minute(-1), 0)]),
        AccountDebits(Account("initech", 2), [Debit(fleet.day(), 9)]),
    ]
    assert await fleet.counters.debit(batch) == [[5, 2, 40], [33, OUT_OF_REACH], [209]]
    assert len(fleet.redis.batches) == len(fleet.postgres.batches) == 2


# When Redis fails.


async def test_until_the_change_nothing_is_granted_and_the_refusal_says_when_it_begins(fleet: Fleet) -> None:
    fleet.redis.failing, fleet.link.error = True, StoreError("Redis is not running")
    now = fleet.clock.server_time()
    with pytest.raises(FailoverError) as failing:
        await fleet.debit(fleet.minute())
    assert failing.value.until == now + 2
    fleet.later(2.5)
    await let(lambda: fleet.choices.row.version == 2)
    fleet.pull()
    with pytest.raises(FailoverError) as refused:
        await fleet.debit(fleet.minute())
    assert refused.value.until == fleet.clock.server_time() + 1  # it may be handed over at once
    await let(lambda: len(fleet.choices.reports) > 0)
    fleet.later(3.5)
    with pytest.raises(FailoverError) as refused:
        await fleet.debit(fleet.minute())
    assert refused.value.until == fleet.choices.row.from_minute * 60 == now + 60
    assert fleet.postgres.takes == []


async def test_redis_is_found_gone_without_a_request(fleet: Fleet) -> None:
    fleet.link.error = StoreError("Redis is not running")
    fleet.later(1)
    await let(lambda: fleet.counters.stats()["redis"] == "failing")
    fleet.later(2)
    await let(lambda: fleet.choices.row.store == "postgres")


async def test_a_redis_that_answers_again_in_time_is_kept(fleet: Fleet) -> None:
    fleet.redis.failing = True
    with pytest.raises(FailoverError):
        await fleet.debit(fleet.minute())
    fleet.redis.failing = False
    fleet.later(1)
    await let(lambda: fleet.counters.stats()["redis"] == "answering")
    fleet.later(5)
    assert await fleet.debit(fleet.minute()) == [1]
    assert fleet.choices.row.version == 1


async def test_an_account_that_is_refused_is_left_at_once_and_said_loudly_once(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.link.error = StoreError("Redis refused: max requests limit exceeded", suspended=True)
    fleet.later(1)
    await let(lambda: fleet.choices.row.store == "postgres")
    fleet.pull()
    assert fleet.counters.stats()["redis"] == "suspended"
    fleet.later(30)
    await let(lambda: fleet.link.tries > 0)
    fleet.later(2)
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 2
    assert "max requests limit exceeded" in errors[0]
    assert "limits are counted in postgres instead of redis from" in errors[1]


async def test_that_redis_counts_again_is_good_news(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fleet.link.error = StoreError("Redis refused: max requests limit exceeded", suspended=True)
    fleet.later(1)
    await let(lambda: fleet.choices.row.store == "postgres")
    fleet.pull()
    there = replace(fleet.choices.row, version=fleet.choices.row.version + 1, store="redis", previous="postgres")
    fleet.choices.row = replace(there, from_minute=there.from_minute + 5, why="Redis answers again")
    fleet.pull()
    record = caplog.records[-1]
    assert record.levelno == logging.INFO
    assert record.getMessage().startswith("limits are counted in redis instead of postgres from ")


async def test_ping_does_not_lift_a_suspension(fleet: Fleet) -> None:
    fleet.link.error = StoreError("quota exceeded", suspended=True)
    fleet.later(1)
    await let(lambda: fleet.counters.stats()["redis"] == "suspended")
    pings = fleet.link.pings
    fleet.later(10)
    await let(lambda: fleet.link.tries >= 1)
    assert fleet.link.pings == pings


async def test_a_redis_that_answers_and_does_not_count_is_left_too(fleet: Fleet) -> None:
    """Read-only, out of memory, without permission: PING would go on to say that all is well."""
    fleet.redis.error = fleet.link.refusal = StoreError("Redis refused: READONLY", refused=True)
    with pytest.raises(FailoverError):
        await fleet.debit(fleet.minute())
    for _ in range(3):
        tries = fleet.link.tries
        fleet.later(1)
        await let(lambda tries=tries: fleet.link.tries > tries or fleet.choices.row.version == 2)  # type: ignore[misc]
    await let(lambda: fleet.choices.row.store == "postgres")
    assert fleet.counters.stats()["redis"] == "refusing"
    fleet.redis.error = fleet.link.refusal = None
    fleet.later(16)
    await let(lambda: fleet.counters.stats()["redis"] == "answering")


async def test_a_process_without_redis_reports_that_until_it_has_one(fleet: Fleet) -> None:
    await fail_over_to_postgres(fleet)
    await let(lambda: fleet.choices.reports_of_redis >= 1)
    fleet.link.error, fleet.redis.failing = None, False
    fleet.later(1)
    await let(lambda: fleet.counters.stats()["redis"] == "answering")
    reports_of_redis = fleet.choices.reports_of_redis
    fleet.later(40)
    assert fleet.choices.reports_of_redis == reports_of_redis
    fleet.later(30)
    await let(lambda: fleet.choices.row.store == "redis")
    fleet.later(66)
    assert await fleet.debit(fleet.minute()) == [1]
    assert len(fleet.redis.takes) >= 1


# Handing the running minute over.


async def lose_redis(fleet: Fleet) -> None:
    """It fails, is found gone, and Postgres is announced."""
    fleet.redis.failing, fleet.link.error = True, StoreError("Redis is not running")
    for _ in range(4):
        fleet.later(1)
        await let(lambda: fleet.counters.stats()["redis"] in ("failing", "gone"))
        await asyncio.sleep(0.3)
    await let(lambda: fleet.choices.row.version == 2)
    fleet.pull()


async def test_where_all_report_the_minute_goes_on_in_postgres(fleet: Fleet) -> None:
    fleet.tokens.granted = {OWNER: 3}
    fleet.choices.others_report = True
    await fleet.debit(fleet.minute(), fleet.day(), amount=3)
    await lose_redis(fleet)
    await let(lambda: fleet.choices.row.from_minute == fleet.minute().number)
    assert fleet.choices.reports == [(fleet.minute().number, {OWNER: 3})]
    assert fleet.choices.days == {(OWNER, fleet.day().number): 3}
    fleet.pull()
    assert await fleet.debit(fleet.minute(), fleet.day()) == [1, 1]
    assert len(fleet.postgres.takes) == 1
    assert fleet.counters.stats()["store"] == "postgres"


async def test_what_redis_has_counted_of_the_day_is_written_down_before_the_report(fleet: Fleet) -> None:
    fleet.choices.others_report = True
    await fleet.debit(fleet.day(), amount=40)
    report = fleet.choices.report

    async def check(process: UUID, minute: int, tokens: Mapping[str, int]) -> None:
        assert fleet.choices.days == {(OWNER, fleet.day().number): 40}
        await report(process, minute, tokens)

    fleet.choices.report = check  # type: ignore[method-assign]
    await lose_redis(fleet)
    await let(lambda: len(fleet.choices.reports) == 1)


async def test_a_redis_that_answers_here_is_not_given_up_in_vain(fleet: Fleet) -> None:
    """Another process has none, and a third one has not been heard of lately: no minute will be handed over."""
    await fleet.debit(fleet.minute())
    row, minute = fleet.choices.row, fleet.minute(1).number
    fleet.choices.row = StoreChoice(row.version + 1, "postgres", minute, "redis", 0, "it has none")
    fleet.pull()
    await asyncio.sleep(0.6)
    assert fleet.choices.reports == []
    assert await fleet.debit(fleet.minute()) == [2]
    fleet.choices.others_report = True
    fleet.pull()
    await let(lambda: len(fleet.choices.reports) == 1)


async def test_an_answer_that_comes_after_the_report_is_not_used(fleet: Fleet) -> None:
    """Neither for the minute nor for the day: others do not know of it."""
    fleet.redis.gate.clear()
    asking = asyncio.create_task(fleet.debit(fleet.minute(), fleet.day(), amount=5))
    await let(lambda: len(fleet.redis.takes) == 1)
    fleet.link.error = StoreError("Redis is not running")
    for _ in range(4):
        fleet.later(1)
        await asyncio.sleep(0.3)
    await let(lambda: len(fleet.choices.reports) > 0)
    fleet.redis.gate.set()
    with pytest.raises(FailoverError):
        await asking
    assert fleet.counters.coordinator.days.days == {}


async def test_what_redis_answered_in_part_is_used_and_its_days_are_written_down(fleet: Fleet) -> None:
    """One of two commands failed. The day's is granted, so a later change must find it in Postgres."""
    fleet.redis.error = partial([[None, 40]])
    with pytest.raises(FailoverError) as failing:
        await fleet.debit(fleet.minute(), fleet.day(), amount=40)
    assert failing.value.values == [[None, 40]]
    assert fleet.counters.coordinator.days.days == {(OWNER, fleet.day().number): 40}


async def test_what_redis_answered_in_part_after_the_report_is_not_used(fleet: Fleet) -> None:
    fleet.redis.gate.clear()
    asking = asyncio.create_task(fleet.debit(fleet.minute(), fleet.day(), amount=5))
    await let(lambda: len(fleet.redis.takes) == 1)
    fleet.link.error = StoreError("Redis is not running")
    for _ in range(4):
        fleet.later(1)
        await asyncio.sleep(0.3)
    await let(lambda: len(fleet.choices.reports) > 0)
    fleet.redis.error = partial([[None, 5]])
    fleet.redis.gate.set()
    with pytest.raises(FailoverError) as failing:
        await asking
    assert failing.value.values == ()
    assert fleet.counters.coordinator.days.days == {}


async def test_a_report_that_postgres_did_not_take_is_made_again(fleet: Fleet) -> None:
    hand_over, failures = fleet.choices.hand_over, 2

    async def fail_twice(process: UUID, version: int, minute: int, *, leaves: bool = False) -> bool:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise StoreError("the answer is lost")
        return await hand_over(process, version, minute, leaves=leaves)

    fleet.choices.hand_over, fleet.choices.others_report = fail_twice, True  # type: ignore[method-assign]
    await lose_redis(fleet)
    await let(lambda: fleet.choices.row.from_minute == fleet.minute().number)
    assert failures < 0


async def test_a_process_that_decided_by_itself_in_a_minute_does_not_report_it(fleet: Fleet) -> None:
    """What it admitted stands in no counter."""
    fleet.counters.failover.isolation.own_minute = fleet.minute().number
    await lose_redis(fleet)
    await asyncio.sleep(0.6)
    assert fleet.choices.reports == []
    fleet.later(60)
    assert fleet.choices.row.store == "postgres"


async def test_a_process_that_leaves_reports_what_it_has_spent(clock: FakeClock) -> None:
    fleet = Fleet(clock)
    await fleet.open()
    await fleet.debit(fleet.minute())
    fleet.tokens.granted = {OWNER: 1}
    await fleet.counters.close()
    assert fleet.choices.reports == [(fleet.minute().number, {OWNER: 1})]
    assert fleet.choices.left == 1


async def test_a_process_that_has_decided_by_itself_does_not_leave_in_order(clock: FakeClock) -> None:
    """The minute would be handed over without what it admitted."""
    fleet = Fleet(clock)
    await fleet.open()
    await fleet.debit(fleet.minute())
    fleet.counters.failover.isolation.own_minute = fleet.minute().number
    await fleet.counters.close()
    assert (fleet.choices.reports, fleet.choices.left) == ([], 0)


async def test_what_a_process_has_spent_is_waited_for_if_it_could_not_report_when_it_left(clock: FakeClock) -> None:
    """It may be opened again in the same minute, and is another holder then."""
    fleet = Fleet(clock)
    await fleet.open()
    fleet.choices.failing = True
    await fleet.counters.close()
    fleet.choices.failing = False
    await fleet.open()
    assert len(set(fleet.choices.holders)) == 2
    await fleet.counters.close()


async def test_a_process_that_postgres_does_not_know_takes_nothing_from_redis(clock: FakeClock) -> None:
    fleet = Fleet(clock)
    fleet.choices.registers_none = True
    await fleet.open()
    with pytest.raises(FailoverError):
        await fleet.debit(fleet.minute())
    assert fleet.redis.takes == []
    fleet.choices.registers_none = False
    clock.advance(1.3)
    fleet.pull()
    assert await fleet.debit(fleet.minute()) == [1]
    await fleet.counters.close()


# Without the log.


async def test_redis_goes_on_while_the_log_is_away(fleet: Fleet) -> None:
    fleet.log_is_away = True
    for _ in range(8):
        pings = fleet.link.pings
        fleet.clock.advance(1)
        await let(lambda pings=pings: fleet.link.pings > pings)  # type: ignore[misc]
    fleet.clock.advance(0)
    assert await fleet.debit(fleet.minute()) == [1]


async def test_after_a_pause_nothing_is_taken_before_the_log_has_been_heard(fleet: Fleet) -> None:
    fleet.clock.advance(120)
    fleet.log_is_away = True
    with pytest.raises(FailoverError):
        await fleet.debit(fleet.minute())
    assert fleet.redis.takes == []


async def test_the_pull_that_is_on_its_way_is_waited_for(fleet: Fleet) -> None:
    fleet.clock.advance(120)
    assert await fleet.debit(fleet.minute()) == [1]


async def test_without_both_stores_there_is_no_failover(fleet: Fleet) -> None:
    """Nothing can be agreed on: from the next minute on this process decides by itself."""
    fleet.log_is_away, fleet.choices.failing = True, True
    fleet.redis.failing, fleet.link.error = True, StoreError("Redis is not running")
    fleet.clock.advance(4)
    with pytest.raises(FailoverError) as failing:
        await fleet.debit(fleet.minute())
    assert failing.value.until == fleet.clock.server_time() + 2
    fleet.clock.advance(1)
    with pytest.raises(FailoverError) as refused:
        await fleet.debit(fleet.minute())
    assert refused.value.until == fleet.clock.server_time() + 55
    fleet.look(55)
    with pytest.raises(StoreError) as error:
        await fleet.debit(fleet.minute())
    assert not isinstance(error.value, FailoverError)


async def test_a_statement_that_is_waited_for_is_not_a_standstill(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(fleet.counters.coordinator, "announce", hang)
    await begun.wait()
    fleet.clock.advance(0.5)
    await let(lambda: fleet.counters.failover.isolation.looked == fleet.clock.server_time())


async def test_a_postgres_that_does_not_count_leaves_the_local_share_from_the_next_minute_on(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes no writes, or its counters' table is locked; the log goes on."""
    fleet = Fleet(clock, has_redis=False)
    await fleet.open(redis_found=False)
    limiter, tenant = limiter_on(fleet, clock, "local"), limited(per_minute=40)
    assert (await limiter.check(tenant)).allowed
    meter = limiter.meter_of(tenant)
    assert meter is not None
    await debit_one(fleet.postgres, OWNER, [Debit(fleet.minute(), 40)])  # others have taken the rest
    fleet.postgres.failing = True
    fleet.pull()
    assert [(await limiter.check(tenant)).allowed for _ in range(20)].count(True) == meter.granted - 1
    fleet.later(4)
    await let(lambda: fleet.counters.failover.isolation.contact is not Contact.CONNECTED)
    fleet.later(2)
    await let(lambda: fleet.counters.failover.isolation.lost_minute > 0)
    fleet.later(54)
    assert fleet.postgres.total("quarter") == 1, "it is spent first, and a part of the share"
    assert [(await limiter.check(tenant)).allowed for _ in range(20)].count(True) == 10
    assert limiter.degraded
    assert any("limits cannot be counted in the store" in record.getMessage() for record in caplog.records)
    fleet.postgres.failing = False
    fleet.later(2)
    await let(lambda: fleet.counters.stats()["postgres"] == "answering")
    fleet.later(60)
    assert [(await limiter.check(tenant)).allowed for _ in range(50)].count(True) == 40
    await fleet.counters.close()


@pytest.mark.parametrize("store", ["postgres", "redis"])
async def test_a_call_that_a_store_can_make_nothing_of_is_no_failure_of_the_store(clock: FakeClock, store: str) -> None:
    """Others are served; leaving it for one tenant would leave it for all."""
    fleet = Fleet(clock, has_redis=store == "redis")
    await fleet.open(redis_found=store == "redis")

    async def reject(batch: object) -> list[list[int]]:
        raise RejectedError("it cannot be parsed")

    counters = fleet.redis if store == "redis" else fleet.postgres
    counters.debit = reject  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="cannot be parsed"):
        await fleet.debit(fleet.minute())
    stats = fleet.counters.stats()
    assert (stats["postgres"] if store == "postgres" else stats["redis"]) == "answering"
    await fleet.counters.close()


async def test_to_the_end_of_such_a_minute_the_store_is_not_asked(fleet: Fleet) -> None:
    await test_without_both_stores_there_is_no_failover(fleet)
    takes = len(fleet.redis.takes)
    fleet.log_is_away = fleet.choices.failing = fleet.redis.failing = False
    fleet.link.error = None
    fleet.later(1)
    with pytest.raises(StoreError):
        await fleet.debit(fleet.minute())
    assert len(fleet.redis.takes) == takes
    fleet.later(60)
    await let(lambda: fleet.counters.stats()["redis"] == "answering")
    fleet.pull()
    assert await fleet.debit(fleet.minute()) == [1]


async def test_the_minute_before_a_change_is_out_of_reach(fleet: Fleet) -> None:
    await fail_over_to_postgres(fleet)
    fleet.clock.set_server(fleet.choices.row.from_minute * 60 - fleet.clock.server_time())
    batch = [AccountDebits(Account(OWNER, 0), [Debit(fleet.minute(), 1), Debit(fleet.minute(-1), 0)])]
    assert await fleet.counters.debit(batch) == [[1, OUT_OF_REACH]]
    fleet.later(60)
    assert await debit_one(fleet.counters, OWNER, [Debit(fleet.minute(), 1), Debit(fleet.minute(-1), 0)]) == [1, 1]


# What a request gets.


class MissingSlots:
    """`Slots` of a Postgres that does not answer."""

    async def assign(self, owners: Sequence[str]) -> list[int]:
        raise StoreError("the fake database is unavailable")


def limiter_on(fleet: Fleet, clock: FakeClock, on_error: str, slots: Slots | None = None) -> Limiter:
    limiter = Limiter(
        fleet.counters,
        slots or MemorySlots(),
        server_now=clock.server_time,
        processes=lambda: 4,
        on_error="allow" if on_error == "allow" else "local",
    )
    limiter.share_counters(fleet.counters.version_of, fleet.counters.note_lost, fleet.counters.is_billed)
    return limiter


async def test_a_request_is_refused_until_the_other_store_begins(fleet: Fleet, clock: FakeClock) -> None:
    limiter = limiter_on(fleet, clock, "local")
    tenant = limited(per_minute=10)
    fleet.redis.failing, fleet.link.error = True, StoreError("Redis is not running")
    decision = await limiter.check(tenant)
    assert (decision.allowed, decision.unavailable, decision.retry_after) == (False, True, 2.0)
    fleet.later(2.5)
    await let(lambda: fleet.choices.row.version == 2)
    fleet.later(65)
    assert [(await limiter.check(tenant)).allowed for _ in range(12)].count(True) == 10


async def test_an_account_without_a_slot_is_not_decided_here_while_others_count_it(
    fleet: Fleet, clock: FakeClock
) -> None:
    """Postgres does not answer, and Redis does."""
    limiter = limiter_on(fleet, clock, "local", MissingSlots())
    decision = await limiter.check(limited(per_minute=40))
    assert (decision.allowed, decision.unavailable) == (False, True)
    assert fleet.redis.takes == []


async def test_a_request_that_comes_while_others_are_asked_for_gets_no_local_share(
    fleet: Fleet, clock: FakeClock
) -> None:
    """Its meter was looked at for that command, and needed nothing then. All stores answer."""
    limiter, tenant, other = limiter_on(fleet, clock, "local"), limited(per_minute=40), limited("globex", per_minute=40)
    limiter.share_counters(fleet.counters.version_of, fleet.counters.note_lost, lambda: False)  # none are taken along
    assert (await limiter.check(other)).allowed
    assert (await limiter.check(tenant)).allowed
    meter = limiter.meter_of(tenant)
    assert meter is not None
    spent = 1 + [meter.spend(clock.server_time(), 1) for _ in range(40)].count(True)
    await debit_one(fleet.redis, OWNER, [Debit(fleet.minute(), 40)])  # others have taken the rest
    fleet.redis.gate.clear()
    own, others = limiter._meters.of_tenants[OWNER], limiter._meters.of_tenants["globex"]
    asking = [asyncio.create_task(limiter.check(other, cost=30))]
    await asyncio.sleep(0)
    own.worker.work(own)  # in the same command
    await let(lambda: others.reservation.is_taking)
    asking.append(asyncio.create_task(limiter.check(tenant)))
    await asyncio.sleep(0.02)
    fleet.redis.gate.set()
    decisions = [await one for one in asking]
    assert spent < 10, "less than its share"
    assert not decisions[1].allowed


async def test_what_is_held_is_spent_until_the_other_store_begins(fleet: Fleet, clock: FakeClock) -> None:
    limiter = limiter_on(fleet, clock, "local")
    tenant = limited(per_minute=1000)
    assert (await limiter.check(tenant)).allowed
    held = limiter.meter_of(tenant)
    assert held is not None
    tokens = held.minute + held.low
    assert tokens > 5
    fleet.redis.failing, fleet.link.error = True, StoreError("Redis is not running")
    assert [(await limiter.check(tenant)).allowed for _ in range(tokens + 3)].count(True) == tokens


async def test_a_process_that_allows_on_errors_allows_meanwhile(fleet: Fleet, clock: FakeClock) -> None:
    limiter = limiter_on(fleet, clock, "allow")
    fleet.redis.failing = True
    assert (await limiter.check(limited(per_minute=10))).allowed


async def test_tokens_for_later_minutes_end_with_the_store_that_granted_them(fleet: Fleet, clock: FakeClock) -> None:
    limiter = limiter_on(fleet, clock, "local")
    tenant = limited(per_minute=1000)
    await limiter.check(tenant)
    reservation = limiter.meter_of(tenant)
    assert reservation is not None
    clock.advance(60)
    fleet.pull()
    assert reservation.spend(clock.server_time(), 1)  # a standing token
    await fail_over_to_postgres(fleet)
    assert not reservation.spend(clock.server_time(), 1)


async def test_lost_counters_are_announced(fleet: Fleet, clock: FakeClock) -> None:
    limiter = limiter_on(fleet, clock, "local")
    for tenant in (limited("acme", per_minute=20), limited("globex", per_minute=20)):
        assert (await limiter.check(tenant)).allowed
        await fleet.redis.reset(
            Account(tenant.id, 0), [fleet.minute(), fleet.quarter()]
        )  # a FLUSHALL, as far as this tenant sees
        for _ in range(20):
            await limiter.check(tenant)
    await let(lambda: fleet.choices.row.version == 2)
    assert (fleet.choices.row.store, fleet.choices.row.why) == ("redis", "Redis has lost its counters")


# A budget that is used up.


NO_REDIS = BandChoice(3, Band.NO_REDIS)


async def leave_for_the_budget(fleet: Fleet) -> None:
    fleet.band = NO_REDIS
    fleet.pull()
    await let(lambda: fleet.choices.row.version == 2)
    fleet.pull()


async def test_a_planned_move_counts_the_running_minute_in_redis_to_its_end(fleet: Fleet, clock: FakeClock) -> None:
    assert await fleet.debit(fleet.minute()) == [1]
    await leave_for_the_budget(fleet)
    assert fleet.choices.row.why == "the budget for Redis is nearly used up"
    assert await fleet.debit(fleet.minute()) == [2]
    assert fleet.choices.reports == []
    fleet.later(65)
    fleet.redis.takes.clear()
    assert await fleet.debit(fleet.minute()) == [1]
    assert fleet.redis.takes == []


async def test_what_redis_has_of_the_day_is_read_once_before_it_is_left(fleet: Fleet) -> None:
    """A process that was killed had taken more than any other has seen."""
    await debit_one(fleet.redis, OWNER, [Debit(fleet.day(), 700)])
    await leave_for_the_budget(fleet)
    await let(lambda: fleet.choices.days == {(OWNER, fleet.day().number): 700})
    reads = [take for take in fleet.redis.takes if all(debit.amount == 0 for debit in take)]
    assert len(reads) == 1
    assert {debit.window.number for debit in reads[0]} >= {fleet.day().number}


async def test_a_read_of_the_day_does_not_undo_a_later_take() -> None:
    mirror = DayMirror(cast(PostgresChoices, None))
    mirror.days[OWNER, 7] = 150
    mirror.note_read(OWNER, 7, 100)
    mirror.note_read(OWNER, 8, 100)
    assert mirror.days == {(OWNER, 7): 150, (OWNER, 8): 100}


async def test_the_fleet_does_not_return_before_the_band_is_left(fleet: Fleet) -> None:
    await leave_for_the_budget(fleet)
    fleet.later(1_000)
    await asyncio.sleep(1)
    assert fleet.choices.row.version == 2
    fleet.band = BandChoice(4, Band.NORMAL)
    fleet.pull()
    await let(lambda: (fleet.choices.row.version, fleet.choices.row.store) == (3, "redis"))


@pytest.mark.parametrize("refused", [False, True])
async def test_the_probe_is_not_billed_in_the_last_band(fleet: Fleet, refused: bool) -> None:
    """A take has failed, so that only counting would prove that Redis counts."""
    fleet.redis.failing = True
    fleet.redis.error = fleet.link.refusal = StoreError("Redis refused", refused=refused)
    with pytest.raises(FailoverError):
        await fleet.debit(fleet.minute())
    await let(lambda: fleet.link.tries > 0)
    fleet.band = NO_REDIS
    fleet.later(65)
    await asyncio.sleep(0.5)
    tries = fleet.link.tries
    fleet.later(100)
    await asyncio.sleep(0.6)
    assert fleet.link.tries == tries
    fleet.band = BandChoice(4, Band.NORMAL)
    fleet.later(20)
    await let(lambda: fleet.link.tries > tries)


async def test_a_redis_that_answers_is_pinged_all_the_same(fleet: Fleet) -> None:
    await leave_for_the_budget(fleet)
    fleet.later(65)
    pings = fleet.link.pings
    await until(lambda: fleet.link.pings > pings)
    assert fleet.link.tries == 0
