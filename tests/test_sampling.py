"""Samples of keys: over a model of SCAN in long series, and on real servers."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from redis import Redis
from redis.cluster import RedisCluster as ClusterClient

from tenantcache.budget import sampling
from tenantcache.budget.core.keyreport import KeyReport
from tenantcache.budget.core.scancursor import are_positions, cursor_at, position_of
from tenantcache.budget.sampling import sample_keys
from tenantcache.stores.anyredis import AnyRedis
from tests.servers.billing import BilledCommands
from tests.servers.cluster import RedisCluster
from tests.servers.scanmodel import ScanModel
from tests.thorough import effort

SEEDS = effort(10, 100)
ENOUGH = 0.95
MIX = {"user:%d:session": 12_000, "cache:%032x": 6_000, "queue:%d": 1_500, "lock:%d": 450, "report:%d": 50}
PATTERNS = ["user:{id}:session", "cache:{hash}", "queue:{id}", "lock:{id}", "report:{id}"]


def keys_of(draw: random.Random, sigma: float) -> dict[bytes, int]:
    return {
        (shape % (draw.getrandbits(128) if "x" in shape else number)).encode(): int(draw.lognormvariate(6, sigma))
        for shape, count in MIX.items()
        for number in range(count)
    }


def truth_of(keys: Mapping[bytes, int]) -> dict[str, tuple[int, int]]:
    """Keys and bytes of each pattern."""
    truth = {}
    for pattern in PATTERNS:
        space = pattern.partition(":")[0].encode() + b":"
        sizes = [size for key, size in keys.items() if key.startswith(space)]
        truth[pattern] = (len(sizes), sum(sizes))
    return truth


async def test_intervals_hold_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "COUNT", 100)
    keys = keys_of(random.Random(1), 0.8)
    truth = truth_of(keys)
    of_keys, of_bytes = [], []
    for seed in range(SEEDS):
        model = ScanModel(keys, seed)
        report = await sample_keys(model, max_commands=400, random=random.Random(seed))
        assert report.billed_commands == len(model.sent) <= 400
        assert report.keys_interval == (20_000, 20_000)
        assert report.sampled < 10_000
        for pattern in report.patterns:
            count, size = truth[pattern.pattern]
            of_keys.append(pattern.keys_interval[0] <= count <= pattern.keys_interval[1])
            if pattern.bytes_interval is not None:
                of_bytes.append(pattern.bytes_interval[0] <= size <= pattern.bytes_interval[1])
    assert len(of_keys) > 4.9 * SEEDS  # the rarest may be missed
    assert sum(of_keys) >= ENOUGH * len(of_keys)
    assert sum(of_bytes) >= ENOUGH * len(of_bytes)


@pytest.mark.parametrize("max_commands", [1, 2, 3, 7, 40, 2_000])
async def test_the_limit_is_never_passed(max_commands: int) -> None:
    model = ScanModel(keys_of(random.Random(2), 0.5), 1)
    report = await sample_keys(model, max_commands=max_commands, random=random.Random(1))
    assert report.billed_commands == len(model.sent) <= max_commands
    assert report.keys == 20_000


async def test_few_keys_are_all_seen_and_asked() -> None:
    keys = {b"user:%d" % number: 50 + number for number in range(40)}
    report = await sample_keys(ScanModel(keys, 1), max_commands=2_000)
    [pattern] = report.patterns
    assert (pattern.pattern, pattern.keys, pattern.keys_interval) == ("user:{id}", 40, (40, 40))
    assert pattern.bytes == sum(keys.values())
    assert pattern.bytes_interval == (pattern.bytes, pattern.bytes)
    assert (pattern.ttl, pattern.types) == ({"none": 1.0}, {"string": 1.0})
    assert report.largest[0].key == "user:39"
    assert report.billed_commands == 1 + 1 + 3 * 40


async def test_cursors_that_are_not_positions_are_found_out() -> None:
    model = ScanModel(keys_of(random.Random(3), 0.5), 1, opaque=True)
    report = await sample_keys(model, max_commands=60, random=random.Random(1))
    assert len(model.sent) <= 60
    assert report.sampled > 0
    assert any("are not positions" in note and "may be off" in note for note in report.notes)


async def test_cursors_that_name_a_slot_first_are_found_out() -> None:
    """A cluster of Redis 7.4 or Valkey 8 has a table for each slot, and the last 14 bits of a cursor are the slot."""
    keys = keys_of(random.Random(3), 0.5)
    model = SlotModel(keys, 1)
    report = await sample_keys(model, max_commands=60, random=random.Random(1))
    assert len(model.sent) <= 60
    assert report.sampled > 1_000
    assert any("are not positions" in note for note in report.notes)
    for pattern in report.patterns:
        count, _ = truth_of(keys)[pattern.pattern]
        assert pattern.keys_interval[0] <= count <= pattern.keys_interval[1]


class SlotModel(ScanModel):
    """It serves the last third of the slots, and walks one slot after the other."""

    def __init__(self, keys: Mapping[bytes, int], seed: int) -> None:
        super().__init__(keys, seed)
        draw = random.Random(seed)
        self._slots: dict[int, list[bytes]] = {slot: [] for slot in range(10_923, 16_384)}
        for key in keys:
            self._slots[draw.choice(range(10_923, 16_384))].append(key)

    def _scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        found: list[bytes] = []
        for slot in range(max(cursor & 0x3FFF, 10_923), 16_384):
            if len(found) >= count:
                return slot, found
            found += self._slots[slot]
        return 0, found


async def test_keys_whose_time_is_over_are_not_counted() -> None:
    """DBSIZE counts them until they are removed, and SCAN does not name them."""
    model = ScanModel({b"user:%d" % number: 64 for number in range(50_000)}, 1)
    for number in range(0, 50_000, 5):
        del model.keys[b"user:%d" % number]
    model.expired = 10_000
    report = await sample_keys(model, max_commands=150, random=random.Random(1))
    low, high = report.keys_interval
    assert low <= 40_000 <= high < 45_000


async def test_keys_that_vanish_are_left_out() -> None:
    keys = {b"user:%d" % number: 64 for number in range(300)}
    model = ScanModel(keys, 1)

    def lose_one() -> None:
        if model.keys:
            model.keys.popitem()

    model.before_asking = lose_one
    report = await sample_keys(model, max_commands=500)
    [pattern] = report.patterns
    assert pattern.types == {"string": 1.0}
    assert pattern.asked < 150


@pytest.mark.parametrize(
    ("refused", "unknown"), [("MEMORY USAGE", "bytes"), ("TTL", "ttl"), ("TYPE", "types")], ids=str
)
async def test_what_is_refused_is_said_and_not_asked_again(refused: str, unknown: str) -> None:
    model = ScanModel({b"user:%d" % number: 64 for number in range(1_000)}, 1)
    model.refused = frozenset({refused})
    report = await sample_keys(model, max_commands=600)
    assert not getattr(report.patterns[0], unknown)
    assert any(refused in note for note in report.notes)
    assert sum(command[0] == refused for command in model.sent) <= sampling.KEYS_AT_ONCE
    assert report.patterns[0].asked > 250


async def test_without_dbsize_what_was_walked_counts() -> None:
    model = ScanModel({b"user:%d" % number: 64 for number in range(1_500)}, 1)
    model.refused = frozenset({"DBSIZE"})
    report = await sample_keys(model, max_commands=600)
    assert (report.keys, report.keys_interval) == (1_500, (1_500, 1_500))


async def test_without_scan_only_the_number_is_known() -> None:
    model = ScanModel({b"user:%d" % number: 64 for number in range(1_500)}, 1)
    model.refused = frozenset({"SCAN"})
    report = await sample_keys(model, max_commands=600)
    assert (report.keys, report.sampled, report.scan_refused) == (1_500, 0, True)


def test_positions_and_cursors() -> None:
    assert cursor_at(0.0) == 0
    assert cursor_at(0.5) == 1  # the second bucket in the order of reversed bits
    assert cursor_at(0.25) == 2
    assert position_of(0) == 1.0
    assert position_of(3) == 0.75
    assert are_positions([0.01, 0.01], [1_010, 990], 100_000)
    assert not are_positions([0.01, 0.01], [1_010, 990], 10_000)
    assert not are_positions([0.1, -0.2], [10, 10], 100)
    assert not are_positions([], [], 100)


# --- real servers


def fill(client: Redis, count: int) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(count):
        pipeline.set(f"user:{number}:session", "x" * (number % 200), ex=1000)
        if number % 4 == 0:
            pipeline.hset(f"tenant:{number}:profile", mapping={"a": 1})
        if number % 10_000 == 0:
            pipeline.execute()
    pipeline.execute()


async def look(url: str, max_commands: int) -> tuple[KeyReport, int]:
    async with await AnyRedis.connect(url, "here", max_commands=max_commands) as redis:
        report = await sample_keys(redis, max_commands=redis.spending.remaining, random=random.Random(4))
        return report, redis.spending.spent


async def test_a_real_server_walks_from_positions(redis_url: str, billed_commands: BilledCommands) -> None:
    with Redis.from_url(redis_url, protocol=2, driver_info=None) as client:
        fill(client, 40_000)
    billed_commands.reset()
    report, spent = await look(redis_url, 100)
    assert billed_commands.total() == spent == report.billed_commands <= 100
    assert report.notes == ()
    assert 7_000 < report.sampled < 10_000
    assert (report.keys, report.keys_interval) == (50_000, (50_000, 50_000))
    found = {pattern.pattern: pattern for pattern in report.patterns}
    assert set(found) == {"user:{id}:session", "tenant:{id}:profile"}
    for pattern, count in (("user:{id}:session", 40_000), ("tenant:{id}:profile", 10_000)):
        low, high = found[pattern].keys_interval
        assert low <= count <= high
    assert found["user:{id}:session"].ttl == {"<=30m": 1.0}
    assert found["tenant:{id}:profile"].ttl == {"none": 1.0}
    assert found["tenant:{id}:profile"].types == {"hash": 1.0}


async def test_a_cluster_is_looked_at_node_by_node(redis_cluster: RedisCluster) -> None:
    with ClusterClient.from_url(redis_cluster.url) as client:
        for number in range(3_000):
            client.set(f"user:{number}:session", 1)
    redis_cluster.on_each_master("CONFIG", "RESETSTAT")
    report, spent = await look(redis_cluster.url, 2_000)
    assert (report.keys, report.sampled) == (3_000, 3_000)
    assert spent == redis_cluster.billed() <= 2_000
    [pattern] = report.patterns
    assert (pattern.pattern, pattern.keys_interval) == ("user:{id}:session", (3_000, 3_000))
