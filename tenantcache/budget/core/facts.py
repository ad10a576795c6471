"""Everything that is known of a Redis and of what uses it, for the rules to judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenantcache.budget.core.keylives import KeyLife
from tenantcache.budget.core.plans import Outlook, Plan
from tenantcache.budget.core.serverfacts import ServerFacts
from tenantcache.budget.core.traffic import Traffic

NO_OWNER = "not known"
"""The owner of keys whose shape tells none."""


@dataclass(frozen=True, slots=True)
class PatternFacts:
    """Keys of one shape. `keys` is an estimate, and `without_expiry` the share of those that were asked, if any were.

    `longest_ttl`: the seconds that the longest of them has left, None if no key that expires was asked. `secret`: what
    a key of them holds, and which, without it.
    """

    pattern: str
    keys: float
    without_expiry: float | None = None
    longest_ttl: float | None = None
    owner: str | None = None
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What a sample says of the keys. `largest` are names with bytes; None if this server does not tell sizes.

    `notes`: what could not be asked.
    """

    sampled: int
    patterns: Sequence[PatternFacts] = ()
    largest: Sequence[tuple[str, int]] | None = None
    notes: Sequence[str] = ()

    def share(self, keys: float) -> float:
        total = sum(pattern.keys for pattern in self.patterns)
        return keys / total if total else 0.0

    def by_owner(self) -> Mapping[str, float]:
        """The share of keys of each library, the greatest first."""
        counts: dict[str, float] = {}
        for pattern in self.patterns:
            owner = pattern.owner or NO_OWNER
            counts[owner] = counts.get(owner, 0.0) + pattern.keys
        shares = {owner: self.share(keys) for owner, keys in counts.items()}
        return dict(sorted(shares.items(), key=lambda pair: -pair[1]))


@dataclass(frozen=True, slots=True)
class IdleFacts:
    """Keys that were asked how long they have not been used: how many, and how many of them a week or longer."""

    asked: int
    unused: int


@dataclass(frozen=True, slots=True)
class ValueFacts:
    """Values of `cache.values` that were looked into: how many, and of those with a secret the pattern, and which."""

    read: int
    secrets: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class QuotaFacts:
    """A quota of billed commands, and what becomes of it. `day`: the date on which it is used up, None if it lasts.

    `assumed`: it is that of the provider's free plan, and the plan of this account is not known.
    """

    name: str
    outlook: Outlook
    day: str | None
    measured: str
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class FleetFacts:
    """The fleet's own count of what is billed (`unit`: commands or ECPUs) in this period, as Postgres has it.

    `forecast`: by the period's end, with `bounds`. `ends`: the date on which the budget is used up, None if it lasts.
    """

    used: int
    unit: str
    budget: int | None
    band: str | None
    forecast: int
    bounds: tuple[int, int]
    ends: str | None


@dataclass(frozen=True, slots=True)
class PostgresFacts:
    """What `tenantcache check` finds, and the state of the log. Sizes in bytes, ages in seconds.

    `unpublished`: committed changes that no process has moved into the log; None if it could not be asked.
    """

    faults: Sequence[str] = ()
    warnings: Sequence[str] = ()
    log_bytes: int | None = None
    log_entries: int | None = None
    oldest_entry: float | None = None
    unpublished: int | None = None
    processes: int | None = None
    slowest_process: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """`refused`: commands that this server does not have, or this user may not run. `hidden`: what else is not told.

    `saves`: the directive `save`, None if CONFIG is refused. `refusal`: what a provider says that has suspended this
    account.
    """

    server: ServerFacts
    traffic: Traffic
    sample: KeyFacts | None = None
    idle: IdleFacts | None = None
    lives: Sequence[KeyLife] = ()
    values: ValueFacts | None = None
    saves: str | None = None
    refused: Sequence[str] = ()
    refusal: str | None = None
    quota: QuotaFacts | None = None
    plan: Plan | None = None
    fleet: FleetFacts | None = None
    postgres: PostgresFacts | None = None
    hidden: Sequence[str] = ()
