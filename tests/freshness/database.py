"""A Postgres in memory, as far as tenantcache's schema goes: transactions, snapshots, the outbox that triggers write,
and the log that is published from it.

A commit makes data and outbox visible at one instant; the log follows when a process publishes. Whatever was ever
visible is kept with its times, so that an answer can be compared with the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict, Unpack

from tenantcache.freshness.core.logfault import read_fault
from tenantcache.freshness.core.logmark import LogMark
from tenantcache.freshness.log import Doubt, LogEntry, Pull
from tenantcache.lookup.core.alias import cut, domain_alias, subdomain_alias
from tenantcache.lookup.core.snapshot import Snapshot
from tenantcache.tenant import LimitTable, Row, Tenant, tenant_from_row

LIMITS = LimitTable()
START_OF_TIME = 1_735_689_600.0


@dataclass(frozen=True)
class Columns:
    """A row of `tenants`."""

    name: str
    subdomain: str | None


@dataclass(frozen=True)
class Tables:
    """The data that one snapshot sees: tenants by id, and the tenant of each domain."""

    tenants: Mapping[str, Columns]
    domains: Mapping[str, str]

    def row(self, alias: str) -> Row | None:
        tenant_id = self._tenant_id(alias)
        columns = None if tenant_id is None else self.tenants.get(tenant_id)
        if tenant_id is None or columns is None:
            return None
        return Row(
            id=tenant_id,
            name=columns.name,
            subdomain=columns.subdomain,
            domains=sorted(domain for domain, owner in self.domains.items() if owner == tenant_id),
            primary_domain=None,
            status="active",
            plan=None,
            limit_per_minute=None,
            limit_per_day=None,
            time_zone=None,
            attributes={},
        )

    def _tenant_id(self, alias: str) -> str | None:
        kind, name = cut(alias)
        if kind == "subdomain":
            return next((key for key, columns in self.tenants.items() if columns.subdomain == name), None)
        return self.domains.get(name) if kind == "domain" else name

    def tenant(self, alias: str) -> Tenant | None:
        row = self.row(alias)
        return None if row is None else tenant_from_row(row, LIMITS)

    def aliases(self) -> list[str]:
        subdomains = [columns.subdomain for columns in self.tenants.values()]
        return [subdomain_alias(label) for label in subdomains if label] + [domain_alias(name) for name in self.domains]


class NewColumns(TypedDict, total=False):
    """Those columns that a change sets."""

    name: str
    subdomain: str | None


class Flaws(TypedDict, total=False):
    """What a database may lack, to see that the simulation would notice. It is entries that come after their commit,
    word of what is pending, or the OLD side of a change."""

    published_after_commit: bool
    tells_pending: bool
    old_hosts: bool


Change = Callable[[Tables], Tables]
Named = tuple[str | None, tuple[str, ...] | None]
Unpublished = tuple[int, Named]
"""With the number of its transaction."""


def name_changes(old: Tables, new: Tables, *, old_hosts: bool = True) -> list[Named]:
    """What the triggers log: OLD united with NEW. `old_hosts` False leaves OLD out, which is wrong."""
    named: list[Named] = []
    for tenant_id in sorted(old.tenants.keys() | new.tenants.keys()):
        before, after = old.tenants.get(tenant_id), new.tenants.get(tenant_id)
        if before != after:
            sides = (before if old_hosts or after is None else None, after)
            labels = {side.subdomain for side in sides if side is not None and side.subdomain}
            named.append((tenant_id, tuple(sorted(subdomain_alias(label) for label in labels))))
    for domain in sorted(old.domains.keys() | new.domains.keys()):
        owners = [owner for owner in (new.domains.get(domain), old.domains.get(domain)) if owner is not None]
        if old.domains.get(domain) != new.domains.get(domain):
            named += [(owner, (domain_alias(domain),)) for owner in (owners if old_hosts else owners[:1])]
    return named


@dataclass
class Transaction:
    """`touched` are the rows that it has locked: tenant ids and domains. `notifies`: no other one does it."""

    number: int
    change: Change
    touched: frozenset[str]
    named: list[Named] | None = None
    notifies: bool = True


@dataclass(frozen=True)
class Moment:
    """What was visible from `since` on, until the next moment began. `timeline` counts the restores before it. `head`
    is the newest entry, and half an entry more if changes were visible that were not in the log."""

    since: float
    tables: Tables
    timeline: int
    head: float


@dataclass(frozen=True)
class Backup:
    tables: Tables
    log: tuple[LogEntry, ...]
    last_seq: int
    outbox: tuple[Unpublished, ...] = ()


class Database:
    """`clock` gives seconds. What is False is a flaw, for tests of the simulation itself."""

    def __init__(
        self,
        clock: Callable[[], float],
        tables: Tables,
        *,
        published_after_commit: bool = True,
        tells_pending: bool = True,
        old_hosts: bool = True,
    ) -> None:
        self._clock = clock
        self._published_after_commit = published_after_commit
        self._tells_pending = tells_pending
        self._old_hosts = old_hosts
        self.is_publisher_held = False
        """Another session holds the publisher's lock, and does nothing."""
        self.fault: str | None = None
        """What looks for faults finds; "changed" is mended by a rebuild."""
        self.publishers: set[str] = set()
        """Who has moved something."""
        self.outbox: list[Unpublished] = []
        self._begun = 0
        self._ended = 0
        self._published = 0
        self.clock_offset = 0.0
        self.tables = tables
        self.log: list[LogEntry] = []
        self._last_seq = 0
        self._drawn = 0
        self._incarnation = 0
        self._timeline = 0
        self.moments: list[Moment] = []
        self.open_transactions: list[Transaction] = []
        self.sessions: dict[object, Callable[[int | None, Sequence[Doubt]], None]] = {}
        """Connections that listen, and how each is told."""
        self._seen_at: dict[object, float] = {}
        self.log.append(self._entry((None, None)))
        self._show()
        self._not_on_disk = self.back_up()

    @property
    def epoch(self) -> str:
        return str(self._incarnation)

    @property
    def head(self) -> LogMark:
        return LogMark(self.log[-1].seq, self.log[-1].at)

    def _server_time(self) -> float:
        return self._clock() + self.clock_offset

    def _microseconds(self) -> int:
        return round((START_OF_TIME + self._server_time()) * 1e6)

    def _entry(self, named: Named) -> LogEntry:
        self._last_seq += 1
        self._drawn += 1  # a restore does not take the clock back: no two entries were ever written at one time
        at = self._microseconds() + self._drawn
        return LogEntry.from_columns(self._last_seq, at, *named)

    def _show(self) -> None:
        head = self.log[-1].seq + (0.5 if self.outbox else 0)
        self.moments.append(Moment(self._clock(), self.tables, self._timeline, head))

    # Writers.

    def begin(self, change: Change, touched: frozenset[str], named: list[Named] | None = None) -> Transaction | None:
        """Change rows, unseen by others; None if another transaction holds one of them. `named` is what to log instead
        of what the triggers would."""
        if any(other.touched & touched for other in self.open_transactions):
            return None
        return self._begin(change, touched, named)

    def _begin(self, change: Change, touched: frozenset[str], named: list[Named] | None) -> Transaction:
        self._begun += 1
        notifies = not any(other.notifies for other in self.open_transactions)
        transaction = Transaction(self._begun, change, touched, named, notifies)
        self.open_transactions.append(transaction)
        if not self._published_after_commit:
            self.outbox += [(transaction.number, named) for named in self._named(transaction)]
            self.publish(len(self.outbox))
        return transaction

    def _named(self, transaction: Transaction) -> list[Named]:
        if transaction.named is not None:
            return transaction.named
        return name_changes(self.tables, transaction.change(self.tables), old_hosts=self._old_hosts)

    def finish(self, transaction: Transaction) -> None:
        """Become visible, with what the triggers have put into the outbox."""
        self.open_transactions.remove(transaction)
        self._not_on_disk = self.back_up()
        self._ended += 1
        named = self._named(transaction)
        self.tables = transaction.change(self.tables)
        if named and self._published_after_commit:
            # Publishers go by the number, which is drawn before the commit.
            self.outbox = sorted([*self.outbox, *((transaction.number, one) for one in named)], key=lambda one: one[0])
            if transaction.notifies:
                self._notify(
                    doubts=[Doubt(key, aliases) for key, aliases in named if key is not None and aliases is not None]
                )
        self._show()

    def _notify(self, newest: int | None = None, doubts: Sequence[Doubt] = ()) -> None:
        for wake in tuple(self.sessions.values()):
            wake(newest, doubts)

    def abort(self, transaction: Transaction) -> None:
        """Leave nothing. A notification that others had left to it is not sent."""
        self.open_transactions.remove(transaction)
        self._ended += 1

    def commit(self, change: Change, named: list[Named] | None = None) -> None:
        """Change everything at one instant."""
        self.finish(self._begin(change, frozenset(), named))

    def publish(self, most: int, publisher: str = "another") -> str:
        """Move the oldest of the outbox into the log."""
        if not self.outbox:
            return "nothing"
        if self.is_publisher_held:
            return "busy"
        self.publishers.add(publisher)
        self._not_on_disk = self.back_up()
        moved, self.outbox = [named for _, named in self.outbox[:most]], self.outbox[most:]
        if any(tenant_id is None for tenant_id, _ in moved):
            moved = [(None, None)]
        self.log += [self._entry(one) for one in moved]
        if not self.outbox:
            self._published = self._ended
        self._notify(self.log[-1].seq)
        self._show()
        return "more" if self.outbox else "published"

    def rebuild(self) -> None:
        self.fault = None
        self.log.append(self._entry((None, None)))
        self._notify()
        self._show()

    # Operators.

    def back_up(self) -> Backup:
        return Backup(self.tables, tuple(self.log), self.log[-1].seq, tuple(self.outbox))

    def restore(self, backup: Backup, *, same_storage: bool) -> None:
        """Put a backup back. `same_storage`: the server cannot tell (a storage snapshot); otherwise it is a dump."""
        self.open_transactions.clear()
        self.sessions.clear()
        self.tables, self.log, self.outbox = backup.tables, list(backup.log), list(backup.outbox)
        self._last_seq = backup.last_seq
        self._published = 0
        self._incarnation += 0 if same_storage else 1
        self._timeline += 1
        self._show()

    def crash(self) -> None:
        """Come back without the last commit, of a writer (`synchronous_commit` off) or of a publisher."""
        self.restore(self._not_on_disk, same_storage=True)

    def terminate_backends(self) -> None:
        self.sessions.clear()

    # What processes ask: one statement each, one snapshot each.

    def read(self, aliases: Sequence[str]) -> Snapshot:
        rows = {alias: self.tables.row(alias) for alias in aliases}
        return Snapshot(self.head, self.epoch, rows, self._is_pending)

    @property
    def _is_pending(self) -> bool:
        return bool(self.outbox) and self._tells_pending

    def pull(self, applied: LogMark, max_behind: int, page: int, since: str | None = None, check: bool = True) -> Pull:
        truncated = self.head.seq - applied.seq > max_behind
        entries = [] if truncated else [entry for entry in self.log if entry.seq > applied.seq][:page]
        continuous = any((entry.seq, entry.at) == (applied.seq, applied.at) for entry in self.log)
        covers = since is not None and self._published >= int(since)
        pull = self._pull(entries, continuous=continuous, truncated=truncated, covers=covers)
        return pull if check else replace(pull, checked=False, fault=None)

    def tail(self, max_age: float, max_entries: int) -> Pull:
        oldest = self._microseconds() - round(max_age * 1e6)
        newest = self.log[-max_entries:]
        too_old = max((entry.seq for entry in newest if entry.at <= oldest), default=0)
        return self._pull([entry for entry in newest if entry.seq >= too_old])

    def _pull(
        self, entries: Sequence[LogEntry], *, continuous: bool = True, truncated: bool = False, covers: bool = False
    ) -> Pull:
        alive = sum(1 for seen_at in self._seen_at.values() if seen_at > self._clock() - 30)
        return Pull(
            self._server_time(),
            self.epoch,
            self.head,
            continuous,
            alive,
            truncated,
            tuple(entries),
            pending=self._is_pending,
            covers=covers,
            snapshot=str(self._ended),
            running=frozenset(transaction.number for transaction in self.open_transactions),
            fault=read_fault(self.fault),
        )

    def beat(self, process_id: object) -> None:
        self._seen_at[process_id] = self._clock()

    def leave(self, process_id: object) -> None:
        self._seen_at.pop(process_id, None)

    def prune(self, max_age: float, most: int = 10_000) -> None:
        young = self._microseconds() - round(max_age * 1e6)
        oldest = self.log[: most + 1]
        first_kept = next((entry.seq for entry in oldest if entry.at >= young), oldest[-1].seq)
        self.log = [entry for entry in self.log if entry.seq >= first_kept]


def set_columns(tenant_id: str, **columns: Unpack[NewColumns]) -> Change:
    """Insert or update a tenant."""

    def change(tables: Tables) -> Tables:
        old = tables.tenants.get(tenant_id, Columns("", None))
        return Tables({**tables.tenants, tenant_id: replace(old, **columns)}, tables.domains)

    return change


def set_domain(domain: str, tenant_id: str | None) -> Change:
    """Give a domain to a tenant; to None takes it away. Does nothing if there is no such tenant."""

    def change(tables: Tables) -> Tables:
        others = {name: owner for name, owner in tables.domains.items() if name != domain}
        given = {domain: tenant_id} if tenant_id is not None and tenant_id in tables.tenants else {}
        return Tables(tables.tenants, others | given)

    return change


def delete(tenant_id: str) -> Change:
    def change(tables: Tables) -> Tables:
        return Tables(
            {key: columns for key, columns in tables.tenants.items() if key != tenant_id},
            {domain: owner for domain, owner in tables.domains.items() if owner != tenant_id},
        )

    return change


def nothing(tables: Tables) -> Tables:
    return tables
