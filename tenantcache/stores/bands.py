"""The fleet's band, in the row that says which store counts limits. The pulls of the log read it."""

from __future__ import annotations

from tenantcache.budget.core.bands import BandProposal
from tenantcache.stores.counters import Fetcher

_CHANGE = "select tenantcache.change_band($1, $2, $3, $4, $5)"

_WANT = "update tenantcache.counter_store set band_wanted_at = clock_timestamp() where band_version = $1"

# A process has five minutes for it, which is longer than its attempts take.
_CLAIM = """
    update tenantcache.counter_store set band_telling_since = clock_timestamp()
    where band_version = $1 and band_told < $1 and band_telling_since < clock_timestamp() - interval '5 minutes'
    returning 1
"""

_TOLD = "update tenantcache.counter_store set band_told = greatest(band_told, $1)"


class PostgresBands:
    """`BandStore`."""

    def __init__(self, postgres: Fetcher) -> None:
        self._postgres = postgres

    async def change(self, proposal: BandProposal) -> bool:
        rows = await self._postgres.fetch(
            "changing the band of the budget",
            _CHANGE,
            *(proposal.version, proposal.band.value, proposal.period, proposal.budget, proposal.edge),
        )
        return bool(rows[0][0])

    async def want(self, version: int) -> None:
        await self._postgres.fetch("holding the band of the budget", _WANT, version)

    async def claim(self, version: int) -> bool:
        return bool(await self._postgres.fetch("claiming the webhook", _CLAIM, version))

    async def told(self, version: int) -> None:
        await self._postgres.fetch("noting that the webhook was told", _TOLD, version)
