"""The diagrams of docs/failover.md, made from the tables that the code acts on.

`python -m tests.core.diagrams` writes them into the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path

from tenantcache.ratelimit.core.agreement import CHANGES
from tenantcache.ratelimit.core.minutestanding import BECOMES
from tenantcache.ratelimit.core.redishealth import TRANSITIONS
from tenantcache.ratelimit.core.reservation import TRANSITIONS as RESERVATION

PAGE = Path(__file__).parents[2] / "docs" / "failover.md"

Edge = tuple[Enum, Enum, str]


DIAGRAMS: Mapping[str, list[Edge]] = {
    "fleet": [(before, after, cause.value) for before, row in CHANGES.items() for cause, after in row.items()],
    "redis": [(before, after, event.value) for before, row in TRANSITIONS.items() for event, after in row.items()],
    "minute": [(before, after, why) for before, row in BECOMES.items() for after, why in row.items()],
    "reservation": [
        (before, after, event.value) for before, row in RESERVATION.items() for event, after in row.items()
    ],
}
"""By the markers between which they stand."""


def mermaid(edges: Iterable[Edge]) -> str:
    """A state diagram. Causes that lead the same way share an arrow."""
    causes: dict[tuple[str, str], list[str]] = {}
    for before, after, cause in edges:
        causes.setdefault((before.value, after.value), []).append(cause)
    states = dict.fromkeys(state for pair in causes for state in pair)
    lines = [f'    state "{state}" as {_id_of(state)}' for state in states]
    lines += [f"    {_id_of(before)} --> {_id_of(after)}: {' / '.join(why)}" for (before, after), why in causes.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def _id_of(state: str) -> str:
    return re.sub(r"\W+", "_", state)


def with_diagrams(text: str) -> str:
    """The page's text, with each diagram between its markers."""
    for name, edges in DIAGRAMS.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{mermaid(edges)}\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(with_diagrams(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
