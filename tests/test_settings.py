"""The settings: from variables, from code, and every fault in one clear message without a password."""

from __future__ import annotations

import traceback
from ipaddress import ip_network
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from tenantcache.errors import ConfigurationError
from tenantcache.settings.arguments import SettingsArguments
from tenantcache.settings.model import Settings, variable_of, variables
from tenantcache.settings.postgresurl import postgres_url
from tenantcache.settings.redisurl import redis_url
from tenantcache.settings.urls import address, mask
from tenantcache.tenant import Limits, Row
from tests.faults import fault_of
from tests.thorough import effort

URL = "postgresql://user:secret@db.example:5433/app"
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def load(**environ: str) -> Settings:
    return Settings.load({"DATABASE_URL": URL, **environ})


def faults(**environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        load(**environ)
    return str(raised.value).splitlines()


def row(plan: str | None, per_minute: int | None = None, per_day: int | None = None) -> Row:
    return {
        "id": "1",
        "name": "Acme",
        "subdomain": "acme",
        "domains": [],
        "primary_domain": None,
        "status": "active",
        "plan": plan,
        "limit_per_minute": per_minute,
        "limit_per_day": per_day,
        "time_zone": None,
        "attributes": {},
    }


def test_defaults_are_those_of_the_contract() -> None:
    found = load()
    assert found.model_dump() == {
        "database_url": URL,
        "redis_url": None,
        "listen_url": None,
        "base_domains": ("localhost",),
        "reserved_subdomains": ("www",),
        "base_domain_tenant": False,
        "strategies": ("host",),
        "redirect_to_primary": False,
        "status_codes": {},
        "bypass_paths": ("/health",),
        "unlimited_paths": (),
        "limit_per_minute": 600,
        "limit_per_day": 100_000,
        "plans": {},
        "limits": "enforce",
        "minute_window": "fixed",
        "counters": "redis",
        "on_limiter_error": "local",
        "rate_limit_headers": True,
        "limit_preflights": False,
        "x_rate_limit_headers": False,
        "memory_max_tenants": 100_000,
        "memory_ttl": 300.0,
        "values_max_entries": 10_000,
        "values_max_bytes": 64_000_000,
        "values_kinds": {"static": 3600, "profile": 1800, "session": 300, "response": {"fresh": 60, "stale": 240}},
        "values_format": "json",
        "values_max_writes": 10_000,
        "values_max_write_bytes": 16_000_000,
        "warm_up": "auto",
        "redis_ttl": 3600.0,
        "negative_ttl": 60.0,
        "host_index_max_hosts": 2_000_000,
        "max_staleness": 3.0,
        "stale_if_error": 300.0,
        "max_value_bytes": 100_000,
        "key_prefix": "tenantcache",
        "trusted_proxies": (),
        "usage_interval": 10.0,
        "metrics_dir": None,
        "redis_monthly_budget": None,
        "redis_daily_budget": None,
        "budget_webhook_url": None,
        "budget_webhook_secret": None,
        "redis_billing_day": 1,
        "redis_pricing": "per-command",
        "redis_read_regions": 0,
        "redis_price": None,
        "upstash_email": None,
        "upstash_api_key": None,
        "upstash_database_id": None,
    }


def test_every_variable_is_read() -> None:
    found = Settings.load(
        {
            "TENANTCACHE_DATABASE_URL": URL,
            "DATABASE_URL": "mysql://not-looked-at",
            "TENANTCACHE_REDIS_URL": "rediss://cache.example",
            "REDIS_URL": "http://not-looked-at",
            "TENANTCACHE_LISTEN_URL": "postgres://direct.example/app",
            "TENANTCACHE_BASE_DOMAINS": "Example.com, bücher.example",
            "TENANTCACHE_RESERVED_SUBDOMAINS": "www,Admin",
            "TENANTCACHE_BASE_DOMAIN_TENANT": "1",
            "TENANTCACHE_STRATEGIES": "path:/t,kind=team, keep, host",
            "TENANTCACHE_REDIRECT_TO_PRIMARY": "true",
            "TENANTCACHE_STATUS_CODES": '{"suspended": 402}',
            "TENANTCACHE_BYPASS_PATHS": "/health , /metrics",
            "TENANTCACHE_UNLIMITED_PATHS": "/callback",
            "TENANTCACHE_MINUTE_WINDOW": "sliding",
            "TENANTCACHE_LIMIT_PER_MINUTE": "0",
            "TENANTCACHE_LIMIT_PER_DAY": " 5 ",
            "TENANTCACHE_PLANS": '{"pro": {"per_minute": 6000, "per_day": null}}',
            "TENANTCACHE_LIMITS": "shadow",
            "TENANTCACHE_COUNTERS": "postgres",
            "TENANTCACHE_ON_LIMITER_ERROR": "deny",
            "TENANTCACHE_RATE_LIMIT_HEADERS": "no",
            "TENANTCACHE_LIMIT_PREFLIGHTS": "true",
            "TENANTCACHE_X_RATE_LIMIT_HEADERS": "1",
            "TENANTCACHE_MEMORY_MAX_TENANTS": "10",
            "TENANTCACHE_MEMORY_TTL": "1.5",
            "TENANTCACHE_VALUES_MAX_ENTRIES": "11",
            "TENANTCACHE_VALUES_MAX_BYTES": "20000",
            "TENANTCACHE_VALUES_KINDS": '{"profile": 900, "report": {"fresh": 600.5, "stale": 3000}}',
            "TENANTCACHE_VALUES_FORMAT": "msgpack",
            "TENANTCACHE_VALUES_MAX_WRITES": "12",
            "TENANTCACHE_VALUES_MAX_WRITE_BYTES": "30000",
            "TENANTCACHE_WARM_UP": "true",
            "TENANTCACHE_REDIS_TTL": "60",
            "TENANTCACHE_NEGATIVE_TTL": "2",
            "TENANTCACHE_HOST_INDEX_MAX_HOSTS": "0",
            "TENANTCACHE_MAX_STALENESS": "1",
            "TENANTCACHE_STALE_IF_ERROR": "0",
            "TENANTCACHE_MAX_VALUE_BYTES": "500",
            "TENANTCACHE_KEY_PREFIX": "shop:a",
            "TENANTCACHE_TRUSTED_PROXIES": "10.0.0.0/8,::1",
            "TENANTCACHE_USAGE_INTERVAL": "0",
            "TENANTCACHE_METRICS_DIR": "/run/app",
            "TENANTCACHE_REDIS_MONTHLY_BUDGET": "500000",
            "TENANTCACHE_REDIS_DAILY_BUDGET": "20000",
            "TENANTCACHE_BUDGET_WEBHOOK_URL": "https://example.com/hooks/redis",
            "TENANTCACHE_BUDGET_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "TENANTCACHE_REDIS_BILLING_DAY": "15",
            "TENANTCACHE_REDIS_PRICING": "ecpu",
            "TENANTCACHE_REDIS_READ_REGIONS": "2",
            "TENANTCACHE_REDIS_PRICE": "0.5",
            "TENANTCACHE_UPSTASH_EMAIL": "ops@example.com",
            "TENANTCACHE_UPSTASH_API_KEY": "secret-key",
            "TENANTCACHE_UPSTASH_DATABASE_ID": "96ad0856",
        }
    )
    assert found.model_dump() == {
        "database_url": URL,
        "redis_url": "rediss://cache.example",
        "listen_url": "postgres://direct.example/app",
        "base_domains": ("example.com", "xn--bcher-kva.example"),
        "reserved_subdomains": ("www", "admin"),
        "base_domain_tenant": True,
        "strategies": ("path:/t,kind=team,keep", "host"),
        "redirect_to_primary": True,
        "status_codes": {"suspended": 402},
        "bypass_paths": ("/health", "/metrics"),
        "unlimited_paths": ("/callback",),
        "limit_per_minute": 0,
        "limit_per_day": 5,
        "plans": {"pro": {"per_minute": 6000, "per_day": None}},
        "limits": "shadow",
        "minute_window": "sliding",
        "counters": "postgres",
        "on_limiter_error": "deny",
        "rate_limit_headers": False,
        "limit_preflights": True,
        "x_rate_limit_headers": True,
        "memory_max_tenants": 10,
        "memory_ttl": 1.5,
        "values_max_entries": 11,
        "values_max_bytes": 20_000,
        "values_kinds": {
            "static": 3600,
            "profile": 900,
            "session": 300,
            "response": {"fresh": 60, "stale": 240},
            "report": {"fresh": 600.5, "stale": 3000},
        },
        "values_format": "msgpack",
        "values_max_writes": 12,
        "values_max_write_bytes": 30_000,
        "warm_up": True,
        "redis_ttl": 60.0,
        "negative_ttl": 2.0,
        "host_index_max_hosts": 0,
        "max_staleness": 1.0,
        "stale_if_error": 0.0,
        "max_value_bytes": 500,
        "key_prefix": "shop:a",
        "trusted_proxies": (ip_network("10.0.0.0/8"), ip_network("::1/128")),
        "usage_interval": 0.0,
        "metrics_dir": Path("/run/app"),
        "redis_monthly_budget": 500_000,
        "redis_daily_budget": 20_000,
        "budget_webhook_url": "https://example.com/hooks/redis",
        "budget_webhook_secret": WEBHOOK_SECRET,
        "redis_billing_day": 15,
        "redis_pricing": "ecpu",
        "redis_read_regions": 2,
        "redis_price": 0.5,
        "upstash_email": "ops@example.com",
        "upstash_api_key": SecretStr("secret-key"),
        "upstash_database_id": "96ad0856",
    }


UPSTASH = {
    "TENANTCACHE_UPSTASH_EMAIL": "ops@example.com",
    "TENANTCACHE_UPSTASH_API_KEY": "secret-key",
    "TENANTCACHE_UPSTASH_DATABASE_ID": "96ad0856",
}


@pytest.mark.parametrize("seconds", ["1", "59.9"])
def test_a_copy_that_would_be_written_more_often_than_read_is_refused(seconds: str) -> None:
    [line] = faults(TENANTCACHE_REDIS_TTL=seconds)
    assert line.startswith(f"TENANTCACHE_REDIS_TTL is '{seconds}'; it should be greater than or equal to 60 (")


def test_a_key_is_never_shown() -> None:
    found = load(**UPSTASH)
    assert found.upstash_api_key is not None and found.upstash_api_key.get_secret_value() == "secret-key"
    assert "secret-key" not in repr(found) + str(found) + str(variables(found)) + found.model_dump_json()
    with pytest.raises(ConfigurationError) as raised:
        Settings({}, database_url=URL, upstash_api_key=271828)  # type: ignore[arg-type]
    assert "271828" not in str(raised.value)


@pytest.mark.parametrize("missing", UPSTASH)
def test_what_the_providers_api_needs_comes_together(missing: str) -> None:
    lines = faults(**{name: value for name, value in UPSTASH.items() if name != missing})
    assert lines == [
        "TENANTCACHE_UPSTASH_DATABASE_ID belongs together with TENANTCACHE_UPSTASH_EMAIL and"
        " TENANTCACHE_UPSTASH_API_KEY; set all three or none"
    ]


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv("TENANTCACHE_LIMIT_PER_MINUTE", "7")
    assert (Settings().limit_per_minute, Settings.load().limit_per_minute) == (7, 7)
    assert variable_of("database_url") == "DATABASE_URL"
    assert variable_of("redis_url") == "TENANTCACHE_REDIS_URL"


def test_code_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://wrong")
    monkeypatch.setenv("REDIS_URL", "redis://cache.example")
    monkeypatch.setenv("TENANTCACHE_LIMIT_PER_DAY", "9")
    found = Settings(database_url=URL, redis_url=None, base_domains=["example.com"], plans={"a": {"per_day": 1}})
    assert found.database_url == URL
    assert found.redis_url is None
    assert found.base_domains == ("example.com",)
    assert found.limit_per_day == 9


def test_an_empty_variable_counts_as_not_set_save_for_lists() -> None:
    found = load(
        TENANTCACHE_DATABASE_URL="",
        REDIS_URL=" ",
        TENANTCACHE_LIMIT_PER_MINUTE="",
        TENANTCACHE_PLANS="",
        TENANTCACHE_RESERVED_SUBDOMAINS="",
        TENANTCACHE_BYPASS_PATHS="",
    )
    assert (found.database_url, found.redis_url) == (URL, None)
    assert (found.limit_per_minute, found.plans) == (600, {})
    assert (found.reserved_subdomains, found.bypass_paths) == ((), ())


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load().limit_per_day = 3


def test_limit_table_takes_the_tenant_then_the_plan_then_the_defaults() -> None:
    plans = '{"pro": {"per_minute": 6000}, "free": {"per_minute": 0, "per_day": null}}'
    table = load(TENANTCACHE_PLANS=plans, TENANTCACHE_LIMIT_PER_DAY="0").limit_table
    assert table.find(row(None)) == Limits(600, None)
    assert table.find(row("pro", per_day=12)) == Limits(6000, 12)
    assert table.find(row("free")) == Limits(None, None)
    assert table.find(row("unheard-of", per_minute=0)) == Limits(None, None)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("DATABASE_URL", "mysql://h/d", "has the scheme mysql://; give one like postgresql://user:password@host"),
        ("DATABASE_URL", "postgresql+jdbc://u:secret@h/d", "has the scheme postgresql+jdbc://; give one like postgr"),
        (
            "DATABASE_URL",
            "postgresql://h/d?conect_timeout=3",
            "unknown option conect_timeout; did you mean connect_",
        ),
        (
            "DATABASE_URL",
            "postgresql://h/d?sslmode=odd",
            "has an option sslmode with an unknown value; there are disa",
        ),
        (
            "DATABASE_URL",
            "postgresql://h/d?sslrootcert=/no/ca",
            "names /no/ca as sslrootcert, which is not a file",
        ),
        ("REDIS_URL", "redis://h?colour=red", "has the unknown option colour; leave it out"),
        ("REDIS_URL", "redis://h?ssl_cert_reqs=none", "has ssl_cert_reqs, but redis:// is without TLS; give rediss://"),
        ("DATABASE_URL", "secret", "is not a URL; give one like postgresql://"),
        ("DATABASE_URL", "postgresql://u:se/cret@h/d", "percent-encoded (@ as %40, / as %2F"),
        ("DATABASE_URL", "postgresql://h:77777/d", "has a port above 65535"),
        (
            "REDIS_URL",
            "https://u:secret@h",
            "is a REST URL (https://), which cannot be used here; give the redis:// or",
        ),
        ("REDIS_URL", "postgresql://u:secret@h", "has the scheme postgresql://; give one like redis://host:6379/0"),
        ("TENANTCACHE_LISTEN_URL", "redis://h", "has the scheme redis://; give one like postgresql://"),
        ("TENANTCACHE_BASE_DOMAINS", "https://example.com", "'https://example.com' is not a host name"),
        ("TENANTCACHE_BASE_DOMAINS", "127.0.0.1", "'127.0.0.1' is an IP address; give a name"),
        ("TENANTCACHE_RESERVED_SUBDOMAINS", "a.b", "'a.b' has a dot; give one label"),
        ("TENANTCACHE_BYPASS_PATHS", "health", "holds 'health'; a path begins with /"),
        (
            "TENANTCACHE_LIMIT_PER_MINUTE",
            "-1",
            "is '-1'; it should be greater than or equal to 0 (requests a tenant may",
        ),
        ("TENANTCACHE_LIMIT_PER_MINUTE", "2147483648", "it should be less than or equal to 2147483647"),
        ("TENANTCACHE_LIMIT_PER_DAY", "1e3", "is '1e3'; it should be a valid integer"),
        ("TENANTCACHE_PLANS", "{'pro'", "is not JSON: Expecting property name"),
        ("TENANTCACHE_PLANS", "[]", 'is not a JSON object; give one like {"pro": {"per_minute": 6000'),
        ("TENANTCACHE_PLANS", '{"pro": 5}', "has plan 'pro' as 5; give an object"),
        (
            "TENANTCACHE_PLANS",
            '{"a": {"per_hour": 1}}',
            "has plan 'a' with the unknown key 'per_hour'; there are per_min",
        ),
        ("TENANTCACHE_PLANS", '{"a": {"per_day": -1}}', "has plan 'a' with per_day -1; give a whole number from 0"),
        ("TENANTCACHE_PLANS", '{"a": {"per_minute": 2147483648}}', "from 0 (unlimited) to 2147483647, or null"),
        ("TENANTCACHE_PLANS", '{"a": {"per_minute": true}}', "has plan 'a' with per_minute True"),
        ("TENANTCACHE_PLANS", '{"a": {"per_minute": "60"}}', "has plan 'a' with per_minute '60'"),
        ("TENANTCACHE_LIMITS", "maybe", "is 'maybe'; it should be 'enforce', 'shadow' or 'off'"),
        ("TENANTCACHE_ON_LIMITER_ERROR", "panic", "it should be 'local', 'allow' or 'deny'"),
        ("TENANTCACHE_RATE_LIMIT_HEADERS", "perhaps", "it should be a valid boolean"),
        ("TENANTCACHE_MEMORY_TTL", "nan", "it should be a finite number (seconds"),
        ("TENANTCACHE_MAX_STALENESS", "0", "it should be greater than or equal to 0.1 (maximum age of any answer"),
        ("TENANTCACHE_KEY_PREFIX", "a b", "(prefix of all Redis keys: up to 64 letters"),
        (
            "TENANTCACHE_TRUSTED_PROXIES",
            "10.0.0.1/8",
            "holds '10.0.0.1/8', not a network: 10.0.0.1/8 has host bits",
        ),
        ("TENANTCACHE_REDIS_MONTHLY_BUDGET", "0", "it should be greater than or equal to 1 (billed Redis commands"),
        ("TENANTCACHE_REDIS_PRICING", "cheap", "it should be 'per-command'"),
    ],
)
def test_a_fault_names_the_variable_what_is_wrong_and_what_is_right(variable: str, value: str, expected: str) -> None:
    lines = faults(**{variable: value})
    assert len(lines) == 1
    assert lines[0].startswith(variable + " ")
    assert expected in lines[0]
    assert "secret" not in lines[0]


