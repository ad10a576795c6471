"""Counts what a process sends to Redis, by command and purpose, in what its provider bills.

Commands are counted when they are sent. One that got no answer may have been executed, and is billed then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from tenantcache.budget.core.prices import PER_COMMAND, Tariff, command_name
from tenantcache.stats import PurposeStats


class Purpose(Enum):
    """What a command is for."""

    LOOKUP = "lookup"
    """Reads copies of tenants."""
    FILL = "fill"
    """Writes the copy of a tenant."""
    INVALIDATION = "invalidation"
    """Removes copies."""
    RESERVATION = "reservation"
    """Takes tokens, or reads counters."""
    RETURN = "return"
    """Gives tokens back, or resets counters."""
    EXPIRY = "expiry"
    """Sets the expiry of a new key."""
    PROBE = "probe"
    """Opens or tries a connection, or explores a cluster."""


class Command(NamedTuple):
    """What is sent: `words` are its name and arguments."""

    purpose: Purpose
    words: tuple[Any, ...]


@dataclass(slots=True)
class Count:
    """Commands that were sent, and the units billed for them."""

    commands: int = 0
    billed: int = 0


class Meter:
    """Counts since the start of the process. `on_billed` is called after each count."""

    def __init__(self, tariff: Tariff = PER_COMMAND) -> None:
        self.tariff = tariff
        self.billed: int = 0
        self.counts: dict[tuple[Purpose, str], Count] = {}
        self.on_billed: Callable[[], None] = lambda: None

    def send(self, commands: Iterable[Command]) -> None:
        """These are about to be sent."""
        for purpose, words in commands:
            self._add(purpose, words, 1, self.tariff.units(words, self._weigh(words)))
        self.on_billed()

    def receive(self, commands: Iterable[Command], replies: Iterable[object]) -> None:
        """They were answered. What is transferred both ways counts together."""
        if not self.tariff.by_weight:
            return
        for (purpose, words), reply in zip(commands, replies, strict=True):
            sent = self._weigh(words)
            more = self.tariff.units(words, sent + weight(reply)) - self.tariff.units(words, sent)
            self._add(purpose, words, 0, more)
        self.on_billed()

    def by_purpose(self) -> Mapping[Purpose, int]:
        """Billed units."""
        found = dict.fromkeys(Purpose, 0)
        for (purpose, _), count in list(self.counts.items()):  # other threads may ask
            found[purpose] += count.billed
        return found

    def stats(self) -> PurposeStats:
        """The same, as `TenantCache.stats` has it."""
        billed = self.by_purpose()
        return {
            "lookup": billed[Purpose.LOOKUP],
            "fill": billed[Purpose.FILL],
            "invalidation": billed[Purpose.INVALIDATION],
            "reservation": billed[Purpose.RESERVATION],
            "return": billed[Purpose.RETURN],
            "expiry": billed[Purpose.EXPIRY],
            "probe": billed[Purpose.PROBE],
        }

    def by_purpose_and_command(self) -> dict[str, dict[str, int]]:
        """Billed units, by purpose and by the command's name in upper case."""
        found: dict[str, dict[str, int]] = {}
        for (purpose, name), count in list(self.counts.items()):
            found.setdefault(purpose.value, {})[name] = count.billed
        return found

    def by_command(self) -> Mapping[str, Count]:
        """By the command's name in upper case, those that are free included."""
        found: dict[str, Count] = {}
        for (_, name), count in list(self.counts.items()):
            total = found.setdefault(name, Count())
            total.commands += count.commands
            total.billed += count.billed
        return found

    def _add(self, purpose: Purpose, words: Sequence[Any], commands: int, billed: int) -> None:
        count = self.counts.setdefault((purpose, command_name(words)), Count())
        count.commands += commands
        count.billed += billed
        self.billed += billed

    def _weigh(self, words: Sequence[Any]) -> int:
        return weight(words) if self.tariff.by_weight else 0


def weight(value: object) -> int:
    """Bytes of a word, or of a list of words, without what the protocol adds."""
    if isinstance(value, (bytes, str)):
        return len(value)
    if isinstance(value, (list, tuple)):
        return sum(map(weight, value))
    return 0 if value is None else len(str(value))
