"""Each rule from both sides of its threshold. The thresholds of the guide are written here once more, by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantcache.budget.core.diagnosis import CHECKLISTS, RULES, diagnose, needs_keys
from tenantcache.budget.core.facts import (
    Facts,
    FleetFacts,
    IdleFacts,
    KeyFacts,
    PatternFacts,
    PostgresFacts,
    QuotaFacts,
    ValueFacts,
)
from tenantcache.budget.core.finding import EVERY, Checklist, Severity
from tenantcache.budget.core.keylives import KeyLife
from tenantcache.budget.core.plans import PLANS, Outlook, Plan
from tenantcache.budget.core.serverfacts import ServerFacts
from tenantcache.budget.core.spenders import SENT_BY
from tenantcache.budget.core.traffic import Traffic, traffic_of

MB, GB = 1 << 20, 1 << 30

HEALTHY = ServerFacts(
    1,
    version="Redis 8.0.0",
    uptime=10_000,
    now_per_second=5.0,
    processed=50_000,
    calls={"GET": 40_000, "SET": 10_000},
    hits=36_000,
    misses=4_000,
    keys=1_000,
    expiring=1_000,
    memory=10 * MB,
    memory_limit=100 * MB,
    policies=frozenset({"noeviction"}),
    evicted=0,
    expired=100,
    clients=4,
    client_limit=100,
    rejected_clients=0,
    appends=True,
)
PATTERNS = (
    PatternFacts("user:{id}:profile", 900, longest_ttl=1_800),
    PatternFacts("config:features", 100, longest_ttl=3_600),
)
SAMPLE = KeyFacts(500, PATTERNS, largest=[("user:1:profile", 2_000)])
POSTGRES = PostgresFacts(
    log_bytes=MB, log_entries=10, oldest_entry=60.0, unpublished=0, processes=2, slowest_process=4.0
)


def facts_of(traffic: Traffic | None = None, **changed: Any) -> Facts:
    """Those of a healthy Redis, with changes of `ServerFacts` or `Facts`."""
    names = ServerFacts.__dataclass_fields__
    server = replace(HEALTHY, **{name: value for name, value in changed.items() if name in names})
    facts = Facts(server, traffic or traffic_of(server), sample=SAMPLE, idle=IdleFacts(50, 0), saves="")
    return replace(facts, **{name: value for name, value in changed.items() if name not in names})


def severity_of(rule: str, facts: Facts) -> str | None:
    """None if the rule does not apply or cannot be judged."""
    found = {finding.id: finding.severity.value for finding in diagnose(facts).findings}
    return found.get(rule)


def measured(**changed: Any) -> Traffic:
    return replace(traffic_of(HEALTHY), since_start=False, seconds=10.0, **changed)


@pytest.mark.parametrize(
    ("rate", "expected"), [(99.9, "ok"), (100.0, "ok"), (100.1, "warn"), (1_000.0, "warn"), (1_000.1, "crit")]
)
def test_operations_a_second(rate: float, expected: str) -> None:
    """The guide: over 100 is a problem, over 1,000 critical."""
    assert severity_of("operations-rate", facts_of(measured(processed=int(rate * 10)))) == expected
    assert severity_of("operations-rate", facts_of(now_per_second=rate)) == expected


def test_operations_of_the_average_count_even_if_it_is_quiet_now() -> None:
    assert severity_of("operations-rate", facts_of(now_per_second=0.0, processed=20_000_000)) == "crit"


def test_a_span_that_was_measured_counts_alone() -> None:
    assert severity_of("operations-rate", facts_of(measured(processed=50), now_per_second=5_000.0)) == "ok"


@pytest.mark.parametrize(
    ("hits", "expected", "title"),
    [
        (800, "ok", "Hit rate 80 %"),
        (799, "warn", "Hit rate 79.9 %"),
        (500, "warn", "Hit rate 50 %"),
        (499, "warn", "Hit rate 49.9 %: caching does not pay"),
        (200, "warn", "Hit rate 20 %: caching does not pay"),
        (199, "crit", "Hit rate 19.9 %: no caching, or the wrong keys"),
        (0, "crit", "Hit rate 0 %: no caching, or the wrong keys"),
    ],
)
def test_hit_rate(hits: int, expected: str, title: str) -> None:
    """The guide: over 80 % is good, under 50 % is ineffective, under 20 % is no caching."""
    facts = facts_of(hits=hits, misses=1_000 - hits)
    [finding] = [finding for finding in diagnose(facts).findings if finding.id == "hit-rate"]
    assert (finding.severity.value, finding.title) == (expected, title)
    assert finding.evidence == f"{hits:,} of 1,000 lookups found their key since the start"


def test_few_lookups_give_no_hit_rate() -> None:
    assert severity_of("hit-rate", facts_of(hits=0, misses=99)) == "ok"
    assert severity_of("hit-rate", facts_of(hits=0, misses=100)) == "crit"


@pytest.mark.parametrize(
    ("rule", "changed", "expected"),
    [
        ("key-count", {"keys": 100_000, "expiring": 100_000}, "ok"),
        ("key-count", {"keys": 100_001, "expiring": 100_001}, "warn"),
        ("memory", {"memory": GB}, "ok"),
        ("memory", {"memory": GB + 1}, "warn"),
        ("memory-limit", {"memory": 80 * MB}, "ok"),
        ("memory-limit", {"memory": 81 * MB}, "warn"),
        ("memory-limit", {"memory": 96 * MB}, "crit"),
        ("memory-limit", {"memory_limit": 0}, "ok"),
        ("memory-limit", {"refused_writes": 1}, "crit"),
        ("spike", {"now_per_second": 15.0}, "ok"),
        ("spike", {"now_per_second": 15.1}, "warn"),
        ("spike", {"now_per_second": 9.0, "processed": 100}, "ok"),
        ("evictions", {"evicted": 1}, "warn"),
        ("expiry", {"expiring": 990}, "ok"),
        ("expiry", {"expiring": 989}, "warn"),
        ("expiry", {"keys": 0, "expiring": 0}, "ok"),
        ("expiry", {"keys": 100_001, "expiring": 40_000}, "crit"),
        ("expiry", {"keys": 100_001, "expiring": 60_000}, "warn"),
        ("eviction-policy", {"policies": frozenset({"allkeys-lru"})}, "warn"),
        ("eviction-policy", {"policies": frozenset({"allkeys-lru"}), "memory_limit": 0}, "ok"),
        ("eviction-policy", {"policies": frozenset({"noeviction", "allkeys-lru"})}, "warn"),
        ("eviction-policy", {"policies": frozenset({"volatile-ttl"}), "expiring": 100}, "warn"),
        ("persistence", {"failed_saves": frozenset({"snapshot"})}, "crit"),
        ("persistence", {"appends": False}, "ok"),
        ("persistence", {"appends": False, "expiring": 999}, "warn"),
        ("persistence", {"appends": False, "expiring": 999, "saves": "3600 1"}, "ok"),
        ("connections", {"clients": 80}, "ok"),
        ("connections", {"clients": 81}, "warn"),
        ("connections", {"rejected_clients": 1}, "warn"),
        ("polling", {"calls": {"BRPOP": 20_000, "GET": 80_000}}, "ok"),
        ("polling", {"calls": {"BRPOP": 20_100, "GET": 79_900}}, "warn"),
        ("polling", {"calls": {"BRPOP": 4_999}}, "ok"),
        ("single-reads", {"calls": {"GET": 1_000_001}}, "warn"),
        ("single-reads", {"calls": {"GET": 1_000_000}}, "ok"),
        ("single-reads", {"calls": {"GET": 2_000_000, "MGET": 20_000}}, "ok"),
        ("single-reads", {"calls": {"GET": 2_000_000, "MGET": 19_999}}, "warn"),
        ("single-reads", {"calls": {"GET": 2_000_000, "SET": 2_000_000}}, "ok"),
        ("slow-commands", {"calls": {"KEYS": 1, "GET": 9}}, "warn"),
        ("churn", {"expired": 20_000, "expiring": 20}, "ok"),
        ("churn", {"expired": 20_000, "expiring": 19}, "warn"),
        ("churn", {"expired": 9_999, "expiring": 1}, "ok"),
    ],
)
def test_what_info_tells(rule: str, changed: dict[str, Any], expected: str) -> None:
    assert severity_of(rule, facts_of(**changed)) == expected


@pytest.mark.parametrize(
    ("rule", "keys", "expected"),
    [
        ("large-values", KeyFacts(10, PATTERNS, [("a", MB)]), "ok"),
        ("large-values", KeyFacts(10, PATTERNS, [("a", MB + 1)]), "warn"),
        ("large-values", KeyFacts(10, PATTERNS, [("a", 10 * MB)]), "warn"),
        ("large-values", KeyFacts(10, PATTERNS, [("b", 5), ("a", 10 * MB + 1)]), "crit"),
        ("large-values", KeyFacts(10, PATTERNS, None), None),
        ("key-names", KeyFacts(10, [PatternFacts("tenant{id}", 10), PatternFacts("a:b", 90)]), "ok"),
        ("key-names", KeyFacts(10, [PatternFacts("user_session_{id}", 11), PatternFacts("a:b", 89)]), "warn"),
        ("churn", KeyFacts(10, [PatternFacts("a:{id}", 11, longest_ttl=10), PatternFacts("b:{id}", 89)]), "warn"),
        ("churn", KeyFacts(10, [PatternFacts("a:{id}", 10, longest_ttl=10), PatternFacts("b:{id}", 90)]), "ok"),
        ("churn", KeyFacts(10, [PatternFacts("a:{id}", 11, longest_ttl=11), PatternFacts("b:{id}", 89)]), "ok"),
        ("churn", KeyFacts(10, [PatternFacts("a:{id}", 100, 0.5, longest_ttl=1)]), "ok"),
        (
            "objects",
            KeyFacts(10, [PatternFacts(f"user:{{id}}:{part}", 1) for part in ("name", "email", "age")]),
            "warn",
        ),
        ("objects", KeyFacts(10, [PatternFacts(f"user:{{id}}:{part}", 1) for part in ("name", "email")]), "ok"),
        ("who-spends", KeyFacts(10, [PatternFacts("a", 51, owner="limits"), PatternFacts("b", 49)]), "warn"),
        ("who-spends", KeyFacts(10, [PatternFacts("a", 50, owner="limits"), PatternFacts("b", 50)]), "ok"),
        ("who-spends", KeyFacts(10, [PatternFacts("a", 100, owner="tenantcache")]), "ok"),
        ("who-spends", KeyFacts(0), "ok"),
    ],
)
def test_what_a_sample_tells(rule: str, keys: KeyFacts, expected: str | None) -> None:
    assert severity_of(rule, facts_of(sample=keys, expired=0)) == expected


def test_expiry_is_told_from_the_sample_if_info_is_silent() -> None:
    def keys(without: float) -> KeyFacts:
        return KeyFacts(10, [PatternFacts("temp:{uuid}", 100, without), PatternFacts("a:{id}", 900, 0.0)])

    for without, expected in ((0.1, "ok"), (0.2, "warn")):
        assert severity_of("expiry", facts_of(sample=keys(without), **{"expiring": None})) == expected
    [finding] = [one for one in diagnose(facts_of(sample=keys(1.0), expiring=500)).findings if one.id == "expiry"]
    assert finding.evidence == "500 of 1,000 keys have no TTL: most of them temp:{uuid}"


def test_who_spends_shares_commands_among_the_libraries_that_are_there() -> None:
    patterns = [PatternFacts("unacked", 10, owner="kombu"), PatternFacts("LIMITS:{id}", 30, owner="limits")]
    calls = {"EVALSHA": 600, "BRPOP": 300, "GET": 100, "PING": 5_000}
    facts = facts_of(sample=KeyFacts(40, [*patterns, PatternFacts("x:{id}", 60)]), calls=calls)
    [finding] = [one for one in diagnose(facts).findings if one.id == "who-spends"]
    assert finding.evidence == (
        "limits has 30 % of the keys and 60 % of the commands; kombu has 10 % of the keys and 30 % of the commands; "
        "60 % of the keys are of no known library; the commands are EVALSHA 600, BRPOP 300, GET 100"
    )
    # Both send EVALSHA, so it cannot be told which of them did.
    both = KeyFacts(40, [PatternFacts("bull:a:{id}", 1, owner="bull"), PatternFacts("LIMITS:{id}", 1, owner="limits")])
    [finding] = [
        one for one in diagnose(facts_of(sample=both, calls={"EVALSHA": 9})).findings if one.id == "who-spends"
    ]
    assert "of the commands" not in finding.evidence


def recorded_commands() -> dict[str, set[str]]:
    """What each library was seen to send, by owner."""
    found: dict[str, set[str]] = {}
    for path in sorted((Path(__file__).parents[1] / "owners").glob("*.json")):
        owner = {"bullmq": "bull", "slowapi": "limits", "upstash-ratelimit-python": "upstash-ratelimit"}.get(
            path.stem, path.stem
        )
        found.setdefault(owner, set()).update(json.loads(path.read_text(encoding="utf-8"))["commands"])
    return {owner: commands for owner, commands in found.items() if commands and owner in SENT_BY}


@pytest.mark.parametrize(("owner", "commands"), recorded_commands().items())
def test_a_library_was_seen_to_send_what_it_is_said_to(owner: str, commands: set[str]) -> None:
    assert SENT_BY[owner] - {"EVAL", "EVALSHA", "SCRIPT"} <= commands
    assert bool(SENT_BY[owner] & {"EVALSHA"}) == bool(commands & {"EVAL", "EVALSHA"})


@pytest.mark.parametrize(("unused", "expected"), [(10, "ok"), (11, "warn")])
def test_unused_keys(unused: int, expected: str) -> None:
    assert severity_of("unused-keys", facts_of(idle=IdleFacts(50, unused))) == expected


# --- money


def quota(
    full_month: float, day: str | None = None, *, ends_in: float | None = None, assumed: bool = False
) -> QuotaFacts:
    return QuotaFacts("the plan Free", Outlook(500_000, 100_000, 0.1, full_month, ends_in), day, "measured", assumed)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"quota": quota(350_000)}, "ok"),
        ({"quota": quota(350_001)}, "warn"),
        ({"quota": quota(900_000, "2026-11-20", ends_in=9.0)}, "crit"),
        ({"quota": quota(900_000, "2026-11-20", ends_in=9.0, assumed=True)}, "warn"),
        ({"refusal": "max requests limit exceeded"}, "crit"),
        ({"plan": PLANS["upstash-payg"]}, "ok"),
        ({"plan": PLANS["upstash-free"]}, None),
        ({"provider": "Upstash"}, None),
        ({}, None),
    ],
)
def test_suspension(facts: dict[str, Any], expected: str | None) -> None:
    assert severity_of("suspension", facts_of(**facts)) == expected


def test_the_date_of_the_suspension_is_told() -> None:
    facts = facts_of(quota=quota(900_000, "2026-11-20", ends_in=9.0))
    assert "The quota is used up on 2026-11-20" in [finding.title for finding in diagnose(facts).findings]


@pytest.mark.parametrize(
    ("plan", "a_month", "severity", "title"),
    [
        ("upstash-payg", 42_000_000, "warn", "Fixed 250MB saves $74.00 a month"),
        ("upstash-payg", 5_400_000, "ok", "Pay as you go is the right plan: $10.80 a month"),
        ("upstash-payg", 1_000_000, "ok", "Pay as you go is the right plan: $2.00 a month"),
        ("upstash-fixed-250mb", 1_000_000, "warn", "Pay as you go saves $8.00 a month"),
        ("upstash-free", 1_000_000, "warn", "This use does not fit into Free; Pay as you go costs $2.00 a month"),
        ("upstash-free", 400_000, "ok", "Free is the right plan: $0.00 a month"),
    ],
)
def test_the_cheaper_plan(plan: str, a_month: int, severity: str, title: str) -> None:
    traffic = Traffic(30 * 86_400, since_start=True, processed=a_month)
    [finding] = [one for one in diagnose(facts_of(traffic, plan=PLANS[plan])).findings if one.id == "plan"]
    assert (finding.severity.value, finding.title) == (severity, title)
    assert "break-even at 5,000,000 commands" in finding.evidence


def test_a_provider_that_does_not_bill_commands_has_no_plan_to_compare() -> None:
    assert severity_of("plan", facts_of()) is None
    assert severity_of("plan", facts_of(provider="Upstash")) == "ok"


@pytest.mark.parametrize(
    ("used", "budget", "ends", "expected"),
    [(10, None, None, "ok"), (10, 100, None, "ok"), (10, 100, "2026-11-29", "warn"), (100, 100, None, "crit")],
)
def test_the_budget_of_the_fleet(used: int, budget: int | None, ends: str | None, expected: str) -> None:
    fleet = FleetFacts(used, "commands", budget, "thrift", 90, (50, 120), ends)
    assert severity_of("budget", facts_of(fleet=fleet)) == expected
    assert severity_of("budget", facts_of()) is None


# --- Postgres


@pytest.mark.parametrize(
    ("rule", "changed", "expected"),
    [
        ("postgres", {}, "ok"),
        ("postgres", {"warnings": ["a name is there twice"]}, "warn"),
        ("postgres", {"faults": ["no schema"]}, "crit"),
        ("log-size", {"log_bytes": GB}, "ok"),
        ("log-size", {"log_bytes": GB + 1}, "warn"),
        ("follower-lag", {"unpublished": 10_000}, "ok"),
        ("follower-lag", {"unpublished": 10_001}, "warn"),
        ("follower-lag", {"unpublished": 1, "processes": 0, "slowest_process": None}, "warn"),
        ("follower-lag", {"processes": 0, "slowest_process": None}, "ok"),
        ("follower-lag", {"slowest_process": 15.0}, "ok"),
        ("follower-lag", {"slowest_process": 15.1}, "warn"),
        ("follower-lag", {"unpublished": None}, None),
    ],
)
def test_postgres(rule: str, changed: dict[str, Any], expected: str | None) -> None:
    assert severity_of(rule, facts_of(postgres=replace(POSTGRES, **changed))) == expected
    assert severity_of(rule, facts_of()) is None


# --- the table


def test_a_healthy_redis_has_no_finding() -> None:
    diagnosis = diagnose(facts_of(postgres=POSTGRES))
    assert diagnosis.worst is Severity.OK
    assert diagnosis.unknown == ("the quota: no quota is known; give --plan or --quota",)


def test_nothing_is_guessed_of_a_server_that_tells_nothing() -> None:
    diagnosis = diagnose(Facts(ServerFacts(1), Traffic(0, since_start=True)))
    assert [finding.id for finding in diagnosis.findings] == ["blind-spots"]
    assert len(diagnosis.unknown) == len(RULES) - len(
        {"blind-spots", "plan", "budget", "postgres", "log-size", "follower-lag"}
    )


numbers = st.none() | st.integers(0, 10**15)
servers = st.builds(
    ServerFacts,
    nodes=st.integers(1, 3),
    uptime=numbers,
    now_per_second=st.none() | st.floats(0, 1e9),
    processed=numbers,
    calls=st.dictionaries(st.sampled_from(["GET", "EVALSHA", "BRPOP", "KEYS", "PING"]), st.integers(1, 10**12)),
    hits=numbers,
    misses=numbers,
    keys=numbers,
    expiring=numbers,
    memory=numbers,
    memory_limit=numbers,
    policies=st.frozensets(st.sampled_from(["noeviction", "volatile-lru", "allkeys-lru"])),
    evicted=numbers,
    expired=numbers,
    clients=numbers,
    client_limit=numbers,
    rejected_clients=numbers,
    network=numbers,
    appends=st.none() | st.booleans(),
)
samples = st.builds(
    KeyFacts,
    sampled=st.integers(0, 500),
    patterns=st.lists(
        st.builds(
            PatternFacts,
            pattern=st.text(),
            keys=st.integers(0, 10**9),
            without_expiry=st.none() | st.floats(0, 1),
            longest_ttl=st.none() | st.integers(0, 10**6),
            owner=st.none() | st.sampled_from(["limits", "celery", "bull", "tenantcache"]),
        ),
        max_size=4,
    ),
    largest=st.none() | st.lists(st.tuples(st.text(), st.integers(0, 10**9)), max_size=3),
)


@given(
    server=servers,
    before=st.none() | servers,
    sample=st.none() | samples,
    plan=st.none() | st.sampled_from(list(PLANS.values())),
    idle=st.none() | st.builds(IdleFacts, asked=st.just(50), unused=st.integers(0, 50)),
)
def test_whatever_a_server_tells_is_judged_or_not_known(
    server: ServerFacts, before: ServerFacts | None, sample: KeyFacts | None, plan: Plan | None, idle: IdleFacts | None
) -> None:
    traffic = traffic_of(server, before, seconds=1.0, own=2)
    diagnosis = diagnose(Facts(server, traffic, sample=sample, plan=plan, idle=idle))
    told = {finding.id for finding in diagnosis.findings}
    assert len(told) == len(diagnosis.findings)
    assert all(finding.title and finding.evidence is not None for finding in diagnosis.findings)
    if server.memory is None:
        assert "memory" not in told


def test_the_worst_come_first() -> None:
    facts = facts_of(hits=0, misses=1_000, evicted=1, keys=200_000, expiring=200_000)
    ranks = [finding.severity.rank for finding in diagnose(facts).findings]
    assert ranks == sorted(ranks, reverse=True)
    assert diagnose(facts).worst is Severity.CRIT


def test_what_is_hidden_is_told() -> None:
    facts = facts_of(refused=["MEMORY USAGE"], hidden=["INFO does not tell memory"], provider="Upstash")
    [finding] = [one for one in diagnose(facts).findings if one.id == "blind-spots"]
    assert (finding.title, finding.evidence) == (
        "Upstash does not tell everything",
        "MEMORY USAGE is refused; INFO does not tell memory",
    )


def test_each_rule_is_on_a_list_and_each_item_of_the_guide_has_rules() -> None:
    ids = [rule.id for rule in RULES]
    assert len(ids) == len(set(ids))
    assert all(rule.lists and rule.why and rule.fix for rule in RULES)
    assert {one: len(items) for one, items in CHECKLISTS.items()} == {
        Checklist.DAILY: 3,
        Checklist.WEEKLY: 3,
        Checklist.MONTHLY: 4,
    }
    of = {rule.id: rule.lists for rule in RULES}
    for checklist, items in CHECKLISTS.items():
        assert all(checklist & of[rule] for rules in items.values() for rule in rules)


def test_the_daily_list_needs_no_sample() -> None:
    assert not needs_keys(Checklist.DAILY)
    assert needs_keys(Checklist.WEEKLY)
    assert needs_keys(Checklist.MONTHLY)
    assert needs_keys(EVERY)


def test_a_list_has_its_own_rules_alone() -> None:
    daily = {finding.id for finding in diagnose(facts_of(), Checklist.DAILY).findings}
    assert {"operations-rate", "hit-rate", "spike"} <= daily
    assert not {"memory", "expiry", "key-names"} & daily


def test_secrets_in_keys_and_in_values() -> None:
    jwt = PatternFacts("session:{token}", 10, secret="session:{secret} (a JWT)")
    for changed, expected in (
        ({}, "ok"),
        ({"sample": KeyFacts(10, (jwt,))}, "warn"),
        ({"values": ValueFacts(5)}, "ok"),
        ({"values": ValueFacts(5, [("p:value:acme:user/{id}", "password")])}, "warn"),
    ):
        assert severity_of("secrets", facts_of(**changed)) == expected
    assert severity_of("secrets", facts_of(sample=None)) is None


def test_keys_that_are_written_and_never_read() -> None:
    unread = [KeyLife("reset:{uuid}", 3_000, 600)] * 10
    assert severity_of("one-time-keys", facts_of(lives=unread)) == "warn"
    assert severity_of("one-time-keys", facts_of(lives=unread[:9])) == "ok"
    assert severity_of("one-time-keys", facts_of(lives=unread, idle=None)) is None
