"""A batch of debits that lie in two counter stores: its parts, and the answers put together again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tenantcache.ratelimit.core.agreement import Store
from tenantcache.ratelimit.core.windows import OUT_OF_REACH, CounterValue, CounterValues, Debit


class Routing:
    """The places of a batch's debits, by the store that counts them. `store_of` tells which one that is; None: none of
    them can be read, and the value is `OUT_OF_REACH`."""

    def __init__(self, batch: Sequence[Sequence[Debit]], store_of: Callable[[Debit], Store | None]) -> None:
        self.values: list[list[CounterValue | None]] = [[OUT_OF_REACH] * len(debits) for debits in batch]
        """Those known so far."""
        self._batch = batch
        self._places: dict[Store, dict[int, list[int]]] = {}
        for account, debits in enumerate(batch):
            for place, debit in enumerate(debits):
                if (store := store_of(debit)) is not None:
                    self._places.setdefault(store, {}).setdefault(account, []).append(place)

    def part(self, store: Store) -> Mapping[int, Sequence[Debit]]:
        """The debits that `store` counts, by the position of their account in the batch."""
        places = self._places.get(store, {})
        return {account: [self._batch[account][place] for place in found] for account, found in places.items()}

    def enter(self, store: Store, found: CounterValues) -> None:
        """The values that `store` has answered: a list for each account of its part."""
        for (account, places), values in zip(self._places.pop(store).items(), found, strict=True):
            for place, value in zip(places, values, strict=True):
                self.values[account][place] = value

    def fail(self, store: Store, found: CounterValues) -> None:
        """`store` has failed, and has answered `found`, or nothing at all. An account that lacks an answer has no use
        for those of the other store, which is not asked for them."""
        self.enter(store, found or [[None] * len(places) for places in self._places[store].values()])
        for rest in self._places.values():
            for account in [account for account in rest if None in self.values[account]]:
                for place in rest.pop(account):
                    self.values[account][place] = None

    @property
    def known(self) -> CounterValues:
        """The values; empty if no debit was made for certain."""
        is_known = any(isinstance(value, int) for values in self.values for value in values)
        return self.values if is_known else []
