"""`write_later`: what is served, in which order it is written, what comes of faults, of a full queue, and of a stop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from tenantcache import TenantMiddleware
from tenantcache.errors import NotOpenError, StoreUnavailableError
from tenantcache.values.core.writebehind import FailedWrites, WriteBatch, WriteBehind
from tests.asgi import Lifespan
from tests.fakes import FakeClock, FakeDatabase, make_cache, row
from tests.values.later import TENANT, World, all_fail, failing_for


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def test_it_is_served_at_once_and_written_later(world: World) -> None:
    world.rows[TENANT, "a"] = "old"
    assert world.run(world.get()) == "old"
    world.run(world.write("new"))
    assert world.run(world.get()) == "new"
    assert (world.batches, world.told) == ([], [])
    world.advance(1.1)
    assert world.batches == [{"a": "new"}]
    assert world.told == [["value:acme:a"]]
    assert world.run(world.get()) == "new"
    assert (world.loads, world.parts.stats()["written"]) == (2, 1)


def test_a_batch_has_the_last_value_of_each_key_and_costs_one_statement(world: World) -> None:
    for number in range(100):
        world.run(world.write(number, f"k{number % 10}"))
    world.advance(1.1)
    assert world.batches == [{f"k{number}": 90 + number for number in range(10)}]
    assert world.told == [[f"value:acme:k{number}" for number in range(10)]]


def test_batches_are_of_one_tenant_which_they_name(world: World) -> None:
    found: dict[str | None, dict[str, int]] = {}

    async def save(batch: WriteBatch[int]) -> None:
        found[batch.tenant_id] = dict(batch)

    async def write() -> None:
        await world.values.write_later("a", 1, save, tenant="acme")
        await world.values.write_later("a", 2, save, tenant="globex")
        await world.values.shared.write_later("a", 3, save)

    world.run(write())
    world.advance(1.1)
    assert found == {"acme": {"a": 1}, "globex": {"a": 2}, None: {"a": 3}}
    assert sorted(world.told) == [["value::a"], ["value:acme:a"], ["value:globex:a"]]


def test_a_value_that_is_changed_after_the_call_is_written_as_it_was(world: World) -> None:
    value = {"n": 1}
    world.run(world.write(value))
    value["n"] = 2
    world.run(world.get())["n"] = 3
    assert world.run(world.get()) == {"n": 1}
    world.advance(1.1)
    assert world.batches == [{"a": {"n": 1}}]


def test_none_is_served_and_written_too(world: World) -> None:
    world.rows[TENANT, "a"] = "old"
    world.run(world.write(None))
    assert world.run(world.get()) is None
    world.advance(1.1)
    assert world.batches == [{"a": None}]


def test_no_load_overtakes_it(world: World) -> None:
    async def load() -> str:
        await asyncio.sleep(0.5)
        return "old"

    loading = world.start(world.values.get_or_load("a", load, tenant=TENANT, ttl=60))
    world.run(world.write("new"))
    assert world.run(world.get()) == "new"
    world.advance(0.6)
    assert loading.result() == "old"
    assert world.run(world.get()) == "new"
    assert world.batches == []


def test_it_is_not_evicted(world: World) -> None:
    world.run(world.write("new"))

    async def fill() -> None:
        for number in range(500):
            await world.get(f"k{number}")

    world.run(fill())
    assert world.batches == []
    assert world.run(world.get()) == "new"


def test_an_invalidation_does_not_keep_it_from_being_written(world: World) -> None:
    world.run(world.write("new"))
    world.run(world.values.invalidate("a", tenant=TENANT))
    world.parts.flush()
    assert world.run(world.get()) == "new"
    world.advance(1.1)
    assert world.rows == {(TENANT, "a"): "new"}


def test_it_is_served_while_the_log_is_not_followed(world: World) -> None:
    world.freshness.max_staleness = 1.0
    world.freshness.valid_until = -1.0
    world.run(world.write("new", writer=WriteBehind(world.save, delay=50)))
    world.advance(40)
    assert world.run(world.get()) == "new"


def test_it_is_served_until_others_were_told(world: World) -> None:
    world.run(world.write("new"))
    world.log_fails = True
    world.advance(30)
    world.rows[TENANT, "a"] = "another's"
    assert world.run(world.get()) == "new"
    world.log_fails = False
    world.advance(30)
    assert world.run(world.get()) == "another's"
    assert (world.batches, world.told) == ([{"a": "new"}], [["value:acme:a"]])


def test_values_of_a_key_are_written_in_order_over_failures(world: World) -> None:
    world.seconds, world.fault = 3.0, all_fail
    world.run(world.write(1))
    world.advance(2)
    assert world.batches == [{"a": 1}]
    world.run(world.write(2))
    world.run(world.write(3))
    world.advance(1.9)
    assert world.batches == [{"a": 1}]  # that one has not ended
    world.fault = lambda _: None
    world.advance(10)
    assert [value for _, _, value in world.commits] == [3]
    assert world.run(world.get()) == 3


def test_a_value_that_comes_while_one_is_written_is_written_after_it(world: World) -> None:
    world.seconds = 3.0
    world.run(world.write(1))
    world.advance(2)
    world.run(world.write(2))
    world.advance(2.5)
    assert world.commits == [(TENANT, "a", 1)]
    assert world.run(world.get()) == 2
    world.advance(10)
    assert world.commits == [(TENANT, "a", 1), (TENANT, "a", 2)]


def test_the_last_call_decides_on_the_writer(world: World) -> None:
    """A function that is made anew for each call is another one each time."""
    found: list[tuple[str, int]] = []

    def make(name: str) -> Any:
        async def save(batch: Mapping[str, int]) -> None:
            await asyncio.sleep(5 if name == "first" else 1)
            found.append((name, batch["a"]))

        return save

    world.run(world.write(1, writer=make("first")))
    world.advance(2)
    world.run(world.write(2, writer=make("second")))
    world.run(world.write(3, writer=make("third")))
    world.advance(20)
    assert found == [("first", 1), ("third", 3)]


def test_retries_wait_longer_each_time(world: World) -> None:
    world.fault = all_fail
    began: list[float] = []

    async def save(batch: WriteBatch[int]) -> None:
        began.append(world.clock())
        await world.save(batch)

    world.run(world.write(1, writer=save))
    world.advance(100)
    pauses = [after - before for before, after in pairwise(began)]
    longest = [0.5, 1, 2, 4, 8, 15, 15, 15]
    assert all(most / 2 <= pause <= most + 0.001 for pause, most in zip(pauses, longest, strict=False))
    assert len(pauses) >= 8


def test_a_writer_that_fails_is_left_alone_for_a_while(world: World) -> None:
    """What waits behind a batch that failed would fail as well, if the database is unavailable."""
    world.fault = all_fail
    for number in range(20):
        world.run(world.write(number, f"k{number}", writer=WriteBehind(world.save, max_batch=1)))
    world.advance(0.2)
    assert len(world.batches) == 1
    world.fault = lambda _: None
    world.advance(2)
    assert len(world.rows) == 20


def test_one_that_cannot_be_written_is_given_up_alone(world: World) -> None:
    world.fault = failing_for("k7")
    for number in range(500):
        world.run(world.write(number, f"k{number}"))
    world.advance(30)
    assert len(world.rows) == 499
    assert len(world.batches) < 40
    assert world.failed == []
    world.run(world.write("later", "other"))
    world.advance(2)
    assert world.rows[TENANT, "other"] == "later"
    assert world.run(world.get("k7")) == 7
    world.advance(300)
    [failed] = world.failed
    assert (failed.tenant_id, failed.values, str(failed.error)) == (TENANT, {"k7": 7}, "cannot take ('k7',)")
    assert world.run(world.get("k7")) is None
    stats = world.parts.stats()
    assert (stats["written"], stats["failed_writes"], stats["waiting_writes"]) == (500, 1, 0)


def test_a_key_that_cannot_be_written_does_not_come_fresh_with_each_value(world: World) -> None:
    """Else each of its values would have the whole batch fail with it again."""
    world.fault = failing_for("bad")
    for number in range(40):
        world.run(world.write(number, "bad"))
        world.run(world.write(number, f"good{number}"))
        world.advance(1)
    world.advance(5)
    assert len(world.rows) == 40
    assert sum("bad" in batch and len(batch) > 1 for batch in world.batches) <= 3  # of 500, 62 and 7


def test_what_is_given_up_is_logged_with_its_keys_and_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A writer may fail after its commit, and then others do not know of it."""
    world.fault, world.fails_late = all_fail, True
    for number in range(30):
        world.run(world.write(number, f"k{number:02}", writer=WriteBehind(world.save, give_up_after=0)))
    world.advance(1.1)
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith("30 values of tenant 'acme' were not written, and are given up: 'k00', 'k01',")
    assert "'k19' and 10 more: OSError(" in line
    assert world.told == [[f"value:acme:k{number:02}" for number in range(30)]]
    assert world.run(world.get("k05")) == 5


