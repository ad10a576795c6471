"""What an application is told of the log of changes: one `Change` for each entry, in the order of the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

VALUE, TAG, EXPIRED = "value:", "tag:", "expire:"
"""How the names of an entry begin that belongs to no tenant."""


@dataclass(frozen=True, slots=True)
class Change:
    """What has changed. `everything`: it is not known what, so all that was kept may be old; then nothing is named.

    `tenant_id` is the tenant whose row, names or counters have changed, None if it was values. `values`, `tags` and
    `expired` are names as they stand in the log: those of values, of tags, and of tags that have expired.
    """

    everything: bool = False
    tenant_id: str | None = None
    values: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    expired: tuple[str, ...] = ()


EVERYTHING: Final = Change(everything=True)


def change_of(tenant_id: str, names: Sequence[str]) -> Change | None:
    """What an entry tells that does not concern everything. None if it concerns nothing, as one that only shows that
    others were published."""
    if tenant_id:
        return Change(tenant_id=tenant_id)
    values, tags, expired = (
        tuple(name.removeprefix(kind) for name in names if name.startswith(kind)) for kind in (VALUE, TAG, EXPIRED)
    )
    return Change(values=values, tags=tags, expired=expired) if values or tags or expired else None
