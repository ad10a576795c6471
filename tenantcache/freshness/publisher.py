"""Moves changes that are committed into the log, if no other process does.

The process that has published last is left to do it again, for some milliseconds. A publication that takes too long is
tried again in smaller portions.
"""

from __future__ import annotations

import asyncio

from tenantcache.errors import StoreError
from tenantcache.freshness.log import ChangeLog, Publication
from tenantcache.freshness.notices import Notices
from tenantcache.freshness.pace import EMPTY_NOTIFICATIONS, MAX_PULL_PAUSE, Portion

PUBLISHED_AT_ONCE = 500
"""Changes: some 50 ms of the database for tenants that a query describes, and far less for our own tables."""

LEADER_WAIT = 0.01
"""Seconds for which the process that has published last is left to do it again. If each of four processes asks at once,
they keep two cores from the one that publishes: the 99th of 100 changes then took 12 ms to be followed."""

BUSY_PAUSE = 0.02
"""Seconds after which a process looks again that has found another one publishing, unless it is notified before."""


class Publisher:
    def __init__(self, log: ChangeLog, notices: Notices) -> None:
        self._log = log
        self._notices = notices
        self._portion = Portion()
        self._leads = True
        """No other process has published since this one did."""
        self._busy = 0
        """How often in this catch-up another process was publishing."""

    def begin(self) -> None:
        """Begin a catch-up."""
        if self._notices.is_behind:
            self._leads = False
        self._busy = 0

    async def let_publish(self) -> None:
        """Leave publishing to the process that leads; publish here if that is this one, or if none is heard of."""
        if not self._leads and not self._notices.is_behind:
            self._notices.expect_news()
            await self._notices.wait_for_news(LEADER_WAIT)
        if not self._notices.is_behind:
            await self.publish()

    async def publish(self) -> None:
        """Publish a portion, or wait while another process does. Raises `StoreError`."""
        self._notices.expect_news()
        try:
            publication = await self._log.publish(self._portion.of(PUBLISHED_AT_ONCE))
        except StoreError:
            self._portion.shrink()
            raise
        self._portion.grow()
        if publication is not Publication.NOTHING:
            self._leads = publication is not Publication.BUSY
        if publication is not Publication.BUSY:
            return
        self._busy += 1
        if self._busy <= EMPTY_NOTIFICATIONS:
            await self._notices.wait_for_news(BUSY_PAUSE)
        else:  # it hangs, or notifications come that it has not sent
            await asyncio.sleep(MAX_PULL_PAUSE)
