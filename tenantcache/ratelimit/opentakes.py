"""The takes of one command that are planned and not settled yet.

A meter at rest stays so while it is taken for along with others: what is left of it and of its take is bytes. So a
command for thousands leaves the garbage collector nothing to look at. It would stop a process with many modules for 50
ms: it looks at everything once a quarter as many objects were made as there are. If a request wakes such a meter
meanwhile, its take goes on as that of a live one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tenantcache.ratelimit.batch import Batch
from tenantcache.ratelimit.core.ledger import Take
from tenantcache.ratelimit.counterstore import AccountDebits
from tenantcache.ratelimit.meter import Meter, Worker
from tenantcache.ratelimit.resting import RestingMeters


class OpenTake(NamedTuple):
    """`is_at_rest`: `meter` was made of one at rest, which stays what it is."""

    meter: Meter
    take: Take
    is_at_rest: bool


class OpenTakes:
    """`resting` are all meters at rest. `are_first`: the process has just started."""

    def __init__(self, resting: RestingMeters, *, are_first: bool = False) -> None:
        self.are_first: bool = are_first
        self.asked: dict[Meter, None] = {}
        """The live ones of which there was a take, settled or not."""
        self._live: dict[str, tuple[Meter, Take]] = {}
        self._at_rest: dict[str, bytes] = {}
        self._resting = resting

    def __len__(self) -> int:
        return len(self._live) + len(self._at_rest)

    @property
    def live(self) -> Mapping[Meter, Take]:
        return dict(self._live.values())

    def add(self, meter: Meter, take: Take) -> None:
        """That of a live one."""
        self._live[meter.owner] = meter, take
        self.asked[meter] = None

    def add_at_rest(self, meter: Meter, take: Take) -> bool:
        """That of a meter which was made of one at rest; false if it has to be live for that."""
        packed = self._resting.packing.pack_take(meter.slot, take)
        if packed is None or not self._resting.begin_take(meter, take, self):
            return False
        self._at_rest[meter.owner] = packed
        return True

    # What becomes of one at rest.

    def wake(self, meter: Meter) -> None:
        """`meter` was made of it, and is live from now on."""
        if (packed := self._at_rest.pop(meter.owner, None)) is not None:
            self.add(meter, self._resting.packing.unpack_take(packed))

    def drop(self, owner: str) -> None:
        """It is forgotten. What is granted is spent."""
        self._at_rest.pop(owner, None)

    # Sending and settling.

    def batch(self) -> Batch:
        batch = Batch()
        for owner, (meter, take) in self._live.items():
            batch.add(owner, AccountDebits(meter.account, take.debits))
        for owner, packed in self._at_rest.items():
            batch.add(owner, packed)
        return batch

    def pop(self, owner: str, worker: Worker) -> OpenTake | None:
        """Take out what is to be settled; None if it was given up meanwhile."""
        if (found := self._live.pop(owner, None)) is not None:
            return OpenTake(*found, is_at_rest=False)
        meter = self._resting.make(owner, worker) if owner in self._at_rest else None
        if meter is None:
            return None
        return OpenTake(meter, self._resting.packing.unpack_take(self._at_rest.pop(owner)), is_at_rest=True)

    def fail(self, now: float) -> Iterator[str]:
        """Fail all that are left; their owners."""
        return self._fail(list(self._live), list(self._at_rest), now)

    def drop_outdated(self, version: object, now: float) -> None:
        """Fail those that were planned in counters of another version."""
        version_in = self._resting.packing.version_in
        live = [owner for owner, (_, take) in self._live.items() if take.version != version]
        at_rest = [owner for owner, packed in self._at_rest.items() if version_in(packed) != version]
        for _ in self._fail(live, at_rest, now):
            pass

    def _fail(self, live: list[str], at_rest: list[str], now: float) -> Iterator[str]:
        for owner in live:
            meter, take = self._live.pop(owner)
            meter.reservation.fail(take, now)
            yield owner
        for owner in at_rest:
            del self._at_rest[owner]
            self._resting.fail_take(owner)
            yield owner