def test_a_callback_that_fails_hurts_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.fault = all_fail

    async def fail(_: FailedWrites) -> None:
        raise KeyError("no")

    world.run(world.write(1, writer=WriteBehind(world.save, fail, give_up_after=0)))
    world.advance(1.1)
    assert "failed on values that were not written" in caplog.text
    world.fault = lambda _: None
    world.run(world.write(2))
    world.advance(1.1)
    assert world.rows[TENANT, "a"] == 2


def test_a_writer_that_hangs_is_ended_and_one_that_is_cancelled_has_failed(world: World) -> None:
    async def cancel(_: WriteBatch[int]) -> None:
        raise asyncio.CancelledError

    world.seconds = 1000
    world.run(world.write(1, "hangs", writer=WriteBehind(world.save, world.note_failed, timeout=5, give_up_after=0)))
    world.run(world.write(2, "cancels", writer=WriteBehind(cancel, world.note_failed, give_up_after=0)))
    world.advance(10)
    errors = {key: str(failed.error) for failed in world.failed for key in failed.values}
    assert errors == {"hangs": "the writer took longer than 5 s", "cancels": "the writer was cancelled"}


def test_a_full_queue_makes_callers_wait() -> None:
    world = World(max_writes=3)
    world.seconds = 2.0
    for number in range(3):
        world.run(world.write(number, f"k{number}"))
    world.run(world.write(10, "k0"))  # it needs no room
    waiting = [world.start(world.write(number, f"k{number}")) for number in (3, 4)]
    assert world.parts.writes.waiting == 3
    assert world.batches == [{"k0": 10, "k1": 1, "k2": 2}]  # who waits for room has it written at once
    assert not waiting[0].done()
    world.advance(2.1)
    assert [task.done() for task in waiting] == [True, True]
    world.advance(5)
    assert world.rows == {(TENANT, f"k{number}"): value for number, value in enumerate((10, 1, 2, 3, 4))}
    world.close()


