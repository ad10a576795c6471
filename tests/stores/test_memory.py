"""The tier in the process: which entries are kept, which leave, and what leaves with them."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from math import inf

import pytest

from tenantcache.lookup import heldentries
from tenantcache.lookup.core.packing import Reading
from tenantcache.lookup.entry import Entry
from tenantcache.lookup.fastpath import FastPath, Serving
from tenantcache.lookup.heldentries import HeldEntries
from tenantcache.lookup.marks import Marks
from tenantcache.lookup.memory import MAX_SPELLINGS, PACKING_INTERVAL, STEP, Memory
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.runtime.shards import PART, Shards
from tenantcache.tenant import Limits, Tenant
from tests.fakes import FakeClock


def make_memory(clock: FakeClock, *, ttl: float = 50.0, grace: float = 60.0, **sizes: int) -> Memory:
    return Memory(max_tenants=sizes.get("tenants", 100), ttl=ttl, grace=grace, negative_ttl=10.0, clock=clock,
                  max_negatives=sizes.get("negatives", 10))  # fmt: skip


def entry(name: str, tenant_id: str | None = "", *, due: float = 1500.0) -> Entry:
    """An entry for `subdomain:{name}`, of the tenant of that name unless told otherwise; None for a negative."""
    tenant = None if tenant_id is None else Tenant(tenant_id or name, name)
    made = Entry(f"subdomain:{name}", tenant, watermark=1, read_at=0.0, due=due, tier="postgres")
    if tenant is not None:
        made.fast_path = FastPath(tenant, Reservation(Limits(), 0.0), Serving(tenant, None))
    return made


def path_of(held: Entry) -> FastPath:
    assert held.fast_path is not None
    return held.fast_path


def aliases(memory: Memory, *names: str) -> list[str]:
    """Those of `names` that are held."""
    return [name for name in names if memory.get(f"subdomain:{name}") is not None]


def test_what_is_put_is_found_under_its_alias_and_its_tenant() -> None:
    memory = make_memory(FakeClock())
    first, second = entry("acme"), entry("acme-shop", "acme")
    memory.put(first)
    memory.put(second)
    assert memory.get("subdomain:acme") is first
    assert list(memory.live_of("acme")) == [first, second]
    assert memory.get("subdomain:other") is None
    assert list(memory.live_of("other")) == []
    assert len(memory) == 2


def test_an_alias_that_is_put_again_leaves_nothing_of_the_old_entry() -> None:
    memory = make_memory(FakeClock())
    old, new = entry("acme", "one"), entry("acme", "two")
    memory.put(old)
    memory.spell(b"acme.example.com", old)
    memory.put(new)
    assert memory.get("subdomain:acme") is new
    assert list(memory.live_of("one")) == []
    assert memory.hot == {}


def test_negatives_live_apart_and_evict_no_tenant() -> None:
    memory = make_memory(FakeClock(), tenants=2, negatives=10)
    memory.put(entry("acme"))
    memory.put(entry("globex"))
    for number in range(1000):
        memory.put(entry(f"unknown{number}", None))
    assert aliases(memory, "acme", "globex") == ["acme", "globex"]
    assert memory.negatives == 10
    assert memory.evictions == 0


def test_a_negative_lapses_after_its_own_ttl() -> None:
    clock = FakeClock()
    memory = make_memory(clock)
    memory.put(entry("unknown", None))
    clock.advance(9.9)
    assert aliases(memory, "unknown") == ["unknown"]
    clock.advance(0.2)
    assert aliases(memory, "unknown") == []


def test_a_tenant_takes_the_place_of_its_negative_and_the_other_way_round() -> None:
    memory = make_memory(FakeClock())
    memory.put(entry("acme", None))
    memory.put(entry("acme"))
    assert (memory.negatives, len(memory)) == (0, 1)
    memory.put(entry("acme", None))
    assert (memory.negatives, len(memory)) == (1, 0)
    assert list(memory.live_of("acme")) == []


def test_an_entry_past_its_ttl_stays_for_as_long_as_stale_ones_may_be_served() -> None:
    clock = FakeClock()
    memory = make_memory(clock)
    held = entry("acme", due=clock() + 300)
    memory.put(held)
    clock.advance(359)
    assert memory.get("subdomain:acme") is held
    clock.advance(2)
    assert memory.get("subdomain:acme") is None


def test_what_leaves_for_its_age_takes_everything_along() -> None:
    clock = FakeClock()
    memory = make_memory(clock)
    held = entry("acme", due=clock() + 1)
    memory.put(held)
    memory.spell(b"acme.example.com", held)
    clock.advance(1 + 60 + 1)
    memory.put(entry("globex", due=clock() + 1))  # expiry is noticed at the next insertion
    assert memory.hot == {}
    assert list(memory.live_of("acme")) == []
    assert memory.evictions == 1


def test_a_full_cache_evicts_what_was_not_used_since() -> None:
    memory = make_memory(FakeClock(), tenants=3)
    used = entry("first")
    for held in (used, entry("second"), entry("third")):
        memory.put(held)
    path_of(used).used = True  # as a hot request does: the cache's own order knows nothing of it
    memory.put(entry("fourth"))
    assert aliases(memory, "first", "second", "third", "fourth") == ["first", "third", "fourth"]
    assert path_of(used).used is False, "a second chance is one chance"
    assert memory.evictions == 1


def test_a_cache_full_of_used_entries_evicts_all_the_same() -> None:
    memory = make_memory(FakeClock(), tenants=50)
    for number in range(50):
        memory.put(entry(f"n{number}"))
    for number in range(50):
        held = memory.get(f"subdomain:n{number}")
        assert held is not None
        path_of(held).used = True
    memory.put(entry("new"))
    assert len(memory) == 50
    assert aliases(memory, "new") == ["new"]


def test_what_is_evicted_takes_its_spellings_along() -> None:
    memory = make_memory(FakeClock(), tenants=1)
    first, second = entry("first"), entry("second")
    memory.put(first)
    memory.spell(b"first.example.com", first)
    memory.put(second)
    memory.spell(b"second.example.com", second)
    assert memory.hot == {b"second.example.com": path_of(second)}
    assert list(memory.live_of("first")) == []


def test_an_entry_keeps_the_first_few_spellings_and_no_more() -> None:
    memory = make_memory(FakeClock())
    held = entry("acme")
    memory.put(held)
    for number in range(10_000):
        memory.spell(b"ACME.example.com:%d" % number, held)
    assert list(memory.hot) == [b"ACME.example.com:%d" % number for number in range(MAX_SPELLINGS)]


def test_a_spelling_that_comes_again_takes_no_room() -> None:
    """A hot host takes the slow path whenever its lease is spent, and is spelled again then."""
    memory = make_memory(FakeClock())
    held = entry("acme")
    memory.put(held)
    hosts = [b"ACME.example.com:%d" % number for number in range(MAX_SPELLINGS)]
    for raw_host in [hosts[0]] * 10 + hosts:
        memory.spell(raw_host, held)
    assert list(memory.hot) == hosts


def test_an_entry_that_has_left_cannot_be_spelled() -> None:
    memory = make_memory(FakeClock())
    held = entry("acme")
    memory.put(held)
    memory.drop_alias("subdomain:acme")
    memory.spell(b"acme.example.com", held)
    assert memory.hot == {}


def test_a_negative_is_never_hot() -> None:
    memory = make_memory(FakeClock())
    held = entry("unknown", None)
    memory.put(held)
    memory.spell(b"unknown.example.com", held)
    assert memory.hot == {}


def test_dropping_what_is_not_there_is_harmless() -> None:
    memory = make_memory(FakeClock())
    memory.drop_alias("subdomain:acme")
    assert len(memory) == 0


def test_clear_leaves_nothing() -> None:
    clock = FakeClock()
    memory = make_memory(clock)
    held = entry("acme", due=clock())
    memory.put(held)
    memory.put(entry("unknown", None))
    memory.spell(b"acme.example.com", held)
    memory.clear()
    assert (len(memory), memory.negatives, memory.hot, memory.due(10)) == (0, 0, {}, [])
    assert list(memory.live_of("acme")) == []


def test_due_hands_out_what_is_past_its_ttl_oldest_first_and_once() -> None:
    clock = FakeClock()
    memory = make_memory(clock)
    held = [entry(name, due=clock() + wait) for wait, name in enumerate(("a", "b", "c", "d"))]
    for one in held:
        memory.put(one)
    clock.advance(2)
    assert memory.due(2) == held[:2]
    assert memory.due(2) == held[2:3]
    assert memory.due(2) == []


def test_what_could_not_be_read_is_handed_out_again_in_its_turn() -> None:
    clock = FakeClock()
    memory = make_memory(clock)
    held = [entry(name, due=clock() + wait) for wait, name in enumerate(("a", "b", "c"))]
    for one in held:
        memory.put(one)
    clock.advance(2)
    memory.still_due(memory.due(2))
    assert memory.due(10) == held


@pytest.mark.parametrize(("ttl", "grace"), [(50.0, 0.0), (50.0, 60.0), (50.0, 300.0), (1.0, 0.0)])
class TestPastEveryTTL:
    """Whatever an entry's age: dropped is gone, and due is handed out."""

    WAITS = (0.0, 0.5, 1.0, 1.5, 49.0, 51.0, 99.0, 101.0, 111.0, 349.0, 351.0, 10_000.0)

    def aged(self, ttl: float, grace: float, wait: float) -> tuple[Memory, Entry]:
        """A memory that was left alone for `wait` seconds, and what it was given before."""
        clock = FakeClock()
        memory = make_memory(clock, ttl=ttl, grace=grace)
        held = entry("acme", due=clock() + ttl)
        memory.put(held)
        memory.spell(b"acme.example.com", held)
        clock.advance(wait)
        return memory, held

    @pytest.mark.parametrize("wait", WAITS)
    def test_what_is_dropped_is_gone_from_every_map(self, ttl: float, grace: float, wait: float) -> None:
        memory, _ = self.aged(ttl, grace, wait)
        memory.drop_alias("subdomain:acme")
        assert (memory.hot, list(memory.live_of("acme")), len(memory)) == ({}, [], 0)

    @pytest.mark.parametrize("wait", WAITS)
    def test_what_is_replaced_is_gone_from_every_map(self, ttl: float, grace: float, wait: float) -> None:
        memory, held = self.aged(ttl, grace, wait)
        new = entry("acme", "other", due=held.due + wait)
        memory.put(new)
        assert (memory.hot, list(memory.live_of("acme")), list(memory.live_of("other"))) == ({}, [], [new])

    @pytest.mark.parametrize("wait", WAITS)
    def test_what_a_look_does_not_find_is_in_no_map(self, ttl: float, grace: float, wait: float) -> None:
        memory, held = self.aged(ttl, grace, wait)
        if memory.get("subdomain:acme") is None:
            assert (memory.hot, list(memory.live_of("acme"))) == ({}, [])
        else:
            assert (memory.hot, list(memory.live_of("acme"))) == ({b"acme.example.com": path_of(held)}, [held])

    @pytest.mark.parametrize("wait", WAITS)
    def test_clear_leaves_nothing(self, ttl: float, grace: float, wait: float) -> None:
        memory, held = self.aged(ttl, grace, wait)
        memory.clear()
        memory.put(entry("globex", due=held.due + 20_000))
        assert (memory.hot, list(memory.live_of("acme")), len(memory)) == ({}, [], 1)

    def test_what_is_due_is_handed_out_a_second_later_and_still_hot(self, ttl: float, grace: float) -> None:
        memory, held = self.aged(ttl, grace, ttl + min(1.0, ttl / 2))
        assert memory.due(10) == [held]
        assert memory.hot == {b"acme.example.com": path_of(held)}

    def test_what_is_never_read_again_leaves_at_the_next_look_for_what_is_due(self, ttl: float, grace: float) -> None:
        memory, _ = self.aged(ttl, grace, ttl + max(ttl, grace) + 0.1)
        assert memory.due(10) == []
        assert (memory.hot, list(memory.live_of("acme"))) == ({}, [])

    def test_eviction_among_expired_entries_leaves_nothing_behind(self, ttl: float, grace: float) -> None:
        clock = FakeClock()
        memory = make_memory(clock, ttl=ttl, grace=grace, tenants=3)
        for number in range(20):
            held = entry(f"n{number}", due=clock() + ttl)
            memory.put(held)
            memory.spell(b"n%d.example.com" % number, held)
            path_of(held).used = number % 2 == 0
            clock.advance((ttl + max(ttl, grace)) / 2.5)
            found = [f"n{n}" for n in range(20) if memory.live_of(f"n{n}")]
            assert set(memory.hot) == {f"{name}.example.com".encode() for name in found}
            assert len(found) <= 3
            assert aliases(memory, *found) == [name for name in found if memory.live_of(name)]


