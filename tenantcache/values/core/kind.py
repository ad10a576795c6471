"""Kinds of values: for how long one is kept, and how long its loader may take, under one name.

An application gives a kind by its name (`kind="profile"`) or as an object. Or it gives the parts with each call.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, TypedDict

from tenantcache.values.core.lifetime import Lifetime

HARD_TIMEOUT: Final = 30.0
"""Seconds after which a load is given up. All who ask for the same value wait for one load, so it must end."""

KindTable = Mapping[str, int | float | Mapping[str, bool | int | float]]
"""Kinds as the settings have them: by name a `ttl` in seconds, or the parts of a `ValueKind`."""

KINDS: Final[KindTable] = {"static": 3600, "profile": 1800, "session": 300, "response": {"fresh": 60, "stale": 240}}
"""Those that every application has. Configuration seldom changes, a profile sometimes, a session often. A response is
right for one to five minutes, which depends on how fresh it must be."""


class KindOptions(TypedDict, total=False):
    """The parts of a `ValueKind`. None is as if it was not given."""

    ttl: float | None
    fresh: float | None
    stale: float | None
    negative_ttl: float | None
    soft_timeout: float | None
    hard_timeout: float | None
    short_ttl: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueKind:
    """How values are kept; immutable. All are seconds. Raises ValueError if they do not fit together.

    `ttl`: kept for so long if nothing changes. Or `fresh`, and `stale` more in which the old value is served while it
    is loaded again. With `soft_timeout` that is only done if the load takes longer. `hard_timeout` ends the loader with
    `TimeoutError`, after 30 seconds if nothing is said. `negative_ttl`: that there is no value is remembered for so
    long, by default for `TENANTCACHE_NEGATIVE_TTL`. `short_ttl`: under 10 seconds are meant; they are kept in the
    process alone.
    """

    ttl: float | None = None
    fresh: float | None = None
    stale: float | None = None
    negative_ttl: float | None = None
    soft_timeout: float | None = None
    hard_timeout: float | None = None
    short_ttl: bool | None = None

    def __post_init__(self) -> None:
        for name in KindOptions.__annotations__:
            part, right = getattr(self, name), (bool,) if name == "short_ttl" else (int, float)
            if part is not None and type(part) not in right:
                what = "True or False" if bool in right else "seconds"
                raise ValueError(f"{name}={part!r:.60} is not possible; give {what}")
        self.lifetime(0.0)
        if self.soft < 0 or self.hard <= 0:
            raise ValueError("soft_timeout= is seconds, 0 or more, and hard_timeout= seconds over 0")

    def lifetime(self, negative_ttl: float) -> Lifetime:
        """`negative_ttl`, in seconds, if the kind has none of its own."""
        negative = negative_ttl if self.negative_ttl is None else self.negative_ttl
        return Lifetime.of(self.ttl, self.fresh, self.stale, negative, short=bool(self.short_ttl))

    @property
    def soft(self) -> float:
        return 0.0 if self.soft_timeout is None else self.soft_timeout

    @property
    def hard(self) -> float:
        return HARD_TIMEOUT if self.hard_timeout is None else self.hard_timeout

    def but(self, options: Mapping[str, object]) -> ValueKind:
        """The same with those parts that are given. `ttl` takes the place of `fresh` and `stale`, and the reverse."""
        given = {name: part for name, part in options.items() if part is not None}
        if not given:
            return self
        own = asdict(self)
        if "ttl" in given:
            own |= {"fresh": None, "stale": None}
        elif "fresh" in given or "stale" in given:
            own |= {"ttl": None, "fresh": self.ttl if self.fresh is None else self.fresh}
        return ValueKind(**(own | given))


def read_kinds(table: KindTable) -> dict[str, ValueKind]:
    """By name. Raises ValueError with all faults, a line each."""
    found, faults = {}, []
    for name, given in table.items():
        try:
            parts = given if isinstance(given, Mapping) else {"ttl": given}
            if unknown := parts.keys() - KindOptions.__annotations__:
                raise ValueError(f"it has no {', '.join(unknown)}; there are {', '.join(KindOptions.__annotations__)}")
            found[name] = find_kind(None, {}, parts)
        except ValueError as error:
            faults.append(f"has the kind {name!r} as {given!r:.80}: {error}")
    if faults:
        raise ValueError("\n".join(faults))
    return found


def find_kind(kind: ValueKind | str | None, kinds: Mapping[str, ValueKind], options: Mapping[str, object]) -> ValueKind:
    """What a caller means by `kind` and by its parts. Raises ValueError, and TypeError for parts that do not exist."""
    if kind is None:
        return ValueKind(**options)  # type: ignore[arg-type]  # it says itself what is wrong with them
    if isinstance(kind, ValueKind):
        return kind.but(options)
    found = kinds.get(kind)
    if found is None:
        close = difflib.get_close_matches(str(kind), kinds, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(kinds)}"
        raise ValueError(f"kind={kind!r} is not among TENANTCACHE_VALUES_KINDS; {hint}")
    return found.but(options)
