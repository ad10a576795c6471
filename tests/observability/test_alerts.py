"""Each alert fires for what it is about, and nothing else fires then."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tenantcache.observability.alerts import ALERTS, alerts
from tenantcache.observability.metric import Kind
from tenantcache.observability.metrics import METRICS
from tests.observability.promtool import check_alerts, promtool

RUNBOOKS = (Path(__file__).parents[2] / "docs" / "runbooks.md").read_text(encoding="utf-8")

RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(alerts())["groups"] for rule in group["rules"]
}

INSTANCE = 'instance="a"'


def series(name: str, **labels: str) -> str:
    selected = ",".join([INSTANCE, *(f'{key}="{value}"' for key, value in labels.items())])
    return f"tenantcache_{name}{{{selected}}}"


def redis(name: str, **labels: str) -> str:
    return series(name, **labels).removeprefix("tenantcache_")


HEALTHY = {
    series("workers"): "2x120",
    series("log_following"): "1x120",
    series("memory_valid"): "1x120",
    series("log_fault"): "0x120",
    series("lookups_total", tier="memory", result="found"): "0+6000x120",
    series("lookups_total", tier="memory", result="stale"): "0x120",
    series("lookups_total", tier="index", result="unknown"): "0+6000x120",
    series("lookups_total", tier="postgres", result="found"): "0+60x120",
    series("lookup_failures_total"): "0x120",
    series("lookups_over_budget_total"): "0x120",
    series("memory_evictions_total", reason="full"): "0x120",
    series("memory_evictions_total", reason="expired"): "0+600x120",
    series("host_index_ready"): "1x120",
    series("host_index_loads_total"): "1x120",
    series("warm_up", state="complete"): "2x120",
    series("warm_up", state="failed"): "0x120",
    series("refusals_total", reason="unknown"): "0+6000x120",
    series("refusals_total", reason="limit"): "0+60x120",
    series("refusals_total", reason="lookup_unavailable"): "0x120",
    series("limit_decisions_total", limit="tenant", result="admitted"): "0+6000x120",
    series("limit_degraded"): "0x120",
    series("counter_store", store="redis"): "2x120",
    series("counter_store", store="postgres"): "0x120",
    series("counter_store_isolated"): "0x120",
    series("counter_store_changes_total"): "3x120",
    series("counter_store_state", store="redis", state="answering"): "2x120",
    series("counter_store_state", store="redis", state="suspended"): "0x120",
    series("counter_store_state", store="redis", state="none"): "0x120",
    series("usage_waiting"): "0 7 0 7 0 7 0 7 0 7 0 7 0 7 0 7 0 7 0 7 0 7 0 7 0 7 0 7 0 7 0 7 0 7 0 7 0 7 0 7 0 7 0",
    series("redis_breaker", state="open"): "0x120",
    series("redis_billed_commands_total", command="GET", purpose="lookup"): "0+60x120",
    series("budget_forecast", bound="expected"): "400000x120",
    series("budget_forecast", bound="high"): "600000x120",
    series("budget_limit"): "500000x120",
    series("budget_read_timestamp_seconds"): "0+60x120",
    series("budget_band", band="normal"): "2x120",
    series("budget_band", band="thrift"): "0x120",
    series("budget_band", band="no Redis"): "0x120",
    series("budget_webhooks_total", result="failed"): "2x120",
    series("values_load_failures_total"): "0x120",
    series("values_writes_total", result="written"): "0+60x120",
    series("values_writes_total", result="given up"): "2x120",
    series("values_misuses_total", kind="loops"): "1x120",
    series("event_loop_lag_seconds_bucket", le="0.005"): "0+60x120",
    series("event_loop_lag_seconds_bucket", le="0.25"): "0+60x120",
    series("event_loop_lag_seconds_bucket", le="1.0"): "0+60x120",
    series("event_loop_lag_seconds_bucket", le="+Inf"): "0+60x120",
    series("snapshot_failures_total"): "0x120",
    redis("redis_db_keys", db="db0"): "5000x120",
    redis("redis_db_keys_expiring", db="db0"): "4990x120",
    redis("redis_evicted_keys_total"): "0x120",
    redis("redis_memory_used_bytes"): "100000000x120",
}

MEMORY, POSTGRES = (series("lookups_total", tier=tier, result="found") for tier in ("memory", "postgres"))
STALE = series("lookups_total", tier="memory", result="stale")
UNAVAILABLE = series("refusals_total", reason="lookup_unavailable")
IN_POSTGRES, IN_REDIS = (series("counter_store", store=store) for store in ("postgres", "redis"))
CHANGES = series("counter_store_changes_total")
NO_REDIS = series("budget_band", band="no Redis")
BILLED = series("redis_billed_commands_total", command="GET", purpose="lookup")
LATE = [series("event_loop_lag_seconds_bucket", le=bound) for bound in ("0.005", "0.25")]

# What differs from a healthy fleet, when to look, and what fires then.
CASES: list[tuple[str, dict[str, str], str, set[str]]] = [
    ("healthy", {}, "90m", set()),
    # Two outages, as they are seen.
    ("Redis is gone, and Postgres counts", {
        IN_REDIS: "2x49 0x70", IN_POSTGRES: "0x49 2x70", CHANGES: "3x49 5x70",
        series("redis_breaker", state="open"): "0x49 2x70",
    }, "70m", {"TenantcacheRedisBreakerOpen", "TenantcacheCountersInPostgres"}),
    ("the same, five minutes after it went", {
        IN_REDIS: "2x49 0x70", IN_POSTGRES: "0x49 2x70", CHANGES: "3x49 5x70",
        series("redis_breaker", state="open"): "0x49 2x70",
    }, "55m", {"TenantcacheRedisBreakerOpen", "TenantcacheCounterStoreChanged"}),
    ("Postgres is gone, and known tenants are served", {
        series("log_following"): "1x49 0x70", series("memory_valid"): "1x49 0x70",
        STALE: "0x49 0+600x70", series("usage_waiting"): "0x49 7x70",
        series("budget_read_timestamp_seconds"): "0+60x49 2940x70",
    }, "54m", {"TenantcacheLogNotFollowed", "TenantcacheStaleAnswers"}),
    ("it does not come back", {
        series("log_following"): "1x49 0x70", series("memory_valid"): "1x49 0x70",
        series("lookup_failures_total"): "0x54 0+600x60", UNAVAILABLE: "0x54 0+600x60",
        series("usage_waiting"): "0x49 7x70", series("budget_read_timestamp_seconds"): "0+60x49 2940x70",
    }, "80m", {
        "TenantcacheLogNotFollowed", "TenantcacheLookupsFail", "TenantcacheRequestsUnavailable",
        "TenantcacheUsageWaiting", "TenantcacheBudgetUnknown",
    }),
    # One after the other, on both sides of each threshold.
    ("a trigger is missing", {series("log_fault"): "1x100"}, "30m", {"TenantcacheLogFault"}),
    ("79 % are hits", {MEMORY: "0+790x100", POSTGRES: "0+210x100"}, "60m", {"TenantcacheHitRateLow"}),
    ("81 % are hits", {MEMORY: "0+810x100", POSTGRES: "0+190x100"}, "60m", set()),
    ("49 % are hits", {MEMORY: "0+490x100", POSTGRES: "0+510x100"}, "60m",
     {"TenantcacheHitRateLow", "TenantcacheHitRateVeryLow"}),
    ("few are hits, but few ask", {MEMORY: "0+5x100", POSTGRES: "0+40x100"}, "60m", set()),
    ("memory is full", {series("memory_evictions_total", reason="full"): "0+60x100"}, "60m", {"TenantcacheMemoryFull"}),
    ("a flood", {series("lookups_over_budget_total"): "0+60x100"}, "60m", {"TenantcacheUnknownHostsFlood"}),
    ("the index is lost", {series("host_index_ready"): "0x100"}, "60m", {"TenantcacheHostIndexMissing"}),
    ("no index is wanted", {series("host_index_ready"): "0x100", series("host_index_loads_total"): "0x100"}, "60m",
     set()),
    ("memory was not filled", {series("warm_up", state="failed"): "1x100"}, "60m", {"TenantcacheWarmUpFailed"}),
    ("1.1 % are answered 503", {UNAVAILABLE: "0+67x100"}, "60m", {"TenantcacheRequestsUnavailable"}),
    ("0.9 % are", {UNAVAILABLE: "0+55x100"}, "60m", set()),
    ("the night has one request a minute, and all are answered 503", {
        MEMORY: "0x100", POSTGRES: "0x100", UNAVAILABLE: "0+1x100",
    }, "60m", {"TenantcacheRequestsUnavailable"}),
    ("11 % are beyond limits", {series("refusals_total", reason="limit"): "0+742x100"}, "60m",
     {"TenantcacheRefusalsHigh"}),
    ("9 % are", {series("refusals_total", reason="limit"): "0+593x100"}, "60m", set()),
    ("takes fail", {series("limit_degraded"): "1x100"}, "60m", {"TenantcacheLimitsDegraded"}),
    ("no store counts", {series("counter_store_isolated"): "1x100"}, "60m", {"TenantcacheCounterStoreIsolated"}),
    ("there is no Redis", {
        IN_POSTGRES: "2x100", IN_REDIS: "0x100", series("counter_store_state", store="redis", state="none"): "2x100",
    }, "60m", set()),
    ("the budget is used up", {IN_POSTGRES: "2x100", IN_REDIS: "0x100", NO_REDIS: "2x100"}, "60m",
     {"TenantcacheBudgetUsedUp"}),
    ("Redis is suspended", {series("counter_store_state", store="redis", state="suspended"): "2x100"}, "60m",
     {"TenantcacheRedisSuspended"}),
    ("101 commands a second", {BILLED: "0+6060x100"}, "60m", {"TenantcacheRedisCommandsHigh"}),
    ("99", {BILLED: "0+5940x100"}, "60m", set()),
    ("1,001", {BILLED: "0+60060x100"}, "60m", {"TenantcacheRedisCommandsHigh", "TenantcacheRedisCommandsVeryHigh"}),
    ("it will not do", {series("budget_forecast", bound="expected"): "500001x100"}, "90m",
     {"TenantcacheBudgetForecast"}),
    ("thrift", {series("budget_band", band="thrift"): "2x100"}, "60m", {"TenantcacheBudgetBand"}),
    ("a message is given up", {series("budget_webhooks_total", result="failed"): "2x49 3x60"}, "60m",
     {"TenantcacheBudgetWebhookFails"}),
    ("a loader fails", {series("values_load_failures_total"): "0+1x100"}, "60m", {"TenantcacheValueLoadsFail"}),
    ("a write is given up", {series("values_writes_total", result="given up"): "2x55 3x60"}, "60m",
     {"TenantcacheValueWritesLost"}),
    ("values are asked for in a loop", {series("values_misuses_total", kind="loops"): "0+1x100"}, "60m",
     {"TenantcacheValuesMisused"}),
    ("the loop is blocked", dict.fromkeys(LATE, "0+58x100"), "60m", {"TenantcacheEventLoopLate"}),
    ("the disk is full", {series("snapshot_failures_total"): "0+12x100"}, "60m", {"TenantcacheSnapshotsFail"}),
    ("Redis evicts", {redis("redis_evicted_keys_total"): "0+60x100"}, "60m", {"TenantcacheRedisEvictsKeys"}),
    ("11 % of keys stay", {redis("redis_db_keys_expiring", db="db0"): "4450x100"}, "90m",
     {"TenantcacheRedisKeysWithoutExpiry"}),
    ("they are few", {
        redis("redis_db_keys_expiring", db="db0"): "0x100", redis("redis_db_keys", db="db0"): "900x100",
    }, "90m", set()),
    ("100,001 keys", {
        redis("redis_db_keys", db="db0"): "100001x100", redis("redis_db_keys_expiring", db="db0"): "100001x100",
    }, "90m", {"TenantcacheRedisKeysMany"}),
    ("more than 1 GB", {redis("redis_memory_used_bytes"): "1000000001x100"}, "90m", {"TenantcacheRedisMemoryLarge"}),
]  # fmt: skip


def test_promtool_takes_the_rules() -> None:
    assert f"SUCCESS: {len(RULES)} rules found" in promtool("check", "rules", str(ALERTS))


@pytest.mark.slow
def test_each_fires_for_what_it_is_about(tmp_path: Path) -> None:
    check_alerts(ALERTS, [(name, HEALTHY | differs, time, firing) for name, differs, time, firing in CASES], tmp_path)


def test_each_is_among_the_cases() -> None:
    assert {alert for *_, firing in CASES for alert in firing} == set(RULES) - {"TenantcacheAbsent"}
    assert len({name for name, *_ in CASES}) == len(CASES)


def test_each_reads_metrics_that_there_are() -> None:
    known = {metric.series for metric in METRICS}
    for name, rule in RULES.items():
        read = set(re.findall(r"\btenantcache_\w+", rule["expr"]))
        assert read <= known, name
        assert read or "redis_" in rule["expr"], name


@pytest.mark.parametrize("label", ["tier", "reason", "state", "store", "band", "result", "limit", "bound"])
def test_labels_that_rules_select_by_are_those_of_their_metrics(label: str) -> None:
    having = {metric.series for metric in METRICS if label in metric.labels}
    for rule in RULES.values():
        selectors = re.findall(r"(\w+)\{([^}]*)\}", rule["expr"])
        assert {name for name, selected in selectors if re.search(rf"\b{label}[=!]", selected)} <= having


def test_each_says_what_it_is_how_bad_it_is_and_where_to_read_on() -> None:
    for name, rule in RULES.items():
        assert rule["labels"]["severity"] in ("info", "warning", "critical"), name
        notes = rule["annotations"]
        assert set(notes) == {"summary", "description", "runbook_url"}, name
        assert notes["runbook_url"] == f"docs/runbooks.md#{name.lower()}", name


def test_each_has_a_section_of_the_runbooks() -> None:
    assert re.findall(r"^## (Tenantcache\w+)$", RUNBOOKS, re.MULTILINE) == list(RULES)


@pytest.mark.parametrize("part", ["It means", "Look at", "Do"])
def test_each_section_says_what_it_means_what_to_look_at_and_what_to_do(part: str) -> None:
    sections = re.split(r"^## Tenantcache\w+$", RUNBOOKS, flags=re.MULTILINE)[1:]
    assert all(f"**{part}**" in section for section in sections)


def test_the_runbooks_may_be_elsewhere() -> None:
    text = alerts("https://wiki.example/tenantcache/")
    assert "runbook_url: docs" not in text
    assert "runbook_url: https://wiki.example/tenantcache/#tenantcacheabsent\n" in text


def test_thresholds_are_of_metrics_that_can_reach_them() -> None:
    gauges = {metric.series for metric in METRICS if metric.kind is Kind.GAUGE}
    for name, rule in RULES.items():
        rated = set(re.findall(r"(?:rate|increase)\((tenantcache_\w+)", rule["expr"]))
        assert not rated & gauges, f"{name}: a rate of what may fall means nothing"
