"""No contender is timed that does not do its job."""

from __future__ import annotations

from benchmarks.bench.contenders import Contender
from benchmarks.bench.stores import CommandMeter, Env
from benchmarks.bench.traffic import BASE_DOMAIN, call, scope_of

LIMIT = 3


class NotEnforcedError(Exception):
    """A contender answered otherwise than its job says."""


async def check(contender: Contender, env: Env, meter: CommandMeter) -> None:
    """Raise `NotEnforcedError` unless it finds tenants, refuses unknown hosts, and holds each tenant to its limits."""
    if contender.job in ("nothing", "bound", "floor"):
        return
    meter.flush()
    unknown = scope_of(0) | {"headers": [(b"host", b"nobody." + BASE_DOMAIN.encode())]}
    async with contender.open(env) as app:
        expect(contender, "a tenant's host", await call(app, scope_of(1)), {200})
        # fastapi-tenancy answers 400 on purpose, so as not to tell who exists.
        expect(contender, "an unknown host", await call(app, unknown), {404, 400})
    if contender.job == "both":
        for policy, per_minute, per_day in (("minute", LIMIT, 1_000), ("day", 1_000, LIMIT)):
            if policy in contender.windows:
                meter.flush()  # not every contender puts a prefix before its keys
                await _check_limit(contender, _with_limits(env, policy, per_minute, per_day), policy)
    meter.flush()


async def _check_limit(contender: Contender, env: Env, policy: str) -> None:
    async with contender.open(env) as app:
        for tenant in (1, 2):
            statuses = [await call(app, scope_of(tenant)) for _ in range(LIMIT + 2)]
            if statuses != [200] * LIMIT + [429] * 2:
                raise NotEnforcedError(f"{contender.name}: {LIMIT} a {policy} were to be admitted, not {statuses}")


def _with_limits(env: Env, name: str, per_minute: int, per_day: int) -> Env:
    return Env(env.database_url, env.redis_url, per_minute, per_day, f"{env.prefix}-{name}")


def expect(contender: Contender, what: str, status: int, expected: set[int]) -> None:
    if status not in expected:
        raise NotEnforcedError(f"{contender.name}: {what} was answered with {status}")
