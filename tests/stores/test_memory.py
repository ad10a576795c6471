"""The tier in the process: who is kept, who leaves, and what leaves with him."""

from __future__ import annotations

from tenantcache.core.tenant import Tenant
from tenantcache.stores.memory import MAX_SPELLINGS, Entry, Memory
from tests.fakes import FakeClock


def make_memory(clock: FakeClock, **sizes: int) -> Memory:
    return Memory(max_tenants=sizes.get("tenants", 100), ttl=300.0, grace=60.0, negative_ttl=10.0, clock=clock,
                  max_negatives=sizes.get("negatives", 10))  # fmt: skip


def entry(name: str, tenant_id: str | None = "", *, due: float = 1500.0) -> Entry:
    """An entry for `subdomain:{name}`, of the tenant of that name unless told otherwise; None for a negative."""
    tenant = None if tenant_id is None else Tenant(tenant_id or name, name)
    return Entry(f"subdomain:{name}", tenant, asof=1, read_at=0.0, due=due, tier="postgres")


def aliases(memory: Memory, *names: str) -> list[str]:
    """Those of `names` that are held."""
    return [name for name in names if memory.get(f"subdomain:{name}") is not None]


def test_what_is_put_is_found_under_its_alias_and_its_tenant() -> None:
    memory = make_memory(FakeClock())
    first, second = entry("acme"), entry("acme-shop", "acme")
    memory.put(first)
    memory.put(second)
    assert memory.get("subdomain:acme") is first
    assert list(memory.of_tenant("acme")) == [first, second]
    assert memory.get("subdomain:other") is None
    assert list(memory.of_tenant("other")) == []
    assert len(memory) == 2


def test_an_alias_that_is_put_again_leaves_nothing_of_the_old_entry() -> None:
    memory = make_memory(FakeClock())
    old, new = entry("acme", "one"), entry("acme", "two")
    memory.put(old)
    memory.spell(b"acme.example.com", old)
    memory.put(new)
    assert memory.get("subdomain:acme") is new
    assert list(memory.of_tenant("one")) == []
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
    assert list(memory.of_tenant("acme")) == []


def test_an_entry_past_its_ttl_stays_for_as_long_as_stale_ones_may_be_served() -> None:
    clock = FakeClock()
    memory = make_memory(clock)
    held = entry("acme", due=clock.now + 300)
    memory.put(held)
    clock.advance(359)
    assert memory.get("subdomain:acme") is held
    clock.advance(2)
    assert memory.get("subdomain:acme") is None


def test_who_leaves_for_age_takes_everything_along() -> None:
    clock = FakeClock()
    memory = make_memory(clock)
    held = entry("acme", due=clock.now + 1)
    memory.put(held)
    memory.spell(b"acme.example.com", held)
    clock.advance(1 + 60 + 1)
    memory.put(entry("globex", due=clock.now + 1))  # expiry is noticed at the next insertion
    assert memory.hot == {}
    assert list(memory.of_tenant("acme")) == []
    assert memory.evictions == 1


def test_a_full_cache_evicts_whoever_was_not_used_since() -> None:
    memory = make_memory(FakeClock(), tenants=3)
    used = entry("first")
    for held in (used, entry("second"), entry("third")):
        memory.put(held)
    used.used = True  # as a hot request does: the cache's own order knows nothing of it
    memory.put(entry("fourth"))
    assert aliases(memory, "first", "second", "third", "fourth") == ["first", "third", "fourth"]
    assert used.used is False, "a second chance is one chance"
    assert memory.evictions == 1


def test_a_cache_full_of_used_entries_evicts_all_the_same() -> None:
    memory = make_memory(FakeClock(), tenants=50)
    for number in range(50):
        memory.put(entry(f"n{number}"))
    for number in range(50):
        held = memory.get(f"subdomain:n{number}")
        assert held is not None
        held.used = True
    memory.put(entry("new"))
    assert len(memory) == 50
    assert aliases(memory, "new") == ["new"]


def test_who_is_evicted_takes_his_spellings_along() -> None:
    memory = make_memory(FakeClock(), tenants=1)
    first, second = entry("first"), entry("second")
    memory.put(first)
    memory.spell(b"first.example.com", first)
    memory.put(second)
    memory.spell(b"second.example.com", second)
    assert memory.hot == {b"second.example.com": second}
    assert list(memory.of_tenant("first")) == []


def test_an_entry_keeps_the_first_few_spellings_and_no_more() -> None:
    memory = make_memory(FakeClock())
    held = entry("acme")
    memory.put(held)
    for number in range(10_000):
        memory.spell(b"ACME.example.com:%d" % number, held)
    assert list(memory.hot) == [b"ACME.example.com:%d" % number for number in range(MAX_SPELLINGS)]


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


def test_dropping_a_tenant_drops_all_its_aliases() -> None:
    memory = make_memory(FakeClock())
    for name, tenant in (("a", "acme"), ("b", "acme"), ("c", "globex")):
        memory.put(entry(name, tenant))
    memory.drop_tenant("acme")
    assert aliases(memory, "a", "b", "c") == ["c"]


def test_dropping_what_is_not_there_is_harmless() -> None:
    memory = make_memory(FakeClock())
    memory.drop_alias("subdomain:acme")
    memory.drop_tenant("acme")
    assert len(memory) == 0


def test_clear_leaves_nothing() -> None:
    clock = FakeClock()
    memory = make_memory(clock)
    held = entry("acme", due=clock.now)
    memory.put(held)
    memory.put(entry("unknown", None))
    memory.spell(b"acme.example.com", held)
    memory.clear()
    assert (len(memory), memory.negatives, memory.hot, memory.due(10)) == (0, 0, {}, [])
    assert list(memory.of_tenant("acme")) == []


def test_due_hands_out_what_is_past_its_ttl_oldest_first_and_once() -> None:
    clock = FakeClock()
    memory = make_memory(clock)
    held = [entry(name, due=clock.now + wait) for wait, name in enumerate(("a", "b", "c", "d"))]
    for one in held:
        memory.put(one)
    clock.advance(2)
    assert memory.due(2) == held[:2]
    assert memory.due(2) == held[2:3]
    assert memory.due(2) == []


def test_due_passes_over_what_was_dropped_or_replaced() -> None:
    clock = FakeClock()
    memory = make_memory(clock)
    for name in ("dropped", "replaced", "kept"):
        memory.put(entry(name, due=clock.now))
    memory.drop_alias("subdomain:dropped")
    memory.put(entry("replaced", due=clock.now + 10))
    assert [one.alias for one in memory.due(10)] == ["subdomain:kept"]
