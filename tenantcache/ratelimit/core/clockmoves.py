"""How often the server's clock was set, and by how much: noted once, and followed by each reservation before anything
else is done to it."""

from __future__ import annotations

from collections.abc import Sequence


class ClockMoves:
    """Of one engine. It is set seldom, so that all moves are kept."""

    __slots__ = ("_moves", "count")

    def __init__(self) -> None:
        self.count: int = 0
        self._moves: list[tuple[float, float]] = []

    def note(self, seconds: float, now: float) -> None:
        """It is `now`, by so many seconds another time than was thought."""
        self._moves.append((seconds, now))
        self.count += 1

    def since(self, count: int) -> Sequence[tuple[float, float]]:
        """Those after the first `count`: seconds, and the time after the move."""
        return self._moves[count:]