def test_a_clock_that_never_stands_still_tears_no_entry_apart() -> None:
    """Each reading of the clock is later: an entry may expire between any two steps of one call."""
    clock = FakeClock()

    def ticking() -> float:
        clock.advance(0.001)
        return clock()

    memory = Memory(max_tenants=2, ttl=0.02, grace=0.0, negative_ttl=10.0, clock=ticking)
    for number in range(500):
        held = entry(f"n{number % 5}", due=clock() + 0.02)
        memory.put(held)
        memory.spell(b"n%d" % (number % 5), held)
        path_of(held).used = number % 3 == 0
        indexed = [one for name in range(5) for one in memory.live_of(f"n{name}")]
        assert all(found in map(path_of, indexed) for found in memory.hot.values())
        assert len({one.alias for one in indexed}) <= 2
        memory.drop_alias(f"subdomain:n{number % 4}")
        assert f"n{number % 4}".encode() not in memory.hot
        assert list(memory.live_of(f"n{number % 4}")) == []


def test_a_negative_that_has_lapsed_never_comes_back_dropped_or_not() -> None:
    clock = FakeClock()
    memory = make_memory(clock, negatives=2)
    for dropped in (True, False):
        memory.put(entry("unknown", None))
        clock.advance(10.1)
        if dropped:
            memory.drop_alias("subdomain:unknown")
        assert (aliases(memory, "unknown"), memory.negatives) == ([], 0)
    memory.put(entry("unknown"))
    memory.drop_alias("subdomain:unknown")
    assert aliases(memory, "unknown") == []
    for number in range(5):
        memory.put(entry(f"n{number}", None))
        clock.advance(9)
    assert memory.negatives == 1