def test_a_missing_database_url_names_both_variables() -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.load({})
    expected = "TENANTCACHE_DATABASE_URL or DATABASE_URL is not set; give the Postgres URL, like postgresql://"
    assert str(raised.value).startswith(expected)


def test_all_faults_are_told_at_once() -> None:
    lines = faults(
        DATABASE_URL="mysql://u:secret@h",
        REDIS_URL="https://u:secret@h",
        TENANTCACHE_LIMIT_PER_MINUTE="-1",
        TENANTCACHE_PLANS='{"a": {"per_day": -1, "x": 1}, "b": 2}',
        TENANTCACHE_BASE_DOMAINS="*.a.example,1.2.3.4",
        TENANTCACHE_TRUSTED_PROXIES="x,y",
        TENANTCACHE_LIMIT_PER_DAYS="3",
    )
    assert [line.partition(" ")[0] for line in lines] == [
        "DATABASE_URL",
        "REDIS_URL",
        *["TENANTCACHE_BASE_DOMAINS"] * 2,
        "TENANTCACHE_LIMIT_PER_MINUTE",
        *["TENANTCACHE_PLANS"] * 3,
        *["TENANTCACHE_TRUSTED_PROXIES"] * 2,
        "TENANTCACHE_LIMIT_PER_DAYS",
    ]


