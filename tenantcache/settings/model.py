"""The settings: from environment variables, from code, or from both (code wins).

Rules:

* Every fault is reported at once, in one `ConfigurationError`, a line each: what is set, what is wrong with it, what
  would be right. A URL is never shown as it is.
* A variable that begins with TENANTCACHE_ and is none of ours is a fault: a limit that is misspelt is no limit. What
  Kubernetes sets for a service of that name (`TENANTCACHE_REDIS_SERVICE_HOST`) is not.
* A variable that is set to nothing counts as not set, save a list's, where it means "none".
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from tenantcache.errors import ConfigurationError
from tenantcache.lookup.core.hosts import HostRules
from tenantcache.settings.kubernetes import is_service_variable
from tenantcache.settings.postgresurl import postgres_url
from tenantcache.settings.redisurl import redis_url
from tenantcache.settings.strategytext import split_strategies
from tenantcache.settings.urls import mask
from tenantcache.tenant import Limits, LimitTable

PREFIX = "TENANTCACHE_"
URL_FIELDS = ("database_url", "redis_url", "listen_url")
# What most hosting platforms set by themselves.
UNPREFIXED = {"database_url": "DATABASE_URL", "redis_url": "REDIS_URL"}

MAX_PER_MINUTE = 2**31 - 1  # an `integer` column, and half of what a 32-bit counter field holds
MAX_PER_DAY = 2**53 - 1  # what JSON numbers hold exactly (RFC 8259 6)
PLAN_KEYS = {"per_minute": MAX_PER_MINUTE, "per_day": MAX_PER_DAY}
DAY = 86_400.0
SHOWN_LENGTH = 60

IPNetwork = IPv4Network | IPv6Network


def _read_postgres_url(url: str | None) -> str | None:
    return None if url is None else postgres_url(url)


def _read_redis_url(url: str | None) -> str | None:
    return None if url is None else redis_url(url)


def _split_commas(value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _check_base_domains(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(HostRules(names).base_domains)


def _check_reserved(labels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(HostRules((), labels).reserved_subdomains)


def _check_paths(paths: tuple[str, ...]) -> tuple[str, ...]:
    if faults := [f"holds {path!r}; a path begins with /" for path in paths if not path.startswith("/")]:
        raise ValueError("\n".join(faults))
    return paths


def _parse_networks(value: Any) -> Any:
    parts = _split_commas(value)
    if not isinstance(parts, Iterable):
        return parts
    networks, faults = [], []
    for part in parts:
        try:
            networks.append(ip_network(part))
        except ValueError as error:
            faults.append(f"holds {_shown(part)}, no network: {error}; give CIDRs like 10.0.0.0/8, ::1/128")
    if faults:
        raise ValueError("\n".join(faults))
    return networks


def _parse_plans(value: Any) -> Any:
    value = _json_object(value, _PLANS_EXAMPLE)
    if faults := [fault for name, plan in value.items() for fault in _plan_faults(name, plan)]:
        raise ValueError("\n".join(faults))
    return value


def _parse_status_codes(value: Any) -> Any:
    value = _json_object(value, _STATUS_CODES_EXAMPLE)
    faults = [
        f"has the unknown reason {reason!r}; there are {', '.join(REASONS)}"
        for reason in value
        if reason not in REASONS
    ]
    faults += [
        f"has {reason!r} with {_shown(code)}; give a status of an error, from 400 to 511"
        for reason, code in value.items()
        if type(code) is not int or code not in _ERRORS
    ]
    if faults:
        raise ValueError("\n".join(faults))
    return value


def _json_object(value: Any, example: str) -> Mapping[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"is no JSON: {error}; give one like {example}") from None
    if not isinstance(value, Mapping):
        raise ValueError(f"is no JSON object; give one like {example}")
    return value


REASONS = ("malformed", "unknown", "foreign", "suspended", "maintenance", "deleted")
"""Why a request is refused before its limits are looked at. `foreign`: unknown, and under no base domain."""

_ERRORS = {status.value for status in HTTPStatus if status.value >= 400}
_STATUS_CODES_EXAMPLE = '{"suspended": 402, "foreign": 421}'
_PLANS_EXAMPLE = '{"pro": {"per_minute": 6000, "per_day": 1000000}}'


def _plan_faults(name: str, plan: Any) -> Iterable[str]:
    if not isinstance(plan, Mapping):
        yield f"has plan {name!r} as {_shown(plan)}; give an object like " + '{"per_minute": 6000, "per_day": 1000000}'
        return
    for key, limit in plan.items():
        if key not in PLAN_KEYS:
            yield f"has plan {name!r} with the unknown key {key!r}; there are per_minute and per_day"
        elif limit is not None and (type(limit) is not int or not 0 <= limit <= PLAN_KEYS[key]):
            yield (
                f"has plan {name!r} with {key} {_shown(limit)}; "
                f"give a whole number from 0 (unlimited) to {PLAN_KEYS[key]}, or null (unlimited)"
            )


Names = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]


class Settings(BaseSettings):
    """All settings, immutable. `Settings()` reads the environment; `Settings(database_url=...)` overrides it.

    Raises ConfigurationError, with every fault in its text.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_strip_whitespace=True)

    database_url: Annotated[str, AfterValidator(_read_postgres_url)] = Field(
        repr=False, description="the Postgres URL, like postgresql://user:password@host:5432/database"
    )
    redis_url: Annotated[str | None, AfterValidator(_read_redis_url)] = Field(
        None,
        repr=False,
        description="the Redis URL, like redis://host:6379/0, rediss:// for TLS; without it counters are in Postgres",
    )
    listen_url: Annotated[str | None, AfterValidator(_read_postgres_url)] = Field(
        None,
        repr=False,
        description="a Postgres URL for LISTEN alone, if the other one is that of a transaction pooler",
    )
    base_domains: Annotated[Names, AfterValidator(_check_base_domains)] = Field(
        ("localhost",), description="domains whose subdomains are tenants, comma-separated"
    )
    reserved_subdomains: Annotated[Names, AfterValidator(_check_reserved)] = Field(
        ("www",), description="subdomains that bypass tenancy, comma-separated"
    )
    base_domain_tenant: bool = Field(False, description="a tenant whose subdomain is '' is on the base domain itself")
    strategies: Annotated[tuple[str, ...], BeforeValidator(split_strategies)] = Field(
        ("host",),
        description="how a request names its tenant, first match wins: host, path:/t, header:x-tenant, comma-separated",
    )
    redirect_to_primary: bool = Field(
        False, description="answer requests for another of a tenant's names with 308 to its primary domain"
    )
    status_codes: Annotated[Mapping[str, int], BeforeValidator(_parse_status_codes)] = Field(
        {}, description=f"statuses of refusals, as JSON: {_STATUS_CODES_EXAMPLE}"
    )
    bypass_paths: Annotated[Names, AfterValidator(_check_paths)] = Field(
        ("/health",), description="paths, with all below them, without tenant and limit, comma-separated"
    )
    unlimited_paths: Annotated[Names, AfterValidator(_check_paths)] = Field(
        (), description="paths, with all below them, with tenant and without limit, comma-separated"
    )
    limit_per_minute: int = Field(
        600, ge=0, le=MAX_PER_MINUTE, description="requests a tenant may make in a minute; 0 = unlimited"
    )
    limit_per_day: int = Field(
        100_000, ge=0, le=MAX_PER_DAY, description="requests a tenant may make in a day; 0 = unlimited"
    )
    plans: Annotated[Mapping[str, Mapping[str, int | None]], BeforeValidator(_parse_plans)] = Field(
        {}, description=f"limits of the plans, as JSON: {_PLANS_EXAMPLE}"
    )
    limits: Literal["enforce", "shadow", "off"] = Field(
        "enforce", description="enforce limits, only count what would be denied (shadow), or do neither (off)"
    )
    minute_window: Literal["fixed", "sliding"] = Field(
        "fixed", description="minutes begin anew (fixed), or the previous one weighs less by the second (sliding)"
    )
    on_limiter_error: Literal["local", "allow", "deny"] = Field(
        "local", description="if no counter store answers: limit divided by processes (local), allow, or deny"
    )
    rate_limit_headers: bool = Field(True, description="send RateLimit and RateLimit-Policy")
    limit_preflights: bool = Field(False, description="let CORS preflights cost a token, as other requests do")
    x_rate_limit_headers: bool = Field(False, description="send X-RateLimit-Limit, -Remaining and -Reset as well")
    memory_max_tenants: int = Field(100_000, ge=1, le=100_000_000, description="tenants kept in the process")
    memory_ttl: float = Field(
        300.0,
        gt=0,
        le=30 * DAY,
        description="seconds after which a tenant in the process is read again, in the background",
    )
    warm_up: bool = Field(False, description="fill memory at the start, by one query, with the tenants seen last")
    redis_ttl: float = Field(3600.0, ge=1, le=30 * DAY, description="seconds that a tenant is kept in Redis")
    negative_ttl: float = Field(60.0, gt=0, le=DAY, description="seconds that an unknown host is remembered")
    host_index_max_hosts: int = Field(
        2_000_000,
        ge=0,
        le=100_000_000,
        description="hosts that the index of known hosts may hold, at 12 bytes each; 0 = no index",
    )
    max_staleness: float = Field(3.0, ge=0.1, le=3600, description="maximum age of any answer, in seconds")
    stale_if_error: float = Field(
        300.0, ge=0, le=7 * DAY, description="seconds that known tenants are still served while Postgres is unavailable"
    )
    max_value_bytes: int = Field(
        100_000,
        ge=1,
        le=512_000_000,
        description="maximum size of a tenant's copy in Redis, in bytes; larger ones are not stored",
    )
    key_prefix: str = Field(
        "tenantcache",
        pattern=r"^[A-Za-z0-9_.:-]{1,64}$",
        description="prefix of all Redis keys: up to 64 letters, digits and _ . : -",
    )
    trusted_proxies: Annotated[tuple[IPNetwork, ...], BeforeValidator(_parse_networks)] = Field(
        (), description="networks (CIDR) whose X-Forwarded-Host counts, comma-separated"
    )
    usage_interval: float = Field(
        10.0,
        ge=0,
        le=DAY,
        description="seconds between two batches of usage written to Postgres; 0 = usage is not counted",
    )
    redis_monthly_budget: int | None = Field(
        None, ge=1, le=MAX_PER_DAY, description="billed Redis commands a month to stay within; none = no budget"
    )
    redis_pricing: Literal["per-command"] = Field("per-command", description="how the Redis provider bills")

    def __init__(self, _environ: Mapping[str, str] | None = None, **values: Any) -> None:
        # The variables are read here and not by pydantic's source for them, which takes them in any case, shows
        # values in its messages, and knows nothing of a variable that it does not look for.
        environ = os.environ if _environ is None else _environ
        found = {name: variable for name, variable in _find_variables(environ).items() if name not in values}
        given: dict[str, Any] = {name: environ[variable] for name, variable in found.items()} | values
        faults = _unknown_variables(environ)
        try:
            super().__init__(**given)
        except ValidationError as error:
            faults = _describe(error, found | {name: f"Settings({name}=...)" for name in values}) + faults
        if faults:
            raise ConfigurationError("\n".join(faults))

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the settings from `environ` (variable to text), by default the process's environment.

        Raises ConfigurationError.
        """
        return cls(environ)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @property
    def limit_table(self) -> LimitTable:
        """Where a tenant's limits are looked up: the plans, and the defaults behind them."""
        return LimitTable(Limits(self.limit_per_minute or None, self.limit_per_day or None), self.plans)


