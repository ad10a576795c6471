"""One seed, one story: a random schedule of steps, messages, changes and faults, checked at every point.

`python -m tests.freshness.storm SEED` tells the story of one seed.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable

from tests.freshness.database import Flaws, Transaction
from tests.freshness.parts import Sizes
from tests.freshness.trouble import Trouble
from tests.freshness.truth import Violation
from tests.freshness.world import ALIASES, World

STEPS = 310


class Storm:
    def __init__(
        self, seed: int, *, steps: int = STEPS, log: Callable[[str], None] | None = None, flaws: Flaws | None = None
    ) -> None:
        self.rng = random.Random(seed)
        self._steps = steps
        self._log = log
        # Half of the seeds live past every TTL; in the others there is more going on at any time.
        self.has_quiet_spells = self.rng.random() < 0.5
        sizes: Sizes = {"memory_ttl": self.rng.choice((2.0, 300.0))}
        if self.has_quiet_spells:
            sizes = {
                "memory_ttl": self.rng.choice((0.5, 2.0)),
                "negative_ttl": self.rng.choice((0.5, 60.0)),
                "redis_ttl": self.rng.choice((1.0, 20.0)),
                "stale_if_error": self.rng.choice((0.0, 0.0, 1.0, 5.0)),
                "has_refresher": self.rng.random() < 0.7,
                "hot_only": self.rng.random() < 0.5,
            }
        # Small sizes bring out what otherwise happens once in a million requests.
        processes = self.rng.choice((1, 2, 2, 3))
        sizes |= {
            "max_tenants": self.rng.choice((2, 100)),
            "max_floors": self.rng.choice((3, 1000)),
            "has_index": self.rng.random() < 0.5,
        }
        self.world = World(processes, flaws=flaws, **sizes)
        self.mischief = self.rng.choice((0.0, 0.02, 0.1))
        self.faults = Trouble(self.world, self.rng).choose()

    def run(self) -> int:
        """Return how many answers were checked. Raises `Violation`."""
        # The follower's jitter comes from the module's generator.
        state = random.getstate()
        random.seed(self.rng.random())
        try:
            if self.rng.random() < 0.7:
                self.world.settle()
            for _ in range(self._steps):
                self._act()
                self.world.replace_failed()
            self.world.check_agreement()
        finally:
            self.world.close()
            random.setstate(state)
        return self.world.answers

    def _note(self, text: str) -> None:
        if self._log is not None:
            self._log(f"{self.world.now:9.3f} {text}")

    def _act(self) -> None:
        world, rng = self.world, self.rng
        dice = rng.random()
        if dice < self.mischief:
            self._note("! " + rng.choice(self.faults)())
        elif dice < 0.15:
            self._ask()
        elif dice < 0.25:
            self._write()
        elif dice < 0.30:
            self._let_time_pass()
        elif dice < 0.31 and self.has_quiet_spells:
            self._let_ttls_pass()
        else:
            busy = [process for process in world.processes if process.has_work]
            flights = world.network.flights
            if busy and (not flights or rng.random() < 0.6):
                process = rng.choice(busy)
                process.step()
                if process.is_open:
                    for alias in ALIASES:
                        process.peek(alias)
            elif flights:
                flight = rng.choice(flights)
                self._note(f"  {flight.label}")
                world.network.deliver(flight)
            else:
                self._let_time_pass()

    def _let_time_pass(self) -> None:
        world, rng = self.world, self.rng
        to_timer = max(0.0, min(process.next_timer() for process in world.processes) - world.now) + 1e-6
        world.advance(rng.choice((min(to_timer, 5.0), 0.001, 0.02, 0.3, 1.1)))

    def _let_ttls_pass(self) -> None:
        """Longer than the short TTLs, in good order, so that memory stays valid if nothing is broken."""
        seconds = self.rng.choice((1.5, 4.0, 8.0))
        self._note(f"  {seconds} s in good order")
        self.world.settle(seconds)

    def _ask(self) -> None:
        process = self.rng.choice(self.world.processes)
        if process.is_open:
            alias, after_sync = self.rng.choice(ALIASES), self.rng.random() < 0.1
            self._note(f"? {process.name} {alias}{' after sync' if after_sync else ''}")
            process.ask(alias, after_sync=after_sync)

    def _write(self) -> None:
        """Move some transaction one step on, or begin one, or make a whole one."""
        database, rng = self.world.database, self.rng
        if database.open_transactions and rng.random() < 0.6:
            self._move_on(rng.choice(database.open_transactions))
            return
        name, change, touched, named = rng.choice(list(self.world.possible_changes()))
        if rng.random() < 0.5:
            if not database.open_transactions:
                self._note(f"= {name}")
                database.commit(change, named)
        elif database.begin(change, touched, named) is not None:
            self._note(f"= begin {name}")

    def _move_on(self, transaction: Transaction) -> None:
        database = self.world.database
        if self.rng.random() < 0.1:
            self._note(f"= roll back {transaction.number}")
            database.abort(transaction)
        else:
            self._note(f"= commit {transaction.number}")
            database.finish(transaction)


def main() -> None:
    try:
        print(Storm(int(sys.argv[1]), log=print).run(), "answers, all true")
    except Violation as violation:
        raise SystemExit(f"seed {sys.argv[1]}: {violation}") from None


if __name__ == "__main__":
    main()