def test_an_unknown_variable_is_a_fault_with_the_one_that_was_meant() -> None:
    assert faults(TENANTCACHE_LIMITS_PER_MINUTE="60") == [
        "TENANTCACHE_LIMITS_PER_MINUTE is not a setting; did you mean TENANTCACHE_LIMIT_PER_MINUTE?"
    ]
    assert faults(TENANTCACHE_BASE_DOMAIN="x", TENANTCACHE_REDISURL="redis://u:secret@h") == [
        "TENANTCACHE_BASE_DOMAIN is not a setting; did you mean TENANTCACHE_BASE_DOMAINS?",
        "TENANTCACHE_REDISURL is not a setting; did you mean TENANTCACHE_REDIS_URL?",
    ]


def test_an_unknown_variable_like_no_other_lists_what_there_is() -> None:
    (line,) = faults(TENANTCACHE_FROBNICATE="1")
    assert line.startswith("TENANTCACHE_FROBNICATE is not a setting; there are TENANTCACHE_DATABASE_URL, ")
    assert "TENANTCACHE_REDIS_PRICING" in line


IN_THE_NAMESPACE = {
    "{}_SERVICE_HOST": "10.96.0.11",
    "{}_SERVICE_PORT": "6379",
    "{}_SERVICE_PORT_METRICS": "9121",
    "{}_PORT": "tcp://10.96.0.11:6379",
    "{}_PORT_6379_TCP": "tcp://10.96.0.11:6379",
    "{}_PORT_6379_TCP_PROTO": "tcp",
    "{}_PORT_6379_TCP_PORT": "6379",
    "{}_PORT_53_UDP_ADDR": "fd00::11",
}