@dataclass(frozen=True, slots=True)
class Variable:
    """One row of the table of variables: all texts, ready to be shown."""

    name: str
    default: str
    value: str
    meaning: str


def variables(settings: Settings | None = None) -> list[Variable]:
    """List all variables, with the values in `settings` where it is given; passwords are masked."""
    return [
        Variable(
            name=_variable(name),
            default="required" if info.is_required() else _as_text(name, info.default),
            value="" if settings is None else _as_text(name, getattr(settings, name)),
            meaning=info.description or "",
        )
        for name, info in Settings.model_fields.items()
    ]


def variable_of(field: str) -> str:
    """Return the variable that sets `field` in the process's environment, or the one that would."""
    return _find_variables(os.environ).get(field, _variable(field))


def _variable(field: str) -> str:
    return PREFIX + field.upper()


def _as_text(field: str, value: Any) -> str:
    if value is None:
        return "none"
    if field in URL_FIELDS:
        return mask(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return json.dumps(value)
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _find_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Map each field that is set in `environ` to the variable that sets it."""
    found = {}
    for name, info in Settings.model_fields.items():
        for variable in (_variable(name), UNPREFIXED.get(name, _variable(name))):
            if variable in environ and (environ[variable].strip() or _is_list(info)):
                found[name] = variable
                break
    return found


def _is_list(info: FieldInfo) -> bool:
    return isinstance(info.default, tuple)


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    known = [_variable(name) for name in Settings.model_fields]
    faults = []
    for variable in sorted(name for name in environ if name.upper().startswith(PREFIX) and name not in known):
        if is_service_variable(variable, environ[variable]):
            continue
        close = difflib.get_close_matches(variable.upper(), known, n=1, cutoff=0.8)
        hint = f"did you mean {close[0]}?" if close else "there are " + ", ".join(known)
        faults.append(f"{variable} is no setting; {hint}")
    return faults


def _describe(error: ValidationError, labels: Mapping[str, str]) -> list[str]:
    """Turn pydantic's errors into lines. `labels` maps a field to where its value came from."""
    lines = []
    for fault in error.errors(include_url=False):
        field = str(fault["loc"][0])
        label = labels.get(field, _variable(field))
        if fault["type"] == "missing":
            names = " or ".join(filter(None, (_variable(field), UNPREFIXED.get(field))))
            lines.append(f"{names} is not set; give {Settings.model_fields[field].description}")
        elif fault["type"] == "extra_forbidden":
            close = difflib.get_close_matches(field, Settings.model_fields, n=1, cutoff=0.6)
            lines.append(f"{label} is no setting" + (f"; did you mean {close[0]}?" if close else ""))
        elif fault["type"] == "value_error":
            lines += [f"{label} {line}" for line in _own_message(fault["msg"], field)]
        else:
            lines.append(f"{label} {_pydantic_message(field, fault['msg'], fault['input'])}")
    return lines


def _own_message(message: str, field: str) -> list[str]:
    lines = message.removeprefix("Value error, ").splitlines()
    return [line.replace(f"{field}: ", "is wrong: ", 1) for line in lines]


def _pydantic_message(field: str, message: str, value: Any) -> str:
    shown = "" if field in URL_FIELDS else f"is {_shown(value)}; it "
    right = message.partition(", unable to")[0].replace("Input ", "", 1).replace("String ", "", 1)
    return f"{shown}{right} ({Settings.model_fields[field].description})"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_LENGTH else text[: SHOWN_LENGTH - 3] + "..."
