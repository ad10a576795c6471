"""Values as a state machine (Hypothesis): it looks for an order of messages after which an answer is too old."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.fakes import FakeClock
from tests.thorough import effort
from tests.values.world import KEYS, NAMES, Database, FakeRedis, Messages, Process

_which = st.integers(0, 1)
_key = st.sampled_from(KEYS)
_keys = st.sampled_from([("a",), ("b",), ("a", "b")])


class ValuesMachine(RuleBasedStateMachine):
    @initialize(max_floors=st.sampled_from([2, 6, 100]))
    def start(self, max_floors: int) -> None:
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.clock, self.messages = FakeClock(), Messages()
        self.database = Database(self.clock)
        redis = FakeRedis(self.messages)
        self.fleet = [Process(self.database, redis, self.messages, max_floors=max_floors) for _ in range(2)]
        self.setters: list[Callable[[], None]] = []
        for process in self.fleet:
            process.send_pull()
            process.apply_pull()
        self.settle()

    def settle(self) -> None:
        async def rest() -> None:
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(rest())
        for process in self.fleet:
            for task in [task for task in process.tasks if task.done()]:
                process.tasks.remove(task)
                task.result()

    @rule(process=_which, keys=_keys)
    def get(self, process: int, keys: tuple[str, ...]) -> None:
        self.fleet[process].get(keys)
        self.settle()

    @rule(key=_key, name=st.sampled_from(["key", "tag"]))
    def commit(self, key: str, name: str) -> None:
        """In one transaction with its entry, as a trigger does it."""
        self.database.write(key)
        self.database.tell([NAMES[key if name == "key" else "tag"]])

    @rule(process=_which, key=_key, how=st.sampled_from(["key", "tag"]))
    def invalidate(self, process: int, key: str, how: str) -> None:
        """The commit is told of in the same transaction, so that its age counts from there, and then by a call."""
        self.fleet[process].invalidate(key, how)
        self.database.tell([NAMES[key]])
        self.settle()

    @rule(process=_which, key=_key)
    def commit_and_set(self, process: int, key: str) -> None:
        self.setters.append(self.fleet[process].set(key))

    @precondition(lambda self: self.setters)
    @rule(place=st.integers(0, 9))
    def set(self, place: int) -> None:
        """In another order than they were committed, perhaps."""
        self.setters.pop(place % len(self.setters))()
        self.settle()

    @rule()
    def expire(self) -> None:
        self.database.tell(["expire:acme:known"])

    @precondition(lambda self: self.messages.waiting)
    @rule(places=st.lists(st.integers(0, 20), min_size=1, max_size=6))
    def deliver(self, places: list[int]) -> None:
        for place in places:
            if self.messages.waiting:
                self.messages.deliver(place)
                self.settle()

    @rule()
    def drain(self) -> None:
        """All is quick for a moment: so much can happen before and after it."""
        for _ in range(100):
            if not self.messages.waiting:
                return
            self.messages.deliver(0)
            self.settle()

    @rule(process=_which)
    def follow(self, process: int) -> None:
        self.database.publish()
        self.fleet[process].send_pull()
        self.fleet[process].apply_pull()

    @rule()
    def publish(self) -> None:
        self.database.publish()

    @rule(process=_which)
    def send_pull(self, process: int) -> None:
        self.fleet[process].send_pull()

    @rule(process=_which)
    def apply_pull(self, process: int) -> None:
        self.fleet[process].apply_pull()

    @rule(process=_which)
    def pull(self, process: int) -> None:
        self.fleet[process].send_pull()
        self.fleet[process].apply_pull()

    @rule(process=_which)
    def hear(self, process: int) -> None:
        self.fleet[process].hear()

    @rule(process=_which)
    def collapse(self, process: int) -> None:
        self.fleet[process].everything()

    @rule(process=_which)
    def restart(self, process: int) -> None:
        """The follower begins anew, as after another timeline was seen: what is told stays told."""
        self.fleet[process].start()

    @rule()
    def back_up(self) -> None:
        self.database.back_up()

    @precondition(lambda self: not self.setters)  # what they set was committed
    @rule()
    def restore(self) -> None:
        self.database.restore()

    @precondition(lambda self: not self.setters)  # they are called at once after the commit
    @rule(seconds=st.sampled_from([0.5, 1.0, 2.9, 3.1, 20.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def answers_are_true(self) -> None:
        for process in getattr(self, "fleet", []):
            process.judge()

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.settle_quietly()
        self.loop.close()
        asyncio.set_event_loop(None)

    def settle_quietly(self) -> None:
        async def rest() -> None:
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(rest())


ValuesMachine.TestCase.settings = settings(max_examples=effort(60, 150), stateful_step_count=60, deadline=None)
TestValues = ValuesMachine.TestCase
