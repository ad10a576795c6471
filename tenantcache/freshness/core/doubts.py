"""The names of changes that a notification has told of, and that the log may not name yet (`freshness`, rule 8)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MAX_DOUBTED: Final = 200
"""Names. Any client of the database may notify, and each name costs a read at most. A commit names some five."""


class Doubts:
    """`noted` counts the doubts so far, so a question that was asked can be compared with them."""

    __slots__ = ("_numbers", "noted")

    def __init__(self) -> None:
        self.noted: int = 0
        self._numbers: dict[tuple[str, str], int] = {}

    def note(self, tenant_id: str, aliases: Iterable[str]) -> bool:
        """Doubt a tenant and what leads to it, or values, which have no tenant's id (""); False if too much is doubted
        already."""
        names = [("alias", alias) for alias in aliases]
        if tenant_id:
            names.append(("tenant", tenant_id))
        if len(self._numbers) + len(names) > MAX_DOUBTED:
            return False
        self.noted += 1
        self._numbers.update(dict.fromkeys(names, self.noted))
        return True

    def hold(self, alias: str, tenant_id: str | None, *, asked: int = 0) -> bool:
        """Whether the alias or the tenant is doubted since `asked`, an earlier `noted`."""
        numbers = self._numbers
        if not numbers:
            return False
        return numbers.get(("alias", alias), 0) > asked or numbers.get(("tenant", tenant_id or ""), 0) > asked

    def settle(self, asked: int) -> None:
        """Forget those from before `asked`: the log names their changes now."""
        self._numbers = {name: number for name, number in self._numbers.items() if number > asked}
