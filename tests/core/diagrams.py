"""The diagrams of docs/failover.md and docs/governor.md, and tables of docs/failover.md and docs/consistency.md.

They are made from the tables that the code acts on. `python -m tests.core.diagrams` writes them into the pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path

from tenantcache.budget.core import bands
from tenantcache.lookup.core.judgement import STEPS, Answer
from tenantcache.ratelimit.core.agreement import CHANGES
from tenantcache.ratelimit.core.isolation import FOLLOWS, Consequence, Contact, Edge
from tenantcache.ratelimit.core.isolation import TRANSITIONS as ISOLATION
from tenantcache.ratelimit.core.minutestanding import BECOMES
from tenantcache.ratelimit.core.redishealth import TRANSITIONS
from tenantcache.ratelimit.core.reservation import TRANSITIONS as RESERVATION

DOCS = Path(__file__).parents[2] / "docs"

Arrow = tuple[Enum, Enum, str]
Row = tuple[str, ...]


DIAGRAMS: Mapping[str, list[Arrow]] = {
    "fleet": [(before, after, cause.value) for before, row in CHANGES.items() for cause, after in row.items()],
    "redis": [(before, after, event.value) for before, row in TRANSITIONS.items() for event, after in row.items()],
    "minute": [(before, after, why) for before, row in BECOMES.items() for after, why in row.items()],
    "isolation": [(before, after, sight.value) for before, row in ISOLATION.items() for sight, after in row.items()],
    "reservation": [
        (before, after, event.value) for before, row in RESERVATION.items() for event, after in row.items()
    ],
}
"""By the markers between which they stand."""

BANDS: list[Arrow] = [
    (before, after, cause.value) for before, row in bands.CHANGES.items() for cause, after in row.items()
]


def mermaid(arrows: Iterable[Arrow]) -> str:
    """A state diagram. Causes that lead the same way share an arrow."""
    causes: dict[tuple[str, str], list[str]] = {}
    for before, after, cause in arrows:
        causes.setdefault((before.value, after.value), []).append(cause)
    states = dict.fromkeys(state for pair in causes for state in pair)
    lines = [f'    state "{state}" as {_id_of(state)}' for state in states]
    lines += [f"    {_id_of(before)} --> {_id_of(after)}: {' / '.join(why)}" for (before, after), why in causes.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def _id_of(state: str) -> str:
    return re.sub(r"\W+", "_", state)


def table(head: Row, rows: Iterable[Row]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def steps() -> str:
    """What becomes of each answer of Postgres."""
    rows = [(answer.value, STEPS[answer, False].value, STEPS[answer, True].value) for answer in Answer]
    return table(("an answer of Postgres", "then", "at the last attempt"), rows)


def running_minute() -> str:
    """What the running minute is to a process."""
    rows: dict[tuple[Contact, Consequence], list[Edge]] = {}
    for contact, row in FOLLOWS.items():
        for edge, consequence in row.items():
            rows.setdefault((contact, consequence), []).append(edge)
    return table(
        ("this process is", "when the minute began", "the minute is", "because"),
        [
            (
                contact.value,
                "however that was" if edges == [*Edge] else " / ".join(edge.value for edge in edges),
                "as before" if standing is None else standing.value,
                why,
            )
            for (contact, (standing, why)), edges in rows.items()
        ],
    )


PAGES: Mapping[Path, Mapping[str, str]] = {
    DOCS / "failover.md": {
        **{name: mermaid(arrows) for name, arrows in DIAGRAMS.items()},
        "running minute": running_minute(),
    },
    DOCS / "consistency.md": {"steps": steps()},
    DOCS / "governor.md": {"bands": mermaid(BANDS)},
}
"""What stands in each page, by the markers between which it stands."""


def filled(text: str, blocks: Mapping[str, str]) -> str:
    """A page's text, with each block between its markers."""
    for name, block in blocks.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{block}\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    for page, blocks in PAGES.items():
        page.write_text(filled(page.read_text(encoding="utf-8"), blocks), encoding="utf-8")
