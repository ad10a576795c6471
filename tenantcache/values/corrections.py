"""Corrects a part of a value that is held here, after its caller has committed that part.

Rules

* The part is changed in memory at once, and then the log names the key: everywhere else the value is loaded again.
* The log does not say which of two callers committed last. So, as with `set`, the first hit has the value loaded again
  in the background. It is served for no longer than `max_staleness` from the instant up to which it had every change.
* If the value was loaded again meanwhile, or if something invalidated it, the correction is not held. Then the next
  caller loads what the database has.
"""

from __future__ import annotations

from collections.abc import Callable

from tenantcache.freshness.core.freshness import NEVER
from tenantcache.values.core.acceptance import Entry, State
from tenantcache.values.core.valuekey import value_name
from tenantcache.values.memory import Place
from tenantcache.values.parts import ValueParts


async def correct(parts: ValueParts, place: Place, change: Callable[[Entry], None]) -> None:
    """Have `change` correct what is held at `place`, if it may be served. Raises what it raises, and
    `StoreUnavailableError`. One statement to Postgres."""
    acceptance, held = parts.acceptance, parts.memory.held
    entry = held.get(place)
    complete_to = NEVER
    if entry is not None and _is_served(acceptance.state(entry, parts.clock())) and not entry.is_pending:
        complete_to = acceptance.vouched_until(entry) - parts.freshness.max_staleness
        change(entry)
    correcting = parts.begin_set(place)
    await parts.tell([value_name(place[0], place[1])])
    if parts.end_set(place, correcting) and complete_to > NEVER and entry is not None and held.get(place) is entry:
        entry.seen = acceptance.note()
        entry.current_as_of, entry.checked = entry.seen.seq, -1
        entry.is_set, entry.read_at, entry.good_until, entry.tier = True, complete_to, NEVER, "set"


def _is_served(state: State) -> bool:
    return state in (State.FRESH, State.EARLY, State.STALE)
