"""The resolver's rules, one by one, with each message held back for as long as the test wants."""

from __future__ import annotations

import pytest

from tenantcache.errors import StoreUnavailableError
from tenantcache.lookup import resolver as module
from tests.freshness.bench import Bench
from tests.freshness.database import delete, nothing, set_columns, set_domain
from tests.freshness.world import World

ACME, ACME_DOMAIN, UNKNOWN = "subdomain:a", "domain:d1.io", "subdomain:c"


class TestLoading:
    def test_a_hit_sends_nothing(self) -> None:
        with Bench() as bench:
            bench.know(ACME)
            task = bench.find(ACME)
            assert task.done()
            assert bench.network.flights == []

    def test_one_load_for_all_who_ask_meanwhile(self) -> None:
        with Bench() as bench:
            tasks = [bench.find(ACME) for _ in range(3)]
            assert len(bench.waiting("get")) == 1
            bench.answer("get")
            assert len(bench.waiting("read")) == 1
            bench.answer("read")
            assert [tenant.id for tenant in (task.result() for task in tasks) if tenant] == ["t1"] * 3
            assert bench.process.resolver.loads == 1

    def test_one_who_gives_up_does_not_take_the_load_with_him(self) -> None:
        with Bench() as bench:
            first, second = bench.find(ACME), bench.find(ACME)
            first.cancel()
            bench.settle()
            assert first.cancelled()
            assert second.result() is not None

    def test_a_host_that_is_not_there_is_remembered(self) -> None:
        with Bench() as bench:
            bench.know(UNKNOWN)
            task = bench.find(UNKNOWN)
            assert task.result() is None
            assert bench.network.flights == []

    def test_created_after_it_was_missed(self) -> None:
        with Bench() as bench:
            bench.know(UNKNOWN)
            bench.commit(set_columns("t3", name="new", subdomain="c"))
            bench.settle()
            task = bench.find(UNKNOWN)
            bench.settle()
            tenant = task.result()
            assert tenant is not None
            assert tenant.name == "new"

    def test_a_bounded_number_of_aliases_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_WAITING", 1)
        with Bench() as bench:
            first, second = bench.find(ACME), bench.find("subdomain:b")
            with pytest.raises(StoreUnavailableError, match="at once"):
                second.result()
            bench.settle()
            assert first.result() is not None

    def test_what_is_asked_for_while_loads_are_under_way_is_one_load(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "LOADS_AT_ONCE", 1)
        with Bench() as bench:
            first = bench.find(ACME)
            others = [bench.find(alias) for alias in ("subdomain:b", ACME_DOMAIN, UNKNOWN, "subdomain:b")]
            assert [get.name for get in bench.waiting("get")] == [f"get {[ACME]}"]
            bench.answer("get")
            bench.answer("read")
            assert first.result() is not None
            bench.answer("get")
            (read,) = bench.waiting("read")
            assert read.name == f"read {['subdomain:b', ACME_DOMAIN, UNKNOWN]}"
            bench.answer("read")
            assert [tenant.id if tenant else None for tenant in (task.result() for task in others)] == [
                "t2", "t1", None, "t2"
            ]  # fmt: skip
            assert bench.process.resolver.loads == 4

    def test_a_load_has_a_bounded_number_of_aliases(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "LOADS_AT_ONCE", 1)
        monkeypatch.setattr(module, "LOAD_BATCH", 2)
        with Bench() as bench:
            tasks = [bench.find(alias) for alias in (ACME, "subdomain:b", ACME_DOMAIN, UNKNOWN)]
            names = []
            while waiting := bench.waiting("get"):
                names += [get.name for get in waiting]
                bench.answer("get")
                bench.answer("read")
            assert names == [f"get {[ACME]}", f"get {['subdomain:b', ACME_DOMAIN]}", f"get {[UNKNOWN]}"]
            assert all(task.done() for task in tasks)

    def test_a_change_leaves_what_is_not_asked_for_yet_in_its_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "LOADS_AT_ONCE", 1)
        with Bench() as bench:
            bench.find("subdomain:b")
            before = bench.find(ACME)
            bench.rename("new")
            for message in ("notify", "pull", "pull"):
                bench.deliver(message)
            after = bench.find(ACME)
            bench.settle()
            assert [tenant.name for tenant in (before.result(), after.result()) if tenant] == ["new"] * 2
            assert bench.process.resolver.loads == 2

    def test_one_alias_that_is_overtaken_keeps_no_other_waiting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "LOADS_AT_ONCE", 1)
        with Bench() as bench:
            bench.know("subdomain:b")
            bench.find(UNKNOWN)
            acme, other = bench.find(ACME), bench.find("domain:d2.io")
            bench.answer("get")
            bench.answer("read")
            bench.answer("get")
            bench.deliver("read")
            bench.rename("new")
            for message in ("notify", "pull", "pull", "read"):
                bench.deliver(message)
            assert other.done()
            assert not acme.done()
            bench.settle()
            tenant = acme.result()
            assert tenant is not None
            assert tenant.name == "new"

    def test_unknown_hosts_have_a_budget_that_known_hosts_do_not_need(self) -> None:
        with Bench(lookups=1.0) as bench:
            bench.know(ACME)
            with pytest.raises(StoreUnavailableError, match="unknown hosts"):
                bench.find(UNKNOWN).result()
            bench.process.links["log"].swallow()
            bench.now += 3.1  # nothing runs meanwhile, so nothing is earned but by the clock
            bench.process.resolver._unknown._budget._at = bench.now
            known = bench.find(ACME)
            bench.answer("read")
            assert known.result() is not None

    def test_many_ids_are_one_get_and_one_read(self) -> None:
        with Bench() as bench:
            task = bench.start(bench.process.resolver.find_ids(["t1", "t2", "t9"]))
            bench.answer("get")
            bench.answer("read")
            assert {key: tenant.subdomain for key, tenant in task.result().items()} == {"t1": "a", "t2": "b"}
            assert bench.process.resolver.loads == 3


