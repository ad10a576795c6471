"""What one run has seen: files in a directory, so that pictures can be drawn again without another run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Outage:
    """Seconds since the Unix epoch."""

    store: str
    begin: float
    end: float


@dataclass(frozen=True)
class LogLine:
    at: float
    process: int
    level: str
    text: str


@dataclass(frozen=True)
class Alert:
    """`state` is "pending" or "firing"; in each of `spans` it was so from the first time to the second."""

    name: str
    severity: str
    state: str
    spans: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Recording:
    """`answers` has the number of requests by second and by what came of them: "served", "limited" or "unavailable".
    `shots` has when each picture of the dashboard was taken."""

    begin: float
    end: float
    outages: Sequence[Outage]
    log: Sequence[LogLine]
    alerts: Sequence[Alert]
    answers: Mapping[int, Mapping[str, int]]
    shots: Mapping[str, float]

    def save(self, directory: Path) -> None:
        (directory / "recording.json").write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, directory: Path) -> Self:
        found = json.loads((directory / "recording.json").read_text())
        return cls(
            begin=found["begin"],
            end=found["end"],
            outages=[Outage(**each) for each in found["outages"]],
            log=[LogLine(**each) for each in found["log"]],
            alerts=[Alert(**each) for each in found["alerts"]],
            answers={int(second): counts for second, counts in found["answers"].items()},
            shots=found["shots"],
        )
