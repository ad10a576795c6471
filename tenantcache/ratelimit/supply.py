"""Where the meters of a process get their tokens: the counter store, and what is done without one."""

from __future__ import annotations

from collections.abc import Callable

from tenantcache.errors import StoreError
from tenantcache.ratelimit.core.advance import VersionOf
from tenantcache.ratelimit.core.ledger import Take
from tenantcache.ratelimit.core.reservation import one_version
from tenantcache.ratelimit.core.windows import Window
from tenantcache.ratelimit.counterstore import CounterStore
from tenantcache.ratelimit.fallback import LocalShare, OnError
from tenantcache.ratelimit.outage import Failure, Outage

OnLost = Callable[[str, Window], None]


class Supply:
    """`server_now` gives the server's time in seconds since the Unix epoch, `processes` the size of the fleet."""

    def __init__(
        self,
        store: CounterStore,
        server_now: Callable[[], float],
        processes: Callable[[], int],
        on_error: OnError,
    ) -> None:
        self.server_now = server_now
        self.processes = processes
        self.version_of: VersionOf = one_version
        """Which counters a minute has."""
        self.horizon: Callable[[], int | None] = lambda: None
        """The minutes for which tokens may be taken in advance now; None: as many as the policy says."""
        self.on_lost: OnLost = lambda owner, window: None
        """Told of each window whose counter turned out to be lost."""
        self.local_share: LocalShare = LocalShare(on_error, processes)
        self.outage: Outage = Outage(on_error)
        self.takes: int = 0
        self.errors: int = 0
        self._store = store

    async def debit(self, owner: str, take: Take) -> list[int]:
        """Send `take`; return the counters' new values. Raises `StoreError`."""
        self.takes += 1
        return await self._store.debit(owner, take.debits)

    async def give_back(self, owner: str, take: Take) -> None:
        """Send what gives tokens back. If no store answers they are lost: fewer are admitted, never more."""
        try:
            await self._store.debit(owner, take.debits)
        except StoreError as error:
            self.note_error(owner, error)

    def note_error(self, owner: str, error: StoreError) -> Failure:
        """A take of `owner` was not answered."""
        self.errors += 1
        return self.outage.begin(owner, error, self.server_now())
