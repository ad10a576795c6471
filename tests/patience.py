"""Stores that are waited for: for tests of what is answered, and not of when."""

from __future__ import annotations

from types import FunctionType

import pytest

from tenantcache.lookup.resolver import Resolver
from tenantcache.stores.changelog import PostgresLog
from tenantcache.stores.postgres import PostgresTenants
from tenantcache.stores.redis import RedisLink
from tenantcache.stores.rediscopies import RedisCopies
from tenantcache.stores.redisvalues import RedisValues
from tenantcache.wiring import inloop

PATIENCE = 30.0
"""Seconds. The defaults lie between 0.03 and 2: a machine with other things to do takes longer now and then."""

TIMEOUTS = (
    (PostgresTenants, "timeout"),
    (PostgresLog, "timeout"),
    (RedisLink, "timeout"),
    (RedisCopies, "read_timeout"),
    (RedisValues, "read_timeout"),
    (Resolver, "deadline"),
    (Resolver, "index_patience"),
)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer of a store comes too late in this test. Defaults are replaced: what passes its own on keeps that."""
    monkeypatch.setattr(inloop, "SYNC_TIMEOUT", PATIENCE)
    for kind, name in TIMEOUTS:
        init = vars(kind)["__init__"]
        assert isinstance(init, FunctionType)
        defaults = init.__kwdefaults__
        assert defaults is not None and name in defaults, f"{kind.__name__} has no {name} any more"
        monkeypatch.setitem(defaults, name, PATIENCE)
