"""What goes wrong, row by row. A `unit` is the bound on staleness: a fault that is to break it must outlast it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from redis.asyncio import Redis

from benchmarks.consistency.fleet import KEY_PREFIX
from benchmarks.consistency.scene import FaultAction, Scene
from benchmarks.proxy import Fault

FOLLOWER = "tenantcache follower"
LATE = 0.05
"""Seconds before a stopped worker goes on, at which it gets requests into its socket buffer."""


async def nothing(scene: Scene) -> None:
    await asyncio.sleep(12 * scene.unit)


async def terminate_listeners(scene: Scene) -> None:
    async with scene.admin() as admin:
        for _ in range(6):
            await admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1", FOLLOWER
            )
            await asyncio.sleep(scene.unit / 2)


async def cut_postgres(scene: Scene) -> None:
    await _break(scene, Fault.CUT, scene.fleet.links("postgres"), scene.unit / 4)
    await asyncio.sleep(scene.unit / 2)
    await _break(scene, Fault.CUT, scene.fleet.links("postgres"), 2 * scene.unit)


async def stall_postgres(scene: Scene) -> None:
    """Half of the workers, so that the others show what is true meanwhile."""
    await _break(scene, Fault.STALL, scene.fleet.links("postgres", len(scene.fleet.workers) // 2), 7 / 3 * scene.unit)


async def stall_postgres_briefly(scene: Scene) -> None:
    """Shorter than the bound: memory stays valid, and what was held back arrives late."""
    for _ in range(4):
        await _break(scene, Fault.STALL, scene.fleet.links("postgres"), scene.unit / 4)
        await asyncio.sleep(scene.unit / 2)


async def half_open_postgres(scene: Scene) -> None:
    for _ in range(3):
        await _break(scene, Fault.HALF_OPEN, scene.fleet.links("postgres"), scene.unit)


async def stall_redis(scene: Scene) -> None:
    await _break(scene, Fault.STALL, scene.fleet.links("redis"), 7 / 3 * scene.unit)


async def _break(scene: Scene, fault: Fault, links: list[str], seconds: float) -> None:
    scene.fleet.proxy.set(fault, links)
    await asyncio.sleep(seconds)
    scene.fleet.proxy.heal()


async def stop_workers(scene: Scene) -> None:
    """One after another, each for longer than the bound, and with requests waiting when it goes on."""
    for number, worker in enumerate(scene.fleet.workers[:3]):
        worker.signal(signal.SIGSTOP)
        await asyncio.sleep(5 / 3 * scene.unit - LATE)
        late = asyncio.create_task(scene.ask_late(number))
        await asyncio.sleep(LATE)
        worker.signal(signal.SIGCONT)
        await late
        await asyncio.sleep(scene.unit / 3)


async def flush_redis(scene: Scene) -> None:
    async with _redis(scene) as redis:
        for _ in range(12):
            await redis.flushall()
            await asyncio.sleep(scene.unit / 4)


async def write_old_values(scene: Scene) -> None:
    """Keep the first copies that are seen of each host, and write them back, over and over."""
    hoard: dict[str | bytes, list[str | bytes]] = {}
    until = time.monotonic() + 3 * scene.unit
    async with _redis(scene) as redis:
        while time.monotonic() < until:
            async for key in redis.scan_iter(f"{KEY_PREFIX}:[tv]*", count=100):  # tenants and values
                value = await redis.get(key)
                if value is None:
                    continue  # it has expired since
                kept = hoard.setdefault(key, [])
                if value not in kept and len(kept) < 5:
                    kept.append(value)
            for key, values in hoard.items():
                await redis.set(key, scene.random.choice(values))
            await asyncio.sleep(0.02)


async def restart_postgres(scene: Scene) -> None:
    await scene.fleet.do(scene.fleet.postgres.restart)
    await asyncio.sleep(scene.unit)
    await scene.fleet.do(scene.fleet.postgres.stop)
    await asyncio.sleep(1.5 * scene.unit)
    await scene.fleet.do(scene.fleet.postgres.start)


async def kill_workers(scene: Scene) -> None:
    for worker in scene.fleet.workers[:2]:
        await scene.fleet.do(partial(worker.stop, signal.SIGKILL))
        await asyncio.sleep(scene.unit / 3)
        await scene.fleet.do(worker.start)
        await asyncio.sleep(scene.unit / 3)


@asynccontextmanager
async def _redis(scene: Scene) -> AsyncIterator[Redis]:
    redis = Redis.from_url(scene.fleet.redis.url)
    try:
        yield redis
    finally:
        await redis.aclose()


FAULTS: dict[str, FaultAction] = {
    "none": nothing,
    "listeners terminated": terminate_listeners,
    "Postgres links cut": cut_postgres,
    "Postgres links stalled briefly": stall_postgres_briefly,
    "Postgres links stalled, no FIN": stall_postgres,
    "Postgres links half-open": half_open_postgres,
    "Postgres restarted": restart_postgres,
    "Redis links stalled, no FIN": stall_redis,
    "Redis flushed (FLUSHALL)": flush_redis,
    "old values written into Redis": write_old_values,
    "workers stopped (SIGSTOP)": stop_workers,
    "workers killed, restarted": kill_workers,
}

STALE_IF_ERROR_FAULT = "Postgres links stalled, no FIN"