def test_a_queue_that_stays_full_is_an_error_that_says_so() -> None:
    world = World(max_writes=1)
    world.fault = all_fail
    world.run(world.write(1, "a"))
    began = world.clock()
    with pytest.raises(StoreUnavailableError, match=r"'b' was not taken: 1 values wait .* within 5.0 s"):
        world.run(world.write(2, "b"))
    assert world.clock() - began == pytest.approx(5.0)
    assert world.run(world.get("b")) is None
    world.fault = lambda _: None
    world.advance(20)
    assert world.rows == {(TENANT, "a"): 1}
    world.close()


def test_bytes_are_bounded_too() -> None:
    world = World(max_bytes=3000)
    world.seconds = 1.0
    with pytest.raises(ValueError, match="has 3954 bytes; the queue holds 3000"):
        world.run(world.write("x" * 3000, "ab"))
    world.run(world.write("x" * 2000))
    second = world.start(world.write("y" * 100, "b"))
    assert not second.done()
    world.advance(1.1)
    assert second.done()
    world.close()


def test_who_comes_later_does_not_overtake_those_who_wait_for_the_key() -> None:
    world = World(max_writes=1)
    world.seconds = 1.0
    world.run(world.write(0, "other"))
    for number in (1, 2):
        world.start(world.write(number, "a"))
    world.start(world.write(9, "last"))
    world.advance_until(lambda: world.parts.writes.waiting == 1 and "last" not in world.batches[-1])
    world.start(world.write(3, "a"))
    world.advance(20)
    assert [value for _, key, value in world.commits if key == "a"][-1] == 3
    assert world.rows[TENANT, "last"] == 9
    world.close()


def test_a_cancelled_caller_leaves_the_line() -> None:
    world = World(max_writes=1)
    world.seconds = 1.0
    world.run(world.write(0, "a"))
    first, second = world.start(world.write(1, "b")), world.start(world.write(2, "c"))
    first.cancel()
    world.advance(10)
    assert first.cancelled()
    assert second.done()
    assert world.rows == {(TENANT, "a"): 0, (TENANT, "c"): 2}
    world.close()


def test_flush_waits_until_all_is_written_and_told(world: World) -> None:
    world.seconds = 2.0
    for number in range(1200):
        world.run(world.write(number, f"k{number}"))
    began = world.clock()
    world.run(world.values.flush_writes())
    assert len(world.rows) == 1200
    assert sum(map(len, world.told)) == 1200
    assert world.clock() - began < 7
    world.run(world.values.flush_writes())


def test_flush_ends_although_values_come_all_the_time(world: World) -> None:
    world.seconds = 1.0
    world.run(world.write(0))

    async def go_on() -> None:
        for number in range(1, 1000):
            await asyncio.sleep(0.1)
            await world.write(number)

    writing = world.loop.create_task(go_on())
    world.run(world.values.flush_writes())
    assert world.rows[TENANT, "a"] == 0
    writing.cancel()


def test_flush_waits_for_a_value_that_takes_the_place_of_an_earlier_one(world: World) -> None:
    world.seconds = 3.0
    world.run(world.write(1))
    world.advance(2)
    world.run(world.write(2))  # it waits for the first one
    flushing = world.start(world.values.flush_writes())
    world.run(world.write(3))
    world.advance_until(flushing.done)
    assert world.rows[TENANT, "a"] == 3


