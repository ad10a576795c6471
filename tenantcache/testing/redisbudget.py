"""`redis_budget`: a test fails if the code in a block sends more billed Redis commands than it may.

The commands are heard where redis-py writes them to a connection. That is one place for its synchronous, asynchronous
and cluster clients, over TCP, TLS and sockets, for clients that were made before the test, and for fakeredis. A proxy
would hear other clients as well, but only those that read the URL after it was started.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import redis
from redis.asyncio import connection as asyncio_connection

from tenantcache.budget.core.bill import SCRIPTS
from tenantcache.budget.core.keytext import visible
from tenantcache.budget.core.prices import FREE, command_name
from tenantcache.budget.core.resp import Command, CommandReader

OPENING = frozenset({"CLIENT", "CLUSTER", "READONLY"})
"""What clients send when they connect. Some of it is billed, once for each connection, and a pool connects when it
likes: a budget that counted it would depend on the tests before."""
SHOWN_BYTES = 60
"""Of an argument."""
SHOWN = 50
"""Commands in a message."""


class RedisBudget:
    """A context manager. `commands` are the billed ones as they were sent, `opening` counts those of `OPENING`.

    If the test gives a URL, `billed` is by that server's own count, with the calls of scripts. Otherwise a script is 1.
    """

    def __init__(self, most: int, listeners: list[RedisBudget], redis_url: str | None = None) -> None:
        self.most = most
        self.commands: list[Command] = []
        self.opening: int = 0
        self._listeners = listeners
        self._url = redis_url
        self._before: Counter[str] = Counter()
        self._ran: Counter[str] | None = None

    @property
    def billed(self) -> int:
        return len(self.commands) if self._ran is None else self._ran.total()

    def hear(self, command: Command) -> None:
        name = command_name(command)
        if name in OPENING:
            self.opening += 1
        elif name not in FREE:
            self.commands.append(command)

    def __enter__(self) -> Self:
        if self._url is not None:
            self._before = _server_calls(self._url)
        self._listeners.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        self._listeners.remove(self)
        if self._url is not None:
            self._ran = _server_calls(self._url)
            self._ran.subtract(self._before)
        if kind is None and self.billed > self.most:
            raise AssertionError(self.describe())

    def describe(self) -> str:
        """What was billed, a command a line."""
        lines = [f"{self.billed} Redis commands were billed, and the budget is {self.most}:"]
        width = len(str(min(len(self.commands), SHOWN)))
        lines += [f"  {place:>{width}}. {_shown(command)}" for place, command in enumerate(self.commands[:SHOWN], 1)]
        if len(self.commands) > SHOWN:
            lines.append(f"  and {len(self.commands) - SHOWN} more")
        if self._ran is not None:
            unseen = self._ran - Counter(map(command_name, self.commands))
            lines += [f"  inside scripts, or by other clients: {name} {calls}" for name, calls in unseen.most_common()]
        elif scripts := sum(command_name(command) in SCRIPTS for command in self.commands):
            lines.append(f"  {scripts} of them run scripts; what these call is billed as well, see docs/record.md")
        return "\n".join(lines)


def hear_redis(replace: Callable[[object, str, object], None], listeners: list[RedisBudget]) -> None:
    """Let `listeners` hear all that redis-py sends in this process, until what `replace` sets is undone."""
    send: Callable[..., None] = redis.connection.AbstractConnection.send_packed_command
    send_async = asyncio_connection.AbstractConnection.send_packed_command

    def hear(packed: bytes | str | Iterable[bytes]) -> list[bytes]:
        packed = packed.encode() if isinstance(packed, str) else packed
        pieces = [packed] if isinstance(packed, bytes) else list(packed)
        reader = CommandReader()
        for piece in pieces if listeners else ():
            for command in reader.feed(piece):
                for listener in listeners:
                    listener.hear(command)
        return pieces

    def heard(connection: Any, command: bytes | str | Iterable[bytes], *args: Any, **kwargs: Any) -> None:
        send(connection, hear(command), *args, **kwargs)

    async def heard_async(connection: Any, command: bytes | str | Iterable[bytes], *args: Any, **kwargs: Any) -> None:
        await send_async(connection, hear(command), *args, **kwargs)

    replace(redis.connection.AbstractConnection, "send_packed_command", heard)
    replace(asyncio_connection.AbstractConnection, "send_packed_command", heard_async)


def _server_calls(url: str) -> Counter[str]:
    """Billed commands by the server's own count, without those of `OPENING`. Free."""
    calls: Counter[str] = Counter()
    with redis.Redis.from_url(url, protocol=2, driver_info=None) as client:
        for name, entry in client.info("commandstats").items():
            calls[name.removeprefix("cmdstat_").partition("|")[0].upper()] += int(entry["calls"])
    return Counter({name: count for name, count in calls.items() if name not in FREE | OPENING})


def _shown(command: Command) -> str:
    text = " ".join(argument[:SHOWN_BYTES].decode("utf-8", "backslashreplace") for argument in command)
    return visible(text)
