"""Writers: each owns a few tenants, commits one change after another, and notes when each was acknowledged.

A change is made on a plan (which tenant has which name, hosts and status) and then brought into the tables by
comparing the plans, in one transaction. Nothing else writes these tenants, so the plan is the truth. If a commit's
acknowledgement is lost (Postgres is restarted), the tables are asked which of the two plans came true.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import asyncpg

from benchmarks.consistency.history import Change, Content, History, content_by_host

BASE_DOMAIN = "example.com"
TENANTS = 3
LEAD = 0.004
"""Seconds that readers are told of a change before its commit is sent, so that they hold the old version then."""

RECONNECT_PAUSE = 0.05
STATEMENT_TIMEOUT = 5.0

Plan = dict[str, Content]
"""The writer's tenants that exist, by id."""

Announce = Callable[[list[str]], None]


LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What a commit may end with when a server goes: asyncpg says "internal error" of a backend that died between two
statements."""


class Committer:
    """Commits one change after another over a connection of its own; `pause` is the mean time between two."""

    def __init__(self, url: str, random: Random, *, pause: float) -> None:
        self.commits = 0
        self._url = url
        self._random = random
        self._pause = pause
        self._connection: asyncpg.Connection | None = None

    async def commit_next(self) -> None:
        """Make a change, and note it."""
        raise NotImplementedError

    async def run(self) -> None:
        """Write until cancelled; a cancelled commit is waited for, so that the history stays true."""
        while True:
            await asyncio.sleep(self._random.uniform(0.5, 1.5) * self._pause)
            commit = asyncio.create_task(self.commit_next())
            try:
                await asyncio.shield(commit)
            except asyncio.CancelledError:
                await commit
                raise

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close(timeout=1)

    async def connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._url, timeout=STATEMENT_TIMEOUT, command_timeout=STATEMENT_TIMEOUT
            )
        return self._connection


class Writer(Committer):
    """`announce` is called with the hosts that are about to change."""

    def __init__(
        self,
        name: str,
        url: str,
        history: History,
        numbers: Iterator[int],
        random: Random,
        announce: Announce,
        *,
        pause: float,
    ) -> None:
        super().__init__(url, random, pause=pause)
        self._name = name
        self._history = history
        self._numbers = numbers
        self._announce = announce
        self._moved_unseen: set[str] = set()
        self.plan: Plan = {}
        self._births = itertools.count()

    @property
    def roaming(self) -> str:
        """The custom domain that wanders between this writer's tenants."""
        return f"roaming.{self._name}.example.net"

    def _id(self, number: int) -> str:
        return f"{self._name}-{number}"

    async def begin(self) -> None:
        """Create the tenants."""
        plan: Plan = {}
        for number in range(TENANTS):
            tenant = self._newborn(number, next(self._numbers))
            domains = (*tenant.domains, self.roaming) if number == 0 else tenant.domains
            plan[tenant.id] = tenant._replace(domains=tuple(sorted(domains)))
        await self._commit(plan)

    async def commit_next(self) -> None:
        await self._commit(self._next_plan())

    # What to change.

    def _next_plan(self) -> Plan:
        actions: Sequence[tuple[Callable[[], Plan], int]] = (
            (self._rename, 50),
            (self._move_domain, 20),
            (self._change_status, 12),
            (self._change_subdomain, 6),
            (self._change_domain, 4),
            (self._create_or_delete, 8),
        )
        return self._random.choices([action for action, _ in actions], [weight for _, weight in actions])[0]()

    def _newborn(self, number: int, version: int) -> Content:
        label = self._id(number)
        return Content(label, f"{label} v{version}", version, label, (f"www.{label}.example.net",), "active")

    def _touch(self, tenant: Content, version: int, **changed: Any) -> Content:
        self._moved_unseen.discard(tenant.id)
        return tenant._replace(name=f"{tenant.id} v{version}", version=version, **changed)

    def _any(self) -> Content:
        return self._random.choice(list(self.plan.values()))

    def _with(self, *tenants: Content) -> Plan:
        return self.plan | {tenant.id: tenant for tenant in tenants}

    def _rename(self) -> Plan:
        return self._with(self._touch(self._any(), next(self._numbers)))

    def _change_status(self) -> Plan:
        tenant = self._any()
        status = "suspended" if tenant.status == "active" else "active"
        return self._with(self._touch(tenant, next(self._numbers), status=status))

    def _change_subdomain(self) -> Plan:
        tenant = self._any()
        label = tenant.id if tenant.subdomain != tenant.id else f"{tenant.id}-new"
        return self._with(self._touch(tenant, next(self._numbers), subdomain=label))

    def _change_domain(self) -> Plan:
        tenant = self._any()
        fixed = next(domain for domain in tenant.domains if domain != self.roaming)
        other = f"www.{tenant.id}.example.net"
        other = other if fixed != other else f"web.{tenant.id}.example.net"
        domains = tuple(sorted(other if domain == fixed else domain for domain in tenant.domains))
        return self._with(self._touch(tenant, next(self._numbers), domains=domains))

    def _move_domain(self) -> Plan:
        """Half of the moves do not touch the tenants' own rows: then only the domains' trigger can tell.

        A tenant is moved to or from so only once between two versions, so that every state shows once.
        """
        source = next((tenant for tenant in self.plan.values() if self.roaming in tenant.domains), None)
        target = self._random.choice([tenant for tenant in self.plan.values() if tenant is not source])
        moved = [target._replace(domains=tuple(sorted((*target.domains, self.roaming))))]
        if source is not None:
            kept = tuple(domain for domain in source.domains if domain != self.roaming)
            moved.append(source._replace(domains=kept))
        ids = {tenant.id for tenant in moved}
        if ids & self._moved_unseen or self._random.random() < 0.5:
            version = next(self._numbers)
            moved = [self._touch(tenant, version) for tenant in moved]
        else:
            self._moved_unseen |= ids
        return self._with(*moved)

    def _create_or_delete(self) -> Plan:
        last = self._id(TENANTS - 1)
        if last not in self.plan:
            return self._with(self._newborn(TENANTS - 1, next(self._numbers)))
        return {tenant_id: tenant for tenant_id, tenant in self.plan.items() if tenant_id != last}

    # How it gets into the tables.

    async def _commit(self, plan: Plan) -> None:
        before, after = (content_by_host(p.values(), BASE_DOMAIN) for p in (self.plan, plan))
        changed = [host for host in {**before, **after} if before.get(host) != after.get(host)]
        self._announce(changed)
        await asyncio.sleep(LEAD)
        sent = time.monotonic()
        try:
            sent = await self._write(plan)
        except LOST:
            if not await self._came_true(plan):
                return
        acked = time.monotonic()
        number = next(self._numbers)
        for host in changed:
            self._history.add(host, Change(number, sent, acked, after.get(host)))
        self.plan = plan
        self.commits += 1

    async def _write(self, plan: Plan) -> float:
        """Bring `plan` into the tables; return when COMMIT was sent."""
        connection = await self.connected()
        transaction = connection.transaction()
        await transaction.start()
        for statement, *values in _statements(self.plan, plan):
            await connection.execute(statement, *values)
        sent = time.monotonic()
        await transaction.commit()
        return sent

    async def _came_true(self, plan: Plan) -> bool:
        while True:
            with contextlib.suppress(*LOST):
                found = await self._read()
                assert found in (plan, self.plan), f"the tables hold neither plan of {self._name}"
                return found == plan
            await asyncio.sleep(RECONNECT_PAUSE)

    async def _read(self) -> Plan:
        self._connection = None
        connection = await self.connected()
        rows = await connection.fetch(
            "select tenant, attributes from tenantcache.find_tenants($1)",
            ["id:" + self._id(number) for number in range(TENANTS)],
        )
        tenants = [
            Content.from_json(json.loads(row["tenant"]) | {"version": json.loads(row["attributes"])["version"]})
            for row in rows
        ]
        return {tenant.id: tenant for tenant in tenants}


