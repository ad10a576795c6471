"""What values are made of, joined once for each engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from tenantcache.errors import StoreError, told_as_unavailable
from tenantcache.freshness.core.freshness import Freshness
from tenantcache.freshness.log import ChangeKind, LogEntry
from tenantcache.runtime.clock import Clock
from tenantcache.stats import ValueStats
from tenantcache.values.codecs import Codecs
from tenantcache.values.core.acceptance import Acceptance, Entry
from tenantcache.values.core.floors import Floors
from tenantcache.values.core.kind import KINDS, KindTable, ValueKind, read_kinds
from tenantcache.values.core.s3fifo import MOST_HITS
from tenantcache.values.core.writequeue import WriteQueue
from tenantcache.values.finding import Finder
from tenantcache.values.loading import Loads
from tenantcache.values.memory import Place, ValueMemory
from tenantcache.values.sets import Sets
from tenantcache.values.sharing import ValueSharing
from tenantcache.values.valuestore import ValueLog
from tenantcache.values.writebehind import Writes


class ValueParts:
    """`log` tells every process of names, `sync` returns once that is applied here. `negative_ttl` in seconds.

    The follower tells it what has changed. It outlives event loops; what it loads does not.
    """

    def __init__(
        self,
        memory: ValueMemory,
        freshness: Freshness,
        sharing: ValueSharing,
        log: ValueLog,
        sync: Callable[[], Awaitable[None]],
        *,
        require_open: Callable[[], None],
        prefix: str,
        negative_ttl: float,
        clock: Clock,
        server_now: Callable[[], float],
        write_queue: WriteQueue,
        kinds: KindTable = KINDS,
        codecs: Codecs | None = None,
        floors: Floors | None = None,
    ) -> None:
        self.memory: ValueMemory = memory
        self.freshness: Freshness = freshness
        self.sharing: ValueSharing = sharing
        self.log: ValueLog = log
        self.sync: Callable[[], Awaitable[None]] = sync
        self.require_open: Callable[[], None] = require_open
        self.negative_ttl: float = negative_ttl
        self.clock: Clock = clock
        self.floors: Floors = Floors() if floors is None else floors
        self.acceptance: Acceptance = Acceptance(freshness, self.floors)
        self.loads: Loads = Loads(memory, self.acceptance, sharing, prefix=prefix, clock=clock, server_now=server_now)
        self.finder: Finder = Finder(memory, self.acceptance, self.loads, clock)
        self.writes: Writes = Writes(memory, self.acceptance, self.tell, write_queue, clock=clock)
        self.kinds: Mapping[str, ValueKind] = read_kinds(kinds)
        self.codecs: Codecs = codecs or Codecs()
        self.sets: Sets = Sets(freshness.max_staleness, clock)

    # What the follower calls.

    def changed(self, entry: LogEntry) -> None:
        if entry.kind is ChangeKind.VALUES:
            self.floors.raise_to(entry.seq, entry.aliases)
        elif entry.kind is ChangeKind.EVERYTHING:
            self.flush()

    def doubted(self) -> None:
        """Names of values are doubted (`freshness`, rule 8)."""
        self.floors.doubt()

    def flush(self) -> None:
        """Anything may have changed up to the tail of `freshness`."""
        self.floors.restart(self.freshness.tail_start)
        self.memory.clear()
        self.loads.rails.flush()

    # What calls share.

    async def tell(self, names: Sequence[str]) -> None:
        """Name them in the log, and return once that is applied here. Raises `StoreUnavailableError`."""
        with told_as_unavailable(StoreError):
            await self.log(names)
        await self.sync()

    def hit(self, place: Place) -> Entry | None:
        """What is held there, if it may be served without a further look."""
        entry = self.memory.held.get(place)
        if entry is None or entry.checked != self.floors.version:
            return None
        now = self.clock()
        if now >= entry.good_until or now >= self.freshness.valid_until:
            return None
        entry.hits = min(entry.hits + 1, MOST_HITS)
        return entry

    # Life.

    def stats(self) -> ValueStats:
        loads = self.loads
        return {
            "entries": len(self.memory),
            "bytes": self.memory.bytes,
            "evictions": self.memory.evictions,
            "loads": loads.loads,
            "redis_hits": loads.redis_hits,
            "redis_refused": loads.redis_refused,
            "stale_served": self.finder.stale_served,
            "failed_reloads": loads.failed_reloads,
            "undecodable": loads.undecodable,
            **loads.rails.stats(),
            "written": self.writes.written,
            "failed_writes": self.writes.failures.count,
            "waiting_writes": self.writes.waiting,
        }

    def open(self) -> None:
        self.writes.open()

    async def close(self) -> None:
        await self.writes.close()
        await self.loads.close()
        await self.sharing.close()
        self.memory.clear()

    def leave_loop(self) -> None:
        """The event loop has ended. What was to be written later is written in the next one."""
        self.writes.leave_loop()
        self._forget_loads()

    def forget(self) -> None:
        """After a fork, in the child."""
        self.writes.forget()
        self._forget_loads()

    def _forget_loads(self) -> None:
        self.loads.forget()
        self.loads.rails.forget()
        self.sharing.forget()
        self.memory.clear()
        self.sets.clear()
