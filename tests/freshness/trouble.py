"""What goes wrong in a storm. Each kind does itself, and says what it did."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.freshness.network import Link
from tests.freshness.process import Process
from tests.freshness.world import ALIASES, World


class Trouble:
    def __init__(self, world: World, rng: random.Random) -> None:
        self._world, self._rng = world, rng

    def choose(self) -> list[Callable[[], str]]:
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
        return self._rng.sample(kinds, self._rng.randrange(1, 6))

    def _process(self) -> Process:
        return self._rng.choice(self._world.processes)

    def _pause(self) -> str:
        process, seconds = self._process(), self._rng.choice((0.5, 2.0, 5.0, 40.0))
        process.pause(seconds)
        return f"pause {process.name} for {seconds} s"

    def _suspend(self) -> str:
        process, seconds = self._process(), self._rng.choice((0.5, 5.0, 40.0))
        process.suspend(seconds)
        return f"suspend {process.name} for {seconds} s"

    def _cut(self) -> str:
        return self._break_or_heal(Link.cut)

    def _swallow(self) -> str:
        return self._break_or_heal(Link.swallow)

    def _break_or_heal(self, break_link: Callable[[Link], None]) -> str:
        link = self._rng.choice(list(self._process().links.values()))
        if link.state == "up":
            break_link(link)
        else:
            link.heal()
        return f"{link.name} {link.state}"

    def _flush_redis(self) -> str:
        self._world.redis.flush_all()
        return "FLUSHALL"

    def _write_old_value(self) -> str:
        if not self._world.redis.graveyard:
            return "no old value yet"
        alias, value = self._rng.choice(self._world.redis.graveyard)
        target = alias if self._rng.random() < 0.8 else self._rng.choice(ALIASES)
        self._world.redis.write(target, value)
        return f"write by hand {target} {value!r}"

    def _repeat(self) -> str:
        repeatable = [flight for flight in self._world.network.flights if flight.repeatable]
        if not repeatable:
            return "nothing to repeat"
        flight = self._rng.choice(repeatable)
        self._world.network.send(flight)
        return f"repeat {flight.label}"

    def _lose(self) -> str:
        if not self._world.network.flights:
            return "nothing to lose"
        flight = self._rng.choice(self._world.network.flights)
        self._world.network.flights.remove(flight)
        return f"lose {flight.label}"

    def _restart(self) -> str:
        process = self._process()
        self._world.restart(process)
        return f"restart {process.name}"

    def _restore_dump(self) -> str:
        return self._restore(same_storage=False)

    def _restore_storage(self) -> str:
        return self._restore(same_storage=True)

    def _restore(self, *, same_storage: bool) -> str:
        if self._rng.random() < 0.5:
            self._world.backups.append(self._world.database.back_up())
            return "back up"
        backup = self._rng.choice(self._world.backups)
        self._world.database.restore(backup, same_storage=same_storage)
        return f"restore {'storage' if same_storage else 'dump'} of {backup.last_seq}"

    def _restore_while_all_are_down(self) -> str:
        if self._rng.random() < 0.5:
            self._world.backups.append(self._world.database.back_up())
            return "back up"
        backup, changes = self._rng.choice(self._world.backups), self._rng.randrange(4)
        self._world.restore_while_all_are_down(backup, changes)
        return f"all down, restore storage of {backup.last_seq}, and {changes} changes"

    def _hold_publisher(self) -> str:
        database = self._world.database
        database.is_publisher_held = not database.is_publisher_held
        return f"publisher {'held' if database.is_publisher_held else 'free'}"

    def _crash(self) -> str:
        self._world.database.crash()
        return "crash"

    def _terminate(self) -> str:
        self._world.database.terminate_backends()
        return "terminate backends"

    def _truncate(self) -> str:
        if self._world.database.open_transactions:
            return "truncate would wait"
        self._world.truncate()
        return "truncate"

    def _set_server_clock(self) -> str:
        self._world.database.clock_offset += self._rng.choice((-100.0, -1.0, 1.0, 100.0))
        return f"server clock {self._world.database.clock_offset:+}"

    def _prune(self) -> str:
        age = self._rng.choice((0.0, 10.0))
        self._world.database.prune(age)
        return f"prune entries older than {age} s"
