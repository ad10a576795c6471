"""What a process says of its minute when it hands it over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tenantcache.ratelimit.limiter import Limiter


def handed_over(limiter: Limiter) -> dict[str, int]:
    """All at once."""
    granted: dict[str, int] = {}
    for _ in limiter.hand_over(granted):
        pass
    return granted


class FakeTokens:
    """`Tokens`: so many, by owner."""

    def __init__(self) -> None:
        self.granted: Mapping[str, int] = {}

    def hand_over(self, granted: dict[str, int]) -> Iterator[None]:
        granted |= self.granted
        yield

    async def enter_windows(self) -> None:
        pass
