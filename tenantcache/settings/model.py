"""The settings: from environment variables, from code, or from both (code wins).

Rules:

* Every fault is reported at once, in one `ConfigurationError`, a line each: what is set, what is wrong with it, what
  would be right. A URL is never shown as it is.
* An unknown variable that begins with TENANTCACHE_ is a fault: a misspelled limit limits nothing. What Kubernetes sets
  for a service of that name (`TENANTCACHE_REDIS_SERVICE_HOST`) is not a fault.
* A variable that is set to nothing counts as not set. For a list it means "none".
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, Unpack

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from tenantcache.budget.core.prices import Pricing, Tariff, tariff_of
from tenantcache.errors import ConfigurationError
from tenantcache.settings.arguments import SettingsArguments
from tenantcache.settings.checks import (
    PLANS_EXAMPLE,
    STATUS_CODES_EXAMPLE,
    IPNetwork,
    check_base_domains,
    check_format,
    check_paths,
    check_reserved,
    parse_kinds,
    parse_networks,
    parse_plans,
    parse_status_codes,
    read_postgres_url,
    read_redis_url,
    read_webhook_secret,
    read_webhook_url,
    split_commas,
)
from tenantcache.settings.faults import describe
from tenantcache.settings.kubernetes import is_service_variable
from tenantcache.settings.strategytext import split_strategies
from tenantcache.settings.urls import mask
from tenantcache.tenant import MAX_PER_DAY, MAX_PER_MINUTE, Limits, LimitTable
from tenantcache.values.core.kind import KINDS, KindTable

PREFIX = "TENANTCACHE_"
URL_FIELDS = ("database_url", "redis_url", "listen_url")
SECRET_FIELDS = (*URL_FIELDS, "upstash_api_key", "budget_webhook_url", "budget_webhook_secret")
"""The URL of a webhook may itself be the secret."""
# What most hosting platforms set by themselves.
UNPREFIXED = {"database_url": "DATABASE_URL", "redis_url": "REDIS_URL"}

DAY = 86_400.0

MIN_REDIS_TTL = 60.0
"""Seconds. A process keeps a tenant for some minutes itself, so a copy that lives shorter is for no reader."""

Names = Annotated[tuple[str, ...], BeforeValidator(split_commas)]


class Settings(BaseSettings):
    """All settings, immutable. `Settings()` reads the environment; `Settings(database_url=...)` overrides it.

    Raises ConfigurationError, with every fault in its text.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, str_strip_whitespace=True
    )

    database_url: Annotated[str, AfterValidator(read_postgres_url)] = Field(
        repr=False, description="the Postgres URL, like postgresql://user:password@host:5432/database"
    )
    redis_url: Annotated[str | None, AfterValidator(read_redis_url)] = Field(
        None,
        repr=False,
        description="the Redis URL, like redis://host:6379/0, rediss:// for TLS; without it counters are in Postgres",
    )
    listen_url: Annotated[str | None, AfterValidator(read_postgres_url)] = Field(
        None,
        repr=False,
        description="a Postgres URL for LISTEN alone, if the other one is that of a transaction pooler",
    )
    base_domains: Annotated[Names, AfterValidator(check_base_domains)] = Field(
        ("localhost",), description="domains whose subdomains are tenants, comma-separated"
    )
    reserved_subdomains: Annotated[Names, AfterValidator(check_reserved)] = Field(
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
    status_codes: Annotated[Mapping[str, int], BeforeValidator(parse_status_codes)] = Field(
        {}, description=f"statuses of refusals, as JSON: {STATUS_CODES_EXAMPLE}"
    )
    bypass_paths: Annotated[Names, AfterValidator(check_paths)] = Field(
        ("/health",), description="paths, with all below them, without tenant and limit, comma-separated"
    )
    unlimited_paths: Annotated[Names, AfterValidator(check_paths)] = Field(
        (), description="paths, with all below them, with tenant and without limit, comma-separated"
    )
    limit_per_minute: int = Field(
        600, ge=0, le=MAX_PER_MINUTE, description="requests a tenant may make in a minute; 0 = unlimited"
    )
    limit_per_day: int = Field(
        100_000, ge=0, le=MAX_PER_DAY, description="requests a tenant may make in a day; 0 = unlimited"
    )
    plans: Annotated[Mapping[str, Mapping[str, int | None]], BeforeValidator(parse_plans)] = Field(
        {}, description=f"limits of the plans, as JSON: {PLANS_EXAMPLE}"
    )
    limits: Literal["enforce", "shadow", "off"] = Field(
        "enforce", description="enforce limits, only count what would be denied (shadow), or do neither (off)"
    )
    minute_window: Literal["fixed", "sliding"] = Field(
        "fixed", description="minutes begin anew (fixed), or the previous one weighs less by the second (sliding)"
    )
    counters: Literal["redis", "postgres"] = Field(
        "redis", description="store of the limits' counters; without a Redis URL that is Postgres"
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
    values_max_entries: int = Field(
        10_000, ge=1, le=100_000_000, description="values of the application that are kept in the process"
    )
    values_max_bytes: int = Field(
        64_000_000, ge=10_000, le=1_000_000_000_000, description="their size in the process, in bytes"
    )
    values_kinds: Annotated[KindTable, BeforeValidator(parse_kinds)] = Field(
        KINDS, description="seconds that values of a kind are kept, as JSON; what is given is added to these"
    )
    values_format: Annotated[Literal["json", "msgpack"], AfterValidator(check_format)] = Field(
        "json", description="how values are written into Redis: json, or msgpack (smaller; needs msgspec)"
    )
    values_max_writes: int = Field(
        10_000, ge=1, le=100_000_000, description="values that may wait to be written later; then `write_later` waits"
    )
    values_max_write_bytes: int = Field(
        16_000_000, ge=10_000, le=1_000_000_000_000, description="their size in the process, in bytes"
    )
    warm_up: Literal["auto"] | bool = Field(
        "auto", description="fill memory at the start: if it holds all tenants (auto), with those seen last, or not"
    )
    redis_ttl: float = Field(
        3600.0,
        ge=MIN_REDIS_TTL,
        le=30 * DAY,
        description="seconds that a tenant is kept in Redis; under 60 it is written more often than it is read",
    )
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
    trusted_proxies: Annotated[tuple[IPNetwork, ...], BeforeValidator(parse_networks)] = Field(
        (), description="networks (CIDR) whose X-Forwarded-Host counts, comma-separated"
    )
    usage_interval: float = Field(
        10.0,
        ge=0,
        le=DAY,
        description="seconds between two batches of usage written to Postgres; 0 = usage is not counted",
    )
    metrics_dir: Path | None = Field(
        None, description="a directory in which the workers of one machine put their metrics together"
    )
    redis_monthly_budget: int | None = Field(
        None, ge=1, le=MAX_PER_DAY, description="billed Redis commands a month to stay within; none = no budget"
    )
    redis_daily_budget: int | None = Field(
        None, ge=1, le=MAX_PER_DAY, description="the same for a day (UTC), in place of a monthly budget"
    )
    budget_webhook_url: Annotated[str | None, AfterValidator(read_webhook_url)] = Field(
        None, repr=False, description="the URL that is told of each change of the budget's band, by a signed POST"
    )
    budget_webhook_secret: Annotated[str | None, AfterValidator(read_webhook_secret)] = Field(
        None,
        validate_default=True,
        repr=False,
        description="the secret that signs it: whsec_ and 32 random bytes in base64",
    )
    redis_billing_day: int = Field(
        1, ge=1, le=28, description="day of the month on which the provider begins to count anew (UTC)"
    )
    redis_pricing: Pricing = Field(
        "per-command",
        description="how the Redis provider bills: per-command, ecpu (ElastiCache Serverless), or flat (not commands)",
    )
    redis_read_regions: int = Field(
        0, ge=0, le=100, description="read regions of the Redis database: a write is billed once more for each"
    )
    redis_price: float | None = Field(
        None,
        ge=0,
        description="price of 100,000 billed commands (ecpu: ECPUs) in dollars; none = 0.20, Upstash's (ecpu: 0.00034)",
    )
    upstash_email: str | None = Field(None, description="the account whose Developer API says what Upstash has billed")
    upstash_api_key: SecretStr | None = Field(None, description="a key of that API; one that may only read will do")
    upstash_database_id: str | None = Field(
        None, validate_default=True, description="the database's id in that API; the three belong together"
    )

    def __init__(self, _environ: Mapping[str, str] | None = None, **values: Unpack[SettingsArguments]) -> None:
        # The variables are read here. Pydantic's own source takes them in lower case too, and shows values in its
        # messages. Nor does it notice a variable that it does not look for.
        environ = os.environ if _environ is None else _environ
        found = {name: variable for name, variable in _find_variables(environ).items() if name not in values}
        given: dict[str, Any] = {name: environ[variable] for name, variable in found.items()} | values
        faults = _unknown_variables(environ)
        try:
            super().__init__(**given)
        except ValidationError as error:
            labels = _variable_names() | found | {name: f"Settings({name}=...)" for name in values}
            faults = describe(error, labels, type(self).model_fields, SECRET_FIELDS) + faults
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

    @field_validator("budget_webhook_secret")
    @classmethod
    def _check_webhook(cls, secret: str | None, info: ValidationInfo) -> str | None:
        if (secret is None) is not (info.data.get("budget_webhook_url") is None):
            raise ValueError("belongs together with TENANTCACHE_BUDGET_WEBHOOK_URL; set both or none")
        return secret

    @field_validator("upstash_database_id")
    @classmethod
    def _check_upstash(cls, database_id: str | None, info: ValidationInfo) -> str | None:
        # A field that is wrong itself is not there.
        given = {database_id is None, *(info.data.get(name) is None for name in ("upstash_email", "upstash_api_key"))}
        if len(given) > 1:
            raise ValueError(
                "belongs together with TENANTCACHE_UPSTASH_EMAIL and TENANTCACHE_UPSTASH_API_KEY; set all three or none"
            )
        return database_id

    @property
    def tariff(self) -> Tariff:
        """How the Redis provider bills."""
        return tariff_of(self.redis_pricing, read_regions=self.redis_read_regions, price=self.redis_price)

    @property
    def limit_table(self) -> LimitTable:
        """What a tenant's limits are read from: the plans, and the defaults behind them."""
        return LimitTable(Limits(self.limit_per_minute or None, self.limit_per_day or None), self.plans)


@dataclass(frozen=True, slots=True)
class Variable:
    """One row of the table of variables: all texts, ready to be shown."""

    name: str
    default: str
    value: str
    meaning: str
    is_changed: bool
    """Whether the value is another one than the default."""


def variables(settings: Settings | None = None) -> list[Variable]:
    """List all variables, with the values in `settings` if it is given; passwords are masked."""
    return [
        Variable(
            name=_variable(name),
            default="required" if info.is_required() else _as_text(name, info.default),
            value="" if settings is None else _as_text(name, getattr(settings, name)),
            meaning=info.description or "",
            is_changed=not info.is_required() and settings is not None and getattr(settings, name) != info.default,
        )
        for name, info in Settings.model_fields.items()
    ]


def variable_of(field: str) -> str:
    """Return the variable that sets `field` in the process's environment, or the one that would."""
    return _find_variables(os.environ).get(field, _variable(field))


def _variable(field: str) -> str:
    return PREFIX + field.upper()


def _variable_names() -> dict[str, str]:
    """The variables that may set each field, as a message names them."""
    own = {name: _variable(name) for name in Settings.model_fields}
    return own | {name: f"{own[name]} or {other}" for name, other in UNPREFIXED.items()}


def _as_text(field: str, value: Any) -> str:
    if value is None:
        return "none"
    if field in URL_FIELDS + SECRET_FIELDS:
        return mask(value) if field in URL_FIELDS else "***"
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
        faults.append(f"{variable} is not a setting; {hint}")
    return faults
