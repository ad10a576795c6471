"""Every interleaving of a small story: two processes, one or two updates, one fill of memory and Redis.

At each point something of the following happens next: the next update commits, the request comes to the first
process, or any message that is on its way arrives at its server or its process (whose loop then runs until it is
idle). Time stands still, so nothing is ever excused by its age, and a message that has not arrived yet stands for one
that never does: what holds at every point of every order holds with losses and delays too.

The search is depth first over those choices, each path run from the start. A point is known by what each process has
seen, in its order, by what is on its way and by what the servers hold: code is deterministic, so two paths that agree
in this have the same future, and only one of them is followed (partial-order reduction by state).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tenantcache.core import copies as codec
from tenantcache.core.tenant import Tenant
from tests.freshness.database import Change, Flaws, delete, set_columns, set_domain
from tests.freshness.network import Flight
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


class Path:
    """One run of a story. `choices` lists what can happen next, in an order that depends on the point alone."""

    def __init__(self, story: Story, flaws: Flaws | None = None) -> None:
        self._story = story
        self.world = World(2, flaws=flaws)
        self.world.settle()
        for process in self.world.processes:
            process.is_exact = True
        self._updates = list(story.updates)
        self._has_asked = False
        self._seen: dict[Process, list[str]] = {process: [] for process in self.world.processes}

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
            self._seen[first].append("ask")
            first.ask(self._story.alias)
        else:
            assert isinstance(choice, Flight)
            if choice.for_process:
                self._note_arrival(choice)
            self.world.network.deliver(choice)
        for process in self.world.processes:
            while process.has_work:
                process.step()

    def _note_arrival(self, flight: Flight) -> None:
        (receiver,) = (process for process in self.world.processes if flight.link in process.links.values())
        if flight.name == "notify" and receiver.follower._is_notified and receiver.follower._wake.is_set():
            return  # it says nothing new
        self._seen[receiver].append(flight.label)

    def point(self) -> object:
        """What makes this point's future."""
        on_their_way = tuple(sorted(flight.label for flight in self.world.network.flights))
        seen = tuple(tuple(labels) for labels in self._seen.values())
        return len(self._updates), seen, on_their_way, self.world.redis.contents

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
    """`is_complete` is false where the bound on `runs` was reached."""

    points: int = 0
    runs: int = 0
    longest: int = 0
    is_complete: bool = True


class _Search:
    def __init__(self, story: Story, flaws: Flaws | None) -> None:
        self._story = story
        self._flaws = flaws
        self._known: set[object] = set()
        self.prefixes: list[list[int]] = [[]]
        self.report = Report()

    def follow(self, prefix: list[int]) -> None:
        """Go along `prefix`, then on by first choices to a point that is known; note the other choices on the way."""
        path, taken, told = Path(self._story, self._flaws), [*prefix], list[str]()
        try:
            for number in prefix:
                _take(path, number, told)
            while path.point() not in self._known:
                self._known.add(path.point())
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
        self.report.points = len(self._known)
        self.report.longest = max(self.report.longest, len(taken))


def _take(path: Path, number: int, told: list[str]) -> None:
    choice = path.choices()[number]
    told.append(choice if isinstance(choice, str) else choice.label)
    path.take(choice)


def explore(story: Story, *, max_runs: int, flaws: Flaws | None = None) -> Report:
    """Run every interleaving of `story`, up to `max_runs` paths. Raises `Violation`, with the way there."""
    search = _Search(story, flaws)
    state = random.getstate()
    try:
        while search.prefixes and search.report.runs < max_runs:
            random.seed(0)  # the follower's jitter
            search.follow(search.prefixes.pop())
    finally:
        random.setstate(state)
    search.report.is_complete = not search.prefixes
    return search.report