def test_due_passes_over_what_was_dropped_or_replaced() -> None:
    clock = FakeClock()
    memory = make_memory(clock)
    for name in ("dropped", "replaced", "kept"):
        memory.put(entry(name, due=clock()))
    memory.drop_alias("subdomain:dropped")
    memory.put(entry("replaced", due=clock() + 10))
    assert [one.alias for one in memory.due(10)] == ["subdomain:kept"]


def reading(name: str, *, due: float) -> Reading:
    return Reading(Tenant(name, name.title(), name), 1.0, -inf, due, "postgres", served=True)


class TestPacked:
    """Entries that no request has asked for, or not lately."""

    def test_what_was_packed_is_found_as_it_was_read(self) -> None:
        memory = make_memory(FakeClock())
        told = reading("acme", due=1_500.0)
        memory.put_packed(["subdomain:acme", "domain:acme.io"], told)
        assert (len(memory), memory.holds("subdomain:acme"), memory.holds("domain:acme.io")) == (2, True, True)
        assert list(memory.aliases_of("acme")) == ["subdomain:acme", "domain:acme.io"]
        assert [tenant.name for tenant in memory.tenants()] == ["Acme"]
        assert memory.live_of("acme") == []
        found = memory.get("subdomain:acme")
        assert found is not None
        assert (found.tenant, found.watermark, found.read_at, found.due, found.served) == (
            told.tenant,
            1,
            -inf,
            1_500,
            True,
        )
        assert memory.live_of("acme") == [found]
        assert memory.get("subdomain:acme") is found
        assert len(memory) == 2

    def test_the_garbage_collector_has_nothing_to_look_at(self) -> None:
        memory = make_memory(FakeClock(), tenants=1_000)
        for number in range(1_000):
            memory.put_packed([f"subdomain:n{number}"], reading(f"n{number}", due=1_500.0))
        gc.collect()
        assert not gc.is_tracked(memory._held.packed.parts[0])
        assert not gc.is_tracked(memory._held.by_tenant.parts[0])

    def test_what_is_dropped_leaves_nothing(self) -> None:
        memory = make_memory(FakeClock())
        memory.put_packed(["subdomain:acme", "domain:acme.io"], reading("acme", due=1_500.0))
        memory.drop_older("subdomain:acme", 1)
        assert memory.holds("subdomain:acme")
        memory.drop_older("subdomain:acme", 2)
        assert not memory.holds("subdomain:acme")
        assert list(memory.aliases_of("acme")) == ["domain:acme.io"]
        memory.drop_with_siblings("id:acme", "acme")
        assert (len(memory), list(memory.aliases_of("acme"))) == (0, [])

    def test_it_expires(self) -> None:
        clock = FakeClock()
        memory = make_memory(clock)
        for name in ("looked-for", "left"):
            memory.put_packed([f"subdomain:{name}"], reading(name, due=clock() + 1))
        clock.advance(1 + 60 + 1)
        assert not memory.holds("subdomain:left")
        assert memory.get("subdomain:looked-for") is None
        assert list(memory.aliases_of("looked-for")) == []
        assert len(memory) == 1
        memory.tidy()
        assert (len(memory), memory.evictions) == (0, 2)

    def test_it_is_due_once_after_what_is_live(self) -> None:
        clock = FakeClock()
        memory = make_memory(clock)
        memory.put_packed(["subdomain:a"], reading("a", due=clock() + 1))
        memory.put_packed(["subdomain:b"], reading("b", due=clock() + 5))
        memory.put(entry("c", due=clock() + 1))
        assert memory.due(10) == []
        clock.advance(2)
        assert [one.alias for one in memory.due(10)] == ["subdomain:c", "subdomain:a"]
        assert memory.due(10) == []

    def test_what_is_packed_again_is_due_in_its_turn(self) -> None:
        clock = FakeClock()
        memory = make_memory(clock)
        memory.put_packed(["subdomain:b"], reading("b", due=clock() + 9))
        memory.put_packed(["subdomain:a"], reading("a", due=clock() + 1))
        for alias in ("subdomain:b", "subdomain:a"):
            memory.get(alias)
            memory.pack([alias])
        assert memory.live_of("a") == []
        clock.advance(2)
        assert [one.alias for one in memory.due(10)] == ["subdomain:a"]
        assert memory.due(10) == []

    def test_it_makes_room_before_what_is_live(self) -> None:
        memory = make_memory(FakeClock(), tenants=3)
        memory.put(entry("live"))
        for name in ("first", "second"):
            memory.put_packed([f"subdomain:{name}"], reading(name, due=1_500.0))
        memory.put(entry("new"))
        assert aliases(memory, "live", "first", "second", "new") == ["live", "second", "new"]

    def test_what_is_idle_is_packed_and_leaves_hot(self) -> None:
        clock = FakeClock()
        memory = make_memory(clock, ttl=5_000.0)
        held = {name: entry(name, due=clock() + 5_000) for name in ("idle", "hot", "slow")}
        for name, one in held.items():
            memory.put(one)
            memory.spell(name.encode(), one)
        for _ in range(2):
            path_of(held["hot"]).used = True
            memory.get("subdomain:slow")
            clock.advance(PACKING_INTERVAL)
            assert not memory.tidy()
        assert list(memory.hot) == [b"hot", b"slow"]
        assert [list(memory.live_of(name)) for name in held] == [[], [held["hot"]], [held["slow"]]]
        found = memory.get("subdomain:idle")
        assert found is not None
        assert (found.tenant, found.fast_path, found.spellings) == (held["idle"].tenant, None, ())

    def test_what_has_a_fast_path_is_not_packed_unless_it_is_idle(self) -> None:
        memory = make_memory(FakeClock())
        held = entry("acme")
        memory.put(held)
        memory.pack(["subdomain:acme", "subdomain:other"])
        assert memory.live_of("acme") == [held]

    def test_very_many_leave_in_small_parts(self) -> None:
        clock = FakeClock()
        memory = make_memory(clock, tenants=10 * STEP)
        for number in range(3 * STEP):
            memory.put_packed([f"subdomain:n{number}"], reading(f"n{number}", due=clock() + 1))
        clock.advance(1_000)
        left = []
        while memory.tidy():
            left.append(len(memory))
        assert left == [2 * STEP, STEP, 0]

    def test_what_was_cleared_is_freed_in_parts(self) -> None:
        memory = make_memory(FakeClock(), tenants=4 * PART)
        memory.put_packed(["subdomain:acme"], reading("acme", due=1_500.0))
        memory.clear()
        assert (len(memory), memory.get("subdomain:acme")) == (0, None)
        steps = 0
        while memory.tidy():
            steps += 1
        assert steps == 4 * 4, "the parts of four dicts"