@pytest.mark.parametrize("service", ["TENANTCACHE", "TENANTCACHE_REDIS", "TENANTCACHE_PG_2_POOLER"])
def test_variables_of_a_service_in_kubernetes_are_not_settings(service: str) -> None:
    assert load(**{name.format(service): value for name, value in IN_THE_NAMESPACE.items()}) == load()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TENANTCACHE_REDIS_PORT", "6379"),
        ("TENANTCACHE_REDIS_SERVICE_HOST", "redis.example"),
        ("TENANTCACHE_REDIS_SERVICE_PORT", "redis://h"),
        ("TENANTCACHE_REDIS_HOST", "10.96.0.11"),
        ("TENANTCACHE_LIMIT_PER_MINUTE_SERVICE", "10"),
    ],
)
def test_what_only_looks_like_a_variable_of_a_service_is_a_fault(variable: str, value: str) -> None:
    assert [line.partition(" ")[0] for line in faults(**{variable: value})] == [variable]


def test_each_setting_is_an_argument_with_a_type() -> None:
    assert list(get_type_hints(SettingsArguments)) == list(Settings.model_fields)


def test_faults_in_code_name_the_argument() -> None:
    wrong: dict[str, Any] = {"limit_per_dya": 5, "redis_url": 7}
    with pytest.raises(ConfigurationError) as raised:
        Settings(database_url=URL, limit_per_minute=-1, **wrong)
    assert str(raised.value).splitlines() == [
        "Settings(redis_url=...) should be a valid string (the Redis URL, like redis://host:6379/0, rediss:// for TLS; "
        "without it counters are in Postgres)",
        "Settings(limit_per_minute=...) is -1; it should be greater than or equal to 0 "
        "(requests a tenant may make in a minute; 0 = unlimited)",
        "Settings(limit_per_dya=...) is not a setting; did you mean limit_per_day?",
    ]


