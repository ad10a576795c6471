"""What was admitted in each minute, from the workers' own answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Self


@dataclass
class Counts:
    """Of one tenant, by the number of the minute.

    `unsure`: admitted while a minute began, counted under the earlier of the two and not in `admitted`. `lost`: sent,
    and the worker died before it answered. `refused` is by the tenth of a second in which the answer came.
    """

    admitted: Counter[int] = field(default_factory=Counter)
    unsure: Counter[int] = field(default_factory=Counter)
    offered: Counter[int] = field(default_factory=Counter)
    lost: Counter[int] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)

    def refuse(self, now: float, status: int) -> None:
        self.statuses[status] += 1
        self.refused[int(now * 10)] += 1

    def admit(self, span: str, count: int) -> None:
        """`span` names the minutes before and after the decision: "29000000-29000000"."""
        before, after = map(int, span.split("-"))
        (self.admitted if before == after else self.unsure)[before] += count

    def as_json(self) -> dict[str, Any]:
        return {name: {str(key): count for key, count in getattr(self, name).items()} for name in _FIELDS}

    @classmethod
    def sum(cls, parts: Iterable[Mapping[str, Mapping[str, int]]]) -> Self:
        total = cls()
        for part in parts:
            for name in _FIELDS:
                getattr(total, name).update({int(key): count for key, count in part[name].items()})
        return total

    def over(self, limit: int, minutes: Iterable[int]) -> int:
        """The most that was admitted above `limit` in one of the minutes."""
        return max((max(0, self.admitted[minute] - limit) for minute in minutes), default=0)

    def refused_between(self, start: float, end: float) -> int:
        return sum(count for tenth, count in self.refused.items() if start <= tenth / 10 < end)

    def longest_refusal(self, start: float, end: float, gap: float) -> float:
        """Seconds from the first to the last of the refusals that follow each other within `gap` seconds, at most."""
        longest, began, last = 0.0, -inf, -inf
        for tenth in sorted(self.refused):
            at = tenth / 10
            if start <= at < end:
                began = at if at > last + gap else began
                last = at
                longest = max(longest, last - began + 0.1)
        return longest


_FIELDS = ("admitted", "unsure", "offered", "lost", "statuses", "refused")
