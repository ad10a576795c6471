"""A reservation at rest, and what is debited for it, as bytes: a sixth of the size, and nothing for the garbage
collector to look at."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import isnan, nan
from struct import Struct
from typing import Generic, NamedTuple, TypeVar

from tenantcache.ratelimit.core.ledger import Line, Take
from tenantcache.ratelimit.core.rest import Resting, RestingCounters, RestingDay, RestingForecast, RestingMinute
from tenantcache.ratelimit.core.windows import Calendar, Debit, Unit, Window, quarter_of
from tenantcache.tenant import share_limits

_RECORD = Struct("<?IIHHqqIIIIIIddqdqdqqq")

_GRANTED = Struct("<11xH20xIII")
"""Of a record, what says how many tokens are granted: without the rest it is read ten times as fast."""

_CAUTIOUS = b"\x01"
"""The first byte of a record whose last take failed."""

_DEBITS = [Struct("<iH" + "Bqq" * number) for number in range(8)]
"""A slot, the version of the counters, and that many debits. A take has five at most."""

_VERSION = Struct("<4xH")

_UNITS: tuple[Unit, ...] = ("minute", "quarter", "day")

_UNLIMITED = -1

Item = TypeVar("Item", bound=Hashable)


class _Table(Generic[Item]):
    """Few things that very many records name, by number."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._numbers: dict[Item, int] = {}

    def number_of(self, item: Item) -> int:
        number = self._numbers.get(item)
        if number is None:
            number = self._numbers[item] = len(self._items)
            self._items.append(item)
        return number

    def __getitem__(self, number: int) -> Item:
        return self._items[number]


class Packed(NamedTuple):
    """`slot` is that of the account, and `moves` how many times the server's clock had been set."""

    slot: int
    moves: int
    resting: Resting


class Packing:
    """Of one process. Zones, and versions of counters, are few: they stand in tables."""

    def __init__(self) -> None:
        self._calendars: _Table[Calendar] = _Table()
        self._versions: _Table[object] = _Table()

    def pack(self, packed: Packed) -> bytes:
        (per_minute, per_day), calendar, (low, counters, forecast), day = _limits(packed.resting), *packed.resting[1:4]
        return _RECORD.pack(
            packed.resting.is_cautious,
            packed.slot,
            packed.moves,
            self._calendars.number_of(calendar),
            self._versions.number_of(counters.version),
            per_minute,
            per_day,
            low,
            counters.number,
            counters.reserved,
            counters.next_reserved,
            counters.asked,
            counters.barred,
            nan if forecast.mean is None else forecast.mean,
            *forecast[1:],
            *day,
        )

    def unpack(self, record: bytes) -> Packed:
        is_cautious, slot, moves, calendar, version, *rest = _RECORD.unpack(record)
        per_minute, per_day, low, number, *rest = rest
        reserved, next_reserved, asked, barred, mean, since, used, used_at, used_before, *day = rest
        counters = RestingCounters(number, self._versions[version], reserved, next_reserved, asked, barred)
        forecast = RestingForecast(None if isnan(mean) else mean, since, used, used_at, used_before)
        limits = share_limits(_limit(per_minute), _limit(per_day))
        minute = RestingMinute(low, counters, forecast)
        return Packed(slot, moves, Resting(limits, self._calendars[calendar], minute, RestingDay(*day), is_cautious))

    def granted_in(self, record: bytes, minute: int, version: object) -> int:
        """The tokens granted of `minute`, that of the record or a later one; none of a later one that is known to have
        counters of another `version`."""
        number, own, reserved, next_reserved = _GRANTED.unpack_from(record)
        if minute != own and version not in (None, self._versions[number]):
            return 0
        ahead = quarter_of(minute) - quarter_of(own)
        granted: int = reserved if ahead == 0 else next_reserved if ahead == 1 else 0
        return granted

    def pack_take(self, slot: int, take: Take) -> bytes | None:
        """None if it claims anything but what it debits: then more is under way than a take of one at rest."""
        if take.repairs or any(claim != amount for (_, amount), claim in take.lines):
            return None
        return pack_debits(slot, take.debits, self._versions.number_of(take.version))

    def unpack_take(self, record: bytes) -> Take:
        _, debits = unpack_debits(record)
        return Take(tuple(Line(debit, debit.amount) for debit in debits), version=self.version_in(record))

    def version_in(self, record: bytes) -> object:
        """That of a packed take."""
        number: int = _VERSION.unpack_from(record)[0]
        return self._versions[number]


def cautious(record: bytes) -> bytes:
    """The record of a reservation whose take has failed."""
    return _CAUTIOUS + record[1:]


def pack_debits(slot: int, debits: Sequence[Debit], version: int = 0) -> bytes:
    """Raises `struct.error` if an amount is not a whole number."""
    words: list[int] = []
    for (unit, number), amount in debits:
        words += (_UNITS.index(unit), number, amount)
    return _DEBITS[len(debits)].pack(slot, version, *words)


def unpack_debits(record: bytes) -> tuple[int, list[Debit]]:
    """The slot, and what is debited for it."""
    number = (len(record) - _DEBITS[0].size) // (_DEBITS[1].size - _DEBITS[0].size)
    slot, _, *words = _DEBITS[number].unpack(record)
    parts = range(0, len(words), 3)
    return slot, [Debit(Window(_UNITS[words[at]], words[at + 1]), words[at + 2]) for at in parts]


def _limits(resting: Resting) -> tuple[int, int]:
    limits = resting.limits
    return (
        _UNLIMITED if limits.per_minute is None else limits.per_minute,
        _UNLIMITED if limits.per_day is None else limits.per_day,
    )


def _limit(number: int) -> int | None:
    return None if number == _UNLIMITED else number
