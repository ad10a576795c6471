"""A reservation at rest, as bytes: a sixth of its size, and nothing for the garbage collector to look at."""

from __future__ import annotations

from collections.abc import Hashable
from math import isnan, nan
from struct import Struct
from typing import Generic, NamedTuple, TypeVar

from tenantcache.ratelimit.core.rest import Resting, RestingCounters, RestingDay, RestingForecast, RestingMinute
from tenantcache.ratelimit.core.windows import Calendar
from tenantcache.tenant import share_limits

_RECORD = Struct("<IIHHqqIIIIIIddqdqdqqq")

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
        (per_minute, per_day), calendar, (low, counters, forecast), day = _limits(packed.resting), *packed.resting[1:]
        return _RECORD.pack(
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
        slot, moves, calendar, version, per_minute, per_day, low, number, *rest = _RECORD.unpack(record)
        reserved, next_reserved, asked, barred, mean, since, used, used_at, used_before, *day = rest
        counters = RestingCounters(number, self._versions[version], reserved, next_reserved, asked, barred)
        forecast = RestingForecast(None if isnan(mean) else mean, since, used, used_at, used_before)
        limits = share_limits(_limit(per_minute), _limit(per_day))
        minute = RestingMinute(low, counters, forecast)
        return Packed(slot, moves, Resting(limits, self._calendars[calendar], minute, RestingDay(*day)))


def _limits(resting: Resting) -> tuple[int, int]:
    limits = resting.limits
    return (
        _UNLIMITED if limits.per_minute is None else limits.per_minute,
        _UNLIMITED if limits.per_day is None else limits.per_day,
    )


def _limit(number: int) -> int | None:
    return None if number == _UNLIMITED else number
