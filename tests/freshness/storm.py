"""One seed, one story: a random schedule of steps, messages, changes and faults, checked at every point.

`python -m tests.freshness.storm SEED` tells the story of one seed.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable

from tests.freshness.database import Flaws, Transaction
from tests.freshness.process import Process, Sizes
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
        self.faults = self._choose_faults()

    def _choose_faults(self) -> list[Callable[[], str]]:
        """Each seed has its own few kinds of trouble: all at once would mostly be trouble, and little else."""
        kinds = [
            self._pause,
            self._suspend,
            self._cut,
            self._swallow,
            self._flush_redis,
            self._write_old_value,
            self._repeat,
            self._lose,
            self._restart,
            self._restore_dump,
            self._restore_storage,
            self._restore_while_all_are_down,
            self._terminate,
            self._truncate,
            self._set_server_clock,
            self._prune,
            self._hold_publisher,
            self._crash,
        ]
        return self.rng.sample(kinds, self.rng.randrange(1, 6))

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

    # Faults: each does itself and says what it did.

    def _process(self) -> Process:
        return self.rng.choice(self.world.processes)

    def _pause(self) -> str:
        process, seconds = self._process(), self.rng.choice((0.5, 2.0, 5.0, 40.0))
        process.pause(seconds)
        return f"pause {process.name} for {seconds} s"

    def _suspend(self) -> str:
        process, seconds = self._process(), self.rng.choice((0.5, 5.0, 40.0))
        process.suspend(seconds)
        return f"suspend {process.name} for {seconds} s"

    def _cut(self) -> str:
        link = self.rng.choice(list(self._process().links.values()))
        if link.state == "up":
            link.cut()
        else:
            link.heal()
        return f"{link.name} {link.state}"

    def _swallow(self) -> str:
        link = self.rng.choice(list(self._process().links.values()))
        if link.state == "up":
            link.swallow()
        else:
            link.heal()
        return f"{link.name} {link.state}"

    def _flush_redis(self) -> str:
        self.world.redis.flush_all()
        return "FLUSHALL"

    def _write_old_value(self) -> str:
        if not self.world.redis.graveyard:
            return "no old value yet"
        alias, value = self.rng.choice(self.world.redis.graveyard)
        target = alias if self.rng.random() < 0.8 else self.rng.choice(ALIASES)
        self.world.redis.write(target, value)
        return f"write by hand {target} {value!r}"

    def _repeat(self) -> str:
        repeatable = [flight for flight in self.world.network.flights if flight.repeatable]
        if not repeatable:
            return "nothing to repeat"
        flight = self.rng.choice(repeatable)
        self.world.network.send(flight)
        return f"repeat {flight.label}"

    def _lose(self) -> str:
        if not self.world.network.flights:
            return "nothing to lose"
        flight = self.rng.choice(self.world.network.flights)
        self.world.network.flights.remove(flight)
        return f"lose {flight.label}"

    def _restart(self) -> str:
        process = self._process()
        self.world.restart(process)
        return f"restart {process.name}"

    def _restore_dump(self) -> str:
        return self._restore(same_storage=False)

    def _restore_storage(self) -> str:
        return self._restore(same_storage=True)

    def _restore(self, *, same_storage: bool) -> str:
        if self.rng.random() < 0.5:
            self.world.backups.append(self.world.database.back_up())
            return "back up"
        backup = self.rng.choice(self.world.backups)
        self.world.database.restore(backup, same_storage=same_storage)
        return f"restore {'storage' if same_storage else 'dump'} of {backup.last_seq}"

    def _restore_while_all_are_down(self) -> str:
        if self.rng.random() < 0.5:
            self.world.backups.append(self.world.database.back_up())
            return "back up"
        backup, changes = self.rng.choice(self.world.backups), self.rng.randrange(4)
        self.world.restore_while_all_are_down(backup, changes)
        return f"all down, restore storage of {backup.last_seq}, and {changes} changes"

    def _hold_publisher(self) -> str:
        database = self.world.database
        database.is_publisher_held = not database.is_publisher_held
        return f"publisher {'held' if database.is_publisher_held else 'free'}"

    def _crash(self) -> str:
        self.world.database.crash()
        return "crash"

    def _terminate(self) -> str:
        self.world.database.terminate_backends()
        return "terminate backends"

    def _truncate(self) -> str:
        if self.world.database.open_transactions:
            return "truncate would wait"
        self.world.truncate()
        return "truncate"

    def _set_server_clock(self) -> str:
        self.world.database.clock_offset += self.rng.choice((-100.0, -1.0, 1.0, 100.0))
        return f"server clock {self.world.database.clock_offset:+}"

    def _prune(self) -> str:
        age = self.rng.choice((0.0, 10.0))
        self.world.database.prune(age)
        return f"prune entries older than {age} s"


def main() -> None:
    try:
        print(Storm(int(sys.argv[1]), log=print).run(), "answers, all true")
    except Violation as violation:
        raise SystemExit(f"seed {sys.argv[1]}: {violation}") from None


if __name__ == "__main__":
    main()
