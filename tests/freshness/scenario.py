"""Scenarios as text: commands, each with the answer that was recorded, over one process on the simulated network.

The form is that of `tests/recorded.py`. A file begins with what it shows, the rules of `core/freshness.py` that it
proves (`proves:`), and the guards without which it fails (`dies without:`, as `tests/mutants/guards.py` calls them).

    find ALIAS as NAME      a request; it ends at once if memory has the answer
    find-id TENANT as NAME  the same by id
    deliver MESSAGE         the oldest message of that name arrives, a request before its answer
    deliver-last MESSAGE    the same of the newest one
    answer MESSAGE          a request arrives, and its answer too
    lose MESSAGE            all messages of that name are lost
    rename TENANT NAME      a change that is committed and published
    pend TENANT NAME        a change that is committed and not published yet
    create TENANT LABEL     a new tenant with a subdomain, published; create-pending: not yet
    delete TENANT           published
    make-up TENANT ALIAS    a client notifies as a commit would that has changed the tenant
    publish                 another process publishes one change
    hold / release          another process holds the publisher's lock, and publishes nothing
    back-up / restore / restore-dump   a storage snapshot is put back; or a dump, which begins another epoch
    swallow / heal LINK     what is sent to log, tenants or redis is lost without a word, or no longer
    suspend SECONDS         like a laptop's lid: the timers' clock stands still
    advance SECONDS         time passes, and no message arrives; settle SECONDS: everything arrives in order
    copy ALIAS ENTRY        a copy of what is true now lies in Redis, which names that log entry
    forget                  memory is emptied, as by evictions
    vouch                   memory is valid again, as by a pull that is sent now
    memory ALIAS            what a request would get now without waiting
    redis                   what lies in Redis
    rules-out ALIAS         whether the index of hosts rules it out
    log                     what the process knows of the log
"""

from __future__ import annotations

import asyncio
import random

from tenantcache.errors import StoreUnavailableError
from tenantcache.freshness.log import Doubt
from tenantcache.lookup.core import copies as codec
from tenantcache.tenant import Tenant
from tests.freshness.bench import Bench
from tests.freshness.database import Backup, delete, set_columns
from tests.freshness.network import Flight
from tests.freshness.parts import Sizes
from tests.recorded import named, replay


def play(text: str) -> str:
    """The file's text, with what follows from its commands now."""
    sizes: Sizes = {}
    for option in named(text, "with"):
        name, _, value = option.partition("=")
        sizes[name] = float(value) if value else True  # type: ignore[literal-required]  # the file's own words
    if "max_floors" in sizes:
        sizes["max_floors"] = int(sizes["max_floors"])
    state = random.getstate()
    random.seed(0)  # of the pauses between two attempts to connect
    try:
        with Bench(**sizes) as bench:
            if sizes.get("has_index"):
                bench.settle(2.0)
            return replay(text, Player(bench).do)
    finally:
        random.setstate(state)


