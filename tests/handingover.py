"""What a process says of its minute when it hands it over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tenantcache.ratelimit.limiter import Limiter


def handed_over(limiter: Limiter) -> dict[str, int]:
    """All at once."""
    granted: dict[str, int] = {}
    for _ in limiter.hand_over(granted):
        pass
    return granted


def counting(tokens: Mapping[str, int], steps: int = 1) -> Callable[[dict[str, int]], Iterator[None]]:
    """What counts so many tokens, by owner, for a `Holder`."""

    def count(granted: dict[str, int]) -> Iterator[None]:
        granted |= tokens
        yield from [None] * steps

    return count
