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


OF_NO_CONSEQUENCE = {
    "seconds",
    "newest",
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
"""Time stands still, so the (random) seconds of a wait do not matter. The others are counters that only grow: `number`
is that of one catch-up. Nothing here waits for one of them."""


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
    tasks = sorted(map(_frames, process.loop.unfinished()))
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
    return tuple([(name, _told(value)) for name, value in sorted(named.items()) if name not in OF_NO_CONSEQUENCE])


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
        self._states: dict[str, object] = {}
        """Of processes that have done nothing since."""

    def choices(self) -> list[str]:
        found = ["update"] if self._updates else []
        if not self._has_asked:
            found.append("ask")
        # Two messages that say the same are the same choice.
        return found + sorted({flight.label for flight in self.world.network.flights})

    def take(self, choice: str) -> None:
        if choice == "update":
            self.world.database.commit(self._updates.pop(0))
        elif choice == "ask":
            self._has_asked = True
            self.world.processes[0].ask(self._story.alias)
        else:
            self._deliver(self._flight(choice))
        self._run_all()

    def _run_all(self) -> None:
        """Let each process go on until it is idle."""
        for process in self.world.processes:
            while process.has_work:
                self._states.pop(process.name, None)
                process.step()

    def _flight(self, label: str) -> Flight:
        return next(flight for flight in self.world.network.flights if flight.label == label)

    def touched(self, choice: str) -> frozenset[str]:
        """The processes and servers whose state `choice` reads or changes. Whatever it sends is only put on its way."""
        if choice in ("update", "ask"):
            return frozenset({"database" if choice == "update" else self.world.processes[0].name})
        flight = self._flight(choice)
        process = flight.link.name.split()[0]
        server = "redis" if flight.link.name.endswith("redis") else "database"
        if self._is_coarse and (server == "redis" or process != self.world.processes[0].name):
            return frozenset({process, server})
        return frozenset({process if flight.for_process else server})

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
        self._run_all()
        flights = [flight for flight in self.world.network.flights if flight.link is link and flight.name != "notify"]
        if flights:
            self.world.network.deliver(flights[0])
        return bool(flights)

    def point(self) -> object:
        """What makes this point's future."""
        world = self.world
        on_their_way = tuple(sorted(flight.label for flight in world.network.flights))
        servers = (tuple(world.database.log), tuple(world.database.outbox), world.redis.contents)
        for process in world.processes:
            if process.name not in self._states:
                self._states[process.name] = state_of(process)
        processes = tuple(self._states[process.name] for process in world.processes)
        return hash((len(self._updates), self._has_asked, on_their_way, *servers, *processes))

    def check(self) -> None:
        """What is in memory, and what Redis would be believed, is at least as new as what the process has applied."""
        for process in self.world.processes:
            oldest = self.world.truth.index_of(process.freshness.applied)
            for alias in ALIASES:
                entry = process.resolver.peek(alias)
                if entry is not None:
                    process.watch.judge(alias, entry.tenant, oldest, what="in memory")
            for alias, tenant in self._believed_copies(process):
                process.watch.judge(alias, tenant, oldest, what="believed of Redis")

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
    """Two choices that touch nothing in common lead to the same point in either order, so one order is enough.

    Once the first of them has been followed, it sleeps while others are, until one touches what it touches (sleep
    sets, Godefroid 1996). That leaves out ways to points, and no point. If a point is reached again with fewer asleep,
    those are followed that slept each time before.
    """

    def __init__(self, story: Story, flaws: Flaws | None, *, is_coarse: bool, every_order: bool) -> None:
        self._is_coarse = is_coarse
        self._story = story
        self._flaws = flaws
        self._every_order = every_order
        self._slept: dict[object, frozenset[str]] = {}
        """The points that are known, and what has not been followed from each."""
        self.ways: list[tuple[list[str], frozenset[str]]] = [([], frozenset())]
        """Those to be followed yet, each with what sleeps at its end."""
        self.report = Report()

    def follow(self, taken: list[str], asleep: frozenset[str]) -> None:
        """Go along a way, then on by first choices until none is left; note the other choices."""
        path = Path(self._story, self._flaws, is_coarse=self._is_coarse)
        try:
            for choice in taken:
                path.take(choice)
            while True:
                choices, asleep = self._awake(path, asleep)
                if not choices:
                    break
                first, *others = self._ways_on(path, taken, choices, asleep)
                self.ways += reversed(others)
                taken, asleep = first
                path.take(taken[-1])
        except Violation as violation:
            raise Violation("\n  ".join([str(violation), *taken])) from None
        finally:
            path.world.close()
        self.report.runs += 1
        self.report.publishers |= path.world.database.publishers
        self.report.points = len(self._slept)
        self.report.longest = max(self.report.longest, len(taken))

    def _awake(self, path: Path, asleep: frozenset[str]) -> tuple[list[str], frozenset[str]]:
        """What is to be followed from here, and what is not."""
        point, choices = path.point(), path.choices()
        if point not in self._slept:
            path.check()
        else:
            choices = [choice for choice in choices if choice in self._slept[point]]
            asleep &= self._slept[point]
        self._slept[point] = asleep
        return [choice for choice in choices if choice not in asleep], asleep

    def _ways_on(
        self, path: Path, taken: list[str], choices: list[str], asleep: frozenset[str]
    ) -> Iterator[tuple[list[str], frozenset[str]]]:
        for choice in choices:
            touched = path.touched(choice)
            sleeps_on = frozenset(other for other in asleep if touched.isdisjoint(path.touched(other)))
            yield [*taken, choice], frozenset() if self._every_order else sleeps_on
            asleep |= {choice}


def explore(
    story: Story,
    *,
    max_runs: int,
    flaws: Flaws | None = None,
    is_coarse: bool = False,
    every_order: bool = False,
    dice: random.Random | None = None,
) -> Report:
    """Run the interleavings of `story`, up to `max_runs` paths. Raises `Violation`, with the way there.

    `every_order`: also those that only swap choices that touch nothing in common. `dice` choose which way is followed
    next, so that a search with a bound is one of ways that differ early: depth first, they differ at their ends.
    """
    search = _Search(story, flaws, is_coarse=is_coarse, every_order=every_order)
    state = random.getstate()
    try:
        while search.ways and search.report.runs < max_runs:
            random.seed(0)  # the follower's jitter
            search.follow(*search.ways.pop(-1 if dice is None else dice.randrange(len(search.ways))))
    finally:
        random.setstate(state)
    search.report.is_complete = not search.ways
    return search.report
