"""Changes of a process's state that an operator wants to know of, found by two looks at its statistics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from tenantcache.stats import Stats

What = Literal["counters", "redis", "log", "memory", "band"]


class Event(NamedTuple):
    """`what` has changed from `before` to `after`. `at` is server time, in seconds since the Unix epoch."""

    at: float
    what: What
    before: str
    after: str
    why: str


class State(NamedTuple):
    what: What
    value: str
    why: str


def states_of(stats: Stats) -> Iterator[State]:
    """The states whose changes are events. What is not known is left out."""
    freshness, counters = stats["freshness"], stats["limits"]["counters"]
    if counters is not None:
        if counters["store"] is not None:
            yield State("counters", counters["store"], counters["why"])
        if counters["redis"] != "none":
            yield State("redis", counters["redis"], "")
    yield State("log", "followed" if freshness["following"] else "lost", freshness["last_error"] or "")
    yield State("memory", "fresh" if freshness["valid"] else "unchecked", freshness["fault"] or "")
    yield State("band", stats["redis"]["band"], "")


def events_between(before: Stats, after: Stats, at: float) -> list[Event]:
    """What has changed between two looks, the second of them `at`."""
    known = {state.what: state for state in states_of(before)}
    return [
        Event(at, state.what, known[state.what].value, state.value, state.why)
        for state in states_of(after)
        if state.what in known and known[state.what].value != state.value
    ]
