"""How far the tests search that search: as far as a run of minutes allows, or further with THOROUGH=1.

Each of them says both. What a promise rests on is tried in the short run as well: fewer seeds, examples and walks.
"""

from __future__ import annotations

import os

THOROUGH = bool(os.environ.get("THOROUGH"))


def effort(short: int, thorough: int) -> int:
    """How many: in `make test`, and in `make test-thorough`."""
    return thorough if THOROUGH else short
