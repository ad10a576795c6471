"""Plugins that a pytest need not load if a test starts one: they take more than half of the time that it starts in."""

from __future__ import annotations

FOREIGN = ("faker", "locust", "anyio", "platformdirs", "hypothesispytest", "xdist", "xdist.looponfail")
"""Their names among the entry points."""


def without_plugins(*kept: str) -> list[str]:
    """The options that leave them out, but for those that are `kept`."""
    return [word for name in FOREIGN if name not in kept for word in ("-p", f"no:{name}")]
