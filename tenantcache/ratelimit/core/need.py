"""What a take is planned for."""

from __future__ import annotations

from typing import NamedTuple


class Need(NamedTuple):
    """`cost` tokens that requests wait for at server time `now`, in seconds; 0: none does, it is a refill.

    `processes` is the size of the fleet. `is_cautious`: a take has failed, so nothing is asked for beyond `cost` (rule
    4 of `reservation.py`).

    `is_along`: a command is sent for another tenant anyway, so a debit costs nothing if that command touches its
    counter. `ahead` and `day` say whether it touches those of the next quarter of an hour and of the day.

    `is_first`: the process has just started, and the reply is to tell what the other processes are asked for.
    """

    now: float
    cost: int
    processes: int
    is_cautious: bool = False
    is_along: bool = False
    ahead: bool = False
    day: bool = False
    is_first: bool = False
