"""What values ask of the stores. Each protocol says what a caller may assume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class CopyToWrite(NamedTuple):
    """`seconds` is how long the key is kept, at least 1."""

    key: str
    stored: bytes
    seconds: float


class ValueCopies(Protocol):
    """Cheap copies that no process trusts blindly: the store may lose, keep or reorder anything that it is given.

    Every method raises `StoreError`.
    """

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """One command."""
        ...

    async def put_many(self, copies: Sequence[CopyToWrite]) -> None:
        """One round trip, and one command for each copy. Some may be written although it raises."""
        ...


class ValueLog(Protocol):
    """The log of changes."""

    async def __call__(self, names: Sequence[str]) -> None:
        """Tell every process of names (`core/valuekey.py`), in one statement. Raises `StoreError`."""
        ...
