"""The variables that Kubernetes sets in every container for each service of the namespace (`enableServiceLinks`).

Those for a service that is called `tenantcache` or `tenantcache-redis` begin as settings do.
"""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"[0-9A-Fa-f.:]+")
_NUMBER = re.compile(r"[0-9]{1,5}")
_LINK = re.compile(r"(tcp|udp|sctp)://\S+")
_LINK_NAME = r"TENANTCACHE_([A-Z0-9_]+_)?PORT_[0-9]+_(TCP|UDP|SCTP)"
_SERVICE_VARIABLES = (
    (re.compile(r"TENANTCACHE_([A-Z0-9_]+_)?SERVICE_HOST"), _ADDRESS),
    (re.compile(r"TENANTCACHE_([A-Z0-9_]+_)?SERVICE_PORT(_[A-Z0-9_]+)?"), _NUMBER),
    (re.compile(r"TENANTCACHE_([A-Z0-9_]+_)?PORT"), _LINK),
    (re.compile(_LINK_NAME), _LINK),
    (re.compile(_LINK_NAME + "_PROTO"), re.compile("tcp|udp|sctp")),
    (re.compile(_LINK_NAME + "_PORT"), _NUMBER),
    (re.compile(_LINK_NAME + "_ADDR"), _ADDRESS),
)


def is_service_variable(variable: str, value: str) -> bool:
    """Whether Kubernetes has set this. The value must fit as well: a setting may be misspelled in many ways."""
    return any(name.fullmatch(variable) and form.fullmatch(value) for name, form in _SERVICE_VARIABLES)
