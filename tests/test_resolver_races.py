"""The resolver against changes, suspended machines and other timelines that overtake its answers."""

from __future__ import annotations

import asyncio

import pytest

from tenantcache.freshness.publisher import BUSY_PAUSE
from tenantcache.lookup import resolver as module
from tenantcache.tenant import Tenant
from tests.freshness.bench import Bench
from tests.freshness.database import delete, set_columns

ACME, ACME_DOMAIN, UNKNOWN = "subdomain:a", "domain:d1.io", "subdomain:c"


def name_of(task: asyncio.Task[Tenant | None]) -> str | None:
    tenant = task.result()
    return None if tenant is None else tenant.name


class TestOvertaken:
    def test_an_answer_that_a_change_has_overtaken_is_read_again(self) -> None:
        with Bench() as bench:
            task = bench.find(ACME_DOMAIN)
            bench.answer("get")
            bench.deliver("read")  # it has seen the old name, and is on its way back
            bench.rename("new")
            for message in ("notify", "pull", "pull"):
                bench.deliver(message)
            bench.deliver("read")
            assert not task.done()
            bench.answer("read")
            assert name_of(task) == "new"

    def test_a_change_cuts_a_load_off_from_those_who_come_later(self) -> None:
        with Bench() as bench:
            bench.find(ACME)
            bench.answer("get")
            bench.rename("new")
            for message in ("notify", "pull", "pull"):
                bench.deliver(message)
            bench.find(ACME)
            assert len(bench.waiting("read")) + len(bench.waiting("get")) == 2

    def test_who_came_before_the_last_read_gets_it_though_it_is_refused_and_nobody_else_does(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_OVERTAKEN", 2)
        with Bench() as bench:
            early = bench.find(ACME_DOMAIN)
            bench.answer("get")
            late = None
            for name in ("one", "two"):
                bench.deliver("read")
                bench.rename(name)
                for message in ("notify", "pull", "pull"):
                    bench.deliver(message)
                if name == "two":
                    late = bench.find(ACME_DOMAIN)
                (reply,) = (flight for flight in bench.waiting("read") if flight.for_process)
                bench.network.deliver(reply)
                bench.run()
            assert name_of(early) == "one"
            assert late is not None
            bench.settle()
            assert name_of(late) == "two"
            entry = bench.process.resolver.peek(ACME_DOMAIN)
            assert entry is not None
            assert entry.tenant == late.result()

    def test_an_answer_from_before_the_machine_was_suspended_is_read_again(self) -> None:
        with Bench() as bench:
            task = bench.find(ACME)
            bench.answer("get")
            bench.deliver("read")
            bench.process.suspend(10.0)
            bench.now += 10.0
            bench.deliver("read")
            assert not task.done()
            assert len(bench.waiting("read")) == 1

    def test_what_a_read_has_seen_is_not_gone_behind(self) -> None:
        with Bench() as bench:
            bench.rename("new")
            bench.find(ACME)
            bench.answer("get")
            bench.answer("read")
            bench.process.memory.clear()
            bench.redis.write(ACME_DOMAIN, bench.copy_of(ACME_DOMAIN, watermark=1))
            bench.find(ACME_DOMAIN)
            bench.answer("get")
            assert bench.process.resolver.copies_refused == 1

    def test_the_index_of_hosts_is_not_gone_behind_to_either(self) -> None:
        with Bench(has_index=True) as bench:
            bench.settle(2.0)
            assert bench.find(UNKNOWN).result() is None
            assert bench.process.resolver.ruled_out == 1
            bench.advance(1.0)
            bench.deliver("pull")  # on its way back, and without what follows
            bench.commit(set_columns("t3", name="new", subdomain="c"))
            bench.process.freshness.valid_until = bench.now
            seen = bench.find(UNKNOWN)
            bench.answer("read")
            assert seen.result() is not None
            bench.process.memory.clear()
            bench.deliver("pull")
            assert bench.process.freshness.is_valid(bench.now)
            again = bench.find(UNKNOWN)
            assert not again.done()
            bench.settle()
            assert again.result() == seen.result()

    def test_an_id_that_was_created_meanwhile_is_read_again(self) -> None:
        with Bench() as bench:
            task = bench.start(bench.process.resolver.find_ids(["t3"]))
            bench.answer("get")
            bench.deliver("read")
            bench.commit(set_columns("t3", name="new"))  # without a host, so the log names the id alone
            for message in ("notify", "pull", "pull"):
                bench.deliver(message)
            bench.deliver("read")
            bench.answer("read")
            assert list(task.result()) == ["t3"]

    def test_siblings_of_what_a_newer_read_has_changed_leave(self) -> None:
        with Bench() as bench:
            bench.know(ACME_DOMAIN)
            bench.rename("new")
            bench.find(ACME)
            bench.answer("get")
            bench.answer("read")
            assert bench.process.resolver.peek(ACME_DOMAIN) is None


class TestPending:
    """Reads that have seen changes which are not in the log yet."""

    def test_it_is_true_for_as_long_as_its_own_read_says(self) -> None:
        with Bench() as bench:
            bench.pend("new")
            bench.know_pending(ACME)
            bench.settle(1.5)
            assert bench.process.freshness.applied == 2
            assert bench.process.resolver.peek(ACME) is None  # the entry names it, and it might be older
            bench.pend("other", "t2")
            bench.know_pending(ACME)
            bench.settle(2.9)
            assert bench.process.resolver.peek(ACME) is not None
            bench.settle(0.2)
            assert bench.process.freshness.is_valid(bench.now)
            assert bench.process.resolver.peek(ACME) is None

    def test_it_is_not_shared(self) -> None:
        with Bench() as bench:
            bench.pend("new")
            bench.know_pending(ACME)
            bench.settle()
            assert bench.redis.contents == frozenset()
            bench.know(ACME)
            assert len(bench.redis.contents) == 1

    def test_what_a_restore_has_undone_is_gone_in_time_though_the_log_looks_the_same(self) -> None:
        with Bench() as bench:
            backup = bench.database.back_up()
            bench.pend("lost")
            bench.know_pending(ACME)
            bench.database.restore(backup, same_storage=True)
            bench.rename("other", "t2")
            bench.settle(3.1)
            assert bench.process.freshness.is_valid(bench.now)
            assert bench.process.resolver.peek(ACME) is None

    def test_a_restore_to_the_same_entry_is_seen(self) -> None:
        with Bench() as bench:
            backup = bench.database.back_up()
            bench.pend("lost")
            bench.know_pending(ACME)
            bench.database.restore(backup, same_storage=True)
            bench.settle(2.0)
            assert bench.process.memory.get(ACME) is None
            assert bench.process.freshness.is_valid(bench.now)

    def test_of_two_reads_at_once_the_later_answer_may_be_the_older(self) -> None:
        with Bench() as bench:
            bench.pend("one")
            tasks = [bench.start(bench.process.resolver.find_ids(["t1"])) for _ in range(2)]
            for _ in tasks:
                bench.answer("get")
            first, second = bench.waiting("read")
            bench.network.deliver(first)
            old_answer = bench.waiting("read")[-1]
            bench.pend("two")
            bench.network.deliver(second)
            new_answer = bench.waiting("read")[-1]
            for answer in (new_answer, old_answer):
                bench.network.deliver(answer)
                bench.run()
            held = bench.process.resolver.peek("id:t1")
            assert held is not None
            assert held.tenant is not None
            assert held.tenant.name == "two"
            bench.answer("read")
            assert [task.result()["t1"].name for task in tasks] in (["one", "two"], ["two", "two"])

    def test_nothing_is_held_that_may_be_older_than_what_was_served(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_OVERTAKEN", 1)
        with Bench() as bench:
            bench.pend("one")
            tasks = [bench.start(bench.process.resolver.find_ids(["t1"])) for _ in range(2)]
            for _ in tasks:
                bench.answer("get")
            first, second = bench.waiting("read")
            bench.network.deliver(first)
            old_answer = bench.waiting("read")[-1]
            bench.pend("two")
            bench.network.deliver(second)
            new_answer = bench.waiting("read")[-1]
            for answer in (old_answer, new_answer):
                bench.network.deliver(answer)
                bench.run()
            assert [task.result()["t1"].name for task in tasks] == ["one", "two"]
            assert bench.process.memory.get("id:t1") is None

    def test_siblings_that_saw_something_else_leave(self) -> None:
        with Bench() as bench:
            bench.pend("one")
            bench.know_pending(ACME_DOMAIN)
            bench.pend("two")
            assert bench.process.resolver.peek(ACME_DOMAIN) is not None
            bench.know_pending(ACME)
            assert bench.process.resolver.peek(ACME_DOMAIN) is None
            bench.know_pending(ACME_DOMAIN)
            assert bench.process.resolver.peek(ACME) is not None

    def test_the_index_is_not_gone_behind_to_while_only_a_part_is_published(self) -> None:
        with Bench(has_index=True) as bench:
            bench.settle(2.0)
            bench.pend("one", "t2")
            bench.database.commit(set_columns("t3", name="new", subdomain="c"))
            bench.process.freshness.valid_until = bench.now
            bench.know_pending(UNKNOWN)
            assert bench.process.memory.get(UNKNOWN) is not None
            bench.process.memory.clear()
            bench.database.publish(1)
            bench.database.is_publisher_held = True
            bench.deliver("notify")
            bench.answer("publish")
            bench.advance(BUSY_PAUSE)
            bench.answer("pull")
            assert bench.process.freshness.applied == 2
            bench.process.freshness.extend(bench.now)
            assert bench.process.indexer.rules_out(UNKNOWN)
            assert not bench.find(UNKNOWN).done()

    def test_an_index_is_not_taken_from_a_snapshot_with_changes_pending(self) -> None:
        with Bench(has_index=True) as bench:
            bench.settle(2.0)
            backup = bench.database.back_up()
            bench.database.is_publisher_held = True
            bench.database.commit(delete("t2"))
            bench.process.indexer.flush()
            bench.settle(2.5)
            assert not bench.process.indexer.is_ready
            bench.database.restore(backup, same_storage=True)
            bench.database.is_publisher_held = False
            bench.settle(4.0)
            assert bench.process.indexer.is_ready
            assert not bench.process.indexer.rules_out("subdomain:b")
            assert bench.process.indexer.rules_out(UNKNOWN)


class TestAnotherTimeline:
    def test_a_read_that_finds_one_drops_everything(self) -> None:
        with Bench() as bench:
            bench.know(ACME)
            backup = bench.database.back_up()
            bench.database.restore(backup, same_storage=False)
            bench.find("subdomain:b")
            bench.answer("get")
            bench.answer("read")
            assert bench.process.resolver.peek(ACME) is None
            assert not bench.process.freshness.is_valid(bench.now)
            assert bench.process.freshness.epoch == bench.database.epoch

    def test_a_log_that_ends_too_early_is_one(self) -> None:
        with Bench() as bench:
            backup = bench.database.back_up()
            bench.rename("lost")
            bench.settle()
            bench.know(ACME)
            bench.database.restore(backup, same_storage=True)
            bench.find("subdomain:b")
            bench.answer("get")
            bench.answer("read")
            assert bench.process.resolver.peek(ACME) is None

    def test_the_index_of_a_lost_future_is_not_taken_up(self) -> None:
        """Storage was put back to where the follower is, after the index has read what that future had deleted."""
        with Bench(has_index=True) as bench:
            bench.settle(2.0)
            backup = bench.database.back_up()
            bench.process.indexer.flush()
            while not bench.waiting("stream"):
                bench.advance(0.1)
                for flight in list(bench.network.flights):
                    if flight.name != "stream":
                        bench.network.deliver(flight)
                bench.run()
            bench.commit(delete("t2"))
            bench.network.flights = [flight for flight in bench.network.flights if flight.name == "stream"]
            bench.deliver("stream")
            bench.database.restore(backup, same_storage=True)
            bench.rename("other")
            for _ in range(40):
                bench.settle(0.1)
                assert not bench.process.indexer.rules_out("subdomain:b")
            assert bench.process.indexer.rules_out(UNKNOWN)

    def test_an_answer_from_before_it_is_read_again(self) -> None:
        with Bench() as bench:
            first = bench.find(ACME)
            bench.answer("get")
            bench.deliver("read")
            (old_reply,) = bench.waiting("read")
            bench.database.restore(bench.database.back_up(), same_storage=False)
            bench.rename("restored")
            bench.find("subdomain:b")
            bench.answer("get")
            for flight in bench.waiting("read"):
                if flight is not old_reply:
                    bench.network.deliver(flight)
            bench.network.deliver(next(flight for flight in bench.waiting("read") if flight is not old_reply))
            bench.run()
            bench.network.deliver(old_reply)
            bench.run()
            assert not first.done()
            bench.answer("read")
            assert name_of(first) == "restored"
