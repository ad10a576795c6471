"""Plans that tenants have and the settings do not: a misspelled name would silently mean the default limits."""

from __future__ import annotations

import logging
from collections.abc import Collection

from tenantcache.settings.model import variable_of
from tenantcache.tenant import Tenant

logger = logging.getLogger(__name__)

MAX_NAMES = 100
"""Names that are logged, each once: a column full of other things must not fill the log."""


class PlanNames:
    """`known`: the names in the settings. If there are none, plans have no limits here, and every name is as good."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = frozenset(known)
        self._logged: set[str] = set()

    def note(self, tenant: Tenant) -> None:
        """Look at a tenant that has just been read."""
        plan = tenant.plan
        if not plan or not self._known or plan in self._known or plan in self._logged:
            return
        if len(self._logged) < MAX_NAMES:
            self._logged.add(plan)
            logger.warning(
                "tenant %r has the plan %r, which %s does not name (it names %s): the default limits hold for it",
                *(tenant.id, plan, variable_of("plans"), ", ".join(sorted(self._known))),
            )
