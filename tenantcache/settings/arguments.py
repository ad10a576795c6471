"""What `Settings(...)` takes: for each setting the types that are read, which are more than those that are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, TypedDict

from pydantic import SecretStr

from tenantcache.budget.core.prices import Pricing
from tenantcache.values.core.kind import KindTable

Items = str | Iterable[str]
"""A list, or its text as the variable has it: "a, b"."""


class SettingsArguments(TypedDict, total=False):
    """Keyword arguments of `Settings`, in the order of its fields. Units and meanings: docs/settings.md."""

    database_url: str
    redis_url: str | None
    listen_url: str | None
    base_domains: Items
    reserved_subdomains: Items
    base_domain_tenant: bool
    strategies: Items
    redirect_to_primary: bool
    status_codes: str | Mapping[str, int]
    bypass_paths: Items
    unlimited_paths: Items
    limit_per_minute: int
    limit_per_day: int
    plans: str | Mapping[str, Mapping[str, int | None]]
    limits: Literal["enforce", "shadow", "off"]
    minute_window: Literal["fixed", "sliding"]
    counters: Literal["redis", "postgres"]
    on_limiter_error: Literal["local", "allow", "deny"]
    rate_limit_headers: bool
    limit_preflights: bool
    x_rate_limit_headers: bool
    memory_max_tenants: int
    memory_ttl: float
    values_max_entries: int
    values_max_bytes: int
    values_kinds: str | KindTable
    values_format: Literal["json", "msgpack"]
    values_max_writes: int
    values_max_write_bytes: int
    warm_up: Literal["auto"] | bool
    redis_ttl: float
    negative_ttl: float
    host_index_max_hosts: int
    max_staleness: float
    stale_if_error: float
    max_value_bytes: int
    key_prefix: str
    trusted_proxies: str | Iterable[str | IPv4Network | IPv6Network]
    usage_interval: float
    metrics_dir: Path | None
    redis_monthly_budget: int | None
    redis_daily_budget: int | None
    budget_webhook_url: str | None
    budget_webhook_secret: str | None
    redis_billing_day: int
    redis_pricing: Pricing
    redis_read_regions: int
    redis_price: float | None
    upstash_email: str | None
    upstash_api_key: str | SecretStr | None
    upstash_database_id: str | None
