"""The row of a fleet's band, in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tenantcache.budget.core.bands import DWELL, Band, BandChoice, BandProposal

TELLING = 300.0
"""Seconds that a process has to tell of a change."""


class MemoryBands:
    """`BandStore`. `row` is what a pull of the log would bring."""

    def __init__(self, server_now: Callable[[], float]) -> None:
        self.row: BandChoice = BandChoice()
        self._server_now = server_now
        self._telling_since = 0.0

    async def change(self, proposal: BandProposal) -> bool:
        now, row = self._server_now(), self.row
        has_dwelt = row.band is Band.NO_COPIES and now >= row.changed_at + DWELL
        if proposal.version != row.version or (proposal.band is Band.NO_REDIS and not has_dwelt):
            return False
        self.row = BandChoice(
            row.version + 1, proposal.band, proposal.period, proposal.budget, proposal.edge, now, now, row.told
        )
        self._telling_since = now
        return True

    async def want(self, version: int) -> None:
        if version == self.row.version:
            self.row = replace(self.row, wanted_at=self._server_now())

    async def claim(self, version: int) -> bool:
        now = self._server_now()
        if version != self.row.version or self.row.told >= version or now < self._telling_since + TELLING:
            return False
        self._telling_since = now
        return True

    async def told(self, version: int) -> None:
        self.row = replace(self.row, told=max(self.row.told, version))
