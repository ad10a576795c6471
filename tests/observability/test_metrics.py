"""The table of metrics: names as Prometheus wants them, nothing of the statistics left out, and values that add up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tenantcache import Settings, TenantCache
from tenantcache.observability.metric import Kind, Merge, Metric, Reading, Rows
from tenantcache.observability.metrics import METRICS, SECTIONS

NAME = re.compile(r"tenantcache(_[a-z]+)+")
BASE_UNITS = {"seconds", "bytes", "ratio", "dollars"}
OTHER_UNITS = {"ms", "milliseconds", "minutes", "hours", "kb", "mb", "percent", "cents"}

NOT_EXPORTED = {
    "lookups.ruled_out": "as lookups that the index answered",
    "lookups.redis_hits": "as lookups that Redis answered",
    "lookups.stale_served": "as stale lookups",
    "freshness.valid_for": "the age says it",
    "freshness.last_error": "a text",
    "usage.requests": "as decisions",
    "limits.denied": "as decisions",
    "limits.unavailable": "as decisions",
    "limits.counters.known": "as the store 'unknown'",
    "limits.counters.why": "a text",
    "limits.counters.changes_to": "a change that is announced takes a minute at most",
    "limits.counters.changes_at": "the same",
    "redis.billed_commands": "by command and purpose",
    "redis.billed_by_purpose": "by command and purpose",
}
"""Keys of the statistics that no metric reads, and why."""


class Noting(dict[str, Any]):
    """Notes the paths of what is read."""

    def __init__(self, found: dict[str, Any], read: set[str], path: str = "") -> None:
        super().__init__(found)
        self._read, self._path = read, path

    def __getitem__(self, key: str) -> Any:
        path = f"{self._path}.{key}" if self._path else key
        value = super().__getitem__(key)
        self._read.add(path)
        return Noting(value, self._read, path) if isinstance(value, dict) else value

    def items(self) -> Any:
        return [(key, self[key]) for key in self]


def leaves(found: dict[str, Any], path: str = "") -> Iterator[str]:
    """Keys that hold a value, or a dict that may have any keys."""
    for key, value in found.items():
        place = f"{path}.{key}" if path else key
        if isinstance(value, dict) and place not in NOT_EXPORTED:
            yield from leaves(value, place)
        else:
            yield place


@pytest.fixture
def cache() -> TenantCache:
    settings = Settings({}, database_url="postgresql://nobody@127.0.0.1:1/none", redis_url="redis://127.0.0.1:1/0")
    return TenantCache(settings)


def by_name(name: str) -> Metric:
    [found] = [metric for metric in METRICS if metric.name == name]
    return found


def read(name: str, cache: TenantCache) -> Rows:
    return by_name(name).read(Reading(cache.stats(), cache.budget))


# Names.


def test_names_follow_the_conventions() -> None:
    for metric in METRICS:
        words = metric.name.split("_")
        assert NAME.fullmatch(metric.name), metric.name
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket", "_created")), metric.name
        assert not OTHER_UNITS & set(words), metric.name
        assert not BASE_UNITS & set(words[:-1]), f"{metric.name}: the unit comes last"
        assert metric.unit in {*BASE_UNITS, ""}


def test_each_metric_has_a_name_of_its_own_and_says_what_it_is() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert [metric.name for metric in METRICS if not metric.help.endswith(".")] == []
    assert sum(len(section.metrics) for section in SECTIONS) == len(METRICS)


def test_labels_have_no_names_of_tenants_or_hosts() -> None:
    labelled = {label for metric in METRICS if metric.name != "tenantcache_tenant_requests" for label in metric.labels}
    assert labelled == {
        "band", "bound", "command", "kind", "le", "limit", "limits", "policy", "purpose", "reason", "result", "state",
        "store", "tier", "version",
    }  # fmt: skip


# Nothing is left out.


def test_every_statistic_is_exported_or_has_a_reason_why_not(cache: TenantCache) -> None:
    noted: set[str] = set()
    stats: Any = Noting(cache.stats(), noted)  # type: ignore[arg-type]
    for metric in METRICS:
        metric.read(Reading(stats, cache.budget))
    missing = {path for path in leaves(cache.stats()) if path not in noted}  # type: ignore[arg-type]
    assert missing == set(NOT_EXPORTED)


def test_a_metric_that_is_not_known_has_no_value(cache: TenantCache) -> None:
    assert read("tenantcache_log_age_seconds", cache) == {}, "no look at the log yet"
    assert read("tenantcache_budget_limit", cache) == {}, "no budget"
    without_redis = Reading(cache.stats(), None)
    assert by_name("tenantcache_budget_used").read(without_redis) == {}


def test_a_state_has_a_series_for_each_state(cache: TenantCache) -> None:
    assert read("tenantcache_redis_breaker", cache) == {("closed",): 1, ("open",): 0, ("probing",): 0}
    assert read("tenantcache_counter_store", cache) == {("redis",): 0, ("postgres",): 0, ("unknown",): 1}


def test_hits_of_the_fast_path_are_lookups_that_memory_answered(cache: TenantCache) -> None:
    stats = cache.stats()
    stats["limits"]["fast"] = 40
    stats["lookups"]["answers"]["memory"]["found"] = 2
    found = by_name("tenantcache_lookups").read(Reading(stats))
    assert found["memory", "found"] == 42
    assert found["index", "unknown"] == 0


# Several processes.


def metric(merge: Merge, kind: Kind = Kind.GAUGE) -> Metric:
    return Metric("tenantcache_any", kind, "Any.", lambda reading: None, ("a",), merge)


PROCESSES: list[tuple[str, Rows]] = [("7", {("x",): 3.0, ("y",): 1.0}), ("8", {("x",): 2.0})]


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        (Merge.SUM, {("x",): 5.0, ("y",): 1.0}),
        (Merge.LEAST, {("x",): 2.0, ("y",): 1.0}),
        (Merge.MOST, {("x",): 3.0, ("y",): 1.0}),
        (Merge.EACH, {("x", "7"): 3.0, ("y", "7"): 1.0, ("x", "8"): 2.0}),
    ],
)
def test_values_of_several_processes_become_one(merge: Merge, expected: Rows) -> None:
    assert metric(merge).merged(PROCESSES) == expected


def test_counters_of_several_processes_add_up() -> None:
    wrong = [one.name for one in METRICS if one.kind is not Kind.GAUGE and one.merge in (Merge.LEAST, Merge.MOST)]
    assert wrong == [], "a sum of counters grows if each of them does; a maximum may stand still"


def test_what_a_process_has_of_its_own_is_labelled_by_it() -> None:
    assert metric(Merge.EACH).all_labels == ("a", "worker")
    assert metric(Merge.SUM).all_labels == ("a",)
