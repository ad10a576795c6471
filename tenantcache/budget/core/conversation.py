"""One connection of a program: which of its commands Redis ran.

A command is counted when its reply says that it was run. Redis does not run what it rejects, and what a transaction
queues it runs at EXEC, if ever. Replies come in the order of the commands. On a connection that breaks this rule (with
SUBSCRIBE, MONITOR, CLIENT REPLY) commands are counted as they are sent, and so are those whose reply never came.
"""

from __future__ import annotations

from collections import deque

from tenantcache.budget.core.bill import Bill, Place
from tenantcache.budget.core.resp import Command, CommandReader, ReplyReader

# fmt: off
_REJECTIONS = (
    b"-NOAUTH", b"-NOPERM", b"-MOVED", b"-ASK ", b"-CLUSTERDOWN", b"-CROSSSLOT", b"-TRYAGAIN", b"-OOM", b"-MISCONF",
    b"-READONLY", b"-LOADING", b"-BUSY ", b"-MASTERDOWN", b"-NOREPLICAS", b"-DENIED", b"-ERR unknown command",
    b"-ERR unknown subcommand", b"-ERR wrong number of arguments", b"-ERR max number of clients",
    b"-ERR max requests limit", b"-ERR Command not allowed inside a transaction",
)
"""How errors begin that Redis gives before it runs a command (processCommand in its server.c)."""
_FROM_SCRIPT = b" script: "
"""Stands in errors of a script that was run, whose own calls were rejected."""
_OUT_OF_ORDER = frozenset({
    "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE", "MONITOR", "SYNC", "PSYNC",
})
# fmt: on


class Conversation:
    """Feed it what both sides send, commands before their replies. It tells `bill` of each command that was run."""

    def __init__(self, bill: Bill) -> None:
        self._bill = bill
        self._commands = CommandReader()
        self._replies = ReplyReader()
        self._waiting: deque[Place] = deque()
        self._queued: list[Place] = []
        self._in_order = True

    def sent(self, data: bytes) -> None:
        """Bytes from the program to Redis."""
        for command in self._commands.feed(data):
            place = self._bill.place(command)
            if self._in_order and _is_out_of_order(place.name, command):
                self._stop_pairing()
            if self._in_order:
                self._waiting.append(place)
            else:
                self._bill.count(place)

    def received(self, data: bytes) -> None:
        """Bytes from Redis to the program."""
        if not self._in_order:
            return
        for head in self._replies.feed(data):
            if self._waiting and not head.startswith(b">"):
                self._answered(self._waiting.popleft(), head)
        if self._replies.broken:
            self._stop_pairing()

    def ended(self) -> None:
        """The connection is closed."""
        self._stop_pairing()

    def _answered(self, place: Place, head: bytes) -> None:
        if head == b"+QUEUED":
            self._queued.append(place)
            return
        if place.name == "EXEC" and head.startswith(b"*") and head != b"*-1":
            self._count_queued()
        if place.name in ("EXEC", "DISCARD", "RESET"):
            self._queued.clear()
        if not head.startswith(_REJECTIONS) or _FROM_SCRIPT in head:
            self._bill.count(place)

    def _count_queued(self) -> None:
        for place in self._queued:
            self._bill.count(place)
        self._queued.clear()

    def _stop_pairing(self) -> None:
        """What is sent was run, as far as is known. What is queued was run if EXEC was sent."""
        self._in_order = False
        while self._waiting:
            place = self._waiting.popleft()
            if place.name == "EXEC":
                self._count_queued()
            self._bill.count(place)


def _is_out_of_order(name: str, command: Command) -> bool:
    return name in _OUT_OF_ORDER or (name == "CLIENT" and len(command) > 1 and command[1].upper() == b"REPLY")
