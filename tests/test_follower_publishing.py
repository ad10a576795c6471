"""The follower while changes are visible that are not in the log yet, and what else keeps it from proving anything."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from tenantcache.errors import StoreError
from tenantcache.freshness import puller
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.freshness.log import Doubt, Publication, Pull
from tenantcache.freshness.pace import MAX_PULL_PAUSE
from tenantcache.freshness.publisher import BUSY_PAUSE, LEADER_WAIT
from tests.freshness.bench import Bench
from tests.freshness.database import nothing, set_columns
from tests.freshness.network import SimulatedLog

ACME = "subdomain:a"


def silence(bench: Bench) -> None:
    """Lose what would tell the follower before its time."""
    bench.network.flights = [flight for flight in bench.network.flights if flight.name != "notify"]


class TestPending:
    def test_it_extends_nothing_until_it_is_published(self) -> None:
        with Bench() as bench:
            valid_until = bench.process.freshness.valid_until
            bench.database.is_publisher_held = True
            bench.pend()
            bench.settle(5.0)
            assert bench.process.freshness.valid_until == valid_until
            assert not bench.process.freshness.is_valid(bench.now)
            bench.database.is_publisher_held = False
            bench.settle(0.5)
            assert bench.process.freshness.is_valid(bench.now + 2.4)
            assert bench.process.freshness.applied == bench.database.head.seq == 2

    def test_the_follower_publishes_what_no_notification_told_of(self) -> None:
        with Bench() as bench:
            bench.pend()
            silence(bench)
            bench.settle(1.01)
            assert bench.database.outbox == []
            assert bench.process.freshness.applied == bench.database.head.seq == 2

    def test_more_comes_all_the_time_and_what_was_pending_before_counts(self) -> None:
        with Bench() as bench:
            bench.pend("one")
            silence(bench)
            bench.advance(1.0)
            sent_at = bench.now
            bench.answer("pull")
            bench.advance(0.1)
            bench.answer("publish")
            bench.advance(0.1)
            bench.pend("two")
            bench.answer("pull")
            assert bench.database.outbox != []
            assert bench.process.freshness.applied == 2
            assert bench.process.freshness.valid_until == sent_at + 3.0
            assert bench.process.freshness.settled == 1

    def test_a_part_that_is_published_does_not_count(self) -> None:
        with Bench() as bench:
            valid_until = bench.process.freshness.valid_until
            for name in ("one", "two", "three"):  # one more than is published at once
                bench.pend(name)
            silence(bench)
            bench.advance(1.0)
            sent_at = bench.now
            bench.answer("pull")
            bench.answer("publish")
            bench.answer("pull")
            assert bench.process.freshness.applied == 3
            assert bench.process.freshness.valid_until == valid_until
            bench.answer("publish")
            bench.answer("pull")
            assert bench.process.freshness.applied == 4
            assert bench.process.freshness.valid_until == sent_at + 3.0

    def test_what_a_writer_commits_before_a_sync_is_applied_after_it(self) -> None:
        with Bench() as bench:
            for name in ("one", "two", "three"):
                bench.pend(name)
            silence(bench)
            task = bench.start(bench.process.follower.sync(2.0))
            bench.settle()
            assert task.done()
            assert bench.process.freshness.applied == 4


class TestAnotherPublishes:
    def test_the_follower_looks_again(self) -> None:
        with Bench() as bench:
            bench.database.is_publisher_held = True
            bench.pend()
            bench.deliver("notify")
            bench.answer("publish")
            assert bench.waiting("pull") == []
            bench.database.is_publisher_held = False
            bench.database.publish(1)
            silence(bench)
            bench.advance(BUSY_PAUSE)
            bench.answer("pull")
            assert bench.process.freshness.applied == 2

    def test_it_is_told_when_the_other_is_done(self) -> None:
        with Bench() as bench:
            bench.database.is_publisher_held = True
            bench.pend()
            bench.deliver("notify")
            bench.answer("publish")
            bench.database.is_publisher_held = False
            bench.database.publish(1)
            bench.deliver("notify")
            bench.answer("pull")
            assert bench.process.freshness.applied == 2

    def test_a_sync_that_is_called_meanwhile_does_not_wait_for_the_next_second(self) -> None:
        with Bench() as bench:
            bench.database.is_publisher_held = True
            bench.pend()
            bench.deliver("notify")
            bench.answer("publish")
            task = bench.start(bench.process.follower.sync(2.0))
            bench.database.is_publisher_held = False
            bench.settle(2 * BUSY_PAUSE)
            assert task.done()
            assert task.exception() is None

    @pytest.mark.parametrize("is_flooded", [False, True])
    def test_one_that_hangs_is_asked_ever_less_often_and_the_process_is_counted_all_the_while(
        self, monkeypatch: pytest.MonkeyPatch, is_flooded: bool
    ) -> None:
        with Bench() as bench:
            published = count_calls(monkeypatch, "publish")
            bench.database.is_publisher_held = True
            bench.pend()
            for _ in range(400):
                if is_flooded:
                    bench.database._notify()
                bench.settle(0.1)
            assert 100 < len(published) < 200
            assert bench.database.pull(bench.database.head, 10, 10).processes == 1


class TestLeaving:
    """The process that has published last is left to do it again, for some milliseconds."""

    @staticmethod
    def follow_another(bench: Bench) -> None:
        bench.rename("another published this")
        bench.settle()

    def test_it_is_not_asked_for_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Bench() as bench:
            self.follow_another(bench)
            published = count_calls(monkeypatch, "publish")
            bench.pend()
            bench.deliver("notify")
            bench.database.publish(1)
            bench.deliver("notify")
            bench.answer("pull")
            assert bench.process.freshness.applied == bench.database.head.seq == 3
            assert published == []

    def test_one_that_is_not_there_any_more_is_not_waited_for_again(self) -> None:
        with Bench() as bench:
            self.follow_another(bench)
            bench.pend("one")
            bench.settle()
            assert bench.database.outbox != []
            bench.advance(LEADER_WAIT)
            bench.settle()
            assert bench.process.freshness.applied == bench.database.head.seq == 3
            bench.pend("two")
            bench.settle()
            assert bench.process.freshness.applied == bench.database.head.seq == 4

    @pytest.mark.parametrize("made_up", [4, 10**15])
    def test_an_entry_that_is_not_there_keeps_nobody_from_publishing(self, made_up: int) -> None:
        """Any client may notify; and a database that was restored has told of entries that it does not have."""
        with Bench() as bench:
            self.follow_another(bench)
            bench.database._notify(made_up)
            bench.settle()
            bench.pend("one")
            bench.settle(LEADER_WAIT)
            assert bench.database.outbox == []
            assert bench.process.freshness.applied == bench.database.head.seq == 3

    def test_what_a_caller_waits_for_is_left_to_nobody(self) -> None:
        with Bench() as bench:
            self.follow_another(bench)
            bench.pend("one")
            silence(bench)
            task = bench.start(bench.process.follower.sync(2.0))
            bench.settle()
            assert task.done()
            assert bench.process.freshness.applied == 3

    def test_a_check_makes_way_for_a_change_and_is_made_up_for(self) -> None:
        with Bench() as bench:
            bench.settle(0.9)
            self.follow_another(bench)
            assert bench.process.freshness.applied == 2
            valid_until = bench.process.freshness.valid_until
            bench.settle(0.2)
            assert bench.process.freshness.valid_until >= valid_until + 0.9

    def test_changes_without_end_do_not_keep_it_from_that(self) -> None:
        with Bench() as bench:
            for number in range(1_500):
                bench.rename(f"name {number}")
                bench.settle(0.01)
                assert bench.process.freshness.is_valid(bench.now + 1.7)


class TestWhoLeavesTheNotifyingToAnother:
    def test_a_transaction_that_ends_later_is_seen_soon_all_the_same(self) -> None:
        with Bench() as bench:
            first = bench.database.begin(set_columns("t1", name="one"), frozenset({"t1"}))
            muted = bench.database.begin(set_columns("t2", name="two"), frozenset({"t2"}))
            assert first is not None
            assert muted is not None
            assert not muted.notifies
            bench.database.finish(first)
            bench.settle(0.03)
            assert bench.process.freshness.applied == 2
            bench.database.finish(muted)
            assert bench.network.flights == []
            bench.settle(0.07)
            assert bench.process.freshness.applied == bench.database.head.seq == 3

    def test_the_longer_it_runs_the_less_often_it_is_looked_for(self) -> None:
        with Bench() as bench:
            bench.database.begin(nothing, frozenset({"t2"}))
            before = bench.process.follower.pulls
            bench.rename()
            bench.settle(0.9)
            assert 5 <= bench.process.follower.pulls - before <= 12
            bench.settle(1.1)
            before = bench.process.follower.pulls
            bench.settle(10.0)
            assert bench.process.follower.pulls - before <= 11

    def test_one_that_began_after_the_notification_is_not_waited_for(self) -> None:
        with Bench() as bench:
            bench.settle(0.5)
            bench.rename()
            bench.settle()
            bench.database.begin(nothing, frozenset({"t2"}))
            bench.settle(0.2)  # the check that has made way for the change
            before = bench.process.follower.pulls
            bench.settle(0.7)
            assert bench.process.follower.pulls == before


class TestEmptyNotifications:
    def test_a_flood_of_them_is_answered_ever_less_often(self) -> None:
        with Bench() as bench:
            before = bench.process.follower.pulls
            self._flood(bench, 3.0)
            assert bench.process.follower.pulls - before < 40

    def test_a_sync_does_not_wait_for_it(self) -> None:
        with Bench() as bench:
            self._flood(bench, 3.0)
            bench.pend()
            task = bench.start(bench.process.follower.sync(2.0))
            bench.settle()
            assert task.done()
            assert bench.process.freshness.applied == 2

    def test_a_change_ends_it(self) -> None:
        with Bench() as bench:
            self._flood(bench, 3.0)
            bench.rename("one")
            bench.settle(MAX_PULL_PAUSE)
            assert bench.process.freshness.applied == 2
            bench.rename("two")
            bench.settle()
            assert bench.process.freshness.applied == 3

    def test_what_empty_notifications_name_is_not_doubted(self) -> None:
        """A client that makes them up could have everything read again and again."""
        with Bench() as bench:
            bench.know(ACME)
            self._flood(bench, 0.5)
            bench.database._notify(doubts=[Doubt("t1", (ACME,))])
            bench.settle(0.002)
            assert bench.process.resolver.peek(ACME) is not None
            assert not bench.process.freshness.doubts.hold(ACME, "t1")
            bench.rename("new")
            bench.settle(1.0)
            bench.know(ACME)
            bench.database._notify(doubts=[Doubt("t1", (ACME,))])
            bench.deliver("notify")
            assert bench.process.resolver.peek(ACME) is None

    @staticmethod
    def _flood(bench: Bench, seconds: float) -> None:
        until = bench.now + seconds
        while bench.now < until:
            bench.database._notify()
            bench.settle(0.002)


class TestFaults:
    def test_one_ends_what_memory_proves_and_says_so_once(self, caplog: pytest.LogCaptureFixture) -> None:
        with Bench() as bench:
            bench.settle(1.1)
            valid_until = bench.process.freshness.valid_until
            bench.database.fault = "triggers are missing"
            with caplog.at_level(logging.INFO):
                bench.settle(4.0)
                assert bench.process.freshness.valid_until == valid_until
                assert bench.process.follower.fault == bench.database.fault
                assert caplog.text.count("triggers are missing; run `tenantcache init` again") == 1
                bench.database.fault = None
                bench.settle(1.1)
            assert bench.process.freshness.is_valid(bench.now + 1.8)
            assert bench.process.follower.fault is None
            assert caplog.text.count("changes are followed again") == 1

    def test_a_pull_that_has_not_looked_for_them_proves_no_more_than_one_that_has(self) -> None:
        with Bench() as bench:
            bench.advance(1.0)
            sent_at = bench.now
            bench.answer("pull")
            assert bench.process.freshness.valid_until == sent_at + 3.0
            bench.advance(0.4)
            bench.rename()
            bench.deliver("notify")
            bench.answer("pull")
            assert bench.process.freshness.applied == 2
            assert bench.process.freshness.valid_until == sent_at + 3.0

    def test_while_there_is_always_more_the_first_pull_has_looked_and_the_last_one_proves(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(puller, "PAGE", 1)
        with Bench() as bench:
            for second in range(10):
                for number in range(3):
                    bench.rename(f"name {second} {number}")
                silence(bench)
                bench.settle(1.0)
                assert bench.process.freshness.is_valid(bench.now + 1.8)

    def test_what_has_changed_is_read_anew(self) -> None:
        with Bench() as bench:
            bench.know(ACME)
            bench.database.fault = "changed"
            bench.settle(2.2)
            assert bench.database.fault is None
            assert bench.process.follower.fault is None
            assert len(bench.process.memory) == 0
            assert bench.process.freshness.is_valid(bench.now)

    def test_that_is_tried_again_though_not_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tried = list[float]()

        async def fail(_log: SimulatedLog) -> None:
            tried.append(bench.now)
            raise StoreError("another is at it")

        monkeypatch.setattr(SimulatedLog, "rebuild", fail)
        with Bench() as bench:
            bench.database.fault = "changed"
            bench.settle(20.0)
            assert 3 <= len(tried) <= 4
            assert not bench.process.freshness.is_valid(bench.now)


class TestPortions:
    def test_what_cannot_be_read_is_asked_for_in_ever_smaller_ones_and_then_skipped(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Bench() as bench:
            bench.know(ACME)
            pulled = self._fail(monkeypatch, lambda applied, _page: applied.seq < 2)
            bench.rename("poison", "t2")
            bench.settle(25.0)
            assert pulled[:11] == [1000, 500, 250, 125, 62, 31, 15, 7, 3, 1, 1]
            assert len(bench.process.memory) == 0
            assert bench.process.freshness.applied == 2
            assert bench.process.freshness.is_valid(bench.now)

    def test_one_that_is_small_enough_is_taken_and_nothing_is_skipped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Bench() as bench:
            bench.know(ACME)
            self._fail(monkeypatch, lambda _applied, page: page > 100)
            bench.rename("new", "t2")
            bench.settle(4.0)
            assert bench.process.memory.get(ACME) is not None
            assert bench.process.freshness.applied == 2

    def test_a_server_that_refuses_would_refuse_less_as_well(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Bench() as bench:
            bench.know(ACME)
            pulled = self._fail(monkeypatch, lambda _applied, _page: bench.now < 1030.0, refused=True)
            bench.settle(40.0)
            assert len(pulled) > 11
            assert set(pulled) == {1000}
            assert bench.process.memory.get(ACME) is not None

    def test_what_cannot_be_published_at_once_is_published_bit_by_bit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        publish, sizes = SimulatedLog.publish, list[int]()

        async def fail(log: SimulatedLog, most: int) -> Publication:
            sizes.append(most)
            if most > 100:
                raise StoreError("did not answer in time")
            return await publish(log, most)

        monkeypatch.setattr(SimulatedLog, "publish", fail)
        with Bench() as bench:
            bench.pend()
            bench.settle(4.0)
            assert sizes[:4] == [500, 250, 125, 62]
            assert bench.process.freshness.applied == 2

    @staticmethod
    def _fail(
        monkeypatch: pytest.MonkeyPatch, is_too_much: Callable[[LogMark, int], bool], *, refused: bool = False
    ) -> list[int]:
        """The pages that are asked for."""
        pull, pages = SimulatedLog.pull, list[int]()

        async def fail(
            log: SimulatedLog,
            applied: LogMark,
            max_behind: int,
            page: int,
            *,
            since: str | None = None,
            check: bool = True,
        ) -> Pull:
            pages.append(page)
            if is_too_much(applied, page):
                raise StoreError("did not answer in time", refused=refused)
            return await pull(log, applied, max_behind, page, since=since, check=check)

        monkeypatch.setattr(SimulatedLog, "pull", fail)
        return pages


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[object]:
    """One item for each call of that method of the log, from now on."""
    calls: list[object] = []
    method = getattr(SimulatedLog, name)

    async def counted(log: SimulatedLog, *args: object) -> object:
        calls.append(args)
        return await method(log, *args)

    monkeypatch.setattr(SimulatedLog, name, counted)
    return calls
