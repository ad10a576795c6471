"""What an engine tells a tracer of its I/O. Without a tracer that is one comparison for each piece of I/O.

The names of spans are those of `Span`; docs/tracing.md says what each is.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Final, Literal, Protocol

SpanName = Literal["lookup", "take", "pull", "redis"]


class Span(Protocol):
    """One piece of I/O that is under way."""

    def fail(self, error: BaseException) -> None:
        """It has failed, though nothing is raised."""
        ...


class Tracer(Protocol):
    def span(self, name: SpanName, operation: str, size: int) -> AbstractContextManager[Span]:
        """Around one piece of I/O: `size` names, accounts or commands. Must not raise."""
        ...


class _NoSpan:
    def fail(self, error: BaseException) -> None:
        pass


_NOTHING: Final[AbstractContextManager[Span]] = nullcontext(_NoSpan())


class Tracing:
    """Of one engine. `tracer` may be set at any time."""

    __slots__ = ("tracer",)

    def __init__(self) -> None:
        self.tracer: Tracer | None = None

    def span(self, name: SpanName, operation: str = "", size: int = 1) -> AbstractContextManager[Span]:
        return _NOTHING if self.tracer is None else self.tracer.span(name, operation, size)
