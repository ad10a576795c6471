"""From an alias to its tenant: memory, then Redis, then Postgres, with one load per alias at a time.

A load has all aliases that were asked for while others were under way (`flights.py`).

Rules:

* Nothing is installed that `Freshness` does not accept *at that instant*. Between the test and the installation there
  is no await. So a change that the follower applies runs whole, before or after.
* A load whose answer a change has overtaken is read again, from Postgres. After `MAX_OVERTAKEN` times it is served
  without being kept, and only to those who asked before it was read (`core/judgement.py`).
* A read that finds another timeline (a restored database) drops everything. No request may be served from the old one
  after one was served from the new one.
* A change detaches the loads of its aliases. Later callers start a new load, and never wait for an answer that is known
  to be old.
* Redis is asked only while memory is valid, because only then are the floors known that its copies are judged by.
* Slow is as bad as unavailable: a request waits `deadline` seconds at most, and as long again if its load had to wait
  for others. Then it gets what `stale_if_error` allows, or `StoreUnavailableError`. A bounded number of loads run, and
  a bounded number of aliases wait.
* While the index of known hosts is being loaded, it is not known which hosts are unknown. So a lookup past their budget
  waits for the index, for `index_patience` seconds at most. A start is not a flood. (A million hosts take some five
  seconds: then the budget bounds how many lookups are served meanwhile.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set
from math import inf

from tenantcache.errors import StoreError, StoreUnavailableError
from tenantcache.freshness.core.freshness import NEVER, Freshness, Question, State, watermark_of
from tenantcache.freshness.log import ChangeKind, LogEntry
from tenantcache.lookup.answers import Answers
from tenantcache.lookup.core.alias import id_alias
from tenantcache.lookup.core.copies import Copy
from tenantcache.lookup.core.judgement import Judgement, Step, believes, judge, tenant_id_of
from tenantcache.lookup.core.lookupbudget import LookupBudget
from tenantcache.lookup.core.packing import Reading
from tenantcache.lookup.core.snapshot import Snapshot
from tenantcache.lookup.entry import Entry
from tenantcache.lookup.flights import Flights, Land
from tenantcache.lookup.installation import Installation
from tenantcache.lookup.memory import Memory
from tenantcache.lookup.origin import Origin
from tenantcache.lookup.sharing import Sharing
from tenantcache.lookup.sources import CopyStore, TenantStore
from tenantcache.lookup.unknownhosts import KnownHosts, UnknownHosts
from tenantcache.runtime.clock import Clock
from tenantcache.runtime.tracing import Tracing
from tenantcache.stats import ResolverStats
from tenantcache.tenant import LimitTable, Row, Tenant, tenant_from_row

LOADS_AT_ONCE = 4
"""As many as there are connections (`PostgresTenants`)."""

LOAD_BATCH = 200
"""Aliases a load: some 5 ms of the event loop to decode and install."""

MAX_WAITING = 20_000
"""Aliases that are being looked up, or wait for that: 100 loads, which take half a second. They take 30 MB with the
requests that wait for them."""

MAX_OVERTAKEN = 3
"""Reads of one alias that may be overtaken by changes before the last answer is served without being kept."""

REFRESH_BATCH = 100
"""Entries past their TTL that one query reads again: some 3 ms of the event loop to decode and install."""


class Resolver:
    """`on_read` is told of every tenant that is installed.

    `budget` bounds the lookups of aliases that are neither in memory nor among the `known` hosts.
    `on_timeline` is called when a read has found another timeline than the one that the follower knows.
    """

    def __init__(
        self,
        origin: TenantStore,
        copies: CopyStore | None,
        memory: Memory,
        freshness: Freshness,
        limits: LimitTable,
        *,
        on_read: Callable[[Tenant], None],
        known: KnownHosts,
        budget: LookupBudget,
        on_timeline: Callable[[], None],
        clock: Clock,
        tracing: Tracing | None = None,
        deadline: float = 2.0,
        index_patience: float = 1.0,
    ) -> None:
        self.loads: int = 0
        self.ruled_out: int = 0
        self.copy_hits: int = 0
        self.copies_refused: int = 0
        self.stale_served: int = 0
        self.answers: Answers = Answers()
        self._tracing = Tracing() if tracing is None else tracing
        self._origin = Origin(origin, clock)
        self.sharing: Sharing = Sharing(copies)
        self._memory, self._freshness, self._limits = memory, freshness, limits
        self._unknown = UnknownHosts(known, budget, clock, patience=index_patience, most=MAX_WAITING)
        self._on_read, self._on_timeline, self._clock = on_read, on_timeline, clock
        self._flights = Flights(self._load, deadline=deadline, at_once=LOADS_AT_ONCE, most=LOAD_BATCH, room=MAX_WAITING)

    def peek(self, alias: str) -> Entry | None:
        """The entry that may be served now, without I/O."""
        entry = self._memory.get(alias)
        if entry is None:
            return None
        now = self._clock()
        if now >= entry.due or self._freshness.state(now, entry.watermark, entry.read_at) is not State.VALID:
            return None
        return entry

    async def find(self, alias: str) -> Entry:
        """What `alias` leads to; an entry without a tenant if it leads nowhere.

        Raises `StoreUnavailableError` if no store can say.
        """
        entry = self.peek(alias)
        if entry is not None:
            return self.answers.note(entry, "memory")
        try:
            return self.answers.note(self._rule_out(alias) or await self._join_load(alias))
        except StoreError as error:
            stale = self._stale(alias)
            if stale is None:
                self.answers.failed += 1
                raise StoreUnavailableError(f"the tenant cannot be looked up: {error}") from error
            self.stale_served += 1
            return self.answers.note_stale(stale)

    def _rule_out(self, alias: str) -> Entry | None:
        # The index is a copy as of what was applied: it may lack a host that a direct read has already seen.
        if not self._unknown.rules_out(alias) or not self._freshness.accepts_absence(alias):
            return None
        self.ruled_out += 1
        return Entry(alias, None, self._freshness.applied, NEVER, NEVER, "index")

    async def find_ids(self, ids: Sequence[str]) -> dict[str, Tenant]:
        """The tenants of `ids` that exist, by id: one MGET and one query at most. Raises `StoreUnavailableError`."""
        wanted = {id_alias(tenant_id): tenant_id for tenant_id in ids}
        entries = {alias: self.peek(alias) for alias in wanted}
        missing = [alias for alias, entry in entries.items() if entry is None]
        try:
            if missing:
                await self._load(missing, entries.update)
        except StoreError as error:
            entries |= {alias: self._stale(alias) for alias in missing}
            if any(entry is None for entry in entries.values()):
                raise StoreUnavailableError(f"the tenants cannot be looked up: {error}") from error
        return {wanted[alias]: entry.tenant for alias, entry in entries.items() if entry and entry.tenant}

    def _stale(self, alias: str) -> Entry | None:
        entry = self._memory.get(alias)
        if entry is None or entry.tenant is None:
            return None
        return None if self._freshness.state(self._clock(), entry.watermark, entry.read_at) is State.REFUSED else entry

    def adopt(self, copy: Copy, shared: Set[str]) -> bool:
        """Install a row of a snapshot under those of its names that are not held, if it is believed like a copy: not
        under its id, nor under `shared` ones."""
        tenant, seq = tenant_from_row(copy.row, self._limits), copy.mark.seq
        others = [alias for alias in tenant.aliases[1:] if alias not in shared and not self._memory.holds(alias)]
        if adopted := [name for name in others if believes(self._freshness, self._clock(), copy, name, tenant)]:
            self._memory.drop_contradicted(tenant, seq)
            self._on_read(tenant)
            due = self._clock() + self._memory.ttl
            self._memory.put_packed(adopted, Reading(tenant, seq, NEVER, due, "postgres", served=True))
        return bool(adopted)

    async def refresh_due(self) -> bool:
        """Read again what has outlived its TTL, in one query; false if nothing had. Raises `StoreError`."""
        if due := self._memory.due(REFRESH_BATCH):
            await asyncio.sleep(0)
            try:
                await self._read([entry.alias for entry in due], lambda _: None, share=False)
                await asyncio.sleep(0)
            except StoreError:
                self._memory.still_due(due)
                raise
            finally:
                self._memory.pack([entry.alias for entry in due if entry.fast_path is None])
        return bool(due)

    def stats(self) -> ResolverStats:
        return {
            "loads": self.loads,
            "ruled_out": self.ruled_out,
            "over_budget": self._unknown.over_budget,
            "redis_hits": self.copy_hits,
            "redis_refused": self.copies_refused,
            "stale_served": self.stale_served,
            "in_flight": len(self._flights),
            **self.answers.stats(),
        }

    # What the follower calls.

    def changed(self, entry: LogEntry) -> None:
        if entry.kind is ChangeKind.EVERYTHING:
            self.flush()
        else:
            self.evict(entry.tenant_id, entry.aliases, before=entry.seq)

    def evict(self, tenant_id: str, aliases: Sequence[str], *, before: float = inf) -> None:
        """Drop what is held of a tenant from before that entry. Later callers start new loads."""
        for held in self._memory.aliases_of(tenant_id):
            self._memory.drop_older(held, before)
        for alias in (*aliases, id_alias(tenant_id)):
            self._flights.detach(alias)
            self._memory.drop_older(alias, before)

    def flush(self) -> None:
        self._flights.detach_all()
        self._memory.clear()

    async def _join_load(self, alias: str) -> Entry:
        if not self._may_load(alias):
            await self._unknown.settled()
            entry = self.peek(alias) or self._rule_out(alias)
            if entry is not None:
                return entry
            if not self._may_load(alias):
                raise self._unknown.refuse()
        return await self._flights.join(alias)

    def _may_load(self, alias: str) -> bool:
        # A host in memory or in the index is not unknown: a fleet that starts cold looks all of its tenants up.
        return alias in self._flights or self._memory.holds(alias) or self._unknown.allows(alias)

    async def _load(self, aliases: Sequence[str], land: Land[Entry]) -> None:
        # While they waited for their turn, another load or the warm-up may have brought them.
        held = {alias: entry for alias in aliases if (entry := self.peek(alias)) is not None}
        land(held)
        wanted = [alias for alias in aliases if alias not in held]
        self.loads += len(wanted)
        with self._tracing.span("lookup", size=len(wanted)):
            copies = await self._read_copies(wanted)
            land(copies)
            missing = [alias for alias in wanted if alias not in copies]
            if missing:
                await self._read(missing, land, share=True)

    async def _read_copies(self, aliases: Sequence[str]) -> dict[str, Entry]:
        # An entry that is past its TTL is there to be checked against the truth; a copy would not do that.
        doubts = self._freshness.doubts
        wanted = [alias for alias in aliases if not self._memory.holds(alias) and not doubts.hold(alias, None)]
        if not self._freshness.is_valid(self._clock()):
            return {}
        copies = await self.sharing.read(wanted)
        entries = {alias: self._judge_copy(alias, copy) for alias, copy in copies.items()}
        return {alias: entry for alias, entry in entries.items() if entry is not None}

    def _judge_copy(self, alias: str, copy: Copy) -> Entry | None:
        tenant = tenant_from_row(copy.row, self._limits)
        if not believes(self._freshness, self._clock(), copy, alias, tenant):
            self.copies_refused += 1
            return None
        self.copy_hits += 1
        return Installation(self._memory).add(self._entry(alias, tenant, copy.mark.seq, NEVER, "redis"))

    async def _read(self, aliases: Sequence[str], land: Land[Entry], *, share: bool) -> None:
        """Read from Postgres, again if a change has overtaken the answer; `share` puts what was found into Redis.

        Raises `StoreError`, after it has landed what was accepted.
        """
        missing, attempts = list(aliases), 0
        while missing:
            attempts += 1
            question = self._freshness.question(self._clock())
            snapshot = await self._origin.read(missing)
            is_last = attempts == MAX_OVERTAKEN
            judgement = judge(self._freshness, question, self._clock(), snapshot, is_last=is_last)
            found = self._act(judgement, snapshot, question, share=share)
            land(found)
            if judgement.failure is not None:
                raise StoreError(judgement.failure)
            missing = [alias for alias in missing if alias not in found]

    def _act(self, judgement: Judgement, snapshot: Snapshot, asked: Question, *, share: bool) -> dict[str, Entry]:
        """Do what was judged of an answer, and return what is served."""
        if judgement.begins_timeline:
            self.flush()
            self._on_timeline()  # only the follower can make memory valid again
        watermark = watermark_of(snapshot.mark, pending=snapshot.pending)
        found: dict[str, Entry] = {}
        installation = Installation(self._memory)
        for alias, step in judgement.steps.items():
            row = snapshot.rows[alias]
            if step is Step.KEEP:
                entry = self._entry(alias, self._tenant(row), watermark, asked.sent_at, "postgres")
                found[alias] = installation.add(entry)
                if share and row is not None and not snapshot.pending:
                    self.sharing.write_later(alias, Copy(snapshot.epoch, snapshot.mark, row))
                continue
            self._flights.detach(alias)
            if step is Step.SERVE_ONCE:
                if snapshot.pending:
                    # It may be newer than what is held.
                    self._memory.drop_with_siblings(alias, tenant_id_of(alias, row))
                found[alias] = self._entry(alias, self._tenant(row), watermark, asked.sent_at, "postgres")
        return found

    def _tenant(self, row: Row | None) -> Tenant | None:
        return None if row is None else tenant_from_row(row, self._limits)

    def _entry(self, alias: str, tenant: Tenant | None, watermark: float, read_at: float, tier: str) -> Entry:
        if tenant is not None:
            self._on_read(tenant)
        return Entry(alias, tenant, watermark, read_at, self._clock() + self._memory.ttl, tier)

    async def close(self) -> None:
        self._unknown.close()
        await self._flights.close()
        await self.sharing.close()
