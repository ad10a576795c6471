"""`write_later` in long random walks, in virtual time: writers that fail, hang and change, a log that fails, callers
who are cancelled, a queue that is full, invalidations, a change of the event loop, and a stop in the middle of it all.

What must hold: nothing that was taken is lost, except in favour of a newer value of its key or to a report; values of a
key are committed in order; what was taken is served until it was written; the queue keeps its bounds.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from contextlib import suppress
from typing import Any

import pytest

from tenantcache.errors import StoreUnavailableError
from tenantcache.values.core.writebehind import WriteBatch, WriteBehind
from tests.values.later import TENANT, World, all_fail, failing_for

WALKS = 600 if os.environ.get("THOROUGH") else 150
STEPS = 120
KEYS = ("a", "b", "c", "d", "e", "f")
MAX_WRITES = 4


class Walk:
    """Values of a key are 1, 2, 3 and so on, in the order of the calls. `taken` is the newest that was taken."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        random.seed(seed)  # the pauses
        self.world = World(max_writes=MAX_WRITES)
        self.called: dict[str, int] = defaultdict(int)
        self.taken: dict[str, int] = defaultdict(int)
        self.callers: list[asyncio.Task[None]] = []
        self.refused = self.answers = self.loops = 0
        options: dict[str, Any] = {"on_failed": self.world.note_failed, "timeout": 4.0, "max_wait": 3.0}
        self.writers = [
            WriteBehind(self.world.save, delay=1.0, give_up_after=20.0, **options),
            WriteBehind(self.save_too, delay=0.2, max_batch=2, give_up_after=2.0, **options),
        ]

    async def save_too(self, batch: WriteBatch[int]) -> None:
        await self.world.save(batch)

    # Steps.

    def write(self) -> None:
        key = self.rng.choice(KEYS)
        self.called[key] += 1
        value, writer = self.called[key], self.rng.choices(self.writers, [5, 1])[0]

        async def call() -> None:
            try:
                await self.world.write(value, key, writer=writer)
            except StoreUnavailableError:
                self.refused += 1
            else:
                self.taken[key] = max(self.taken[key], value)

        self.callers.append(self.world.start(call()))

    def cancel(self) -> None:
        waiting = [task for task in self.callers if not task.done()]
        if waiting:
            self.rng.choice(waiting).cancel()
            self.world.settle()

    def invalidate(self) -> None:
        key = self.rng.choice(KEYS)

        async def invalidate() -> None:
            with suppress(StoreUnavailableError):
                await self.world.values.invalidate(key, tenant=TENANT)

        self.world.start(invalidate())

    def flush(self) -> None:
        seconds = self.rng.choice([0.5, 10.0])

        async def flush() -> None:
            with suppress(StoreUnavailableError):
                await self.world.values.flush_writes(timeout=seconds)

        self.world.start(flush())

    def change_mode(self) -> None:
        """What fails from now on, and how slow the writer is."""
        rng, world = self.rng, self.world
        flaky = random.Random(rng.random())
        world.fault = rng.choice(
            [
                lambda _: None,
                lambda _: None,
                all_fail,
                failing_for(rng.choice(KEYS)),
                lambda _: OSError("flaky") if flaky.random() < 0.5 else None,
                lambda _: asyncio.CancelledError() if flaky.random() < 0.3 else None,
            ]
        )
        world.fails_late = rng.random() < 0.3
        world.seconds = rng.choice([0.0, 0.1, 1.0, 1.0, 6.0])
        world.log_fails = rng.random() < 0.15

    def forget_memory(self) -> None:
        self.world.parts.flush()

    def change_loop(self) -> None:
        self.callers.clear()
        self.world.change_loop()
        self.loops += 1

    def get(self) -> None:
        """What was taken and is not reported is served, or what came after it."""
        key = self.rng.choice(KEYS)
        reported = max((failed.values.get(key, 0) for failed in self.world.failed), default=0)
        least = self.taken[key] if self.taken[key] > reported else 0

        async def get() -> None:
            found = await self.world.get(key)
            assert (found or 0) >= least, f"{key} was {found}, and {least} was taken"
            assert (found or 0) <= self.called[key]
            self.answers += 1

        self.world.run(get())

    def step(self) -> None:
        steps = {
            self.write: 40,
            self.get: 20,
            lambda: self.world.advance(self.rng.choice([0.1, 0.3, 1.0, 3.0, 10.0])): 20,
            self.change_mode: 6,
            self.cancel: 3,
            self.invalidate: 3,
            self.flush: 2,
            self.forget_memory: 0.5,
            self.change_loop: 0.5,
        }
        self.rng.choices(list(steps), list(steps.values()))[0]()
        self.judge()

    # What must hold.

    def judge(self) -> None:
        assert self.world.parts.writes.waiting <= MAX_WRITES
        newest: dict[str, int] = defaultdict(int)
        for _, key, value in self.world.commits:
            assert value >= newest[key], f"{key}: {value} was committed after {newest[key]}"
            newest[key] = value

    def end(self) -> None:
        """Stop in the middle, or after a quiet hour."""
        world = self.world
        if self.rng.random() < 0.5:
            world.fault, world.seconds, world.log_fails = (lambda _: None), 0.0, False
            world.advance(3600)
            assert world.parts.writes.waiting == 0
            told = {name for names in world.told for name in names}
            if not self.loops:  # the end of a loop ends the attempts to tell of what was given up
                assert told >= {f"value:{TENANT}:{key}" for _, key, _ in world.commits}
            for key in KEYS:
                assert world.run(world.get(key)) == world.rows.get((TENANT, key))
        began = world.clock()
        world.close()
        assert world.clock() - began < 12
        self.judge()
        written: dict[str, int] = defaultdict(int)
        for _, key, value in world.commits:
            written[key] = max(written[key], value)
        for key, value in self.taken.items():
            reported = [failed.values[key] for failed in world.failed if key in failed.values]
            assert written[key] >= value or value in reported, f"{key}: {value} was lost"
        stats = world.parts.stats()
        assert stats["waiting_writes"] == 0
        assert stats["failed_writes"] == sum(len(failed.values) for failed in world.failed)
        assert len(world.parts.memory) == 0


def walk(seed: int) -> Walk:
    walk = Walk(seed)
    for _ in range(STEPS):
        walk.step()
    walk.end()
    return walk


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # a loop that ends leaves some
@pytest.mark.parametrize("part", range(3))
def test_nothing_is_lost_or_overtaken(part: int) -> None:
    walks = []
    for seed in range(part, WALKS, 3):
        try:
            walks.append(walk(seed))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    count = len(walks)
    assert sum(walk.answers for walk in walks) > 10 * count
    assert sum(len(walk.world.commits) for walk in walks) > 5 * count
    assert sum(bool(walk.world.failed) for walk in walks) > count / 4
    assert sum(walk.refused for walk in walks) > count / 4
    assert sum(walk.loops for walk in walks) > count / 10
