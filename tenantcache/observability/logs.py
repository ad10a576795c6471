"""The tenant in log lines: a `logging` filter.

    handler.addFilter(TenantFilter())
    handler.setFormatter(logging.Formatter("%(levelname)s [%(tenant_id)s] %(message)s"))

Put it on handlers, not on loggers: a logger's filters do not see what comes from loggers below it.
"""

from __future__ import annotations

import logging

from tenantcache.budget.core.keytext import visible
from tenantcache.lookup.current import current_tenant

__all__ = ["TenantFilter"]

NONE = "-"
"""What stands for a tenant in lines that are written outside of a request, as in access logs (Common Log Format)."""


class TenantFilter(logging.Filter):
    """Adds `tenant_id`, `tenant_name` and `tenant_plan` to each record, all texts; it lets every record pass.

    A character that is not printable is an escape in them, like `\\n`: what a tenant calls itself begins no line of its
    own (CWE-117).

    A record that has a `tenant_id` already (`logger.info(..., extra={"tenant_id": ...})`) keeps it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "tenant_id"):
            tenant = current_tenant()
            record.tenant_id = NONE if tenant is None else visible(tenant.id)
            record.tenant_name = NONE if tenant is None else visible(tenant.name)
            record.tenant_plan = NONE if tenant is None or tenant.plan is None else visible(tenant.plan)
        else:
            if isinstance(record.tenant_id, str):
                record.tenant_id = visible(record.tenant_id)
            record.tenant_name = getattr(record, "tenant_name", NONE)
            record.tenant_plan = getattr(record, "tenant_plan", NONE)
        return True
