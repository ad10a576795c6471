"""From a record of Postgres to a row of a tenant: a fault in one record concerns that tenant alone.

Attributes are a text of their own. JSON may hold what Python cannot take: a number of five thousand digits, or half of
a surrogate pair. They are read as `{}` then, and the log says so once.
"""

from __future__ import annotations

import json
import logging
import math
from typing import Any, NoReturn, cast

from tenantcache.lookup.core.alias import cut, id_alias
from tenantcache.tenant import Row

logger = logging.getLogger(__name__)

MAX_REMEMBERED = 10_000
"""Tenants and names that were warned of, and are not again. Past that number all are forgotten."""


class RowReader:
    """Makes rows of records with the columns `alias`, `tenant` (JSON), `attributes` (JSON or None) and `state`."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def read(self, record: Any) -> Row | None:
        """The tenant in `record`; None if none is served. Never raises for what is in a row."""
        if record["tenant"] is None:
            if record["state"] == "conflict":
                self._tell(
                    record["alias"], "two tenants have the name %s, so it is not served; take it from one of them"
                )
            return None
        row = json.loads(record["tenant"])
        for name in row.pop("unread", ()):
            self._tell(f"{name} {id_alias(row['id'])}", f"{name} of the tenant %s cannot be read, and counts as empty")
        return cast(Row, row | {"attributes": self._attributes(row["id"], record["attributes"])})

    def _attributes(self, tenant_id: str, text: str | None) -> dict[str, Any]:
        try:
            found = {} if text is None else _parse(text)
        except (ValueError, RecursionError):
            self._tell(id_alias(tenant_id), "the attributes of the tenant %s cannot be read, and count as empty")
            return {}
        return found

    def _tell(self, name: str, message: str) -> None:
        if len(self._told) >= MAX_REMEMBERED:
            self._told.clear()
        if name not in self._told:
            self._told.add(name)
            logger.warning(message, cut(name)[1])


def _parse(text: str) -> dict[str, Any]:
    """A JSON object that can be written again. Raises `ValueError` and `RecursionError`."""
    value = json.loads(text, parse_float=_finite, parse_constant=_refuse)
    json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is not a text
    return value if isinstance(value, dict) else {}


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text:.20} is not a finite number")
