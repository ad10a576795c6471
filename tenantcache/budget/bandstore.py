"""What the governor asks of the row that has the fleet's band."""

from __future__ import annotations

from typing import Protocol

from tenantcache.budget.core.bands import BandProposal


class BandStore(Protocol):
    """All methods raise `StoreError`. The band comes back with the pulls of the log."""

    async def change(self, proposal: BandProposal) -> bool:
        """Put a band in force; False if another process was faster, or the rules of the row forbid it."""
        ...

    async def want(self, version: int) -> None:
        """Say that this process wants the band to stay, if it still has that version."""
        ...

    async def claim(self, version: int) -> bool:
        """Whether it is this process that shall tell of the band: it was not told of, and the process that had claimed
        that has had its time. True to one process at a time."""
        ...

    async def told(self, version: int) -> None:
        """The webhook has been told of the band."""
        ...
