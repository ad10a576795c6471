"""Kinds of values: what a name, an object and single parts come to, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tenantcache import ConfigurationError, Settings, ValueKind
from tenantcache.values.core.kind import KINDS, find_kind, read_kinds
from tenantcache.values.core.lifetime import Lifetime

TABLE = read_kinds({**KINDS, "report": {"fresh": 600, "stale": 3000, "negative_ttl": 5, "hard_timeout": 120}})


@pytest.mark.parametrize(
    ("kind", "options", "lifetime"),
    [
        ("static", {}, Lifetime(3600, 0, 60)),
        ("profile", {}, Lifetime(1800, 0, 60)),
        ("session", {}, Lifetime(300, 0, 60)),
        ("response", {}, Lifetime(60, 240, 60)),
        ("report", {}, Lifetime(600, 3000, 5)),
        ("report", {"ttl": 70}, Lifetime(70, 0, 5)),
        ("report", {"fresh": 70}, Lifetime(70, 3000, 5)),
        ("report", {"stale": 70, "negative_ttl": 1}, Lifetime(600, 70, 1)),
        ("profile", {"fresh": 70}, Lifetime(70, 0, 60)),
        ("profile", {"stale": 70}, Lifetime(1800, 70, 60)),
        ("profile", {"ttl": None, "stale": None}, Lifetime(1800, 0, 60)),
        (ValueKind(ttl=20), {}, Lifetime(20, 0, 60)),
        (ValueKind(ttl=20), {"fresh": 30, "stale": 5}, Lifetime(30, 5, 60)),
        (None, {"ttl": 5, "short_ttl": True}, Lifetime(5, 0, 60)),
        (None, {"fresh": 50, "stale": 10, "negative_ttl": 0}, Lifetime(50, 10, 0)),
    ],
)
def test_what_is_given_goes_before_the_kind(kind: Any, options: dict[str, Any], lifetime: Lifetime) -> None:
    assert find_kind(kind, TABLE, options).lifetime(60) == lifetime


def test_time_limits_of_a_loader() -> None:
    report = find_kind("report", TABLE, {"soft_timeout": 2})
    assert (report.soft, report.hard) == (2, 120)
    assert (TABLE["static"].soft, TABLE["static"].hard) == (0, 30)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("profil", {}, "kind='profil' is not among TENANTCACHE_VALUES_KINDS; did you mean 'profile'"),
        ("x", {}, "there are static, profile, session, response, report"),
        (None, {}, "give either ttl= or fresh="),
        (None, {"ttl": 60, "stale": 5}, "stale= goes with fresh="),
        (None, {"ttl": timedelta(hours=1)}, r"ttl=datetime.timedelta\(.*\) is not possible; give seconds"),
        (None, {"ttl": "60"}, "ttl='60' is not possible; give seconds"),
        (None, {"ttl": True}, "ttl=True is not possible"),
        (None, {"ttl": 5, "short_ttl": 1}, "short_ttl=1 is not possible; give True or False"),
        ("static", {"ttl": float("nan")}, "ttl=nan is not possible"),
        ("static", {"hard_timeout": 0}, "hard_timeout= seconds over 0"),
        ("static", {"soft_timeout": -1}, "soft_timeout= is seconds, 0 or more"),
    ],
)
def test_what_does_not_fit_is_refused(kind: str | None, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_kind(kind, TABLE, options)


def test_a_part_that_does_not_exist_is_refused() -> None:
    for kind in (None, "static", ValueKind(ttl=60)):
        with pytest.raises(TypeError, match="unexpected keyword argument 'tll'"):
            find_kind(kind, TABLE, {"tll": 60})


def test_a_start_tells_all_faults_of_the_variable() -> None:
    given = '{"profile": "900", "session": 5, "a": {"tll": 60}, "b": {"fresh": 60, "stale": "x"}}'
    with pytest.raises(ConfigurationError) as raised:
        Settings({"DATABASE_URL": "postgresql://localhost/app", "TENANTCACHE_VALUES_KINDS": given})
    lines = str(raised.value).splitlines()
    assert [line[: line.index(":")] for line in lines[:2]] == [
        "TENANTCACHE_VALUES_KINDS has the kind 'profile' as '900'",
        "TENANTCACHE_VALUES_KINDS has the kind 'session' as 5",
    ]
    assert lines[2].endswith(
        "it has no tll; there are ttl, fresh, stale, negative_ttl, soft_timeout, hard_timeout, short_ttl"
    )
    assert lines[3].endswith("stale='x' is not possible; give seconds")


def test_messagepack_needs_msgspec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenantcache.settings.checks.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"VALUES_FORMAT is msgpack, which needs msgspec: pip install"):
        Settings({"DATABASE_URL": "postgresql://localhost/app", "TENANTCACHE_VALUES_FORMAT": "msgpack"})
