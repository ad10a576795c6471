"""A stop that load balancers hear of before it comes: the process serves on for some seconds after SIGTERM.

Kubernetes takes a pod out of its services while it sends SIGTERM, not before. A server that stops to listen at once
refuses those who have not heard of it yet ("Pod termination flow", "Termination of Pods" in Kubernetes' documents).
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType

logger = logging.getLogger(__name__)

Handler = Callable[[int, FrameType | None], object]


class Drain:
    """Hands SIGTERM on to the server's own handler `seconds` later; a second SIGTERM at once."""

    def __init__(self, seconds: float) -> None:
        if not seconds >= 0:
            raise ValueError(f"drain={seconds} is not possible; give seconds, from 0")
        self.is_draining: bool = False
        self._seconds = seconds
        self._handler: Handler | None = None
        self._has_passed_on = False
        self._is_installed = seconds == 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def install(self) -> None:
        """Stand before the handler that the server has installed. To be called while it serves; again is harmless."""
        if self._is_installed:
            return
        self._is_installed = True
        handler = signal.getsignal(signal.SIGTERM)
        if threading.current_thread() is not threading.main_thread() or not _can_wait(handler):
            logger.warning(
                "SIGTERM stops this server at once: its handler cannot be called later. Let the orchestrator wait"
                " before it sends SIGTERM (Kubernetes: a preStop hook that sleeps)"
            )
            return
        assert callable(handler)
        self._handler, self._loop = handler, asyncio.get_running_loop()
        signal.signal(signal.SIGTERM, self._terminate)

    @property
    def should_exit(self) -> bool:
        """Whether the server has been told to stop, as uvicorn's own handler knows it."""
        server = getattr(self._handler, "__self__", None)
        return getattr(server, "should_exit", False) is True

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        if self.is_draining or self._loop is None or self._loop.is_closed():
            self._pass_on(number)
            return
        self.is_draining = True
        self._loop.call_soon_threadsafe(self._begin, number)

    def _begin(self, number: int) -> None:
        assert self._loop is not None
        logger.info("SIGTERM: not ready any more, and serving for %g seconds yet", self._seconds)
        self._loop.call_later(self._seconds, self._pass_on, number)

    def _pass_on(self, number: int) -> None:
        if self._handler is not None and not self._has_passed_on:
            self._has_passed_on = True
            self._handler(number, None)


def _can_wait(handler: object) -> bool:
    """Whether it may be called like a function. What `loop.add_signal_handler` leaves here does nothing if called."""
    return callable(handler) and not getattr(handler, "__module__", "").startswith(("asyncio", "uvloop"))
