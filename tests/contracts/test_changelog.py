"""`ChangeLog`, on a real Postgres and in memory."""

from __future__ import annotations

from uuid import UUID

import pytest

from tenantcache.freshness.core.logmark import LogMark
from tests.contracts.worlds import World
from tests.fakes import until

PAGE = 100
BOUND = 1000
AN_HOUR = 3600.0


@pytest.fixture(autouse=True)
async def tenants(world: World) -> None:
    await world.create("acme", ["acme.io"])
    await world.create("globex")
    await world.create("initech")


async def rename_often(world: World, times: int) -> None:
    for number in range(times):
        await world.rename("acme", f"Name {number}")


class TestPulling:
    async def test_what_is_new_in_order(self, world: World) -> None:
        mark = await world.head()
        await world.rename("initech", "One")
        await world.rename("globex", "Two")
        pull = await world.log.pull(mark, BOUND, PAGE)
        assert [(entry.tenant_id, set(entry.aliases or ())) for entry in pull.entries] == [
            ("initech", {"subdomain:initech"}),
            ("globex", {"subdomain:globex"}),
        ]
        assert pull.head == LogMark(pull.entries[-1].seq, pull.entries[-1].at)
        assert pull.continuous and not pull.truncated

    async def test_a_new_name_is_logged_with_the_old_one(self, world: World) -> None:
        mark = await world.head()
        await world.registry.update("globex", {"subdomain": "hooli"})
        await world.publish()
        (entry,) = (await world.log.pull(mark, BOUND, PAGE)).entries
        assert (entry.tenant_id, set(entry.aliases or ())) == ("globex", {"subdomain:globex", "subdomain:hooli"})

    async def test_a_deletion_is_logged_with_all_that_led_there(self, world: World) -> None:
        mark = await world.head()
        await world.registry.delete("acme")
        await world.publish()
        entries = (await world.log.pull(mark, BOUND, PAGE)).entries
        assert {entry.tenant_id for entry in entries} == {"acme"}
        assert {alias for entry in entries for alias in entry.aliases or ()} == {"subdomain:acme", "domain:acme.io"}

    async def test_nothing_new(self, world: World) -> None:
        mark = await world.head()
        pull = await world.log.pull(mark, BOUND, PAGE)
        assert (pull.entries, pull.head, pull.continuous, pull.truncated) == ([], mark, True, False)

    async def test_page_by_page(self, world: World) -> None:
        mark = await world.head()
        await rename_often(world, 5)
        first = await world.log.pull(mark, BOUND, 3)
        assert len(first.entries) == 3
        second = await world.log.pull(LogMark(first.entries[-1].seq, first.entries[-1].at), BOUND, 3)
        assert len(second.entries) == 2
        assert second.continuous

    async def test_too_far_behind(self, world: World) -> None:
        mark = await world.head()
        await rename_often(world, 5)
        within = await world.log.pull(mark, 5, PAGE)
        assert (len(within.entries), within.truncated) == (5, False)
        beyond = await world.log.pull(mark, 4, PAGE)
        assert (len(beyond.entries), beyond.truncated) == (0, True)
        assert beyond.head.seq == mark.seq + 5

    async def test_the_log_never_has_a_time_that_the_server_has_not(self, world: World) -> None:
        pull = await world.log.pull(await world.head(), BOUND, PAGE)
        assert pull.server_time * 1e6 - 60e6 <= pull.head.at <= pull.server_time * 1e6 + 1

    async def test_everything_that_an_earlier_pull_saw_is_there_once_it_is_published(self, world: World) -> None:
        before = await world.log.pull(await world.head(), BOUND, PAGE)
        await world.rename("acme", "One")
        covered = await world.log.pull(before.head, BOUND, PAGE, since=before.snapshot)
        assert (covered.covers, covered.pending) == (True, False)
        assert not (await world.log.pull(before.head, BOUND, PAGE)).covers

    async def test_without_a_check_it_tells_of_changes_and_no_more(self, world: World) -> None:
        mark = await world.head()
        await world.log.beat(UUID(int=1))
        await world.rename("acme", "One")
        checked, quick = [await world.log.pull(mark, BOUND, PAGE, check=check) for check in (True, False)]
        assert (quick.entries, quick.head, quick.continuous) == (checked.entries, checked.head, True)
        assert (checked.checked, checked.processes, checked.fault) == (True, 1, None)
        assert (quick.checked, quick.processes, quick.choice, quick.fault) == (False, 0, None, None)

    async def test_a_change_is_notified(self, world: World) -> None:
        world.notices.clear()
        await world.rename("acme", "One")
        await until(lambda: bool(world.notices))

    async def test_it_can_be_opened_again(self, world: World) -> None:
        mark = await world.head()
        await world.log.close()
        await world.log.open(world.notify)
        await world.rename("acme", "One")
        assert len((await world.log.pull(mark, BOUND, PAGE)).entries) == 1


