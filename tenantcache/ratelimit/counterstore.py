"""What the limiter asks of a store that counts, and of the one that says which store that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from tenantcache.ratelimit.core.agreement import Proposal
from tenantcache.ratelimit.core.windows import CounterValue, Debit, Window


class Account(NamedTuple):
    """Whose counters they are: `owner` is a tenant's id or that of a named limit, `slot` its place (`slots.py`)."""

    owner: str
    slot: int


class AccountDebits(NamedTuple):
    account: Account
    debits: Sequence[Debit]


class CounterStore(Protocol):
    """Counters that many processes debit.

    The debits of one account that lie in one quarter of an hour are applied together: no other process's are applied
    between them. Each debit is applied exactly once when the call returns. When the call raises, each may or may not
    have been applied: the caller must count it as spent and as not granted, unless the error's `values` hold its
    counter's new value.
    Counters start at 0 and never fall below. They expire some time after their window has ended. A past window that is
    only read may be `OUT_OF_REACH`.
    """

    async def debit(self, batch: Sequence[AccountDebits]) -> Sequence[Sequence[CounterValue]]:
        """Add each amount to its window's counter; return the new values, for each account in the same order. An
        account comes once. Raises `StoreError`."""
        ...

    async def reset(self, account: Account, windows: Sequence[Window]) -> None:
        """Forget the counters of the named windows. Raises `StoreError`."""
        ...


class Held(NamedTuple):
    """`through`: the last minute for which the process is a holder, None if it is not one. `place` is its number among
    the `fleet` processes that are alive."""

    through: int | None
    place: int
    fleet: int


class CounterChoices(Protocol):
    """What the processes of a fleet agree on, and tell each other. All methods raise `StoreError`."""

    async def choose(self, proposal: Proposal) -> bool:
        """Announce a change; False if another process was faster, or has reported Redis unavailable meanwhile."""
        ...

    async def report_unavailable(self) -> None:
        """Report that Redis is unavailable here, so that no process goes back to it."""
        ...

    async def mirror(self, days: Mapping[tuple[str, int], int]) -> None:
        """Raise the count of each (tenant, number of the day) to what Redis had."""
        ...

    async def hold(self, process: UUID, version: int, *, holds: bool) -> Held:
        """Register this process; `holds`: it may be granted tokens by Redis."""
        ...

    async def misses_a_holder(self) -> bool:
        """Whether a holder has not registered lately, so that no minute will be handed over."""
        ...

    async def accounts(self) -> list[Account]:
        """Return all that have a place in the groups of counters."""
        ...

    async def report(self, process: UUID, minute: int, tokens: Mapping[str, int]) -> None:
        """Say what Redis granted of `minute` here, by owner of the counter."""
        ...

    async def hand_over(self, process: UUID, version: int, minute: int, *, leaves: bool = False) -> bool:
        """All is reported; return whether Postgres counts from `minute` on because of that."""
        ...
