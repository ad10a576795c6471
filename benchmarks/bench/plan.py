"""How long everything takes: the run of a quarter of an hour that is published, and the short one that tests play."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Sizes of the parts; seconds unless it says otherwise."""

    # (a) cost in process
    cost_rounds: int = 30
    cost_requests: int = 10_000
    cost_redis_requests: int = 600
    # (b) over HTTP
    http_rounds: int = 20
    http_seconds: float = 0.6
    http_connections: int = 16
    pins_cores: bool = True
    # (c) commands, and (e)
    settled_requests: int = 500
    denied_requests: int = 1_000
    processes: int = 4
    fleet_seconds: float = 60.0
    fleet_rate: float = 1_000.0
    zipf_tenants: int = 10_000
    simulate: bool = True
    # (d) scale
    scale_sizes: tuple[int, ...] = (100, 10_000, 100_000, 1_000_000)
    scale_rounds: int = 8
    scale_requests: int = 5_000
    # (e) cold start
    cold_tenants: int = 10_000
    cold_seconds: float = 40.0
    # (f) staleness
    staleness: bool = True


FULL = Plan()

SHORT = Plan(
    cost_rounds=1,
    cost_requests=200,
    cost_redis_requests=50,
    http_rounds=1,
    http_seconds=0.1,
    http_connections=4,
    pins_cores=False,
    settled_requests=100,
    denied_requests=100,
    processes=2,
    fleet_seconds=1.0,
    fleet_rate=200.0,
    zipf_tenants=500,
    simulate=False,
    scale_sizes=(100, 1_000),
    scale_rounds=1,
    scale_requests=200,
    cold_tenants=300,
    cold_seconds=1.0,
    staleness=False,
)
"""Shows that everything runs; its figures mean nothing and are written nowhere but where one asks for them."""