def many(memory: Memory, aliases: int, *, name: str = "Acme", watermark: float = 1) -> list[str]:
    """Fill memory with one tenant under so many aliases, packed."""
    names = [f"subdomain:acme-{number}" for number in range(aliases)]
    memory.put_packed(names, Reading(Tenant("acme", name), watermark, 0.0, 1500.0, "postgres", served=True))
    return names


def test_a_read_of_a_tenant_of_many_names_unpacks_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = make_memory(FakeClock(), tenants=1_000)
    names = many(memory, 500)
    monkeypatch.setattr(heldentries, "unpack", None)
    memory.drop_contradicted(Tenant("acme", "Acme"), 2)
    assert sorted(memory.aliases_of("acme")) == sorted(names), "all show the same row"
    assert [tenant.name for tenant in memory.tenants_of("other")] == []
    memory.drop_contradicted(Tenant("acme", "Acme & Sons"), 1)
    assert len(memory) == 500, "none is older"
    memory.drop_contradicted(Tenant("acme", "Acme & Sons"), 2)
    assert (len(memory), memory.aliases_of("acme")) == (0, ())


def test_names_of_one_tenant_are_looked_through_once_when_all_of_them_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = make_memory(FakeClock(), tenants=1_000)
    many(memory, 500)
    looks = []
    aliases_of = HeldEntries.aliases_of

    def counted(held: HeldEntries, tenant_id: str) -> Sequence[str]:
        looks.append(tenant_id)
        return aliases_of(held, tenant_id)

    monkeypatch.setattr(HeldEntries, "aliases_of", counted)
    memory.drop_with_siblings("subdomain:acme-7", "acme")
    assert (len(memory), len(looks)) == (0, 2)