def _statements(old: Plan, new: Plan) -> Iterator[tuple[object, ...]]:
    """SQL with its values that turns `old` into `new`."""
    for tenant_id in old.keys() - new.keys():
        yield "delete from tenantcache.tenants where id = $1", tenant_id
    for tenant in new.values():
        columns = (tenant.id, tenant.name, tenant.subdomain, tenant.status, json.dumps({"version": tenant.version}))
        if tenant.id not in old:
            yield (
                "insert into tenantcache.tenants (id, name, subdomain, status, attributes) values ($1, $2, $3, $4, $5)",
                *columns,
            )
        elif old[tenant.id]._replace(domains=()) != tenant._replace(domains=()):
            yield (
                "update tenantcache.tenants set name = $2, subdomain = $3, status = $4, attributes = $5 where id = $1",
                *columns,
            )
    yield from _domain_statements(_owners(old, new), _owners(new, new))


def _owners(plan: Plan, among: Plan) -> dict[str, str]:
    """Who has each domain; a deleted tenant's domains are gone with it."""
    return {domain: tenant.id for tenant in plan.values() if tenant.id in among for domain in tenant.domains}


def _domain_statements(old: dict[str, str], new: dict[str, str]) -> Iterator[tuple[object, ...]]:
    removed, added = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
    for domain in old.keys() & new.keys():
        if old[domain] != new[domain]:
            yield "update tenantcache.tenant_domains set tenant_id = $2 where domain = $1", domain, new[domain]
    if len(removed) == len(added) == 1 and old[removed[0]] == new[added[0]]:
        yield "update tenantcache.tenant_domains set domain = $2 where domain = $1", removed[0], added[0]
        return
    for domain in removed:
        yield "delete from tenantcache.tenant_domains where domain = $1", domain
    for domain in added:
        yield "insert into tenantcache.tenant_domains (domain, tenant_id) values ($1, $2)", domain, new[domain]