class TestCopiesInRedis:
    def test_a_fill_leaves_a_copy_that_others_believe(self) -> None:
        world = World(2)
        world.settle()
        first, second = world.processes
        for process in (first, second):
            process.ask(ACME)
            world.settle()
        assert [process.resolver.copy_hits for process in (first, second)] == [0, 1]
        assert [process.watch.answers for process in (first, second)] == [1, 1]
        world.close()

    def test_a_negative_leaves_none(self) -> None:
        with Bench() as bench:
            bench.know(UNKNOWN)
            assert bench.redis.contents == frozenset()

    def test_an_invalidation_costs_no_command(self) -> None:
        with Bench() as bench:
            bench.know(ACME)
            before = bench.redis.commands
            bench.rename("new")
            bench.settle()
            assert bench.process.resolver.peek(ACME) is None
            assert bench.redis.commands == before

    @pytest.mark.parametrize("fault", ["missed a change", "future", "other epoch", "other alias", "garbage"])
    def test_what_cannot_be_believed_is_read_from_postgres(self, fault: str) -> None:
        with Bench() as bench:
            old = bench.copy_of(ACME)
            bench.rename("new")
            bench.settle()
            values = {
                "missed a change": old,
                "future": bench.copy_of(ACME, watermark=99),
                "other epoch": bench.copy_of(ACME, epoch="another"),
                "other alias": bench.copy_of("subdomain:b"),
                "garbage": b"\xff",
            }
            bench.redis.write(ACME, values[fault])
            task = bench.find(ACME)
            bench.answer("get")
            bench.answer("read")
            tenant = task.result()
            assert tenant is not None
            assert (tenant.id, tenant.name) == ("t1", "new")

    def test_redis_is_not_asked_while_memory_is_not_valid(self) -> None:
        with Bench() as bench:
            bench.lapse()
            bench.find(ACME)
            assert bench.waiting("get") == []
            assert len(bench.waiting("read")) == 1

    def test_a_copy_that_arrives_when_memory_is_no_longer_valid_is_not_believed(self) -> None:
        with Bench() as bench:
            bench.redis.write(ACME, bench.copy_of(ACME))
            bench.process.links["log"].swallow()
            bench.now += 2.99
            bench.run()
            bench.find(ACME)
            bench.deliver("get")
            bench.process.suspend(0.02)  # or its own timeout would come first
            bench.now += 0.02
            bench.deliver("get")
            assert bench.process.resolver.copy_hits == 0
            assert len(bench.waiting("read")) == 1

    def test_redis_that_is_slow_is_passed_by(self) -> None:
        with Bench() as bench:
            task = bench.find(ACME)
            bench.advance(0.031)
            bench.answer("read")
            assert task.result() is not None


