"""A change of state in a log record, for formatters that write JSON."""

from __future__ import annotations

from typing import Any


def state_change(what: str, before: str, after: str, **more: Any) -> dict[str, dict[str, Any]]:
    """`extra=` of such a record: one attribute, `tenantcache`, a dict with `what`, `before`, `after` and `more`."""
    return {"tenantcache": {"what": what, "before": before, "after": after, **more}}
