"""Counters in Redis: those of a whole group of accounts in one string, which one command debits.

Two kinds of strings, both of big-endian numbers without a sign:

* `{prefix}:ratelimit:{group}:{YYYYMMDD}:{HHMM}`: the quarter of an hour that starts at HHMM, UTC. Fields of 32 bits: 16
  for the group, of which the first counts the takes, then 16 for each slot. The first of these is the quarter's own
  counter, the others are its minutes. So the debits of one account in one quarter are in one command, which is atomic.
* `{prefix}:ratelimit:{group}:{YYYYMMDD}:day`: a date. 8 bytes for the group, of which the first 4 count the takes, then
  8 for each slot, of which the last bit is unused: Redis has no 64 bits without a sign.

A key that holds something else, such as a list, is left alone. Its string is `{key}:2` then, in all processes: Redis
tells each of them that it is of the wrong type.

A string is as long as its highest slot that was touched needs: 131,136 bytes for a quarter and 16,392 for a date at
most. A lost string is lost for its whole group. Its processes find out by the values, as they do of a flush.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, cast

from tenantcache.budget.core.meter import Command, Purpose
from tenantcache.errors import RejectedError, StoreError
from tenantcache.ratelimit.core.windows import DAY, MINUTES_PER_QUARTER, QUARTER, Debit, Window, quarter_of
from tenantcache.ratelimit.counterstore import Account, AccountDebits
from tenantcache.ratelimit.slots import GROUP_SIZE, group_of
from tenantcache.stores.redis import RedisLink

logger = logging.getLogger(__name__)

MAX_OPERATIONS = 3_072
"""Operations of one BITFIELD: a start needs three for each of a group's slots, which are two commands then. So many
keep redis-server 7.0 from other clients for 1.1 ms, half of which it reads and parses, and are 120 to 180 kB to send:
providers accept at least 1 MB. 5,000 would keep it for 1.8 ms."""

STEP = 200
"""Accounts whose debits are put into commands between two breaths of the event loop: 2 ms."""

COUNTERS_OUTLIVE_QUARTER = 3_600
"""Seconds after a quarter of an hour for which its counters are kept: sliding minutes read the one before them."""

COUNTERS_OUTLIVE_DATE = 13 * 3600
"""Seconds after midnight UTC for which a date's counters are kept: it ends last at noon of the next, in UTC-12."""

MAX_UNEXPIRING = 10_000
"""Keys without an expiry that are remembered until their next take. If more fail, EXPIRE is not allowed."""

MAX_MOVED = 1_000
"""Keys that are remembered as not being ours. Another one is asked for, and rejected, each time."""

_FIELDS = 1 + MINUTES_PER_QUARTER
"""Of a slot in the string of a quarter, and of its header."""

_TAKES = (b"INCRBY", b"u32", b"#0", 1)
"""Counts the takes; the first one sets the key's expiry."""


class String(NamedTuple):
    """What one key holds. `number` is that of the quarter of an hour, or of the date."""

    group: int
    unit: Literal["quarter", "day"]
    number: int

    def key(self, prefix: str) -> str:
        if self.unit == "day":
            return f"{prefix}{self.group}:{datetime.fromtimestamp(self.number * DAY, UTC):%Y%m%d}:day"
        return f"{prefix}{self.group}:{datetime.fromtimestamp(self.number * QUARTER, UTC):%Y%m%d:%H%M}"

    def seconds_to_live(self, now: float) -> int:
        """An hour at least: the clock of this process may be wrong, and the window may be past."""
        if self.unit == "day":
            end = (self.number + 1) * DAY + COUNTERS_OUTLIVE_DATE
        else:
            end = (self.number + 1) * QUARTER + COUNTERS_OUTLIVE_QUARTER
        return max(3600, int(end - now))


