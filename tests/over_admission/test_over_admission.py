"""No limit is exceeded by four real workers that are killed in the middle; `make overadmission` is the long version."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks.over_admission import outages
from benchmarks.over_admission.fleet import Fleet
from benchmarks.over_admission.judge import Counts
from benchmarks.over_admission.plan import TenantLoad
from benchmarks.over_admission.scenes import WORKERS, kill

SECONDS = 10.0
TENANTS = (
    TenantLoad("seven", 7, pause=1.0),
    TenantLoad("sixty", 60, pause=0.5),
    TenantLoad("six-hundred", 600, pause=0.05),
)
"""Each limit is reached within half of the time: a minute may begin in the middle. So are the next two."""
SIX_THOUSAND = TenantLoad("six-thousand", 6_000, pause=0.5, burst=100)
SIXTY_THOUSAND = TenantLoad("sixty-thousand", 60_000, pause=0.5, burst=1000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("has_redis", "busiest"),
    [
        pytest.param(True, SIX_THOUSAND, id="Redis"),
        pytest.param(True, SIXTY_THOUSAND, id="Redis, many requests"),
        pytest.param(False, SIXTY_THOUSAND, id="Postgres alone"),
    ],
)
def test_no_limit_is_exceeded_while_workers_are_killed(has_redis: bool, busiest: TenantLoad, data_dir: Path) -> None:
    tenants = (*TENANTS, busiest)
    with Fleet(WORKERS, tenants, has_redis=has_redis, data_dir=data_dir) as fleet:
        generators = fleet.start_load(time.time() + SECONDS)
        time.sleep(3)
        kill(0)(fleet)
        time.sleep(0.5)
        kill(1)(fleet)
        counts = fleet.collect(generators)
        stores = {worker.stats()["limits"]["counters"]["store"] for worker in fleet.workers}
    assert stores == {"redis" if has_redis else "postgres"}
    for tenant in tenants:
        found = counts[tenant.name]
        assert found.over(tenant.limit, found.admitted) == 0, f"{tenant.limit} a minute: {found.admitted}"
        # A killed worker takes what it held with it; but a limit that is never approached is never tried.
        assert max(found.admitted.values()) >= tenant.limit / 2


@pytest.mark.slow
def test_tenants_below_their_limits_are_refused_for_seconds_when_redis_dies() -> None:
    """All processes are alive: they do not wait for the next minute. On a busy machine it may take a little longer."""
    found = outages.one_try()
    assert found.over == 0
    assert found.last < 5
    assert found.asked > 500, "it proves nothing"


def test_refusals_that_follow_each_other_are_one_outage() -> None:
    counts = Counts()
    for now in (100.0, 100.52, 103.4, 110.0, 110.1, 130.0):
        counts.refuse(now, 429)
    assert counts.refused_between(100, 120) == 5
    assert counts.longest_refusal(100, 120, gap=3.0) == pytest.approx(3.5)
    assert counts.longest_refusal(100, 120, gap=1.0) == pytest.approx(0.6)
    assert counts.longest_refusal(140, 150, gap=3.0) == 0


def test_what_is_over_is_found() -> None:
    counts = Counts()
    counts.admit("100-100", 61)
    counts.admit("101-101", 60)
    counts.admit("101-102", 5)
    assert counts.over(60, [100, 101, 102]) == 1
    assert counts.over(60, [101, 102]) == 0
    assert Counts.sum([counts.as_json(), counts.as_json()]).admitted == {100: 122, 101: 120}
