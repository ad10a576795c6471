"""What the follower has been told since it last looked: by the database, and by callers in this process."""

from __future__ import annotations

import asyncio

from tenantcache.freshness.core.freshness import Freshness
from tenantcache.runtime.tasks import set_within


class Notices:
    """Notifications of commits, of entries that were published, and calls that want a pull now."""

    def __init__(self, freshness: Freshness) -> None:
        self.told: int = 0
        """The newest entry that a publisher has told of; 0 once an answer of the database accounts for it."""
        self.is_notified: bool = False
        self._freshness = freshness
        self._any = asyncio.Event()
        self._asked = asyncio.Event()
        self._news = asyncio.Event()

    def ask(self) -> None:
        """Want a pull now, notified or not."""
        self._any.set()
        self._asked.set()

    def notify(self, published: int | None) -> None:
        """Note a commit (None), or the newest entry, if a publisher tells of one that is not applied here."""
        if published is None:
            self.is_notified = True
        elif published > self._freshness.applied:
            self.told = published
        else:
            return
        self._any.set()
        self._news.set()

    @property
    def is_behind(self) -> bool:
        """Whether a publisher has told of an entry that is not applied here."""
        return self.told > self._freshness.applied

    async def wait(self, seconds: float) -> bool:
        """Wait for anything; False if nothing has come within `seconds`."""
        return await set_within(self._any, seconds)

    def drop_applied(self) -> bool:
        """Forget what has been applied since it was told, as a rule because this process has published it; whether
        nothing else is left."""
        if self.is_notified or self._asked.is_set() or self.is_behind:
            return False
        self._any.clear()
        return True

    async def wait_for_caller(self, seconds: float) -> None:
        await set_within(self._asked, seconds)

    def take(self) -> tuple[bool, bool]:
        """Whether a caller has asked, and whether a commit was notified; from now on neither."""
        taken = self._asked.is_set(), self.is_notified
        self.is_notified = False
        self._any.clear()
        self._asked.clear()
        return taken

    def expect_news(self) -> None:
        """Let `wait_for_news` wait for a notification that comes from now on."""
        self._news.clear()

    async def wait_for_news(self, seconds: float) -> None:
        await set_within(self._news, seconds)