class Player:
    """Does one command after the other. What it tells is what a person would want to know next."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._began = bench.now
        self._requests: dict[str, asyncio.Task[Tenant | None]] = {}
        self._backup: Backup | None = None

    def do(self, command: str) -> list[str]:
        before = list(self._bench.network.flights)
        name, *words = command.split()
        told = getattr(self, "_" + name.replace("-", "_"))(*words) or []
        sent = [self._show(flight) for flight in self._bench.network.flights if flight not in before]
        return [*told, *self._ended(), *sent] or ["ok"]

    def _show(self, flight: Flight) -> str:
        name = flight.name.translate({ord(mark): None for mark in "[]'"})
        if name.startswith("set"):
            name = " ".join(name.split()[:2])
        return f"<- {name}" if flight.for_process else f"-> {name}"

    def _ended(self) -> list[str]:
        ended = {name: task for name, task in self._requests.items() if task.done()}
        for name in ended:
            del self._requests[name]
        return [f"{name} gets {_answer(task)}" for name, task in ended.items()]

    # Requests and messages.

    def _find(self, alias: str, _as: str, name: str) -> None:
        self._requests[name] = self._bench.find(alias)

    def _find_id(self, tenant_id: str, _as: str, name: str) -> None:
        self._requests[name] = self._bench.start(self._one(tenant_id))

    async def _one(self, tenant_id: str) -> Tenant | None:
        return (await self._bench.process.resolver.find_ids([tenant_id])).get(tenant_id)

    def _deliver(self, message: str) -> None:
        self._bench.deliver(message)

    def _deliver_last(self, message: str) -> None:
        self._bench.network.deliver(self._bench.waiting(message)[-1])
        self._bench.run()

    def _answer(self, message: str) -> None:
        self._bench.answer(message)

    def _lose(self, message: str) -> None:
        flights = self._bench.network.flights
        self._bench.network.flights = [flight for flight in flights if not flight.name.startswith(message)]

    # Changes.

    def _rename(self, tenant_id: str, name: str) -> None:
        self._bench.rename(name, tenant_id)

    def _pend(self, tenant_id: str, name: str) -> None:
        self._bench.pend(name, tenant_id)

    def _create(self, tenant_id: str, label: str) -> None:
        self._bench.commit(set_columns(tenant_id, name="created", subdomain=label))

    def _create_pending(self, tenant_id: str, label: str) -> None:
        self._bench.database.commit(set_columns(tenant_id, name="created", subdomain=label))

    def _delete(self, tenant_id: str) -> None:
        self._bench.commit(delete(tenant_id))

    def _make_up(self, tenant_id: str, alias: str) -> None:
        self._bench.database._notify(doubts=[Doubt(tenant_id, (alias,))])

    def _publish(self) -> None:
        self._bench.database.publish(1)

    def _hold(self) -> None:
        self._bench.database.is_publisher_held = True

    def _release(self) -> None:
        self._bench.database.is_publisher_held = False

    # Operators and faults.

    def _back_up(self) -> None:
        self._backup = self._bench.database.back_up()

    def _restore(self) -> None:
        assert self._backup is not None
        self._bench.database.restore(self._backup, same_storage=True)

    def _restore_dump(self) -> None:
        assert self._backup is not None
        self._bench.database.restore(self._backup, same_storage=False)

    def _swallow(self, link: str) -> None:
        self._bench.process.links[link].swallow()

    def _heal(self, link: str) -> None:
        self._bench.process.links[link].heal()

    def _suspend(self, seconds: str) -> None:
        self._bench.process.suspend(float(seconds))
        self._bench.now += float(seconds)

    def _advance(self, seconds: str) -> None:
        self._bench.advance(float(seconds))

    def _settle(self, seconds: str = "0") -> None:
        self._bench.settle(float(seconds))

    def _copy(self, alias: str, entry: str) -> None:
        self._bench.redis.write(alias, self._bench.copy_of(alias, watermark=int(entry)))

    def _forget(self) -> None:
        self._bench.process.memory.clear()

    def _vouch(self) -> None:
        self._bench.process.freshness.extend(self._bench.now)

    # What there is.

    def _memory(self, alias: str) -> list[str]:
        entry = self._bench.process.resolver.peek(alias)
        if entry is None:
            return ["nothing that may be served"]
        name = "no tenant" if entry.tenant is None else entry.tenant.name
        return [f"{name}, from {entry.tier}, as of entry {entry.watermark:g}"]

    def _redis(self) -> list[str]:
        contents = [(alias, codec.decode(value)) for alias, value in sorted(self._bench.redis.contents)]
        return [f"{alias}: {copy.row['name']}, as of entry {copy.mark.seq}" for alias, copy in contents if copy] or [
            "empty"
        ]

    def _rules_out(self, alias: str) -> list[str]:
        return ["yes" if self._bench.process.indexer.rules_out(alias) else "no"]

    def _log(self) -> list[str]:
        freshness = self._bench.process.freshness
        valid_for = freshness.valid_until - self._bench.now
        validity = f"valid for {valid_for:.1f} s" if valid_for > 0 else "not valid"
        return [f"applied up to entry {freshness.applied}, {validity}"]


def _answer(task: asyncio.Task[Tenant | None]) -> str:
    try:
        tenant = task.result()
    except StoreUnavailableError as error:
        return f"a refusal: {error}"
    return "no tenant" if tenant is None else tenant.name