class TestWithoutPostgres:
    def test_what_is_known_is_served_for_stale_if_error_and_no_longer(self) -> None:
        with Bench(stale_if_error=300.0) as bench:
            bench.know(ACME)
            valid_until = bench.process.freshness.valid_until
            for link in bench.process.links.values():
                link.cut()
            bench.advance(valid_until + 299.9 - bench.now)
            task = bench.find(ACME)
            assert task.result() is not None
            assert bench.process.resolver.stale_served == 1
            bench.advance(0.2)
            with pytest.raises(StoreUnavailableError):
                bench.find(ACME).result()

    def test_what_is_not_known_is_refused_and_so_is_what_was_not_there(self) -> None:
        with Bench(stale_if_error=300.0) as bench:
            bench.know(UNKNOWN)
            for link in bench.process.links.values():
                link.cut()
            bench.advance(10.0)
            for alias in (ACME, UNKNOWN):
                with pytest.raises(StoreUnavailableError) as caught:
                    bench.find(alias).result()
                assert caught.value.retry_after >= 1

    def test_nobody_waits_longer_than_the_stores_timeout(self) -> None:
        with Bench() as bench:
            bench.process.links["redis"].swallow()
            bench.process.links["tenants"].swallow()
            task = bench.find(ACME)
            bench.advance(0.031)
            bench.advance(1.001)
            with pytest.raises(StoreUnavailableError):
                task.result()

    def test_nobody_waits_longer_than_the_deadline_however_often_a_read_is_overtaken(self) -> None:
        with Bench() as bench:
            task = bench.find(ACME)
            bench.answer("get")
            for name in ("one", "two"):
                bench.advance(0.9)
                bench.deliver("read")
                bench.rename(name)
                for message in ("notify", "pull", "pull", "read"):
                    bench.deliver(message)
                assert not task.done()
            for _ in range(3):  # by jumps of 0.9 s: a process that stands still so long answers later by that
                bench.advance(0.5)
            with pytest.raises(StoreUnavailableError, match="in time"):
                task.result()

    def test_it_is_not_asked_again_at_once(self) -> None:
        with Bench() as bench:
            bench.process.links["tenants"].cut()
            with pytest.raises(StoreUnavailableError, match="cut"):
                self._fail(bench)
            bench.process.links["tenants"].heal()
            with pytest.raises(StoreUnavailableError, match=r"cut.*\(not asked again yet\)"):
                self._fail(bench)
            bench.advance(0.26)
            task = bench.find(ACME)
            bench.settle()
            assert task.result() is not None

    @staticmethod
    def _fail(bench: Bench) -> None:
        task = bench.find(ACME)
        bench.answer("get")
        task.result()


class TestChanges:
    def test_a_deleted_tenant_leaves_under_every_alias(self) -> None:
        with Bench() as bench:
            bench.know(ACME, ACME_DOMAIN)
            bench.commit(delete("t1"))
            bench.settle()
            assert bench.process.memory.get(ACME) is None
            assert bench.process.memory.get(ACME_DOMAIN) is None

    def test_a_moved_domain_leaves_with_the_rest_of_both_tenants(self) -> None:
        with Bench() as bench:
            bench.know(ACME, ACME_DOMAIN, "subdomain:b")
            bench.commit(set_domain("d1.io", "t2"))
            bench.settle()
            assert [bench.process.memory.get(alias) for alias in (ACME, ACME_DOMAIN, "subdomain:b")] == [None] * 3

    def test_others_stay(self) -> None:
        with Bench() as bench:
            bench.know(ACME)
            bench.rename("new", "t2")
            bench.settle()
            assert bench.process.resolver.peek(ACME) is not None

    def test_what_is_already_as_new_as_the_change_stays(self) -> None:
        with Bench() as bench:
            bench.rename("new")
            bench.find(ACME)
            bench.answer("get")
            bench.answer("read")
            bench.settle()
            assert bench.process.freshness.applied == bench.database.head.seq
            assert bench.process.resolver.peek(ACME) is not None

    def test_a_change_to_everything_empties_memory(self) -> None:
        with Bench() as bench:
            bench.know(ACME)
            bench.commit(nothing, [(None, None)])
            bench.settle()
            assert len(bench.process.memory) == 0

    def test_a_change_to_everything_detaches_the_loads_under_way(self) -> None:
        with Bench() as bench:
            bench.find(ACME)
            bench.commit(nothing, [(None, None)])
            for message in ("notify", "pull", "pull"):
                bench.deliver(message)
            bench.find(ACME)
            assert len(bench.waiting("get")) == 2

    def test_an_entry_is_valid_from_when_its_read_was_sent(self) -> None:
        with Bench() as bench:
            bench.lapse()
            sent_at = bench.now
            bench.find(ACME)
            bench.deliver("read")
            bench.advance(0.9)
            bench.deliver("read")
            bench.advance(sent_at + 2.99 - bench.now)
            assert bench.process.resolver.peek(ACME) is not None
            bench.advance(0.02)
            assert bench.process.resolver.peek(ACME) is None

    def test_what_has_outlived_its_time_is_read_again_in_one_query(self) -> None:
        with Bench(memory_ttl=10.0, stale_if_error=300.0) as bench:
            bench.know(ACME, "subdomain:b")
            bench.settle(10.1)
            assert bench.process.resolver.peek(ACME) is None
            task = bench.start(bench.process.resolver.refresh_due())
            (read,) = bench.waiting("read")
            assert read.name == f"read {[ACME, 'subdomain:b']}"
            bench.settle()
            assert task.done()
            assert bench.process.resolver.peek(ACME) is not None
