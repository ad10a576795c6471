"""What values ask of the stores. Each protocol says what a caller may assume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class ValueCopies(Protocol):
    """Cheap copies that no process trusts blindly: the store may lose, keep or reorder anything that it is given.

    Every method raises `StoreError`.
    """

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """One command."""
        ...

    async def put(self, key: str, stored: bytes, seconds: float) -> None:
        """One command; the key ends after `seconds`, at least 1."""
        ...


class ValueLog(Protocol):
    """The log of changes."""

    async def __call__(self, names: Sequence[str]) -> None:
        """Tell every process of names (`core/valuekey.py`), in one statement. Raises `StoreError`."""
        ...
