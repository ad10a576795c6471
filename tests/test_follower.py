"""The follower: what it pulls and when, what it does with it, and how it comes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import pytest

from tenantcache.errors import SchemaMissingError, StoreError, StoreUnavailableError
from tenantcache.freshness import puller
from tenantcache.freshness.core.freshness import Freshness
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.freshness.housekeeping import LOG_RETENTION, PRUNE_INTERVAL
from tenantcache.freshness.log import LogEntry, Pull
from tests.freshness.bench import Bench
from tests.freshness.database import Database, nothing
from tests.freshness.network import SimulatedLog

ACME = "subdomain:a"


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[tuple[object, ...]]:
    """The arguments of each call of that method of the log, from now on."""
    calls: list[tuple[object, ...]] = []
    method = getattr(SimulatedLog, name)

    async def counted(log: SimulatedLog, *args: object, **named: object) -> object:
        calls.append((*args, *named.values()))
        return await method(log, *args, **named)

    monkeypatch.setattr(SimulatedLog, name, counted)
    return calls


class TestPulling:
    def test_once_a_second(self) -> None:
        with Bench() as bench:
            before = bench.process.follower.pulls
            bench.settle(10.5)
            assert bench.process.follower.pulls - before == 10

    def test_at_once_when_something_was_committed(self) -> None:
        with Bench() as bench:
            bench.rename()
            bench.settle()
            assert bench.process.freshness.applied == bench.database.head.seq

    def test_without_notifications_within_a_second(self) -> None:
        with Bench() as bench:
            bench.rename()
            bench.network.flights.clear()
            bench.settle(1.01)
            assert bench.process.freshness.applied == bench.database.head.seq

    def test_validity_counts_from_when_the_pull_was_sent(self) -> None:
        with Bench() as bench:
            bench.advance(1.0)
            sent_at = bench.now
            bench.deliver("pull")
            bench.advance(0.4)
            bench.deliver("pull")
            assert bench.process.freshness.valid_until == sent_at + 3.0

    def test_a_page_ends_if_a_read_finds_another_timeline_while_it_is_applied(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(puller, "STEP", 2)
        with Bench() as bench:
            freshness, sink = bench.process.freshness, bench.process.follower._puller._sink
            changed, applied = sink.changed, list[int]()

            def note(entry: LogEntry) -> None:
                applied.append(entry.seq)
                asyncio.get_running_loop().call_soon(freshness.lose)
                changed(entry)

            monkeypatch.setattr(sink, "changed", note)
            for number in range(4):
                bench.rename(f"name {number}", "t2")
            bench.settle()
            assert len(applied) == 1, "the others belong to a timeline that is not believed any more"
            assert freshness.applied == bench.database.head.seq
            assert freshness.is_valid(bench.now)

    def test_others_have_their_turn_after_each_part_of_a_page(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(puller, "STEP", 3)
        with Bench() as bench:
            apply, turns = Freshness.apply, [0]

            def counted(self: Freshness, mark: LogMark, tenant_id: str, aliases: Iterable[str]) -> None:
                if turns[-1] == 0:
                    asyncio.get_running_loop().call_soon(turns.append, 0)
                turns[-1] += 1
                apply(self, mark, tenant_id, aliases)

            monkeypatch.setattr(Freshness, "apply", counted)
            for number in range(10):
                bench.rename(f"name {number}", "t2")
            bench.settle()
            assert (sum(turns), max(turns)) == (10, 3)

    def test_page_by_page_and_valid_only_at_the_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(puller, "PAGE", 2)
        with Bench() as bench:
            bench.know(ACME)
            valid_until = bench.process.freshness.valid_until
            for number in range(3):
                bench.rename(f"name {number}", "t2")
            bench.rename("last")
            bench.advance(0.5)
            bench.deliver("notify")
            bench.answer("pull")
            assert bench.process.freshness.valid_until == valid_until
            assert bench.process.resolver.peek(ACME) is not None
            bench.answer("pull")
            assert bench.process.resolver.peek(ACME) is None
            bench.settle()
            assert bench.process.freshness.valid_until == bench.now + 3.0

    def test_too_far_behind_everything_is_dropped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(puller, "MAX_BEHIND", 3)
        with Bench() as bench:
            bench.know(ACME)
            for number in range(4):
                bench.rename(f"name {number}", "t2")
            bench.settle()
            assert len(bench.process.memory) == 0
            assert bench.process.freshness.applied == bench.process.freshness.tail_start == bench.database.head.seq
            assert bench.process.freshness.is_valid(bench.now)

    def test_the_servers_clock_and_the_fleet_come_with_it(self) -> None:
        with Bench() as bench:
            bench.database.clock_offset = 5.0
            bench.database.beat("another")
            bench.settle(1.1)
            assert bench.process.server_time.offset == pytest.approx(5.0, abs=1e-3)
            assert bench.process.follower.processes == 2


class TestStarting:
    def test_the_tail_makes_copies_in_redis_usable_that_missed_nothing(self) -> None:
        with Bench() as bench:
            bench.know(ACME, "subdomain:b")
            bench.rename()
            bench.restart(bench.process)
            (process,) = bench.processes
            bench.settle()
            for alias in (ACME, "subdomain:b"):
                process.ask(alias)
                bench.settle()
            assert (process.resolver.copies_refused, process.resolver.copy_hits) == (1, 1)

    def test_what_is_older_than_the_tail_is_refused(self) -> None:
        with Bench() as bench:
            bench.know(ACME)
            bench.rename()
            bench.settle(100.0)
            bench.redis.write(*bench.redis.graveyard[0])  # late by more than the tail is long
            bench.restart(bench.process)
            (process,) = bench.processes
            bench.settle()
            process.ask(ACME)
            bench.settle()
            assert (process.resolver.copies_refused, process.resolver.copy_hits) == (1, 0)

    def test_without_the_schema_it_fails_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def tail(self: SimulatedLog, max_age: float, max_entries: int) -> Pull:
            raise SchemaMissingError("run init")

        with Bench() as bench:
            monkeypatch.setattr(SimulatedLog, "tail", tail)
            bench.process.die()
            bench.process = bench.processes[0] = bench._start("P2")
            bench.run()
            while bench.network.flights:
                bench.network.deliver(bench.network.flights[0])
                bench.run()
            assert isinstance(bench.process._start.exception(), SchemaMissingError)

    def test_without_postgres_it_gives_up_in_time(self) -> None:
        with Bench() as bench:
            bench.process.die()
            bench.process = bench.processes[0] = bench._start("P2")
            for link in bench.process.links.values():
                link.swallow()
            for _ in range(6):
                bench.advance(1.0)
            with pytest.raises(StoreUnavailableError, match="did not answer in time"):
                raise bench.process._start.exception() or AssertionError("it started")


class TestSync:
    def test_a_pull_under_way_is_not_enough(self) -> None:
        with Bench() as bench:
            bench.advance(1.0)
            bench.deliver("pull")  # it has seen the log as it was, and is on its way back
            bench.rename()
            bench.network.flights = [flight for flight in bench.network.flights if flight.name != "notify"]
            task = bench.start(bench.process.follower.sync(2.0))
            bench.deliver("pull")
            assert not task.done()
            bench.answer("pull")
            assert task.done()
            assert bench.process.freshness.applied == bench.database.head.seq

    def test_it_says_when_the_log_cannot_be_read(self) -> None:
        with Bench() as bench:
            bench.process.links["log"].cut()
            task = bench.start(bench.process.follower.sync(2.0))
            for _ in range(30):
                bench.advance(0.1)
            with pytest.raises(StoreUnavailableError, match="change log"):
                task.result()


class TestComingBack:
    def test_a_half_open_connection_is_found_by_the_pulls_own_timeout(self) -> None:
        with Bench() as bench:
            bench.process.links["log"].swallow()
            bench.advance(1.0)
            assert bench.process.follower.connected
            bench.advance(0.51)
            assert not bench.process.follower.connected
            bench.process.links["log"].heal()
            bench.settle(0.2)
            assert bench.process.follower.connected

    def test_it_goes_on_where_it_was_without_dropping_anything(self) -> None:
        with Bench() as bench:
            bench.know(ACME, "subdomain:b")
            held = bench.process.memory.get("subdomain:b")
            bench.process.links["log"].cut()
            bench.advance(1.1)
            bench.rename()
            bench.process.links["log"].heal()
            bench.settle(1.0)
            assert bench.process.memory.get(ACME) is None
            assert bench.process.memory.get("subdomain:b") is held

    def test_it_tries_ever_less_often_but_at_least_every_three_seconds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Bench() as bench:
            opened = count_calls(monkeypatch, "open")
            bench.process.links["log"].cut()
            bench.settle(30.0)
            early = len(opened)
            assert early < 30
            bench.settle(30.0)
            assert 10 <= len(opened) - early <= 30

    def test_a_terminated_backend(self) -> None:
        with Bench() as bench:
            bench.database.terminate_backends()
            bench.rename()
            bench.settle(2.0)
            assert bench.process.freshness.applied == bench.database.head.seq
            bench.rename("newer")
            bench.settle()  # and it listens again
            assert bench.process.freshness.applied == bench.database.head.seq

    def test_an_error_that_nobody_has_thought_of_does_not_end_it(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        with Bench() as bench:
            pull = Database.pull

            def fail_once(self: Database, *args: object) -> Pull:
                monkeypatch.setattr(Database, "pull", pull)
                return "nonsense"  # type: ignore[return-value]  # that is the point

            monkeypatch.setattr(Database, "pull", fail_once)
            with caplog.at_level(logging.ERROR):
                bench.settle(3.0)
            assert "the follower failed" in caplog.text
            bench.rename()
            bench.settle()
            assert bench.process.freshness.applied == bench.database.head.seq


class TestAnotherTimeline:
    def test_a_restored_storage_snapshot_is_told_by_the_entry_applied_last(self) -> None:
        with Bench() as bench:
            bench.know(ACME)
            backup = bench.database.back_up()
            bench.rename("lost")
            bench.settle()
            bench.know(ACME)
            epoch = bench.database.epoch
            bench.database.restore(backup, same_storage=True)
            bench.rename("other")
            assert bench.database.epoch == epoch
            bench.settle(2.0)
            assert len(bench.process.memory) == 0
            assert bench.process.freshness.is_valid(bench.now)

    def test_a_restored_dump_has_another_epoch(self) -> None:
        with Bench() as bench:
            bench.know(ACME)
            bench.database.restore(bench.database.back_up(), same_storage=False)
            bench.settle(2.0)
            assert bench.process.freshness.epoch == bench.database.epoch
            assert len(bench.process.memory) == 0

    def test_copies_from_a_lost_future_are_not_believed_once_their_numbers_are_given_again(self) -> None:
        with Bench() as bench:
            backup = bench.database.back_up()
            bench.rename("lost")
            bench.settle()
            bench.know(ACME)
            bench.restore_while_all_are_down(backup, changes=2)
            (process,) = bench.processes
            bench.settle()
            assert process.freshness.applied > backup.last_seq + 1
            process.ask(ACME)
            bench.settle()
            assert (process.resolver.copies_refused, process.resolver.copy_hits) == (1, 0)

    def test_copies_from_before_the_backup_are_believed_all_the_same(self) -> None:
        with Bench() as bench:
            bench.know(ACME)
            backup = bench.database.back_up()
            bench.rename("lost", "t2")
            bench.settle()
            bench.restore_while_all_are_down(backup, changes=1)
            (process,) = bench.processes
            bench.settle()
            process.ask(ACME)
            bench.settle()
            assert (process.resolver.copies_refused, process.resolver.copy_hits) == (0, 1)

    @pytest.mark.parametrize("written", [0, 1, 2])
    def test_what_a_read_has_seen_must_turn_up_in_the_log(self, written: int) -> None:
        """It was ahead of the follower when storage was put back, to where the follower was."""
        with Bench() as bench:
            backup = bench.database.back_up()
            bench.rename("lost")
            bench.network.flights.clear()
            bench.find(ACME)
            bench.answer("get")
            bench.answer("read")
            assert bench.process.memory.get(ACME) is not None
            bench.database.restore(backup, same_storage=True)
            for number in range(written):
                bench.rename(f"other {number}", "t2")
            bench.settle(4.0)
            assert bench.process.memory.get(ACME) is None
            assert bench.process.freshness.is_valid(bench.now)

    def test_what_a_read_has_found_begins_at_the_tail(self) -> None:
        """Storage was put back too far, and then again to where the follower was."""
        with Bench() as bench:
            far_back = bench.database.back_up()
            bench.rename("new")
            near = bench.database.back_up()
            bench.settle()
            bench.database.restore(far_back, same_storage=True)
            bench.find(ACME)
            bench.answer("get")
            bench.answer("read")
            bench.database.restore(near, same_storage=True)
            bench.settle(4.0)
            assert bench.process.memory.get(ACME) is None
            assert bench.process.freshness.is_valid(bench.now)

    def test_a_log_that_was_pruned_beyond_the_mark(self) -> None:
        with Bench() as bench:
            bench.know(ACME)
            bench.process.links["log"].cut()
            bench.advance(1.1)
            for name in ("one", "two"):
                bench.rename(name)
            bench.database.prune(max_age=0.0)
            bench.process.links["log"].heal()
            bench.settle(5.0)
            assert len(bench.process.memory) == 0
            assert bench.process.freshness.is_valid(bench.now)

    def test_a_pull_from_before_a_read_found_one_does_not_count(self) -> None:
        with Bench() as bench:
            backup = bench.database.back_up()
            bench.rename("lost")
            bench.settle()
            bench.advance(1.0)
            bench.deliver("pull")  # the old timeline answers, and everything seems in order
            bench.database.restore(backup, same_storage=True)
            bench.find("subdomain:b")
            bench.answer("get")
            bench.answer("read")
            bench.deliver("pull")
            assert not bench.process.freshness.is_valid(bench.now)

    def test_a_tail_that_has_seen_less_than_a_read_is_asked_for_again(self) -> None:
        with Bench() as bench:
            bench.database.restore(bench.database.back_up(), same_storage=False)
            while not bench.waiting("tail"):
                bench.advance(0.1)
                for flight in list(bench.network.flights):
                    bench.network.deliver(flight)
                bench.run()
            bench.find("subdomain:b")
            bench.answer("read")  # it begins the other timeline, and the tail that was asked for before does not count
            bench.answer("tail")
            bench.deliver("tail")
            bench.rename()
            bench.find(ACME)
            bench.answer("read")
            bench.deliver("tail")
            assert not bench.process.freshness.is_valid(bench.now)
            bench.answer("tail")
            assert bench.process.freshness.is_valid(bench.now)
            assert bench.process.freshness.applied == bench.database.head.seq

    def test_a_database_without_its_tables_while_it_is_restored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def tail(self: SimulatedLog, max_age: float, max_entries: int) -> Pull:
            raise SchemaMissingError("they are not there yet")

        with Bench() as bench:
            bench.know(ACME)
            bench.database.restore(bench.database.back_up(), same_storage=False)
            with monkeypatch.context() as meanwhile:
                meanwhile.setattr(SimulatedLog, "tail", tail)
                bench.settle(3.0)
                assert not bench.process.freshness.is_valid(bench.now)
            bench.settle(4.0)
            assert bench.process.freshness.is_valid(bench.now)

    def test_everything_changed_is_no_other_timeline(self) -> None:
        with Bench() as bench:
            bench.know(ACME)
            epoch = bench.database.epoch
            bench.commit(nothing, [(None, None)])
            bench.settle(2.0)
            assert bench.database.epoch == epoch
            assert len(bench.process.memory) == 0


class TestHousekeeping:
    def test_it_is_counted_while_it_lives(self) -> None:
        with Bench() as bench:
            bench.settle(120.0)
            pull = bench.database.pull(bench.database.head, 10, 10)
            assert pull.processes == 1

    def test_it_signs_off(self) -> None:
        with Bench() as bench:
            task = bench.start(bench.process.stop())
            bench.answer("leave")
            assert task.done()
            assert bench.database.pull(bench.database.head, 10, 10).processes == 0

    def test_a_stop_without_postgres_waits_no_longer_than_a_timeout(self) -> None:
        with Bench() as bench:
            bench.process.links["log"].swallow()
            task = bench.start(bench.process.stop())
            bench.advance(0.51)
            assert task.done()

    def test_a_server_that_takes_no_writes_is_followed_all_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def refuse(*_args: object) -> None:
            raise StoreError("cannot execute INSERT in a read-only transaction")

        monkeypatch.setattr(SimulatedLog, "beat", refuse)
        monkeypatch.setattr(SimulatedLog, "prune", refuse)
        with Bench() as bench:
            opened = count_calls(monkeypatch, "open")
            bench.settle(PRUNE_INTERVAL * 1.3)
            bench.rename()
            bench.settle()
            assert bench.process.freshness.applied == bench.database.head.seq
            assert opened == []

    def test_housekeeping_that_always_hangs_costs_no_more_than_its_timeout(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def hang(log: SimulatedLog, *_args: object) -> None:
            await asyncio.sleep(0.5)
            await log.close()  # as the real one does
            raise StoreError("no answer")

        monkeypatch.setattr(SimulatedLog, "beat", hang)
        with Bench() as bench:
            bench.settle(2.0)
            valid = 0
            for _ in range(600):
                bench.settle(0.1)
                valid += bench.process.freshness.is_valid(bench.now)
            assert valid == 600

    def test_it_prunes_every_minute_or_so(self) -> None:
        with Bench() as bench:
            old = bench.database.head.seq
            for name in ("one", "two"):
                bench.rename(name)
            bench.now += LOG_RETENTION + 1
            bench.rename("three")
            bench.settle(PRUNE_INTERVAL * 1.3)
            assert bench.database.log[0].seq > old + 1