def test_names_that_show_the_same_row_share_it_when_they_are_read_again() -> None:
    clock = FakeClock()
    memory = make_memory(clock, tenants=1_000)
    many(memory, 50)
    clock.advance(1_501)
    due = memory.due(100)
    assert len({id(held.tenant) for held in due}) == 1
    memory.pack([held.alias for held in due])
    assert len({id(memory._held.packed.get(held.alias)) for held in due}) == 1
    assert [tenant.name for tenant in memory.tenants_of("acme")] == ["Acme"]


def test_marks_are_bounded_by_what_is_held() -> None:
    clock = FakeClock()
    memory = make_memory(clock)
    for number in range(20_000):
        memory.put(entry(f"acme-{number % 10}", due=clock() + 500 + number / 1_000))
    assert len(memory) == 10
    assert len(memory._held.to_read) < 3_000
    assert len(memory._held.to_expire) < 3_000
    clock.advance(530)
    assert sorted(held.alias for held in memory.due(100)) == [f"subdomain:acme-{number}" for number in range(10)]


def test_one_that_is_packed_and_made_live_in_turn_has_one_mark() -> None:
    memory = make_memory(FakeClock())
    held = entry("acme")
    held.fast_path = None
    memory.put(held)
    for _ in range(10):
        memory.pack(["subdomain:acme"])
        assert memory.get("subdomain:acme") is not None
    assert (len(memory._held.to_read), len(memory._held.to_expire)) == (1, 1)


def test_what_is_due_comes_in_order_while_marks_are_looked_at() -> None:
    dues: Shards[float] = Shards(1)
    marks = Marks(dues)
    expected = []
    for number in range(5_000):
        due = float(number * 7_919 % 5_000)
        marks.add(due, f"{number}")
        if number % 3 == 0:
            dues.put(f"{number}", due)
            expected.append((due, f"{number}"))
    popped = []
    while (mark := marks.pop(inf)) is not None:
        popped.append(mark)
    assert popped == sorted(popped)
    assert [mark for mark in popped if dues.get(mark[1]) == mark[0]] == sorted(expected)
    assert len(popped) < 4_500, "some that mean nothing were dropped"
