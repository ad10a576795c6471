"""Where the meters of a process get their tokens: the counter store, and what is done without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tenantcache.errors import StoreError
from tenantcache.ratelimit.core.advance import VersionOf
from tenantcache.ratelimit.core.clockmoves import ClockMoves
from tenantcache.ratelimit.core.lease import FastRequests
from tenantcache.ratelimit.core.policy import DEFAULT_POLICY, ReservePolicy
from tenantcache.ratelimit.core.reservation import one_version
from tenantcache.ratelimit.core.windows import CounterValue, Window
from tenantcache.ratelimit.counterstore import AccountDebits, CounterStore
from tenantcache.ratelimit.fallback import LocalShare, OnError
from tenantcache.ratelimit.outage import Failure, Outage
from tenantcache.ratelimit.slots import Slots
from tenantcache.runtime.tracing import Tracing

OnLost = Callable[[str, Window], None]


class Supply:
    """`server_now` gives the server's time in seconds since the Unix epoch, `processes` the size of the fleet."""

    def __init__(
        self,
        store: CounterStore,
        slots: Slots,
        server_now: Callable[[], float],
        processes: Callable[[], int],
        on_error: OnError,
        tracing: Tracing | None = None,
    ) -> None:
        self.server_now = server_now
        self.processes = processes
        self.version_of: VersionOf = one_version
        """Which counters a minute has."""
        self.is_billed: Callable[[], bool] = lambda: True
        """Whether a command is dearer than what it carries: then it takes for others as well."""
        self.on_lost: OnLost = lambda owner, window: None
        """Told of each window whose counter turned out to be lost."""
        self.local_share: LocalShare = LocalShare(on_error, processes)
        self.outage: Outage = Outage(on_error)
        self.policy: ReservePolicy = DEFAULT_POLICY
        """By which takes are sized."""
        self.fast: FastRequests = FastRequests()
        self.moves: ClockMoves = ClockMoves()
        """Of the server's clock."""
        self.slots = slots
        self.takes: int = 0
        self.errors: int = 0
        self._store = store
        self._tracing = Tracing() if tracing is None else tracing

    async def debit(self, batch: Sequence[AccountDebits]) -> Sequence[Sequence[CounterValue]]:
        """Send the debits of several accounts; return the counters' new values. Raises `StoreError`."""
        self.takes += 1
        with self._tracing.span("take", size=len(batch)):
            return await self._store.debit(batch)

    def note_error(self, group: int, error: StoreError) -> Failure:
        """A take of that group was not answered."""
        self.errors += 1
        return self.outage.begin(group, error, self.server_now())
