"""Whether an answer was true, and when. This is where the promises are put into code.

An answer is what one alias led to: a tenant or nothing. It is compared with every state of the database that was
visible within the bound. The whole tenant is compared, so an answer that is mixed from two tenants, or from two
versions of one, is found too.
"""

from __future__ import annotations

from collections.abc import Iterator

from tenantcache.tenant import Tenant
from tests.freshness.database import Database


class Violation(AssertionError):  # noqa: N818 - it is no error, it is what was looked for
    """A promise was broken."""


class Truth:
    """`max_staleness` in seconds. A place in the sequence of everything that was ever visible is its index."""

    def __init__(self, database: Database, max_staleness: float) -> None:
        self._database = database
        self._max_staleness = max_staleness
        self._known: dict[tuple[int, str], Tenant | None] = {}

    @property
    def newest(self) -> int:
        return len(self._database.moments) - 1

    def at(self, index: int, alias: str) -> Tenant | None:
        key = index, alias
        if key not in self._known:
            self._known[key] = self._database.moments[index].tables.tenant(alias)
        return self._known[key]

    def oldest_allowed(self, now: float) -> int:
        """The first index that was still visible `max_staleness` before `now`."""
        moments = self._database.moments
        index = self.newest
        while index > 0 and moments[index].since >= now - self._max_staleness:
            index -= 1
        return index

    def index_of(self, applied: int) -> int:
        """What a process that has applied the log up to there knows, in a single timeline."""
        return max(index for index, moment in enumerate(self._database.moments) if moment.head <= applied)

    def same_timeline(self, index: int) -> bool:
        return self._database.moments[index].timeline == self._database.moments[-1].timeline

    def matches(self, alias: str, tenant: Tenant | None, oldest: int) -> Iterator[int]:
        """The indexes from `oldest` on at which `alias` led to exactly that."""
        return (index for index in range(oldest, self.newest + 1) if self.at(index, alias) == tenant)

    def explain(self, alias: str, tenant: Tenant | None, oldest: int) -> str:
        ever = list(self.matches(alias, tenant, 0))
        return (
            f"{alias} led to {_short(tenant)}, true at {ever or 'no time'}; allowed were {oldest} to {self.newest}: "
            + "; ".join(f"{index}: {_short(self.at(index, alias))}" for index in range(oldest, self.newest + 1))
        )


def _short(tenant: Tenant | None) -> str:
    return "nothing" if tenant is None else f"{tenant.id}({tenant.name} {tenant.subdomain} {','.join(tenant.domains)})"


class Watch:
    """What one process has answered so far: it must not go back, alias by alias."""

    def __init__(self, truth: Truth, process: str) -> None:
        self._truth = truth
        self._process = process
        self._seen: dict[str, int] = {}
        self.answers = 0

    def seen(self, alias: str) -> int:
        """The index of the newest answer that has been given; 0 if a restore came in between."""
        index = self._seen.get(alias, 0)
        return index if self._truth.same_timeline(index) else 0

    def judge(self, alias: str, tenant: Tenant | None, oldest: int, *, what: str) -> int:
        """Raise `Violation` unless the answer was true at `oldest` or later; return the first such index."""
        index = next(self._truth.matches(alias, tenant, oldest), None)
        if index is None:
            raise Violation(f"{self._process}, {what}: {self._truth.explain(alias, tenant, oldest)}")
        return index

    def check(self, alias: str, tenant: Tenant | None, oldest: int, *, what: str) -> None:
        """The same, of an answer that has been given; note what it shows to have been seen."""
        index = self.judge(alias, tenant, oldest, what=what)
        self._seen[alias] = max(index, self.seen(alias))
        self.answers += 1