class TestTail:
    async def test_by_age(self, world: World) -> None:
        await world.let_pass(2 * AN_HOUR)
        newest = await world.head()
        await world.rename("acme", "One")
        pull = await world.log.tail(AN_HOUR, PAGE)
        seqs = [entry.seq for entry in pull.entries]
        assert seqs == [newest.seq, newest.seq + 1], "the newest that is too old comes with it"
        assert pull.continuous

    async def test_the_newest_if_there_are_too_many(self, world: World) -> None:
        await rename_often(world, 5)
        pull = await world.log.tail(AN_HOUR, 2)
        assert [entry.seq for entry in pull.entries] == [pull.head.seq - 1, pull.head.seq]

    async def test_nothing_that_young(self, world: World) -> None:
        await world.let_pass(2 * AN_HOUR)
        pull = await world.log.tail(AN_HOUR, PAGE)
        assert [LogMark(entry.seq, entry.at) for entry in pull.entries] == [pull.head]


class TestTimelines:
    async def test_entries_that_were_lost_are_missed(self, world: World) -> None:
        await world.rename("acme", "Lost")
        mark = await world.head()
        await world.lose_newest(1)
        pull = await world.log.pull(mark, BOUND, PAGE)
        assert not pull.continuous
        assert pull.head.seq == mark.seq - 1

    async def test_another_entry_of_the_same_number_is_told_apart(self, world: World) -> None:
        await world.rename("acme", "Lost")
        mark = await world.head()
        await world.lose_newest(1)
        await world.rename("acme", "Other")
        pull = await world.log.pull(mark, BOUND, PAGE)
        assert pull.head.seq == mark.seq
        assert not pull.continuous


class TestHousekeeping:
    async def test_the_size_of_the_fleet(self, world: World) -> None:
        mine, other = UUID(int=1), UUID(int=2)
        for process in (mine, other, mine):
            await world.log.beat(process)
        assert (await world.log.pull(await world.head(), BOUND, PAGE)).processes == 2
        await world.log.leave(other)
        assert (await world.log.pull(await world.head(), BOUND, PAGE)).processes == 1

    async def test_pruning_keeps_the_young_and_the_newest(self, world: World) -> None:
        await world.let_pass(2 * AN_HOUR)
        newest = (await world.head()).seq
        await world.log.prune(AN_HOUR, PAGE)
        assert [entry.seq for entry in await world.entries()] == [newest]
        await world.rename("acme", "Two")
        await world.rename("acme", "Three")
        await world.log.prune(AN_HOUR, PAGE)
        assert [entry.seq for entry in await world.entries()] == [newest + 1, newest + 2]

    async def test_pruning_takes_the_oldest_first_and_so_many_at_once(self, world: World) -> None:
        await rename_often(world, 5)
        await world.let_pass(2 * AN_HOUR)
        before = await world.entries()
        await world.log.prune(AN_HOUR, 2)
        assert await world.entries() == before[2:]

    async def test_a_mark_that_was_pruned_is_not_continuous(self, world: World) -> None:
        await world.let_pass(2 * AN_HOUR)
        mark = await world.head()
        await world.rename("acme", "One")
        assert (await world.log.pull(mark, BOUND, PAGE)).continuous
        await world.log.prune(AN_HOUR, PAGE)
        assert not (await world.log.pull(mark, BOUND, PAGE)).continuous
