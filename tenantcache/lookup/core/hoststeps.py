"""How a Host value is read, step by step, for a person who asks why it leads where it does.

`HostRules.classify` decides, and is asked here as well. The steps and the faults only say what it has compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tenantcache.lookup.core.hosts import (
    BASE_DOMAIN,
    HOST,
    LABEL,
    MAX_HOST_LENGTH,
    MAX_NAME_LENGTH,
    MAX_PORT,
    HostMatch,
    HostRules,
    parse_host,
)

MAX_LABEL_LENGTH = 63
"""Octets of a label (RFC 1035 2.3.4)."""

_IN_NO_NAME = re.compile(r"[^A-Za-z0-9.-]")

Decider = Literal["base_domains", "base_domain_tenant", "reserved_subdomains", "row"]
"""What says what a well-formed host is: a setting, or the row that a lookup finds."""


@dataclass(frozen=True, slots=True)
class HostStep:
    """One step: what was looked at, what of the value is left after it, and what was found."""

    name: str
    left: str
    told: str


@dataclass(frozen=True, slots=True)
class HostReading:
    """`match` is what `classify` says. `fault` is why the value is malformed; otherwise there are steps and a decider.

    `base` is the base domain that the host is at or under, if any.
    """

    match: HostMatch
    steps: tuple[HostStep, ...] = ()
    decided_by: Decider | None = None
    base: str | None = None
    fault: str | None = None


def read_host(rules: HostRules, raw: bytes) -> HostReading:
    """Read one Host value, as `classify` does. Never raises."""
    match = rules.classify(raw)
    name = parse_host(raw)
    if name is None:
        return HostReading(match, fault=fault_of(raw))
    around = [base for base in rules.base_domains if name.endswith("." + base)]
    base = rules.base_of(raw) or max(around, key=len, default=None)
    decided_by, told = _decision(match, name, base)
    steps = (*_spelling(raw, name), HostStep("meaning", match.alias or name, told))
    return HostReading(match, steps, decided_by, base)


def _spelling(raw: bytes, name: str) -> list[HostStep]:
    """From the value to the name that is compared."""
    found = HOST.fullmatch(raw)
    assert found is not None  # it has a name
    text, port = raw.decode("ascii"), found[3]
    left = text if port is None else text.removesuffix(":" + port.decode("ascii"))
    told = "none" if port is None else f"{port.decode('ascii') or 'an empty one'}: cut off, since it identifies nothing"
    steps = [HostStep("port", left, told)]
    if name.startswith("["):
        return [*steps, HostStep("address", name, "an IPv6 address")]
    rootless = left.removesuffix(".")
    steps.append(HostStep("root dot", rootless, "none" if rootless == left else "cut off"))
    steps.append(HostStep("capitals", name, "none" if name == rootless else "made small"))
    count = name.count(".") + 1
    labels = "1 label" if count == 1 else f"{count} labels"
    return [*steps, HostStep("labels", name, f"{labels} of letters, digits and inner hyphens")]


def _decision(match: HostMatch, name: str, base: str | None) -> tuple[Decider | None, str]:
    if match == BASE_DOMAIN:
        return "base_domain_tenant", "a base domain, on which a tenant may be"
    if match.kind == "bypass":
        if name == base:
            return "base_domains", "a base domain, which has no tenant"
        return "reserved_subdomains", f"a reserved subdomain of {base}, which has no tenant"
    if match.kind == "alias":
        under = f"a subdomain of {base}" if base is not None else "under no base domain, so a custom domain or nothing"
        return "row", under
    if base is not None:
        return "base_domains", f"more than one label under {base}, which no tenant can have"
    return None, "an IP address, or read as one, which no tenant can have"


def fault_of(raw: bytes) -> str:
    """Why `raw` is malformed. Only for what `classify` calls that."""
    if len(raw) > MAX_HOST_LENGTH:
        return f"it has {len(raw)} octets, and at most {MAX_HOST_LENGTH} are possible"
    return _text_fault(raw.decode("ascii")) if raw.isascii() else "it is not ASCII, and so no browser sends it"


def _text_fault(text: str) -> str:
    if not text:
        return "it is empty"
    if "://" in text:
        return "it is a URL, not a host"
    if text.startswith("["):
        return "it begins with [, and is not an IPv6 address in brackets"
    name, colon, port = text.partition(":")
    odd = _IN_NO_NAME.search(name)
    if odd is not None:
        return f"it holds {odd[0]!r}, and a name has letters, digits, hyphens and dots alone"
    return (_port_fault(port) if colon else None) or _name_fault(name.removesuffix("."))


def _port_fault(port: str) -> str | None:
    if port and not port.isdigit():
        return f"{port!r} is not a port: give digits, or leave the colon out"
    return f"the port {port} is over {MAX_PORT}" if port and int(port) > MAX_PORT else None


def _name_fault(name: str) -> str:
    if not name:
        return "it has no name"
    if len(name) > MAX_NAME_LENGTH:
        return f"its name has {len(name)} octets, and at most {MAX_NAME_LENGTH} are possible"
    label = next((label for label in name.split(".") if LABEL.fullmatch(label) is None), "")
    if not label:
        return "it has an empty label: a dot at the beginning, or two in a row"
    if len(label) > MAX_LABEL_LENGTH:
        return f"the label {label!r} has {len(label)} octets, and at most {MAX_LABEL_LENGTH} are possible"
    return f"the label {label!r} begins or ends with a hyphen"
