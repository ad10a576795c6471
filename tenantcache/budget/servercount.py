"""How many commands a server ran, by its own count: two readings around a recording tell what scripts called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class HasInfo(Protocol):
    """`AnyRedis`' node: INFO is free."""

    async def info(self, *sections: str) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class ServerCount:
    """`calls` by command, in upper case; the clients that are connected now, and all that ever were."""

    calls: Mapping[str, int]
    connected: int
    connections: int


async def read_server_count(node: HasInfo) -> ServerCount | None:
    """None if the server does not say."""
    stats = await node.info("commandstats")
    calls: Counter[str] = Counter()
    for name, entry in stats.items():
        if name.startswith("cmdstat_") and isinstance(entry, Mapping):
            calls[name.removeprefix("cmdstat_").partition("|")[0].upper()] += int(entry["calls"])
    connected = (await node.info("clients")).get("connected_clients")
    connections = (await node.info("stats")).get("total_connections_received")
    if not calls or not isinstance(connected, int) or not isinstance(connections, int):
        return None
    return ServerCount(calls, connected, connections)
