"""From a Host value to the alias of a tenant, and from a name that a person types to a domain.

Rules:

* What comes over the wire is compared, never interpreted: length bound first, ASCII only, case folded, one root
  dot dropped (RFC 9110 4.2.3, RFC 3986 3.2.2). Nothing is mapped by IDNA: U+017F folds to "s" and U+00AD
  vanishes. So a mapped name could reach another tenant than the proxy in front saw.
* What is registered is mapped once, by UTS-46, to the A-labels that a browser sends. Every name that
  `normalise_domain` returns is one that `classify` finds, letter for letter.
* Hosts are names of LDH labels (letters, digits, inner hyphens; RFC 952, RFC 1123 2.1) or IP literals. RFC 3986
  allows more in a reg-name; DNS does not, and what no tenant can have is refused before it is looked up.
* A base domain itself and its reserved labels bypass. A tenant may be on the base domain itself: its subdomain is "".
  Exactly one label under a base domain is a subdomain. Deeper names and addresses cannot be a tenant's and need no
  lookup, because registering refuses them. Every other name is a custom domain or nothing, and only a lookup knows.
* The longest base domain wins, without sorting. What is left of a name without its first label is its longest parent.
  If that is a base domain, only the name itself could be a longer one, and that is tried first.
* A port is not part of the identity: it is checked (digits, at most 65535, may be empty) and dropped.
* Nothing that takes bytes from a request raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv6Address, ip_address
from typing import Literal, NamedTuple

import idna

from tenantcache.lookup.core.alias import domain_alias, subdomain_alias

MAX_NAME_LENGTH = 253
"""Octets of a name without its root dot: 255 on the wire (RFC 1035 2.3.4) less the first length octet and the root."""

MAX_PORT = 65_535

MAX_HOST_LENGTH = MAX_NAME_LENGTH + len(".:65535")
"""Octets of a Host value that is looked at: the longest name, its root dot, and a port. An IPv6 literal is shorter."""

# Possessive, and a dot is in no label: a name is matched in one pass, whatever is sent.
_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}+(?<!-)"
LABEL = re.compile(_LABEL)
HOST = re.compile(rf"(?:({_LABEL}(?:\.{_LABEL})*+)\.?|\[([0-9A-Fa-f:.]+)\])(?::([0-9]*+))?".encode())

# Clients read a last label like these as part of an IPv4 address (WHATWG URL, "ends in a number"). No top-level
# domain is all digits (RFC 3696 2).
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class HostMatch(NamedTuple):
    """What a Host value names.

    * `bypass`: a base domain or a reserved label of it; the request has no tenant and needs none.
    * `alias`: `alias` is what to look up, `subdomain:acme` or `domain:shop.acme.io`. `subdomain:` is a base domain
      itself; if that leads to no tenant, the request has none and needs none.
    * `unknown`: well-formed, and no tenant can have it; nothing to look up.
    * `malformed`: to be answered with 400.

    `under_base` is true for names at or under a base domain. If it is false and there is no tenant, the request is for
    a foreign host, and 421 (RFC 9110 15.5.20) is as good an answer as 404.
    """

    kind: Literal["bypass", "alias", "unknown", "malformed"]
    alias: str | None = None
    under_base: bool = False


MALFORMED = HostMatch("malformed")
BYPASS = HostMatch("bypass", under_base=True)
BASE_DOMAIN = HostMatch("alias", subdomain_alias(""), True)
"""What a base domain itself names if a tenant may be there."""
_NESTED = HostMatch("unknown", under_base=True)
_ADDRESS = HostMatch("unknown")


@dataclass(frozen=True, slots=True)
class HostRules:
    """Which hosts are ours: made once from the settings, which it normalises.

    `base_domains` are names like `example.com` or `localhost`; with none, every tenant has a custom domain.
    `reserved_subdomains` are single labels, reserved under each base domain. `base_domain_tenant`: a tenant may be on
    the base domains themselves. Raises ValueError, with every fault in its text, one a line.
    """

    base_domains: Sequence[str]
    reserved_subdomains: Sequence[str] = ()
    base_domain_tenant: bool = False
    _bases: frozenset[str] = field(init=False, repr=False, compare=False)
    _suffixes: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _reserved: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        faults: list[str] = []
        bases = _normalise_each("base_domains", self.base_domains, _base_domain, faults)
        reserved = _normalise_each("reserved_subdomains", self.reserved_subdomains, _single_label, faults)
        if faults:
            raise ValueError("\n".join(faults))
        derived = {
            "base_domains": bases,
            "reserved_subdomains": reserved,
            "_bases": frozenset(bases),
            "_suffixes": tuple("." + base for base in bases),
            "_reserved": frozenset(reserved),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)  # it is frozen from here on

    def classify(self, raw: bytes) -> HostMatch:
        """Say what one Host value (without the header's name, as received) names. Never raises."""
        name = parse_host(raw)
        if name is None:
            return MALFORMED
        if name in self._bases:
            return BASE_DOMAIN if self.base_domain_tenant else BYPASS
        label, _, parent = name.partition(".")
        if parent in self._bases:
            return BYPASS if label in self._reserved else HostMatch("alias", subdomain_alias(label), True)
        if name.endswith(self._suffixes):
            return _NESTED
        if name[0] == "[" or _ends_in_number(name):
            return _ADDRESS
        return HostMatch("alias", domain_alias(name))

    def base_of(self, raw: bytes) -> str | None:
        """The base domain that a Host value is, or is one label below; None if there is none."""
        name = parse_host(raw) or ""
        return next((base for base in (name, name.partition(".")[2]) if base in self._bases), None)

    def normalise_domain(self, name: str) -> str:
        """`normalise_domain`, refusing as well what lies at or under a base domain (ValueError)."""
        domain = normalise_domain(name)
        if domain in self._bases:
            raise ValueError(f"domain {name!r} is a base domain; a tenant has a subdomain of it or a domain of its own")
        if domain.endswith(self._suffixes):
            raise ValueError(f"domain {name!r} lies under a base domain; give the tenant a subdomain instead")
        return domain

    def normalise_subdomain(self, name: str) -> str:
        """Return the label that requests for `name` carry: `Büro` becomes `xn--bro-hoa`.

        Raises ValueError if `name` is not a single label that can be sent, or if it is reserved.
        """
        label = _single_label(name)
        if label in self._reserved:
            raise ValueError(f"subdomain {name!r} is reserved and would never be reached; choose another")
        return label


def normalise_domain(name: str) -> str:
    """Return the custom domain `name` as requests carry it: A-labels, lower case, no root dot.

    Mapped by UTS-46, so that `BÜCHER.example` becomes `xn--bcher-kva.example`. Labels with hyphens in the third and
    fourth place are taken as they are, as browsers do. Such domains exist, though RFC 5891 would not have them
    registered. Raises ValueError if the name is empty, an IP address, a single label, or not a host name.
    """
    domain = _to_ascii("domain", name)
    _refuse_address("domain", name, domain)
    if "." not in domain:
        raise ValueError(f"domain {name!r} has a single label; a custom domain has two or more, like shop.example.com")
    return domain


def same_name(one: bytes, other: bytes) -> bool:
    """Whether both are well-formed and name the same host; ports are not compared."""
    name = parse_host(one)
    return name is not None and name == parse_host(other)


def parse_host(raw: bytes) -> str | None:
    """Return the name in lower case without port and root dot, or an IPv6 literal in brackets; None if malformed."""
    if len(raw) > MAX_HOST_LENGTH:
        return None
    match = HOST.fullmatch(raw)
    if match is None:
        return None
    name, literal, port = match.groups()
    if port and int(port) > MAX_PORT:
        return None
    if name is None:
        return _parse_ipv6(literal.decode("ascii").lower())
    return name.decode("ascii").lower() if len(name) <= MAX_NAME_LENGTH else None


def _parse_ipv6(literal: str) -> str | None:
    # IPvFuture (RFC 3986 3.2.2) is malformed here: no version of it was ever defined.
    try:
        IPv6Address(literal)
    except AddressValueError:
        return None
    return f"[{literal}]"


def _ends_in_number(name: str) -> bool:
    return _NUMBER.fullmatch(name, name.rfind(".") + 1) is not None


def _normalise_each(
    setting: str, names: Sequence[str], normalise: Callable[[str], str], faults: list[str]
) -> tuple[str, ...]:
    """Return the normalised names, each once, and add what is wrong with them to `faults`."""
    if isinstance(names, str):
        faults.append(f"{setting} is the string {names!r}; give a list of strings")
        return ()
    normalised: dict[str, None] = {}
    for name in names:
        try:
            normalised[normalise(name)] = None
        except ValueError as error:
            faults.append(f"{setting}: {error}")
    return tuple(normalised)


def _base_domain(name: str) -> str:
    domain = _to_ascii("base domain", name)
    _refuse_address("base domain", name, domain)
    return domain


def _single_label(name: str) -> str:
    label = _to_ascii("subdomain", name)
    if "." in label:
        raise ValueError(f"subdomain {name!r} has a dot; give one label, without the base domain")
    return label


def _refuse_address(what: str, name: str, ascii_name: str) -> None:
    if _ends_in_number(ascii_name):
        raise ValueError(f"{what} {name!r} is read as an IP address, because its last label is a number; give a name")


def _to_ascii(what: str, name: str) -> str:
    """Map `name` by UTS-46 to LDH labels in lower case, without the root dot. Raises ValueError."""
    text = name.strip()
    if not text:
        raise ValueError(f"{what} is empty; give a name")
    if len(text) > MAX_NAME_LENGTH + len("."):
        raise ValueError(f"{what} has {len(text)} characters; at most {MAX_NAME_LENGTH} are possible")
    if _is_ip_literal(text):
        raise ValueError(f"{what} {name!r} is an IP address; give a name")
    try:
        mapped = idna.uts46_remap(text).removesuffix(".")
        ascii_name = ".".join(_to_a_label(label) for label in mapped.split("."))
    except ValueError as error:
        hint = "give the name alone, without scheme, port, path or wildcard"
        raise ValueError(f"{what} {name!r} is not a host name: {error}; {hint}") from error
    if len(ascii_name) > MAX_NAME_LENGTH:
        raise ValueError(
            f"{what} {name!r} has {len(ascii_name)} octets in ASCII; at most {MAX_NAME_LENGTH} are possible"
        )
    return ascii_name


def _is_ip_literal(text: str) -> bool:
    try:
        ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _to_a_label(label: str) -> str:
    if label.isascii() and not label.startswith("xn--"):
        if LABEL.fullmatch(label) is None:
            raise ValueError(f"label {label!r} is not 1 to 63 letters, digits and inner hyphens")
        return label
    return idna.alabel(label).decode("ascii")


NO_BASE_DOMAINS = HostRules(())
"""By which every name is a custom domain, or nothing."""