@dataclass(slots=True)
class _Command:
    """One BITFIELD on one key. The place of an operation is the number of its account in the batch, and its own number
    among those of the account."""

    string: String
    words: list[Any] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    writes: bool = False
    """A string that is only read need not be there."""
    takes: bool = False
    """Whether some of the tokens do not go back."""

    def add(self, slot: int, debit: Debit, place: tuple[int, int]) -> None:
        window, amount = debit
        self.places.append(place)
        if amount:
            self.words += (b"INCRBY", *_field(slot, window), amount)
            self.writes = True
            # Redis rejects what is not a number.
            self.takes = self.takes or not (isinstance(amount, int) and amount < 0)
        else:
            self.words += (b"GET", *_field(slot, window))

    def finished(self, key: str) -> Command:
        takes = _TAKES if self.writes else ()
        purpose = Purpose.RETURN if self.writes and not self.takes else Purpose.RESERVATION
        return Command(purpose, ("BITFIELD", key, "OVERFLOW", "SAT", *self.words, *takes))


class RedisCounters:
    """`CounterStore`. A batch is one BITFIELD, billed once, for each string that it touches, or several if it has more
    than `MAX_OPERATIONS` there. All of them go out in one round trip. A new string costs an EXPIRE.

    If some of them fail, the error's `values` hold what the others answered.
    """

    def __init__(self, link: RedisLink, *, prefix: str) -> None:
        self._link = link
        self._prefix = f"{prefix}:ratelimit:"
        self._expiring: set[asyncio.Task[None]] = set()
        self._unexpiring: set[String] = set()
        self._moved: dict[String, None] = {}
        """Those whose own key holds something else."""

    async def debit(self, batch: Sequence[AccountDebits]) -> list[list[int]]:
        filling = _Filling()
        for number, (account, debits) in enumerate(batch, start=1):
            filling.add(account, debits)
            if number % STEP == 0:
                await asyncio.sleep(0)
        commands, values = filling.commands, filling.values
        replies, error = await self._send(commands)
        for command, reply in zip(commands, replies, strict=True):
            if reply is not None:
                for (number, place), value in zip(command.places, reply, strict=False):  # the takes come last
                    values[number][place] = value
                if len(reply) > STEP:
                    await asyncio.sleep(0)
        if error is not None:
            if any(reply is not None for reply in replies):
                error.values = values
            raise error
        return cast(list[list[int]], values)

    async def reset(self, account: Account, windows: Sequence[Window]) -> None:
        commands: dict[String, _Command] = {}
        for window in windows:
            string = _string_of(account.slot, window)
            command = commands.setdefault(string, _Command(string, writes=True))
            command.words += (b"SET", *_field(account.slot, window), 0)
        _, error = await self._send(list(commands.values()))
        if error is not None:
            raise error

    async def _send(self, commands: Sequence[_Command]) -> tuple[list[Any], StoreError | None]:
        """The replies, None in place of those that are lost, and then also the error."""
        if not commands:
            return [], None
        replies, error = await self._try(commands)
        if _is_of_wrong_type(error) and self._move(commands, replies):
            replies, error = await self._retry(commands, replies)
        new: list[String] = []
        for command, reply in zip(commands, replies, strict=True):
            if not command.writes:
                continue
            if reply is not None:
                if reply[-1] == 1 or command.string in self._unexpiring:
                    new.append(command.string)
            elif not isinstance(error, RejectedError):
                self._remember(command.string)  # it may have been the first take all the same
        if new:
            self._expire_later(dict.fromkeys(new))
        return replies, error

    async def _try(self, commands: Sequence[_Command]) -> tuple[list[Any], StoreError | None]:
        return await self._link.try_many([command.finished(self._key(command.string)) for command in commands])

    async def _retry(self, commands: Sequence[_Command], replies: Sequence[Any]) -> tuple[list[Any], StoreError | None]:
        """Send those again that were rejected: none of them has been applied."""
        places = [place for place, reply in enumerate(replies) if reply is None]
        found = list(replies)
        try:
            again, error = await self._try([commands[place] for place in places])
        except StoreError as failure:
            return found, failure
        for place, reply in zip(places, again, strict=True):
            found[place] = reply
        return found, error

    def _key(self, string: String) -> str:
        return string.key(self._prefix) + (":2" if string in self._moved else "")

    def _move(self, commands: Sequence[_Command], replies: Sequence[Any]) -> bool:
        """Whether strings that were rejected have another key from now on."""
        rejected = {command.string for command, reply in zip(commands, replies, strict=True) if reply is None}
        moves = rejected - self._moved.keys()
        for string in moves:
            logger.error(
                "the key %s is not ours: it does not hold a string; limits are counted in %s:2 instead",
                *(string.key(self._prefix), string.key(self._prefix)),
            )
            self._moved[string] = None
            if len(self._moved) > MAX_MOVED:
                del self._moved[next(iter(self._moved))]  # of a window that has ended long ago
        return bool(moves)

    def _expire_later(self, strings: Iterable[String]) -> None:
        self._unexpiring.difference_update(strings)
        task = asyncio.create_task(self._expire(list(strings)))
        self._expiring.add(task)
        task.add_done_callback(self._expiring.discard)

    async def _expire(self, strings: Sequence[String]) -> None:
        now = time.time()
        lives = [("EXPIRE", self._key(string), string.seconds_to_live(now)) for string in strings]
        commands = [Command(Purpose.EXPIRY, words) for words in lives]
        try:
            replies, _ = await self._link.try_many(commands)
        except StoreError:
            replies = [None] * len(commands)
        for string, reply in zip(strings, replies, strict=True):
            if reply is None:
                self._remember(string)

    def _remember(self, string: String) -> None:
        """Until this process takes from it again."""
        if len(self._unexpiring) < MAX_UNEXPIRING:
            self._unexpiring.add(string)

    async def close(self) -> None:
        if self._expiring:
            await asyncio.wait(self._expiring, timeout=1.0)


