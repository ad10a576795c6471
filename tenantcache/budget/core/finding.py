"""What an examination of a Redis can find, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, Flag, auto


class Severity(Enum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    CRIT = "crit"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class Checklist(Flag):
    """How often to look at something."""

    DAILY = auto()
    WEEKLY = auto()
    MONTHLY = auto()


EVERY = Checklist.DAILY | Checklist.WEEKLY | Checklist.MONTHLY


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says of the facts. `title` is a statement, and `evidence` the figures behind it."""

    severity: Severity
    title: str
    evidence: str


@dataclass(frozen=True, slots=True)
class NotKnown:
    """A rule cannot be judged. `reason` completes "cannot be known: "."""

    reason: str


Judgement = Verdict | NotKnown | None
"""None: the rule does not apply."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict with what a person needs to act on it. `id` is that of the rule, and stays the same."""

    id: str
    severity: Severity
    title: str
    evidence: str
    why: str
    fix: str

    @property
    def link(self) -> str:
        return f"{PAGE}#{self.id}"

    def as_json(self) -> dict[str, str]:
        return {
            "id": self.id,
            "severity": self.severity.value,
            "title": self.title,
            "evidence": self.evidence,
            "why": self.why,
            "fix": self.fix,
            "link": self.link,
        }


PAGE = "docs/doctor.md"
"""The page that has a section for each rule."""


def ok(title: str, evidence: str) -> Verdict:
    return Verdict(Severity.OK, title, evidence)


def warn(title: str, evidence: str) -> Verdict:
    return Verdict(Severity.WARN, title, evidence)


def crit(title: str, evidence: str) -> Verdict:
    return Verdict(Severity.CRIT, title, evidence)
