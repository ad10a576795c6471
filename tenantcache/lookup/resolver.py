"""From an alias to its tenant: memory, then Redis, then Postgres, with one load per alias at a time.

Rules:

* Nothing is installed that `Freshness` does not accept *at that instant*: between the test and the installation
  there is no await, and a change that the follower applies runs whole, before or after.
* A load whose answer a change has overtaken is read again, from Postgres. After `MAX_OVERTAKEN` times it is served
  without being kept, and to those alone who asked before it was read.
* A read that finds another history (a restored database) drops everything: nobody may be served from the old one after
  somebody was served from the new one.
* A change cuts the loads of its aliases off: who comes later starts a load of his own and never waits for an answer
  that is known to be old.
* Redis is asked only while memory is valid, because only then are the floors known that its copies are judged by.
* Slow is as bad as gone: a request waits `deadline` seconds at most, then gets what `stale_if_error` allows or
  `StoreUnavailableError`. A bounded number of loads run, and a bounded number wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tenantcache.errors import SchemaMissingError, StoreError, StoreUnavailableError
from tenantcache.freshness.core.freshness import NEVER, Freshness, Question, State, asof_of
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.freshness.log import ChangeKind, LogEntry
from tenantcache.lookup.core import copies as codec
from tenantcache.lookup.core.lookupbudget import LookupBudget
from tenantcache.lookup.memory import Entry, Memory
from tenantcache.lookup.sources import CopyStore, Snapshot, TenantStore
from tenantcache.ratelimit.core.reservation import Reservation
from tenantcache.runtime.breaker import Breaker
from tenantcache.runtime.clock import Clock
from tenantcache.runtime.tasks import stop
from tenantcache.stats import ResolverStats
from tenantcache.tenant import ID_ALIAS, LimitTable, Row, Tenant, tenant_from_row

MAX_LOADS = 256
"""Loads that run or wait for a connection at once. At a millisecond each on four connections, 256 take 64 ms."""

MAX_OVERTAKEN = 3
"""Reads of one alias that may be overtaken by changes before the last answer is served without being kept."""

REFRESH_BATCH = 500
"""Entries past their TTL that one query reads again; at one query a second, 150,000 in five minutes."""


class Resolver:
    """`on_read` is told of every tenant that is installed, and gives the reservation that it has already, if any.

    `rules_out` says of an alias that it certainly leads nowhere, `knows` that it leads somewhere; `budget` bounds the
    look-ups of all others.
    `on_future` is called when a read has found another history than the one that the follower knows.
    """

    def __init__(
        self,
        origin: TenantStore,
        copies: CopyStore | None,
        memory: Memory,
        freshness: Freshness,
        limits: LimitTable,
        *,
        on_read: Callable[[Tenant], Reservation | None],
        rules_out: Callable[[str], bool],
        budget: LookupBudget,
        knows: Callable[[str], bool] = lambda _alias: False,
        on_future: Callable[[], None],
        clock: Clock,
        deadline: float = 2.0,
    ) -> None:
        self.loads = 0
        self.ruled_out = 0
        self.over_budget = 0
        self.copy_hits = 0
        self.copies_refused = 0
        self.stale_served = 0
        self._origin = origin
        self._copies = copies
        self._memory = memory
        self._freshness = freshness
        self._limits = limits
        self._on_read = on_read
        self._rules_out = rules_out
        self._knows = knows
        self._budget = budget
        self._on_future = on_future
        self._clock = clock
        self._deadline = deadline
        self._breaker = Breaker(threshold=1, min_pause=0.25, max_pause=1.0)
        self._loading: dict[str, asyncio.Task[Entry]] = {}
        self._background: set[asyncio.Task[None]] = set()

    def peek(self, alias: str) -> Entry | None:
        """The entry that may be served now, without I/O."""
        entry = self._memory.get(alias)
        if entry is None:
            return None
        now = self._clock()
        if now >= entry.due or self._freshness.state(now, entry.asof, entry.read_at) is not State.VALID:
            return None
        return entry

    async def find(self, alias: str) -> Entry:
        """What `alias` leads to; an entry without a tenant where it leads nowhere.

        Raises `StoreUnavailableError` where nobody can say.
        """
        entry = self.peek(alias)
        if entry is not None:
            return entry
        # The index is a copy as of what was applied: it may lack a host that a direct read has already seen.
        if self._rules_out(alias) and self._freshness.accepts(self._freshness.settled, alias, None):
            self.ruled_out += 1
            return Entry(alias, None, self._freshness.applied, NEVER, NEVER, "index")
        try:
            return await self._wait_for_load(alias)
        except StoreError as error:
            stale = self._stale(alias)
            if stale is None:
                raise StoreUnavailableError(f"the tenant cannot be looked up: {error}") from error
            self.stale_served += 1
            return stale

    async def find_ids(self, ids: Sequence[str]) -> dict[str, Tenant]:
        """The tenants of `ids` that exist: one MGET and one query at most. Raises `StoreUnavailableError`."""
        wanted = {ID_ALIAS + tenant_id: tenant_id for tenant_id in ids}
        entries = {alias: self.peek(alias) for alias in wanted}
        missing = [alias for alias, entry in entries.items() if entry is None]
        try:
            if missing:
                entries |= await self._load_many(missing)
        except StoreError as error:
            entries |= {alias: self._stale(alias) for alias in missing}
            if any(entry is None for entry in entries.values()):
                raise StoreUnavailableError(f"the tenants cannot be looked up: {error}") from error
        return {wanted[alias]: entry.tenant for alias, entry in entries.items() if entry and entry.tenant}

    def _stale(self, alias: str) -> Entry | None:
        entry = self._memory.get(alias)
        if entry is None or entry.tenant is None:
            return None
        return None if self._freshness.state(self._clock(), entry.asof, entry.read_at) is State.REFUSED else entry

    def adopt(self, epoch: str, mark: LogMark, row: Row) -> bool:
        """Install a row of a snapshot under those of its hosts that are not held, where it is believed like a copy."""
        tenant, adopted = tenant_from_row(row, self._limits), False
        for alias in tenant.aliases[1:]:  # all but its id
            if (
                self._memory.get(alias) is None
                and self._freshness.is_valid(self._clock())
                and self._freshness.accepts_shared(epoch, mark, alias, tenant.id)
            ):
                entry = self._install(alias, tenant, mark.seq, NEVER, "postgres")
                entry.served = adopted = True  # no request had to wait for it
        return adopted

    async def refresh_due(self) -> None:
        """Read again what has outlived its TTL, in one query. Raises `StoreError`."""
        due = self._memory.due(REFRESH_BATCH)
        if due:
            try:
                await self._read([entry.alias for entry in due], copy=False)
            except StoreError:
                self._memory.still_due(due)
                raise

    def stats(self) -> ResolverStats:
        return {
            "loads": self.loads,
            "ruled_out": self.ruled_out,
            "over_budget": self.over_budget,
            "redis_hits": self.copy_hits,
            "redis_refused": self.copies_refused,
            "stale_served": self.stale_served,
        }

    # What the follower calls.

    def changed(self, entry: LogEntry) -> None:
        if entry.kind is ChangeKind.EVERYTHING:
            self.flush()
            return
        for held in self._memory.of_tenant(entry.tenant_id):
            self._drop_older(held, entry.seq)
        for alias in (*entry.aliases, ID_ALIAS + entry.tenant_id):
            self._loading.pop(alias, None)
            held_here = self._memory.get(alias)
            if held_here is not None:
                self._drop_older(held_here, entry.seq)

    def _drop_older(self, held: Entry, seq: int) -> None:
        if held.asof < seq:
            self._memory.drop_alias(held.alias)

    def flush(self) -> None:
        self._loading.clear()
        self._memory.clear()

    # Loading.

    async def _wait_for_load(self, alias: str) -> Entry:
        task = self._loading.get(alias)
        if task is None:
            if len(self._loading) >= MAX_LOADS:
                raise StoreError("too many tenants are being looked up at once")
            # Who is in memory or in the index is no stranger: a fleet that starts cold looks all of its tenants up.
            is_stranger = self._memory.get(alias) is None and not self._knows(alias)
            if is_stranger and not self._budget.spend(self._clock()):
                self.over_budget += 1
                raise StoreError("too many hosts that nobody knows were looked up within the last second")
            task = asyncio.create_task(self._load(alias), name="tenantcache load")
            self._loading[alias] = task
            task.add_done_callback(lambda done: self._loaded(alias, done))
        try:
            async with asyncio.timeout(self._deadline):
                # The load goes on for the others when one request is cancelled or has waited long enough.
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise StoreError("no store answered in time") from error

    def _loaded(self, alias: str, task: asyncio.Task[Entry]) -> None:
        if self._loading.get(alias) is task:
            del self._loading[alias]
        if not task.cancelled():
            task.exception()  # has been raised where somebody still waited

    async def _load(self, alias: str) -> Entry:
        return (await self._load_many([alias]))[alias]

    async def _load_many(self, aliases: Sequence[str]) -> dict[str, Entry]:
        self.loads += len(aliases)
        found = await self._from_copies(aliases)
        missing = [alias for alias in aliases if alias not in found]
        if missing:
            found |= await self._read(missing, copy=True)
        return found

    async def _from_copies(self, aliases: Sequence[str]) -> dict[str, Entry]:
        # An entry that is past its TTL is there to be checked against the truth; a copy would not do that.
        wanted = [alias for alias in aliases if self._memory.get(alias) is None]
        if self._copies is None or not wanted or not self._freshness.is_valid(self._clock()):
            return {}
        try:
            values = await self._copies.get_many(wanted)
        except StoreError:
            return {}
        found: dict[str, Entry] = {}
        for alias, value in zip(wanted, values, strict=True):
            entry = None if value is None else self._judge_copy(alias, value)
            if entry is not None:
                found[alias] = entry
        return found

    def _judge_copy(self, alias: str, value: bytes) -> Entry | None:
        copy = codec.decode(value)
        if copy is None:
            return None
        tenant = tenant_from_row(copy.row, self._limits)
        believed = (
            alias in tenant.aliases
            and self._freshness.is_valid(self._clock())
            and self._freshness.accepts_shared(copy.epoch, copy.mark, alias, tenant.id)
        )
        if not believed:
            self.copies_refused += 1
            return None
        self.copy_hits += 1
        return self._install(alias, tenant, copy.mark.seq, NEVER, "redis")

    async def _read(self, aliases: Sequence[str], *, copy: bool) -> dict[str, Entry]:
        """Read from Postgres, again where a change has overtaken the answer; `copy` puts what was found in Redis."""
        found: dict[str, Entry] = {}
        for _ in range(MAX_OVERTAKEN):
            asked = [alias for alias in aliases if alias not in found]
            question = self._freshness.question(self._clock())
            snapshot = await self._ask_origin(asked)
            generation = self._freshness.generation
            is_believed = self._freshness.believes(
                question, self._clock(), snapshot.epoch, snapshot.mark, pending=snapshot.pending
            )
            if self._freshness.generation != generation:
                self.flush()
                self._on_future()  # only the follower can make memory valid again
            for alias, row in snapshot.rows.items():
                is_answered = is_believed and alias not in snapshot.unknown
                entry = self._judge(alias, row, snapshot, question) if is_answered else None
                if entry is not None:
                    found[alias] = entry
                    if copy and row is not None and not snapshot.pending:
                        self._copy_later(alias, codec.Copy(snapshot.epoch, snapshot.mark, row))
            if len(found) == len(aliases):
                return found
            # An answer that is served although it was refused goes to those alone who came before it was read.
            for alias in aliases:
                if alias not in found:
                    self._loading.pop(alias, None)
        # Timeouts see to this, except where the machine was suspended: their clock stood still meanwhile.
        if self._clock() >= question.sent_at + self._freshness.max_staleness:
            raise StoreError("Postgres answered, but too late")
        if snapshot.unknown:
            raise StoreError("the names of tenants are being read anew")
        return found | {
            alias: self._unkept(alias, row, snapshot, question)
            for alias, row in snapshot.rows.items()
            if alias not in found
        }

    async def _ask_origin(self, aliases: Sequence[str]) -> Snapshot:
        if not self._breaker.allows(self._clock()):
            raise StoreError(f"{self._breaker.reason} (not asked again yet)")
        try:
            snapshot = await self._origin.read(aliases)
        except SchemaMissingError as error:
            raise StoreError(str(error)) from error
        except StoreError as error:
            self._breaker.failed(self._clock(), reason=str(error))
            raise
        self._breaker.succeeded()
        return snapshot

    def _judge(self, alias: str, row: Row | None, snapshot: Snapshot, asked: Question) -> Entry | None:
        """Install what a direct read has found, or say None: read again."""
        tenant = self._tenant(row)
        tenant_id = _id_of(alias, row)
        if not self._freshness.accepts_read(asked, snapshot.mark, alias, tenant_id, pending=snapshot.pending):
            return None
        self._freshness.observe(snapshot.mark, tenant_id, alias, pending=snapshot.pending)
        asof = asof_of(snapshot.mark, pending=snapshot.pending)
        return self._install(alias, tenant, asof, asked.sent_at, "postgres")

    def _unkept(self, alias: str, row: Row | None, snapshot: Snapshot, asked: Question) -> Entry:
        """What is served although it was refused. A pending read that may be older than what is held may be newer, too:
        then nothing is held."""
        tenant_id = _id_of(alias, row)
        if snapshot.pending:
            self._freshness.observe(snapshot.mark, tenant_id, alias, pending=True)
            siblings = [] if tenant_id is None else self._memory.of_tenant(tenant_id)
            for held in {alias, *(sibling.alias for sibling in siblings)}:
                self._memory.drop_alias(held)
        asof = asof_of(snapshot.mark, pending=snapshot.pending)
        return self._entry(alias, self._tenant(row), asof, asked.sent_at, "postgres")

    def _tenant(self, row: Row | None) -> Tenant | None:
        return None if row is None else tenant_from_row(row, self._limits)

    def _entry(self, alias: str, tenant: Tenant | None, asof: float, read_at: float, tier: str) -> Entry:
        meter = None if tenant is None else self._on_read(tenant)
        due = self._clock() + self._memory.ttl
        return Entry(alias, tenant, asof, read_at, due, tier, meter)

    def _install(self, alias: str, tenant: Tenant | None, asof: float, read_at: float, tier: str) -> Entry:
        if tenant is not None:
            for sibling in self._memory.of_tenant(tenant.id):
                # Two reads of pending changes between the same entries may have seen different ones.
                is_older = sibling.asof < asof or (sibling.asof == asof and asof % 1 > 0)
                if is_older and sibling.tenant != tenant:
                    self._memory.drop_alias(sibling.alias)
        entry = self._entry(alias, tenant, asof, read_at, tier)
        self._memory.put(entry)
        return entry

    # Filling Redis: no request waits for it.

    def _copy_later(self, alias: str, copy: codec.Copy) -> None:
        if self._copies is not None:
            task = asyncio.create_task(self._put_copy(self._copies, alias, copy))
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def _put_copy(self, copies: CopyStore, alias: str, copy: codec.Copy) -> None:
        try:
            await copies.put(alias, codec.encode(copy))
        except StoreError:
            return  # Redis is an optimisation, and its breaker tells

    async def close(self) -> None:
        await stop(*self._loading.values(), *self._background)


def _id_of(alias: str, row: Row | None) -> str | None:
    if row is not None:
        return row["id"]
    return alias[len(ID_ALIAS) :] if alias.startswith(ID_ALIAS) else None  # its creation is logged under the id alone
