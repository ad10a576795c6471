"""INFO, as servers and providers give it: what is told, what is summed, and what stays unknown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantcache.budget.core.serverfacts import ServerFacts, read_facts
from tenantcache.budget.core.traffic import duration, share, size, traffic_of

FULL: dict[str, Any] = {
    "redis_version": "7.2.4",
    "uptime_in_seconds": 3_600,
    "instantaneous_ops_per_sec": 12,
    "total_commands_processed": 7_200,
    "keyspace_hits": 90,
    "keyspace_misses": 10,
    "db0": {"keys": 40, "expires": 30, "avg_ttl": 5_000},
    "db3": {"keys": 10, "expires": 10, "avg_ttl": 1_000},
    "used_memory": 1_000,
    "maxmemory": 0,
    "maxmemory_policy": "noeviction",
    "evicted_keys": 1,
    "expired_keys": 2,
    "connected_clients": 5,
    "maxclients": 100,
    "rejected_connections": 0,
    "aof_enabled": 0,
    "rdb_last_bgsave_status": "ok",
    "total_net_input_bytes": 300,
    "total_net_output_bytes": 700,
    "cmdstat_get": {"calls": 100},
    "cmdstat_client|setinfo": {"calls": 4},
    "cmdstat_client|list": {"calls": 1},
    "cmdstat_ping": {"calls": 50},
    "cmdstat_config|get": {"calls": 5},
}


def test_all_databases_are_counted() -> None:
    facts = read_facts([FULL])
    assert (facts.keys, facts.expiring) == (50, 40)
    assert facts.mean_ttl == (5.0 * 30 + 1.0 * 10) / 40
    assert facts.version == "Redis 7.2.4"


def test_subcommands_are_one_command_and_free_ones_are_not_billed() -> None:
    facts = read_facts([FULL])
    assert facts.calls == {"GET": 100, "CLIENT": 5, "PING": 50, "CONFIG": 5}
    assert facts.billed == 105


def test_nodes_of_a_cluster_are_summed() -> None:
    other = {**FULL, "maxmemory_policy": "allkeys-lru", "uptime_in_seconds": 60, "aof_enabled": 1}
    facts = read_facts([FULL, other])
    assert (facts.nodes, facts.keys, facts.memory, facts.clients, facts.uptime) == (2, 100, 2_000, 10, 60)
    assert facts.policies == {"noeviction", "allkeys-lru"}
    assert facts.calls["GET"] == 200
    assert facts.appends is True


def test_what_is_not_told_is_not_zero() -> None:
    facts = read_facts([{}])
    assert facts == ServerFacts(nodes=1)
    assert (facts.keys, facts.hits, facts.memory, facts.billed, facts.appends) == (None,) * 5


def test_a_server_without_keys_has_none_and_one_that_is_silent_about_them_is_not_known() -> None:
    empty = {name: value for name, value in FULL.items() if not name.startswith("db")}
    assert (read_facts([empty]).keys, read_facts([empty]).expiring) == (0, 0)
    silent = {name: value for name, value in empty.items() if not name.startswith("keyspace")}
    assert read_facts([silent]).keys is None


@pytest.mark.parametrize(
    ("info", "host", "provider", "version"),
    [
        ({"upstash_version": "1.2", "redis_version": "8.2"}, "127.0.0.1", "Upstash", "Redis 8.2"),
        ({"redis_version": "7.1.0", "os": "Amazon ElastiCache"}, "", "ElastiCache", "Redis 7.1.0"),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.1"}, "", None, "Valkey 8.1.1"),
        ({}, "eu1-calm-cat-1.UPSTASH.io", "Upstash", None),
        ({}, "redis-1.c1.eu-west-1-2.ec2.redis-cloud.com", "Redis Cloud", None),
        ({}, "notupstash.io.example.com", None, None),
    ],
)
def test_provider_and_version(info: dict[str, str], host: str, provider: str | None, version: str | None) -> None:
    facts = read_facts([info], host=host)
    assert (facts.provider, facts.version) == (provider, version)


@given(
    st.dictionaries(
        st.sampled_from([*FULL, "errorstat_OOM"]), st.none() | st.text() | st.booleans() | st.lists(st.none())
    )
)
def test_no_text_that_a_server_may_send_is_taken_for_a_number(info: dict[str, Any]) -> None:
    facts = read_facts([info])
    assert (facts.keys or 0, facts.hits, facts.processed, facts.memory, dict(facts.calls)) == (0, None, None, None, {})


# --- spans


def test_two_readings_give_what_happened_between_them() -> None:
    before = ServerFacts(1, processed=1_000, hits=80, misses=20, expired=5, evicted=1, calls={"GET": 100, "SET": 5})
    after = ServerFacts(
        1, processed=1_502, hits=180, misses=20, expired=5, evicted=4, calls={"GET": 300, "SET": 5, "PING": 9}
    )
    traffic = traffic_of(after, before, seconds=5, own=2)
    assert (traffic.processed, traffic.hits, traffic.misses, traffic.expired, traffic.evicted) == (500, 100, 0, 0, 3)
    assert traffic.calls == {"GET": 200, "PING": 9}
    assert (traffic.billed, traffic.hit_rate, traffic.per_second(traffic.processed)) == (200, 1.0, 100.0)
    assert (traffic.since_start, traffic.span) == (False, "in 5 seconds")


def test_one_reading_counts_since_the_start_and_says_so() -> None:
    traffic = traffic_of(ServerFacts(1, processed=7_200, uptime=3_600))
    assert (traffic.since_start, traffic.span, traffic.per_second(traffic.processed)) == (True, "since the start", 2.0)
    assert traffic.hit_rate is None


@pytest.mark.parametrize(
    "after",
    [
        ServerFacts(1, processed=10, hits=100, uptime=4),
        ServerFacts(1, processed=2_000, hits=5, uptime=4),
        ServerFacts(2, processed=2_000, hits=100, uptime=4),
        ServerFacts(1, processed=2_000, hits=100, uptime=4, calls={}),
    ],
    ids=["restarted", "counters reset", "another number of nodes", "commandstats reset"],
)
def test_counters_that_began_anew_are_not_subtracted(after: ServerFacts) -> None:
    before = ServerFacts(1, processed=1_000, hits=50, uptime=999, calls={"GET": 1})
    traffic = traffic_of(after, before, seconds=5, own=2)
    assert (traffic.since_start, traffic.seconds, traffic.processed) == (True, 4.0, after.processed)


def test_without_time_there_is_no_rate() -> None:
    assert traffic_of(ServerFacts(1, processed=5, uptime=0)).per_second(5) is None


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (duration(1), "1 second"),
        (duration(59.9), "59 seconds"),
        (duration(7_199), "1 hour"),
        (duration(86_400 * 30), "30 days"),
        (size(1_023), "1023 bytes"),
        (size(1 << 20), "1 MB"),
        (size(1.5 * (1 << 30)), "1.5 GB"),
        (size(1_000 * (1 << 20)), "1,000 MB"),
        (share(0.0), "0 %"),
        (share(0.0123), "1.2 %"),
        (share(0.5), "50 %"),
    ],
)
def test_figures_for_people(told: str, expected: str) -> None:
    assert told == expected