def _is_of_wrong_type(error: StoreError | None) -> bool:
    return isinstance(error, RejectedError) and str(error.__cause__).startswith("WRONGTYPE")


class _Filling:
    """Commands that are being filled. `values` has room for the values of all debits so far."""

    def __init__(self) -> None:
        self.values: list[list[int | None]] = []
        self._full: list[_Command] = []
        self._filling: dict[String, _Command] = {}

    @property
    def commands(self) -> list[_Command]:
        return [*self._full, *self._filling.values()]

    def add(self, account: Account, debits: Sequence[Debit]) -> None:
        """The debits of one account in one string are never split."""
        number = len(self.values)
        self.values.append([None] * len(debits))
        for place, debit in enumerate(debits):
            string = _string_of(account.slot, debit.window)
            command = self._filling.get(string)
            if command is None:
                command = self._filling[string] = _Command(string)
            elif len(command.places) + len(debits) > MAX_OPERATIONS and command.places[-1][0] != number:
                self._full.append(command)
                command = self._filling[string] = _Command(string)
            command.add(account.slot, debit, (number, place))


def _commands(batch: Iterable[AccountDebits]) -> list[_Command]:
    filling = _Filling()
    for account, debits in batch:
        filling.add(account, debits)
    return filling.commands


def _string_of(slot: int, window: Window) -> String:
    if window.unit == "day":
        return String(group_of(slot), "day", window.number)
    return String(group_of(slot), "quarter", quarter_of(window.number) if window.unit == "minute" else window.number)


def _field(slot: int, window: Window) -> tuple[bytes, bytes]:
    place = slot % GROUP_SIZE
    if window.unit == "day":
        return b"u63", b"%d" % (64 * (1 + place))
    minute = 0 if window.unit == "quarter" else 1 + window.number % MINUTES_PER_QUARTER
    return b"u32", b"#%d" % (_FIELDS * (1 + place) + minute)
