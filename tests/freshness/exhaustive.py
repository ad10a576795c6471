"""Every interleaving of a small story: two processes, one or two updates, one fill of memory and Redis.

At each point one of three things happens next. The next update commits, or the request comes to the first process, or a
message that is on its way arrives at its server or its process. The loop of that process then runs until it is idle.
Time stands still, so nothing is ever excused by its age. And a message that has not arrived yet stands for one that
never does. So what holds at every point of every order holds with losses and delays too.

The search is depth first over those choices, each path run from the start. A point is known by what each process holds,
what its tasks wait for and with which values, what is on its way, and what the servers hold. Code is deterministic, so
two paths that agree in this have the same future. Only one of them is followed (reduction by state).

A coarse search takes fewer steps. Redis answers at once: in these stories only the first process writes there. Once a
notification has woken the second process, it publishes and pulls until it is done. When that happens is open all the
same, so either process may be the one that publishes, and either may lag behind the other.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tenantcache.freshness.core.freshness import Question
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.freshness.log import Pull
from tenantcache.lookup.core import copies as codec
from tenantcache.lookup.core.snapshot import Snapshot
from tenantcache.lookup.entry import Entry
from tenantcache.tenant import Tenant
from tests.freshness.database import Change, Flaws, delete, set_columns, set_domain
from tests.freshness.network import Flight, Link
from tests.freshness.process import Process
from tests.freshness.truth import Violation
from tests.freshness.world import ALIASES, World


@dataclass(frozen=True)
class Story:
    alias: str
    updates: tuple[Change, ...]


SHORT_STORIES = {
    "an update": Story("subdomain:a", (set_columns("t1", name="v1"),)),
    "a rename": Story("subdomain:a", (set_columns("t1", subdomain="c"),)),
    "a domain leaves": Story("subdomain:a", (set_domain("d1.io", "t2"),)),
    "a domain comes": Story("domain:d1.io", (set_domain("d1.io", "t2"),)),
    "created after it was missed": Story("subdomain:c", (set_columns("t3", name="v1", subdomain="c"),)),
    "deleted": Story("subdomain:b", (delete("t2"),)),
}
LONG_STORIES = {
    "two updates": Story("subdomain:a", (set_columns("t1", name="v1"), set_columns("t1", name="v2"))),
    "a label changes hands": Story("subdomain:a", (set_columns("t1", subdomain="c"), set_columns("t2", subdomain="a"))),
    "a domain moves, its owner changes": Story(
        "domain:d1.io", (set_domain("d1.io", "t2"), set_columns("t2", name="v2"))
    ),
    "created, then deleted": Story("subdomain:c", (set_columns("t3", name="v1", subdomain="c"), delete("t3"))),
    "an update, then a domain leaves": Story("subdomain:a", (set_columns("t1", name="v1"), set_domain("d1.io", "t2"))),
}
"""The bound of the search: two processes, two updates, one fill."""


COUNTERS = {
    "pulls",
    "_started",
    "noted",
    "_last_finished",
    "generation",
    "number",
    "loads",
    "copy_hits",
    "copies_refused",
    "queries",
}
"""They only grow: `number` is that of one catch-up. Nothing here waits for one of them."""


def state_of(process: Process) -> object:
    """All that decides what the process does next, by which it is compared."""
    follower = process.follower
    parts = (follower._notices, follower._publisher, follower._checks, follower._pace, follower._puller)
    holders = (
        process.freshness,
        process.freshness.doubts,
        follower,
        *parts,
        process.resolver,
        process.resolver._flights,
    )
    held = [_values({name: getattr(holder, name) for name in _names_of(holder)}) for holder in holders]
    entries = [*(entry for _, entry in process.memory._held.live.items()), *process.memory._negatives.values()]
    memory = sorted(f"{entry.alias} {entry.tenant} {entry.watermark} {entry.read_at}" for entry in entries)
    tasks = sorted(map(_frames, asyncio.all_tasks(process.loop)))
    seen = sorted(process.watch._seen.items())
    state = tuple(held), tuple(memory), tuple(tasks), str(seen), process.refusals
    # How many doubts were noted when something was asked is compared with those that are held; those to come are more.
    return state if process.freshness.doubts._numbers else re.sub(r"doubts=\d+", "", str(state))


def _names_of(holder: object) -> Iterator[str]:
    yield from getattr(type(holder), "__slots__", None) or vars(holder)


def _frames(task: asyncio.Task[Any]) -> tuple[object, ...]:
    """Where each coroutine of a task stands, and with which values."""
    told: list[object] = []
    waiting: Any = task.get_coro()
    while (frame := getattr(waiting, "cr_frame", None)) is not None:
        told.append((frame.f_code.co_qualname, frame.f_lasti, _values(frame.f_locals)))
        waiting = waiting.cr_await
    return tuple(told)


def _values(named: Mapping[str, object]) -> tuple[object, ...]:
    """Those of them that are data; what objects hold is told by the objects."""
    return tuple([(name, _told(value)) for name, value in sorted(named.items()) if name not in COUNTERS])


def _told(value: object) -> str:
    return _way_to_tell(type(value))(value)  # type: ignore[arg-type] # mypy takes instances' __hash__ for the class's


@cache
def _way_to_tell(kind: type) -> Callable[[Any], str]:
    if issubclass(kind, asyncio.Event):
        return lambda event: str(event.is_set())
    if issubclass(kind, dict):
        return lambda value: str([(str(key), _told(one)) for key, one in value.items()])
    if issubclass(kind, (set, frozenset)):
        return lambda value: str(sorted(map(_told, value)))
    if issubclass(kind, (list, tuple)) and not hasattr(kind, "_fields"):
        return lambda value: str([_told(one) for one in value])
    return (lambda value: f"{value!r}") if issubclass(kind, DATA) else (lambda _: kind.__name__)


DATA = (type(None), bool, int, float, str, bytes, Question, LogMark, Pull, Snapshot, Entry, Tenant)


class Path:
    """One run of a story. `choices` lists what can happen next, in an order that depends on the point alone."""

    def __init__(self, story: Story, flaws: Flaws | None = None, *, is_coarse: bool = False) -> None:
        self._story = story
        self._is_coarse = is_coarse
        self.world = World(2, flaws=flaws)
        self.world.settle()
        for process in self.world.processes:
            process.is_exact = True
        self._updates = list(story.updates)
        self._has_asked = False

    def choices(self) -> list[str | Flight]:
        found: list[str | Flight] = ["update"] if self._updates else []
        if not self._has_asked:
            found.append("ask")
        # Two messages that say the same are the same choice.
        flights = {flight.label: flight for flight in self.world.network.flights}
        return found + [flights[label] for label in sorted(flights)]

    def take(self, choice: str | Flight) -> None:
        first = self.world.processes[0]
        if choice == "update":
            self.world.database.commit(self._updates.pop(0))
        elif choice == "ask":
            self._has_asked = True
            first.ask(self._story.alias)
        else:
            assert isinstance(choice, Flight)
            self._deliver(choice)
        for process in self.world.processes:
            while process.has_work:
                process.step()

    def _deliver(self, flight: Flight) -> None:
        first, second = self.world.processes
        self.world.network.deliver(flight)
        if not self._is_coarse or (flight.for_process and flight.name != "notify"):
            return
        if flight.link is first.links["redis"]:
            self._answer(flight.link)
        elif flight.link in second.links.values():
            while self._answer(flight.link):
                pass

    def _answer(self, link: Link) -> bool:
        """Let the process have its next answer over that link, and go on."""
        for process in self.world.processes:
            while process.has_work:
                process.step()
        flights = [flight for flight in self.world.network.flights if flight.link is link and flight.name != "notify"]
        if flights:
            self.world.network.deliver(flights[0])
        return bool(flights)

    def point(self) -> object:
        """What makes this point's future."""
        world = self.world
        on_their_way = tuple(sorted(flight.label for flight in world.network.flights))
        servers = (tuple(world.database.log), tuple(world.database.outbox), world.redis.contents)
        processes = tuple(state_of(process) for process in world.processes)
        return hash((len(self._updates), self._has_asked, on_their_way, *servers, *processes))

    def check(self) -> None:
        """What is in memory, and what Redis would be believed, is at least as new as what the process has applied."""
        for process in self.world.processes:
            oldest = self.world.truth.index_of(process.freshness.applied)
            for alias in ALIASES:
                entry = process.resolver.peek(alias)
                if entry is not None:
                    process.watch.check(alias, entry.tenant, oldest, what="in memory")
            for alias, tenant in self._believed_copies(process):
                process.watch.check(alias, tenant, oldest, what="believed of Redis")

    def _believed_copies(self, process: Process) -> Iterator[tuple[str, Tenant | None]]:
        freshness = process.freshness
        for alias, value in self.world.redis.contents:
            copy = codec.decode(value)
            assert copy is not None
            if freshness.is_valid(self.world.now) and freshness.accepts_shared(
                copy.epoch, copy.mark, alias, copy.row["id"]
            ):
                yield alias, process.resolver._tenant(copy.row)


