"""A Redis URL as people have it, turned into one that redis-py takes, without what would break a promise.

redis-py hands every option to its connection: an unknown one raises TypeError there, and known ones would win over
what the stores need. `retry_on_timeout` would take tokens twice, `decode_responses` would spoil copies, `protocol=3`
and `client_name` cost a command for each connection. Those are left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from tenantcache.settings.urls import (
    NO,
    YES,
    UrlParts,
    authority_fault,
    read_options,
    split,
    unknown_option,
    unreadable,
    with_options,
    wrong_scheme,
)

EXAMPLE = "redis://host:6379/0, or rediss:// for TLS"
SCHEMES = {"redis": "redis", "rediss": "rediss", "unix": "unix", "valkey": "redis", "valkeys": "rediss"}

# fmt: off
HONOURED = frozenset({
    "db", "username", "password", "ssl", "ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_certs", "ssl_ca_path",
    "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_ciphers", "ssl_min_version",
    "ssl_include_verify_flags", "ssl_exclude_verify_flags", "socket_keepalive",
})
WITHOUT_EFFECT = frozenset({
    "socket_timeout", "socket_connect_timeout", "socket_read_size", "timeout", "max_connections", "retry_on_timeout",
    "retry_on_error", "health_check_interval", "client_name", "protocol", "decode_responses", "encoding",
    "encoding_errors", "legacy_responses", "lib_name", "lib_version",
})
# fmt: on
_KNOWN = sorted(HONOURED | WITHOUT_EFFECT)
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")

_CERT_REQS = ("none", "optional", "required")
_TLS_VERSIONS = {"TLSv1.2": "771", "TLSv1.3": "772", "771": "771", "772": "772"}


def redis_url(url: str) -> str:
    """Return `url` as redis-py takes it. Raises ValueError with all faults, a line each, and never a password."""
    parts = split(url)
    if parts.scheme in ("http", "https"):
        raise ValueError(
            f"is a REST URL ({parts.scheme}://), which cannot be used here; "
            "give the redis:// or rediss:// URL of the same provider"
        )
    if parts.scheme not in SCHEMES:
        raise ValueError(wrong_scheme(parts.scheme, EXAMPLE))
    if fault := _place_fault(parts):
        raise ValueError(fault)
    options = dict(read_options(parts))
    unknown = [unknown_option(name, _KNOWN) for name in options if name not in _KNOWN]
    scheme = SCHEMES[parts.scheme]
    wants_tls = options.pop("ssl", "").lower()
    if wants_tls in YES and scheme == "redis":
        scheme = "rediss"
    options = {name: value for name, value in options.items() if name in HONOURED}
    if faults := [*unknown, *_tls_faults(scheme, wants_tls, options), *_settle(options)]:
        raise ValueError("\n".join(faults))
    return with_options(scheme, parts, parts.hosts.removesuffix(":"), list(options.items()))


def _place_fault(parts: UrlParts) -> str | None:
    if fault := authority_fault(parts):
        return fault
    if parts.scheme == "unix":
        return "has a host; give the path of the socket, like unix:///run/redis.sock" if parts.hosts else None
    if "," in parts.hosts:
        return "names several hosts; give one, of a cluster any node"
    database = parts.rest.partition("?")[0].strip("/")
    if database and not database.isdecimal():
        return "has a database that is not a number; give one like redis://host:6379/0"
    return None


def _tls_faults(scheme: str, wants_tls: str, options: dict[str, str]) -> Iterator[str]:
    if wants_tls and wants_tls not in YES + NO:
        yield "has an option ssl with an unknown value; there are true and false"
    if wants_tls in NO and scheme == "rediss":
        yield "has ssl=false, but rediss:// is TLS; give redis://"
    if scheme != "rediss" and (names := [name for name in options if name.startswith("ssl_")]):
        yield f"has {', '.join(names)}, but {scheme}:// is without TLS; give rediss://"


def _settle(options: dict[str, str]) -> Iterator[str]:
    """Give options the values that redis-py knows; yields what is wrong with the others."""
    if "ssl_cert_reqs" in options:  # Celery's are those of Python's ssl: CERT_NONE
        word = options["ssl_cert_reqs"].lower().removeprefix("cert_")
        if word in _CERT_REQS:
            options["ssl_cert_reqs"] = word
        else:
            yield "has an option ssl_cert_reqs with an unknown value; there are none, optional, required"
    if "ssl_min_version" in options:
        if options["ssl_min_version"] in _TLS_VERSIONS:
            options["ssl_min_version"] = _TLS_VERSIONS[options["ssl_min_version"]]
        else:
            yield "has an option ssl_min_version with an unknown value; there are TLSv1.2 and TLSv1.3"
    if not options.get("db", "0").isdecimal():
        yield "has an option db that is not a number"
    for name in _FILES:
        if name in options and (fault := unreadable(name, options[name])):
            yield fault