def test_flush_says_what_could_not_be_written(world: World) -> None:
    world.fault = all_fail
    world.run(world.write(1, "a", writer=WriteBehind(world.save)))
    with pytest.raises(StoreUnavailableError, match=r"1 values are not written after 5 s; they are tried again"):
        world.run(world.values.flush_writes(timeout=5))
    world.run(world.write(2, "b", writer=WriteBehind(world.save, give_up_after=3)))
    world.fault = failing_for("b")
    with pytest.raises(StoreUnavailableError, match="1 values could not be written, and were given up"):
        world.run(world.values.flush_writes())
    assert world.rows == {(TENANT, "a"): 1}


def test_a_close_writes_what_waits_and_gives_up_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.fault = failing_for("b")
    for number, key in enumerate("abc"):
        world.run(world.write(number, key))
    began = world.clock()
    world.close()
    assert world.clock() - began == pytest.approx(4.0)
    assert world.rows == {(TENANT, "a"): 0, (TENANT, "c"): 2}
    [failed] = world.failed
    assert (failed.values, failed.error) == ({"b": 1}, None)
    assert "1 values of tenant 'acme' were not written, and are given up: 'b'" in caplog.text
    assert len(world.parts.memory) == 0


def test_a_close_writes_what_the_end_of_an_event_loop_has_interrupted() -> None:
    """As `asyncio.run` ends one: it cancels all tasks, and one of them closes the engine then."""
    world = World()
    world.seconds = 3.0
    world.run(world.write(1))
    world.advance(2)
    for task in asyncio.all_tasks(world.loop):
        task.cancel()
    world.settle()
    world.close()
    assert world.rows == {(TENANT, "a"): 1}
    assert world.failed == []


def test_a_close_ends_a_writer_that_hangs_and_those_who_wait_for_room() -> None:
    world = World(max_writes=1)
    world.seconds = 1000
    world.run(world.write(1))
    waiting = world.start(world.write(2, "b"))
    world.close()
    assert [failed.values for failed in world.failed] == [{"a": 1}]
    with pytest.raises(NotOpenError, match="closing: the value was not taken"):
        waiting.result()


def test_a_close_tells_those_who_flush_of_what_was_given_up() -> None:
    world = World()
    world.fault = all_fail
    world.run(world.write(1))
    flushing = world.start(world.values.flush_writes(timeout=1000))
    world.close()
    assert flushing.done()
    with pytest.raises(StoreUnavailableError, match="1 values could not be written, and were given up"):
        flushing.result()


def test_an_application_hears_of_a_stop_after_its_values_were_written() -> None:
    """It closes its connections then, which its writers use."""
    clock = FakeClock()
    cache = make_cache(FakeDatabase(clock, row("acme")), clock)
    done: list[object] = []

    async def save(batch: WriteBatch[int]) -> None:
        done.append(dict(batch))

    async def application(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await cache.values.write_later("a", 1, WriteBehind(save, delay=60), tenant="acme")
        done.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})

    async def live() -> None:
        async with Lifespan(TenantMiddleware(application, cache=cache)):
            pass

    asyncio.run(live())
    assert done == [{"a": 1}, "lifespan.shutdown"]


def test_what_one_event_loop_leaves_the_next_one_writes(world: World) -> None:
    world.seconds = 3.0
    world.run(world.write(1, "a"))
    world.advance(2)
    world.run(world.write(2, "b"))
    world.run(world.write(3, "a"))
    world.change_loop()
    assert [world.run(world.get(key)) for key in "ab"] == [3, 2]
    world.advance(10)
    assert world.rows == {(TENANT, "a"): 3, (TENANT, "b"): 2}


def test_a_child_of_a_fork_leaves_it_to_the_parent(world: World) -> None:
    world.run(world.write("new"))
    world.parts.forget()
    assert world.parts.writes.waiting == 0
    assert world.run(world.get()) is None


def test_a_writer_has_no_context_of_a_request(world: World) -> None:
    current = contextvars.ContextVar[str]("current", default="none")
    found: list[str] = []

    async def save(_: WriteBatch[int]) -> None:
        found.append(current.get())

    async def write() -> None:
        current.set("a request's")
        await world.write(1, writer=save)

    world.run(write())
    world.advance(2)
    assert found == ["none"]


def test_what_cannot_be_stored_is_said_at_once(world: World) -> None:
    with pytest.raises(TypeError):
        world.run(world.write(object()))
    assert world.parts.writes.waiting == 0


@pytest.mark.parametrize("option", [{"delay": -1}, {"max_batch": 0}, {"timeout": 0}, {"give_up_after": -1}])
def test_options_that_cannot_work(world: World, option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        WriteBehind(world.save, **option)


def test_a_writer_is_a_function() -> None:
    with pytest.raises(TypeError, match="None cannot be a writer"):
        WriteBehind(None)  # type: ignore[arg-type]