@dataclass
class Report:
    """`is_complete` is false if the bound on `runs` was reached. `publishers` are those who have moved something."""

    points: int = 0
    runs: int = 0
    longest: int = 0
    is_complete: bool = True
    publishers: set[str] = field(default_factory=set)


class _Search:
    def __init__(self, story: Story, flaws: Flaws | None, *, is_coarse: bool) -> None:
        self._is_coarse = is_coarse
        self._story = story
        self._flaws = flaws
        self._known: set[object] = set()
        self.prefixes: list[list[int]] = [[]]
        self.report = Report()

    def follow(self, prefix: list[int]) -> None:
        """Go along `prefix`, then on by first choices to a point that is known; note the other choices on the way."""
        path, taken, told = Path(self._story, self._flaws, is_coarse=self._is_coarse), [*prefix], list[str]()
        try:
            for number in prefix:
                _take(path, number, told)
            while (point := path.point()) not in self._known:
                self._known.add(point)
                path.check()
                choices = len(path.choices())
                self.prefixes += [[*taken, number] for number in range(choices - 1, 0, -1)]
                if not choices:
                    break
                _take(path, 0, told)
                taken.append(0)
        except Violation as violation:
            raise Violation("\n  ".join([str(violation), *told])) from None
        finally:
            path.world.close()
        self.report.runs += 1
        self.report.publishers |= path.world.database.publishers
        self.report.points = len(self._known)
        self.report.longest = max(self.report.longest, len(taken))


def _take(path: Path, number: int, told: list[str]) -> None:
    choice = path.choices()[number]
    told.append(choice if isinstance(choice, str) else choice.label)
    path.take(choice)


def explore(story: Story, *, max_runs: int, flaws: Flaws | None = None, is_coarse: bool = False) -> Report:
    """Run every interleaving of `story`, up to `max_runs` paths. Raises `Violation`, with the way there."""
    search = _Search(story, flaws, is_coarse=is_coarse)
    state = random.getstate()
    try:
        while search.prefixes and search.report.runs < max_runs:
            random.seed(0)  # the follower's jitter
            search.follow(search.prefixes.pop())
    finally:
        random.setstate(state)
    search.report.is_complete = not search.prefixes
    return search.report
