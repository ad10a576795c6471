"""Scenarios of counter-store failover as text: commands to a simulated fleet, with their recorded answers.

The form is that of `tests/recorded.py`. A file says what it proves, `# proves: failover 2, handover 4`: the rules of
`core/failover.py` and `core/handover.py`. Times are minutes and seconds since the minute in which the scenario begins.
The commands:

    fleet 3 limit=600 at=0:20     so many processes; also per_day=, and `local` for shares of isolated processes
    run 0:45                      until that time
    redis down | up | mute | suspended | flushed    mute: it answers PING and counts nothing
    redis down p1                 to one process
    log down | up [p1]            Postgres, with the row and the reports
    pause p1 | resume p1 | kill p1 | leave p1
    register p1 off               it cannot tell Postgres that it may be granted tokens by Redis
    demand p1 0
    band no Redis                 the fleet's budget
    commit 8                      seconds that each change of the row takes from now on
    counters                      what each store has counted
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf
from pathlib import Path
from random import Random
from typing import TypeVar

from tenantcache.budget.core.bands import Band
from tenantcache.ratelimit.core.agreement import StoreChoice
from tenantcache.ratelimit.core.redishealth import RedisState
from tenantcache.ratelimit.core.windows import MINUTE, Window, minute_at
from tests.core.fleet_of_stores import START, STEP, World
from tests.core.fleet_process import Process
from tests.recorded import is_as_recorded, named, replay

T = TypeVar("T")

FILES = sorted((Path(__file__).parent / "failover").glob("*.txt"))
FIRST_MINUTE = minute_at(START)


class Certain(Random):
    """Nothing is left to chance: a process serves before it hears what has come meanwhile, and no message is lost."""

    def random(self) -> float:
        return 0.3

    def choice(self, among: Sequence[T]) -> T:  # type: ignore[override] # typeshed asks for less than a sequence
        return among[0]  # of one, or of equal ones


class Fleet(World):
    """A world without chance."""

    def __init__(self, size: int, at: float, **options: int) -> None:
        super().__init__(Certain(), size=size, limit=options["limit"], per_day=options.get("per_day"))
        self.now = FIRST_MINUTE * MINUTE + at
        self.delays = self.postgres.commits = [0.0]
        self.demand = (1,)


class Scenario:
    """Runs commands, and says what has happened."""

    def __init__(self) -> None:
        self._fleet: Fleet
        self._seen: dict[str, list[str]] = {}
        self._row = StoreChoice(0, None)
        self._has_reported = False

    def do(self, command: str) -> Iterable[str]:
        """What follows from it, while it happens."""
        name, *words = command.split()
        match name, words:
            case "fleet", [size, *options]:
                self._begin(int(size), options)
            case "run", [until]:
                return self._run(seconds_of(until))
            case "redis", [fault, *who]:
                self._break_redis(fault, who)
            case "log", [fault, *who]:
                self._break_log(fault, who)
            case (("pause" | "resume"), [who]):
                self._process(who).paused_until = inf if name == "pause" else 0.0
            case (("kill" | "leave"), [who]):
                (self._fleet.crash if name == "kill" else self._fleet.leave)(self._process(who))
            case "register", [who, "off"]:
                self._process(who).next_hold = inf
            case "demand", [who, requests]:  # in a quarter second
                self._process(who).demand = (int(requests),)
            case "band", band:
                self._fleet.postgres.change_band(Band(" ".join(band)))
            case "commit", [seconds]:
                self._fleet.postgres.commits = [float(seconds)] * 3
            case "counters", []:
                return self._counters()
            case _:
                raise ValueError(f"not a command: {command}")
        return []

    def _begin(self, size: int, options: list[str]) -> None:
        figures = dict(option.split("=") for option in options if "=" in option)
        at = seconds_of(figures.pop("at"))
        self._fleet = Fleet(size, at, **{name: int(figure) for name, figure in figures.items()})
        self._fleet.local = "local" in options

    def _process(self, who: str) -> Process:
        return self._fleet.processes[int(who[1:]) - 1]

    def _break_redis(self, fault: str, who: list[str]) -> None:
        fleet, until = self._fleet, 0.0 if fault == "up" else inf
        if who:
            self._process(who[0]).redis_away_until = until
        elif fault == "flushed":
            fleet.losers = ("acme", "globex")
            fleet.counters["redis"].clear()
        elif fault == "mute":
            fleet.redis_mute_until = until
        elif fault == "suspended":
            fleet.suspended_until = fleet.redis_mute_until = until
        elif fault == "down":
            fleet.redis_away_until = until
        else:
            fleet.redis_away_until = fleet.redis_mute_until = fleet.suspended_until = until

    def _break_log(self, fault: str, who: list[str]) -> None:
        broken: Sequence[Process | Fleet] = [self._process(name) for name in who] or [self._fleet]
        for each in broken:
            each.log_away_until = inf if fault == "down" else 0.0

    def _run(self, until: float) -> Iterator[str]:
        fleet = self._fleet
        while fleet.now < FIRST_MINUTE * MINUTE + until:
            now = fleet.now
            fleet.run(STEP)
            for line in self._news(now):
                yield f"{time_of(now)} {line}"
            if minute_at(fleet.now) > minute_at(now):
                window = Window("minute", minute_at(now))
                yield f"{time_of(fleet.now)} minute {time_of(window.start)} has admitted {fleet.admitted[window]}"

    def _news(self, now: float) -> Iterator[str]:
        row, before = self._fleet.postgres.row, self._row
        begins = "at once" if row.from_minute == 0 else f"from {time_of(row.from_minute * MINUTE)} on"
        if row.version != before.version:
            self._has_reported = False
            yield f"row {row.version}: {row.store} {begins}: {row.why}"
        elif row.from_minute != before.from_minute:
            yield f"row {row.version}: handed over: {row.store} {begins}"
        elif row.complained_at != before.complained_at and not self._has_reported:
            self._has_reported = True
            yield "reported, and from now on all the time: Redis is unavailable"
        self._row = row
        facts: list[tuple[str, list[str]]] = [
            ("Redis", [self._redis(process, now) for process in self._fleet.processes]),
            ("minute", [process.failover.standing_of(minute_at(now)).value for process in self._fleet.processes]),
        ]
        for subject, values in facts:
            yield from self._changes(subject, values)

    def _redis(self, process: Process, now: float) -> str:
        redis = process.failover.redis
        return redis.state.value + (", unavailable" if redis.is_unavailable(now) else "")

    def _changes(self, subject: str, values: list[str]) -> Iterator[str]:
        seen = self._seen.get(subject) or [RedisState.ANSWERING.value for _ in values]
        if values == seen:
            return
        changed = [place for place, value in enumerate(values) if value != seen[place]]
        for value in dict.fromkeys(values[place] for place in changed):
            who = [f"p{place + 1}" for place in changed if values[place] == value]
            yield f"{'all' if len(who) == len(values) > 1 else ' '.join(who)}: {subject} {value}"
        self._seen[subject] = values

    def _counters(self) -> Iterator[str]:
        for store, counters in self._fleet.counters.items():
            for window, value in sorted(counters.items()):
                name = "day" if window.unit == "day" else f"{window.unit} {time_of(window.start)}"
                if value:
                    yield f"{store}: {name}: {value}"
        if self._fleet.limits.per_day is not None:
            yield f"the day has admitted {self._fleet.admitted_in_days.total()}"


def seconds_of(text: str) -> float:
    minutes, seconds = text.split(":")
    return int(minutes) * MINUTE + float(seconds)


def time_of(now: float) -> str:
    minutes, seconds = divmod(now - FIRST_MINUTE * MINUTE, MINUTE)
    return f"{minutes:.0f}:{seconds:05.2f}".removesuffix(".00")


def play(text: str) -> str:
    """The file's text, with the answers that its commands give now."""
    return replay(text, Scenario().do)


def is_true(text: str) -> bool:
    """Whether the file's commands still give the answers that it has."""
    return is_as_recorded(text, Scenario().do)


def rules_of(text: str) -> set[str]:
    """Those that it says it proves: "failover 2"."""
    return set(named(text, "proves", ", "))
