"""Pre-fork servers: what a child must not share with its parent is forgotten right after the fork."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forgetful(Protocol):
    def after_fork_in_child(self) -> None:
        """Sockets and tokens belong to the parent: start from nothing."""
        ...


_known: weakref.WeakSet[Forgetful] = weakref.WeakSet()


def forget_after_fork(owner: Forgetful) -> None:
    """Call `owner.after_fork_in_child()` in every child that is forked while `owner` lives."""
    _known.add(owner)


def _forget() -> None:
    for owner in list(_known):
        owner.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