@settings(max_examples=effort(200, 500))
@given(st.lists(st.sampled_from([*"@/?#:%&=[],.1", "://"]), min_size=1, max_size=5))
def test_no_message_and_no_mask_holds_a_password(odd: list[str]) -> None:
    # Whatever stands between them, the markers are parts of the password.
    secret = "".join(f"HUNTER{mark}" for mark in odd) + "HUNTER"
    for url in (f"postgresql://u:{secret}@h.example:5432/app", f"redis://:{secret}@h.example", f"u:{secret}@h"):
        assert "HUNTER" not in mask(url)
        assert "HUNTER" not in address(url, 1) or fault_of(postgres_url, url) or fault_of(redis_url, url)
        try:
            Settings.load({"DATABASE_URL": url, "REDIS_URL": url})
        except ConfigurationError as error:
            assert "HUNTER" not in "".join(traceback.format_exception(error))


def test_repr_shows_no_url() -> None:
    text = repr(load(REDIS_URL="redis://:secret@h", TENANTCACHE_LISTEN_URL=URL))
    assert "secret" not in text
    assert "limit_per_minute=600" in text


@pytest.mark.parametrize(
    ("url", "masked", "where"),
    [
        (URL, "postgresql://***@db.example:5433/app", "db.example:5433"),
        ("postgresql://h1,h2:7/d?password=secret", "postgresql://h1,h2:7/d", "h1:5432, h2:7"),
        ("postgresql://[::1]/d", "postgresql://[::1]/d", "[::1]:5432"),
        ("postgresql:///d", "postgresql:///d", "localhost:5432"),
        ("postgresql://u:p@ss@h/d", "postgresql://***@h/d", "h:5432"),
        ("unix://:secret@/run/redis.sock?db=1", "unix://***@/run/redis.sock", "/run/redis.sock"),
        ("secret", "(hidden: not a valid URL)", ""),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, masked: str, where: str) -> None:
    assert mask(url) == masked
    assert address(url, 5432) == where


def test_the_table_of_variables_is_complete_and_masked() -> None:
    rows = {row.name: row for row in variables(load(REDIS_URL="redis://:secret@h:1/0", TENANTCACHE_LIMIT_PER_DAY="5"))}
    assert list(rows) == [f"TENANTCACHE_{name.upper()}" for name in Settings.model_fields]
    assert all(row.meaning for row in rows.values())
    assert rows["TENANTCACHE_DATABASE_URL"].default == "required"
    assert rows["TENANTCACHE_DATABASE_URL"].value == "postgresql://***@db.example:5433/app"
    assert rows["TENANTCACHE_REDIS_URL"].value == "redis://***@h:1/0"
    assert (rows["TENANTCACHE_LIMIT_PER_DAY"].default, rows["TENANTCACHE_LIMIT_PER_DAY"].value) == ("100000", "5")
    assert rows["TENANTCACHE_TRUSTED_PROXIES"].default == "none"
    assert rows["TENANTCACHE_RATE_LIMIT_HEADERS"].default == "true"
    assert rows["TENANTCACHE_MAX_STALENESS"].default == "3"
