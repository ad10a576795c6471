"""Mistakes that are seen while values are loaded: each is counted, and reported once, without the value.

A hit in memory costs nothing more: only misses are looked at. One of `SAMPLED` keys is looked at closely, since folding
a key takes a tenth of a load. What is kept is bounded, and so is the number of reports.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable, Iterable, Sequence
from typing import Final
from weakref import WeakKeyDictionary

from tenantcache.runtime.clock import Clock
from tenantcache.stats import GuardrailStats
from tenantcache.values.callsite import call_site
from tenantcache.values.core.loops import Run
from tenantcache.values.core.reuse import Reuse, is_of_tokens
from tenantcache.values.core.secrecy import may_hold_secret, secret_in_key, secret_in_value, shown_pattern
from tenantcache.values.memory import Place, ValueMemory

logger = logging.getLogger(__name__)

SAMPLED: Final = 8

MAX_PATTERNS: Final = 200
"""Patterns of keys that are watched, each with some 30 keys: 2 MB. Later ones are not."""

MAX_REPORTS: Final = 100
"""Of each kind of mistake."""

MAX_WAITING: Final = 1_000
"""Findings of values that wait for their caller to say from where they were asked for."""

_LARGE = (
    "%s is not stored in Redis, so each process loads it: it has %d bytes, and TENANTCACHE_MAX_VALUE_BYTES is %d;"
    " cache pages or single items in place of whole results"
)
_UNHELD = (
    "%s is not kept in memory, so each call asks for it again: it takes %d bytes there, and one value may take %d, a"
    " tenth of TENANTCACHE_VALUES_MAX_BYTES; cache pages or single items in place of whole results"
)
_SECRET_IN_VALUE = "%s holds a secret (%s), and anyone who may read Redis may read it; leave it out of what is cached"
_SECRET_IN_KEY = (
    "%s holds a secret in its key (%s), and keys are shown by many tools; use an id, or the SHA-256 of the secret"
)
_ONE_TIME = (
    "of %d values like %s that were loaded here only %d were asked for again in their time: a token that is used once,"
    " or a time, in the key? Caching them saves nothing"
)
_LOOP = (
    "values like %s are loaded one after another in a loop%s; get_many() has one command and one load for all of them"
)


class Asking:
    """A caller who waits for values that are not in memory."""

    __slots__ = ("_places", "_rails", "_run")

    def __init__(self, rails: Guardrails, places: Sequence[Place], run: Run | None) -> None:
        self._rails, self._places, self._run = rails, places, run

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        self._rails.end(self._places, self._run)


class Guardrails:
    """Of one engine. Every method is synchronous and does no I/O."""

    def __init__(self, memory: ValueMemory, clock: Clock) -> None:
        self.one_time_keys: int = 0
        self.loops: int = 0
        self.secrets: int = 0
        self.too_large: int = 0
        self._memory, self._clock = memory, clock
        self._patterns: dict[str, Reuse] = {}
        self._watched: dict[Hashable, Reuse] = {}
        self._runs: WeakKeyDictionary[asyncio.Task[object], Run] = WeakKeyDictionary()
        self._asking: dict[Place, int] = {}
        self._untold: dict[Place, list[tuple[str, tuple[object, ...]]]] = {}
        self._reported: dict[str, set[str]] = {}

    # What callers ask for.

    def asking(self, places: Iterable[Place], life: float) -> Asking:
        """Callers wait within it for `places`, which are not in memory. `life`: seconds that they will be served."""
        asked, now = list(places), self._clock()
        for place in asked:
            self._asking[place] = self._asking.get(place, 0) + 1
            if (reuse := self._watched.pop(place, None)) is not None:
                reuse.asked_again(place)
        if hash(asked[0]) % SAMPLED == 0:  # by key: requests that load the same in the same order hide nothing
            self._watch(asked[0], now + life, now)
        if (kind := secret_in_key(asked[0][1])) is not None:
            self.secrets += 1
            self._report(_SECRET_IN_KEY, _named(asked[0]), _named(asked[0], call_site()), kind)
        return Asking(self, asked, self._begin_run(asked[0][1], now) if len(asked) == 1 else None)

    def end(self, places: Sequence[Place], run: Run | None) -> None:
        """They have come, or the caller waits no longer."""
        for place in places:
            callers = self._asking.pop(place, 1) - 1
            if callers:
                self._asking[place] = callers
            if place in self._untold:
                site = call_site()
                for text, facts in self._untold.pop(place):
                    self._report(text, site or _named(place), _named(place, site), *facts)
        if run is not None:
            run.end(self._clock())

    def _begin_run(self, key: str, now: float) -> Run | None:
        task = asyncio.current_task()
        if task is None:
            return None
        run = self._runs.get(task)
        if run is None:
            run = self._runs[task] = Run()
        if (pattern := run.begin(key, now)) is not None:
            self.loops += 1
            site = call_site()
            self._report(_LOOP, site or pattern, pattern, "" if site is None else f" at {site}")
        return run

    # Keys that are never asked for again.

    def _watch(self, place: Place, end: float, now: float) -> None:
        pattern = shown_pattern(place[1])
        reuse = self._patterns.get(pattern)
        if reuse is None:
            if len(self._patterns) >= MAX_PATTERNS or not is_of_tokens(pattern):
                return
            reuse = self._patterns[pattern] = Reuse()
        settled = reuse.settle(now, self._is_used)
        for key in settled:
            del self._watched[key]
        if reuse.watch(place, end):
            self._watched[place] = reuse
        if reuse.is_one_time:
            self.one_time_keys += sum(not used for used in settled.values()) if reuse.is_found else reuse.unused
            reuse.is_found = True
            self._report(_ONE_TIME, pattern, reuse.used + reuse.unused, pattern, reuse.used)

    def _is_used(self, place: Hashable) -> bool:
        """Whether it was asked for since, here or in the process that has made the copy."""
        entry = self._memory.held.get(place)  # type: ignore[call-overload]  # what is watched are places
        return entry is not None and (entry.hits > 0 or entry.tier == "redis")

    # What has been loaded.

    def loaded(self, place: Place, value: object, body: bytes | None) -> None:
        """Look at a value that a loader has given; `body` is its stored form, None if it cannot be stored."""
        if (body is None or may_hold_secret(body)) and (kind := secret_in_value(value)) is not None:
            self.secrets += 1
            self._tell(place, _SECRET_IN_VALUE, kind)

    def note_large(self, place: Place, size: int, most: int) -> None:
        """A value has `size` bytes, and `most` may be stored in Redis."""
        self.too_large += 1
        self._tell(place, _LARGE, size, most)

    def note_unheld(self, place: Place, size: int, most: int) -> None:
        """A value takes `size` bytes in memory, where one may take `most`."""
        self.too_large += 1
        self._tell(place, _UNHELD, size, most)

    def _tell(self, place: Place, text: str, *facts: object) -> None:
        """Report it when the caller who waits goes on, since a load has a task and a stack of its own."""
        if place in self._asking and len(self._untold) < MAX_WAITING:
            self._untold.setdefault(place, []).append((text, facts))
        else:
            self._report(text, _named(place), _named(place), *facts)

    def _report(self, text: str, about: str, *facts: object) -> None:
        """Once for each `about`."""
        reported = self._reported.setdefault(text, set())
        if about not in reported and len(reported) < MAX_REPORTS:
            reported.add(about)
            logger.warning(text, *facts)

    # Life.

    def stats(self) -> GuardrailStats:
        return {
            "too_large": self.too_large,
            "one_time_keys": self.one_time_keys,
            "loops": self.loops,
            "secrets": self.secrets,
        }

    def flush(self) -> None:
        """Memory was emptied."""
        for reuse in self._patterns.values():
            reuse.forget()
        self._watched.clear()

    def forget(self) -> None:
        """The event loop has ended, or is the parent's of a fork."""
        self.flush()
        self._asking.clear()
        self._untold.clear()


def _named(place: Place, site: str | None = None) -> str:
    """A value without what is secret in its key, and where it was asked for."""
    pattern = shown_pattern(place[1])
    told = f"a value like {pattern}" if "{" in pattern else f"the value {pattern}"
    return told if site is None else f"{told}, asked for at {site},"
