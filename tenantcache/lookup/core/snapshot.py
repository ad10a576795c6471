"""What one statement saw of the tenants, and of the log of their changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tenantcache.freshness.core.logmark import LogMark
from tenantcache.tenant import Row


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`mark` is the newest log entry in that snapshot, and `epoch` names the log that it belongs to.

    `rows` holds every alias that was asked for, with None if there is no such tenant. `pending`: the snapshot held
    changes that were not in the log yet. Of the aliases in `unknown` the database cannot say yet whether they lead to a
    tenant.
    """

    mark: LogMark
    epoch: str
    rows: Mapping[str, Row | None]
    pending: bool = False
    unknown: frozenset[str] = frozenset()
