"""Reads and checks the values of single settings.

Each function raises ValueError with all faults, a line each. Each line follows the name of
the setting: "holds 'health'; a path begins with /".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any
from urllib.parse import urlsplit

from tenantcache.budget.core.signature import key_of
from tenantcache.lookup.core.hosts import HostRules
from tenantcache.settings.postgresurl import postgres_url
from tenantcache.settings.redisurl import redis_url
from tenantcache.tenant import MAX_PER_DAY, MAX_PER_MINUTE
from tenantcache.values.core.kind import KINDS, read_kinds

IPNetwork = IPv4Network | IPv6Network

PLANS_EXAMPLE = '{"pro": {"per_minute": 6000, "per_day": 1000000}}'
KINDS_EXAMPLE = '{"profile": 900, "report": {"fresh": 600, "stale": 3000}}'
STATUS_CODES_EXAMPLE = '{"suspended": 402, "foreign": 421}'

REASONS = ("malformed", "unknown", "foreign", "suspended", "maintenance", "deleted")
"""Why a request is refused before its limits are looked at. `foreign`: unknown, and under no base domain."""

SHOWN_LENGTH = 60
"""Characters of a value that a message shows."""

_PLAN_KEYS = {"per_minute": MAX_PER_MINUTE, "per_day": MAX_PER_DAY}
_ERRORS = {status.value for status in HTTPStatus if status.value >= 400}


def shown(value: object) -> str:
    """`value` as a message shows it."""
    text = repr(value)
    return text if len(text) <= SHOWN_LENGTH else text[: SHOWN_LENGTH - 3] + "..."


def read_postgres_url(url: str | None) -> str | None:
    return None if url is None else postgres_url(url)


def read_redis_url(url: str | None) -> str | None:
    return None if url is None else redis_url(url)


def read_webhook_url(url: str | None) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # its text may have a part of a password
        is_usable = False
    if not is_usable:
        raise ValueError("is not an http or https URL; give one like https://example.com/hooks/redis")
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise ValueError("has characters that no URL has; write them as %20 and so on")
    return url


def read_webhook_secret(secret: str | None) -> str | None:
    if secret is not None:
        key_of(secret)
    return secret


# What comes from outside of Python is a text, what comes from code may be anything: pydantic checks what is returned.


def split_commas(value: Any) -> Any:
    """The parts of a text, without spaces around them; anything else as it is."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def check_base_domains(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(HostRules(names).base_domains)


def check_reserved(labels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(HostRules((), labels).reserved_subdomains)


def check_paths(paths: tuple[str, ...]) -> tuple[str, ...]:
    if faults := [f"holds {path!r}; a path begins with /" for path in paths if not path.startswith("/")]:
        raise ValueError("\n".join(faults))
    return paths


def parse_networks(value: Any) -> Any:
    """Networks from a text, or from anything that `ip_network` takes."""
    parts = split_commas(value)
    if not isinstance(parts, Iterable):
        return parts
    networks, faults = [], []
    for part in parts:
        try:
            networks.append(ip_network(part))
        except ValueError as error:
            faults.append(f"holds {shown(part)}, not a network: {error}; give CIDRs like 10.0.0.0/8, ::1/128")
    if faults:
        raise ValueError("\n".join(faults))
    return networks


def parse_plans(value: Any) -> Any:
    """Limits by plan, from JSON or from a mapping."""
    value = _json_object(value, PLANS_EXAMPLE)
    if faults := [fault for name, plan in value.items() for fault in _plan_faults(name, plan)]:
        raise ValueError("\n".join(faults))
    return value


def parse_kinds(value: Any) -> Any:
    """Kinds of values by name, from JSON or from a mapping; those that it does not name stay as they are."""
    value = _json_object(value, KINDS_EXAMPLE)
    read_kinds(value)
    return {**KINDS, **value}


def check_format(value: str) -> str:
    if value == "msgpack" and find_spec("msgspec") is None:
        raise ValueError("is msgpack, which needs msgspec: pip install tenantcache[msgspec]")
    return value


def parse_status_codes(value: Any) -> Any:
    """Statuses by reason, from JSON or from a mapping."""
    value = _json_object(value, STATUS_CODES_EXAMPLE)
    faults = [
        f"has the unknown reason {reason!r}; there are {', '.join(REASONS)}"
        for reason in value
        if reason not in REASONS
    ]
    faults += [
        f"has {reason!r} with {shown(code)}; give a status of an error, from 400 to 511"
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
            raise ValueError(f"is not JSON: {error}; give one like {example}") from None
    if not isinstance(value, Mapping):
        raise ValueError(f"is not a JSON object; give one like {example}")
    return value


def _plan_faults(name: str, plan: Any) -> Iterable[str]:
    if not isinstance(plan, Mapping):
        yield f"has plan {name!r} as {shown(plan)}; give an object like " + '{"per_minute": 6000, "per_day": 1000000}'
        return
    for key, limit in plan.items():
        if key not in _PLAN_KEYS:
            yield f"has plan {name!r} with the unknown key {key!r}; there are per_minute and per_day"
        elif limit is not None and (type(limit) is not int or not 0 <= limit <= _PLAN_KEYS[key]):
            yield (
                f"has plan {name!r} with {key} {shown(limit)}; "
                f"give a whole number from 0 (unlimited) to {_PLAN_KEYS[key]}, or null (unlimited)"
            )
