"""What a take is planned for."""

from __future__ import annotations

from typing import NamedTuple


class Need(NamedTuple):
    """`cost` tokens that requests wait for at server time `now`, in seconds; 0: none does, it is a background refill.

    `processes` is the size of the fleet, `horizon` the minutes ahead for which tokens may be reserved. `is_cautious`:
    a take has failed, so nothing is asked for beyond `cost` (rule 4 of `reservation.py`).
    """

    now: float
    cost: int
    processes: int
    horizon: int
    is_cautious: bool
