"""A Redis Cluster of six real processes: three masters, each with a replica."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis

from tenantcache.devservers import HOST, RedisServer, free_port
from tests.servers.billing import FREE

SLOTS = 16_384
MASTERS = 3
READY_TIMEOUT = 30.0
BETWEEN_NODES = frozenset({"replconf", "psync"})
NODE_TIMEOUT = 1000
"""Milliseconds without an answer after which the others think a node gone; a failover takes about twice that."""


class RedisCluster:
    """`with RedisCluster(directory) as cluster`; `url` is that of its first node. What it stores is not kept."""

    def __init__(self, directory: Path) -> None:
        self._stack = ExitStack()
        self._buses = [free_port() for _ in range(2 * MASTERS)]
        self.servers = [
            RedisServer(
                options={
                    "cluster-enabled": "yes",
                    "cluster-config-file": f"nodes-{bus}.conf",
                    "cluster-node-timeout": str(NODE_TIMEOUT),
                    "cluster-port": str(bus),
                    "dir": str(directory),
                    "repl-diskless-sync-delay": "0",
                }
            )
            for bus in self._buses
        ]

    @property
    def url(self) -> str:
        return self.servers[0].url

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            self._join()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def master_of(self, key: str) -> RedisServer:
        """The server that the other nodes say has `key`."""
        for server in self.servers:
            if server.running:
                with self._client(server) as client:
                    slot = client.execute_command("CLUSTER KEYSLOT", key)
                    for start, end, (_, port, *_rest), *_replicas in client.execute_command("CLUSTER SLOTS"):
                        if start <= slot <= end:
                            return next(one for one in self.servers if one.port == port)
        raise AssertionError(f"no node serves {key}")

    def on_each_master(self, *command: str) -> None:
        for server in self.servers:
            with self._client(server) as client:
                if client.info("replication")["role"] == "master":
                    client.execute_command(*command)

    def client_of(self, server: RedisServer) -> Redis:
        return self._client(server)

    def count_keys(self, pattern: str) -> int:
        """On the masters: a replica has the same ones."""
        count = 0
        for server in self.servers[:MASTERS]:
            with self._client(server) as client:
                count += len(client.keys(pattern))
        return count

    def billed(self) -> int:
        """Commands that a provider would have billed since the last `flush`, over all masters."""
        return sum(self._billed(server) for server in self.servers)

    def _billed(self, server: RedisServer) -> int:
        with self._client(server) as client:
            if client.info("replication")["role"] != "master":
                return 0  # what it is sent by its master
            stats = client.info("commandstats")
        names = {name.removeprefix("cmdstat_"): entry["calls"] for name, entry in stats.items()}
        return sum(calls for name, calls in names.items() if name.partition("|")[0] not in FREE | BETWEEN_NODES)

    def flush(self) -> None:
        """Empty all nodes, and count anew."""
        self.on_each_master("FLUSHALL")
        self.on_each_master("CONFIG", "RESETSTAT")

    def wait_until_whole(self) -> None:
        """Wait until every node that runs says that every slot is served, and every replica is linked to its master."""
        _wait(lambda: all(map(self._is_whole, self.servers)))

    def expect_no_failure(self) -> None:
        """Have no node thought gone that answers late, on a machine that is busy with other things."""
        for server in self.servers:
            with self._client(server) as client:
                client.config_set("cluster-node-timeout", 60_000)

    def _join(self) -> None:
        ids = []
        for number, server in enumerate(self.servers):
            with self._client(server) as client:
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
                if number < MASTERS:
                    slots = range(number * SLOTS // MASTERS, (number + 1) * SLOTS // MASTERS)
                    client.execute_command("CLUSTER ADDSLOTS", *slots)
                ids.append(client.execute_command("CLUSTER MYID"))
                client.execute_command("CLUSTER MEET", HOST, self.servers[0].port, self._buses[0])
        _wait(lambda: all(self._knows_all(server) for server in self.servers))
        for number, server in enumerate(self.servers[MASTERS:]):
            with self._client(server) as client:
                client.execute_command("CLUSTER REPLICATE", ids[number])
        self.wait_until_whole()
        _wait(lambda: all(self._knows_replicas(server) for server in self.servers))

    def _knows_replicas(self, server: RedisServer) -> bool:
        with self._client(server) as client:
            return all(len(slots) == 4 for slots in client.execute_command("CLUSTER SLOTS"))

    def _knows_all(self, server: RedisServer) -> bool:
        with self._client(server) as client:
            nodes = client.execute_command("CLUSTER NODES")
            return len(nodes) == len(self.servers) and "handshake" not in str(nodes)

    def _is_whole(self, server: RedisServer) -> bool:
        if not server.running:
            return True
        with self._client(server) as client:
            replication = client.info("replication")
            linked = replication["role"] == "master" or replication["master_link_status"] == "up"
            return bool(linked and client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")

    @staticmethod
    def _client(server: RedisServer) -> Redis:
        return Redis.from_url(server.url, protocol=2, driver_info=None)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("the cluster did not come together")
        time.sleep(0.05)
