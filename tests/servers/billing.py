"""What a metered provider would bill, counted by the Redis server itself."""

from __future__ import annotations

import redis

FREE = frozenset({"auth", "hello", "select", "command", "config", "info", "ping", "reset", "quit"})


class BilledCommands:
    """Billed commands since the last `reset()`, of any client.

    INFO commandstats counts every command of a pipeline, and a script as 1 plus each call inside it, which is how
    metered providers count. The client of this helper sends free commands only.
    """

    def __init__(self, url: str) -> None:
        # RESP 2 and no driver info: the handshake sends nothing that is billed.
        self._client = redis.Redis.from_url(url, protocol=2, driver_info=None)

    def reset(self) -> None:
        self._client.config_resetstat()

    def by_command(self) -> dict[str, int]:
        """Count each billed command, by its name in lower case (`client|setinfo`)."""
        stats = self._client.info("commandstats")
        counts = {name.removeprefix("cmdstat_"): entry["calls"] for name, entry in stats.items()}
        return {name: calls for name, calls in counts.items() if name.partition("|")[0] not in FREE}

    def total(self) -> int:
        return sum(self.by_command().values())

    def flush(self) -> None:
        """Empty the server and start counting at zero."""
        self._client.flushall()
        self.reset()

    def close(self) -> None:
        self._client.close()
