"""What a program sent to Redis, as it is billed: by command, and by the patterns of its keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tenantcache.budget.core.keypositions import keys_of, kind_of
from tenantcache.budget.core.owners import owner_of
from tenantcache.budget.core.prices import FREE, command_name

MAX_PATTERNS = 10_000
"""Beyond that a program's keys have no patterns, and memory must not grow with them."""
MAX_NAMED = 3
"""Patterns of one command that its line names; a command on more is called by these and `...`."""
NO_KEY = "(no key)"
OTHERS = "(others)"
SCRIPTS = frozenset({"EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO"})


@dataclass(slots=True)
class BillLine:
    """Billed commands on keys of one pattern. `owner` is the library that these keys belong to, if it is known."""

    pattern: str
    billed: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    owner: str | None = None
    _asked: set[str] = field(default_factory=set)

    def ask_owner(self, key: bytes, kind: str) -> None:
        """Find the owner by one key of each kind: the others look alike."""
        if self.owner is None and kind not in self._asked:
            self._asked.add(kind)
            self.owner = owner_of(key, kind)


class Place(NamedTuple):
    """The name of a command, in upper case, and its line; None if it is free."""

    name: str
    line: BillLine | None


class Bill:
    """Counts commands. Each is counted once, at the pattern of its keys, so that the lines add up to the whole.

    `fold` gives the pattern of a key.
    """

    def __init__(self, fold: Callable[[bytes], str]) -> None:
        self._fold = fold
        self._patterns: dict[str, BillLine] = {}
        self.commands: Counter[str] = Counter()
        """Billed commands as they were sent, by name in upper case."""
        self.free: Counter[str] = Counter()

    @property
    def billed(self) -> int:
        return self.commands.total()

    @property
    def scripts(self) -> int:
        """How many of them run a script, whose calls inside Redis are billed as well and do not stand here."""
        return sum(count for name, count in self.commands.items() if name in SCRIPTS)

    @property
    def patterns(self) -> list[BillLine]:
        """The most expensive first."""
        found = [line for line in self._patterns.values() if line.billed]
        return sorted(found, key=lambda line: (-line.billed, line.pattern))

    def add(self, command: Sequence[bytes]) -> None:
        """Count one command."""
        self.count(self.place(command))

    def place(self, command: Sequence[bytes]) -> Place:
        """What will be counted for a command, if it is. Small, however large the command is."""
        name = command_name(command)
        if name in FREE:
            return Place(name, None)
        keys = keys_of(name, command)
        line = self._line(self._pattern(keys))
        if keys:
            line.ask_owner(keys[0], kind_of(name))
        return Place(name, line)

    def count(self, place: Place) -> None:
        if place.line is None:
            self.free[place.name] += 1
            return
        self.commands[place.name] += 1
        place.line.billed += 1
        place.line.commands[place.name] += 1

    def _pattern(self, keys: Sequence[bytes]) -> str:
        if not keys:
            return NO_KEY
        patterns = list(dict.fromkeys(map(self._fold, keys)))
        return " ".join([*patterns[:MAX_NAMED], *(["..."] if len(patterns) > MAX_NAMED else [])])

    def _line(self, pattern: str) -> BillLine:
        if pattern not in self._patterns and len(self._patterns) >= MAX_PATTERNS:
            pattern = OTHERS
        return self._patterns.setdefault(pattern, BillLine(pattern))


def calls_inside_scripts(
    before: Mapping[str, int], after: Mapping[str, int], sent: Mapping[str, int]
) -> dict[str, int] | None:
    """What scripts called, by command: what the server ran between two readings of its count, without what was `sent`.

    None if that cannot be told, because the server's count began anew or lacks something that was sent.
    """
    ran = {name: calls - before.get(name, 0) for name, calls in after.items() if name not in FREE}
    found = {name: ran.get(name, 0) - sent.get(name, 0) for name in {*ran, *sent}}
    if any(calls < 0 for calls in found.values()):
        return None
    return {name: calls for name, calls in sorted(found.items()) if calls}
