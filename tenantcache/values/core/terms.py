"""On what terms a caller wants a value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tenantcache.values.core.codec import Codec
from tenantcache.values.core.kind import HARD_TIMEOUT
from tenantcache.values.core.lifetime import Lifetime

Tags = Iterable[str] | Callable[[Any], Iterable[str]]
"""Names under which values can be invalidated together, or what gives them for a value that was loaded."""


@dataclass(frozen=True, slots=True)
class Terms:
    """A load is cancelled after `hard` seconds. What is stale is served after `soft` seconds, at once if that is 0."""

    lifetime: Lifetime
    tags: Tags
    codec: Codec[Any]
    soft: float = 0.0
    hard: float = HARD_TIMEOUT

    def __post_init__(self) -> None:
        if not callable(self.tags):
            object.__setattr__(self, "tags", _listed(self.tags))  # a generator can be read once

    @property
    def known_tags(self) -> tuple[str, ...]:
        """Those that are known before the value is."""
        return () if callable(self.tags) else tuple(self.tags)

    def tags_of(self, value: object) -> tuple[str, ...]:
        """Those of a value; that there is none has only those that are known beforehand."""
        if value is None or not callable(self.tags):
            return self.known_tags
        return _listed(self.tags(value))


def _listed(tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, str):
        raise TypeError(f"tags={tags!r:.80} is one text; give a list of tags")
    return tuple(tags)
