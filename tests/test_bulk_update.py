"""One statement that changes 11,000 tenants, while a process answers: `benchmarks/bulk_update.py` in short."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from benchmarks.bulk_update import MAX_STALENESS, measure
from tenantcache.freshness import puller
from tenantcache.freshness.core.freshness import Freshness
from tenantcache.freshness.core.logmark import LogMark

TENANTS = 11_000


class Bursts:
    """Counts what happens between two turns of the event loop."""

    def __init__(self) -> None:
        self.most = 0
        self._count = 0

    def note(self) -> None:
        if self._count == 0:
            asyncio.get_running_loop().call_soon(self._end)
        self._count += 1

    def _end(self) -> None:
        self.most, self._count = max(self.most, self._count), 0


@pytest.fixture
def applied(monkeypatch: pytest.MonkeyPatch) -> Bursts:
    """The entries of the log that are applied."""
    bursts, apply = Bursts(), Freshness.apply

    def counted(self: Freshness, mark: LogMark, tenant_id: str, aliases: Iterable[str]) -> None:
        bursts.note()
        apply(self, mark, tenant_id, aliases)

    monkeypatch.setattr(Freshness, "apply", counted)
    return bursts


@pytest.mark.slow
async def test_nobody_is_refused_nothing_is_too_old_and_the_loop_goes_on(
    database_url: str, applied: Bursts, patience: None
) -> None:
    assert puller.PAGE * 10 < TENANTS < puller.MAX_BEHIND, "it is caught up with, page by page"
    outcome = await measure(database_url, TENANTS, afterwards=0.5)
    assert outcome.refused == 0
    assert outcome.answers > 100
    assert outcome.oldest < MAX_STALENESS
    assert applied.most == puller.STEP, "others have their turn after each part of a page"
