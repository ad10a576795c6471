"""What was written, by host or by the path of a value: the truth that answers are held against.

Times are seconds of CLOCK_MONOTONIC, which all processes of one machine share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

NO_COMMIT = -1


class Content(NamedTuple):
    """A tenant as one commit left it. `version` and `name` carry the number of the commit that last touched its row."""

    id: str
    name: str
    version: int
    subdomain: str
    domains: tuple[str, ...]
    status: str

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Content:
        return cls(body["id"], body["name"], body["version"], body["subdomain"], tuple(body["domains"]), body["status"])

    def hosts(self, base_domain: str) -> tuple[str, ...]:
        return (f"{self.subdomain}.{base_domain}", *self.domains)


class Value(NamedTuple):
    """What the application keeps by `name`, as one commit left it."""

    name: str
    version: int


class Change(NamedTuple):
    """What a host or a path leads to from a commit on; None is nothing.

    The commit became visible between `sent` (before COMMIT went out) and `acked` (after its acknowledgement came in).
    If an application has to tell of it, `acked` is when the worker `told_by` had answered that call.
    """

    commit: int
    sent: float
    acked: float
    content: Content | Value | None
    told_by: int | None = None


@dataclass
class History:
    """The changes of each host, oldest first."""

    changes: dict[str, list[Change]] = field(default_factory=dict)

    def begin(self, host: str, content: Content | Value | None) -> None:
        self.changes[host] = [Change(NO_COMMIT, float("-inf"), float("-inf"), content)]

    def add(self, host: str, change: Change) -> None:
        if host not in self.changes:
            self.begin(host, None)
        self.changes[host].append(change)

    def now(self, host: str) -> Content | Value | None:
        return self.changes[host][-1].content

    def forget_past(self) -> None:
        """Keep only what holds now: all workers are known to agree on it."""
        for host in self.changes:
            self.begin(host, self.now(host))

    @property
    def hosts(self) -> list[str]:
        return list(self.changes)


def content_by_host(tenants: Iterable[Content], base_domain: str) -> dict[str, Content]:
    return {host: tenant for tenant in tenants for host in tenant.hosts(base_domain)}
