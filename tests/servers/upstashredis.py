"""A server that answers as Upstash does, in front of a real Redis: it has a part of the commands, and tells little.

Sources: upstash.com/docs/redis/overall/rediscompatibility and /docs/redis/commands/server/info for what is there, and
the troubleshooting pages for the texts of errors.
"""

from __future__ import annotations

import socketserver
import threading
from collections import Counter
from io import BufferedIOBase
from types import TracebackType
from typing import Any, Self

import redis
from redis.exceptions import ResponseError

HOST = "127.0.0.1"
FREE = frozenset({"AUTH", "HELLO", "SELECT", "COMMAND", "CONFIG", "INFO", "PING", "RESET", "QUIT"})
MISSING = frozenset({"OBJECT", "MEMORY", "CONFIG", "SLOWLOG", "LATENCY", "DEBUG", "MONITOR", "CLUSTER"})
OVER_QUOTA = (
    "ERR max requests limit exceeded. Limit: 500000, Usage: 500000. "
    "See https://upstash.com/docs/redis/troubleshooting/max_requests_limit for details"
)
INFO = (
    "# Server\r\nupstash_version:1.15.2\r\nredis_version:8.2.0\r\nredis_mode:standalone\r\n"
    "# Clients\r\nconnected_clients:3\r\n# Stats\r\ntotal_commands_processed:{commands}\r\n"
)


class UpstashServer:
    """`with UpstashServer(url_of_a_redis) as server`. Its attributes may be changed while it runs.

    `billed`: commands by name, those that were refused too. `info_fails_too`: over the quota, INFO is refused as well.
    """

    def __init__(self, upstream: str, info: str = INFO) -> None:
        self.info = info
        self.over_quota = False
        self.info_fails_too = False
        self.billed: Counter[str] = Counter()
        self._upstream = redis.ConnectionPool.from_url(upstream, protocol=2, driver_info=None)
        self._server = socketserver.ThreadingTCPServer((HOST, 0), self._handler(), bind_and_activate=True)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self._server.server_address[1]}/0"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._upstream.disconnect()

    def _handler(self) -> type[socketserver.StreamRequestHandler]:
        answer = self._answer

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while command := _read_command(self.rfile):
                    self.wfile.write(answer(command))

        return Handler

    def _answer(self, command: list[bytes]) -> bytes:
        name = command[0].decode().upper()
        if name not in FREE:
            self.billed[name] += 1
        if self.over_quota and (name not in FREE or (name == "INFO" and self.info_fails_too)):
            return f"-{OVER_QUOTA}\r\n".encode()
        if name == "PING":
            return b"+PONG\r\n"
        if name == "INFO":
            asked = len(command) > 1 and command[1].lower() not in (b"default", b"all")
            text = f"# {command[1].decode()}\r\n" if asked else self.info.format(commands=self.billed.total())
            return _encode(text.encode())
        if name in MISSING:
            page = "https://upstash.com/docs/redis/overall/rediscompatibility"
            return f"-ERR Command is not available: '{name}'. See {page} for details\r\n".encode()
        client = redis.Redis(connection_pool=self._upstream)
        client.response_callbacks.clear()
        try:
            return _encode(client.execute_command(*command))  # type: ignore[no-untyped-call]
        except ResponseError as error:
            return f"-ERR {error}\r\n".encode()


def _read_command(stream: BufferedIOBase) -> list[bytes]:
    """The next command; empty at the end."""
    head = stream.readline()
    if not head.startswith(b"*"):
        return []
    words = []
    for _ in range(int(head[1:])):
        length = int(stream.readline()[1:])
        words.append(stream.read(length + 2)[:-2])
    return words


def _encode(reply: Any) -> bytes:
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(map(_encode, reply))
        case str():
            return _encode(reply.encode())
        case _:
            return b"$%d\r\n%s\r\n" % (len(reply), reply)
