"""What the same month costs with what is usual instead: the same for each request, so that it need not be simulated."""

from __future__ import annotations

GUIDE = "the guide's pattern"
COMMANDS = {
    GUIDE: 3.0,
    "the usual limiter": 2.0,
}
"""Billed commands a request. The first is a GET of the tenant, and of its counts of this minute and this day: what
counts them is not even billed. The second is an INCR of each of two windows, without the tenant."""
