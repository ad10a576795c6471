"""Every guard of the freshness protocol, and those of handing a minute over, and how to take it away.

A mutant is a piece of text that is replaced in a copy of the package. `suites` are those that may kill it; a guard of
the database itself can only be missed by tests on a real one.
"""

from __future__ import annotations

from dataclasses import dataclass

SUITES = {
    "rules": ["tests/core/test_freshness.py"],
    "units": [
        "tests/test_resolver.py",
        "tests/test_resolver_races.py",
        "tests/test_follower.py",
        "tests/test_follower_publishing.py",
        "tests/test_engine_races.py",
    ],
    "scenarios": ["tests/freshness/test_scenarios.py"],
    "orders": ["tests/freshness/test_exhaustive.py"],
    "storms": ["tests/freshness/test_storms.py"],
    "machine": ["tests/freshness/test_machine.py"],
    "memory": ["tests/stores/test_memory.py", "tests/test_memory_ttl.py"],
    "index": ["tests/test_indexer.py"],
    "web": [
        "tests/test_middleware.py",
        "tests/test_fastpaths.py",
        "tests/test_fast_strategies.py",
        "tests/test_other_names.py",
    ],
    "loops": ["tests/test_eventloops.py"],
    "starts": ["tests/test_warmup.py", "tests/test_deadline.py"],
    "floods": ["tests/regressions/test_forwarded_floods.py", "tests/test_peers.py", "tests/test_requesthost.py"],
    "domains": ["tests/test_domains.py", "tests/contracts/test_registry.py"],
    "limits": [
        "tests/core/test_reservation.py",
        "tests/test_halfway.py",
        "tests/test_clock_set.py",
        "tests/test_limiter.py",
        "tests/test_limits.py",
    ],
    "postgres": [
        "tests/stores/test_schema.py",
        "tests/contracts/test_changelog.py",
        "tests/contracts/test_sources.py",
        "tests/stores/test_postgres.py",
        "tests/stores/test_postgres_links.py",
        "tests/stores/test_writers.py",
        "tests/stores/test_notifications.py",
        "tests/stores/test_faults.py",
        "tests/test_restore.py",
    ],
    "counters": ["tests/test_fleetcounters.py", "tests/test_clock_set.py"],
    "failover": ["tests/core/test_failover.py", "tests/core/test_failover_scenarios.py"],
    "handing over": ["tests/core/test_failover_fleet.py", "tests/stores/test_choices.py"],
    "counting": [
        "tests/contracts/test_counterstore.py",
        "tests/contracts/test_slots.py",
        "tests/stores/test_redis.py",
        "tests/stores/test_counters.py",
    ],
    "adopted": ["tests/adoption/test_rows.py", "tests/adoption/test_serving.py", "tests/adoption/test_meeting.py"],
}
WHAT_SUITES_DO = {
    "rules": "each rule of `core/freshness.py` by itself, and its theory as a property (Hypothesis)",
    "units": "resolver, follower and engine, with each message delayed for as long as the test wants",
    "scenarios": "what each rule prevents, message by message, as text that a person can read",
    "orders": "every interleaving of a fill and one or two updates between two processes (up to a bound, and all of "
    "those with one update)",
    "storms": "700 seeds of random schedules with faults, on the simulated network",
    "machine": "the same as a Hypothesis state machine, which looks for the shortest scenario",
    "memory": "the tier in the process by itself, and on a real Postgres past its TTL",
    "index": "the index of known hosts on a real Postgres",
    "web": "the middleware, called as a server calls it",
    "loops": "one engine and several event loops, which end, are closed or go on",
    "starts": "memory warmed up from a stream, and cold starts under load, on real servers",
    "floods": "requests full of forwarded headers, their instructions counted",
    "domains": "`cache.domains` on a real Postgres, Redis and DNS server, and in memory",
    "limits": "reservations, the limiter over one store and over two, and routes that cost more",
    "postgres": "the schema and the two stores on a real Postgres, what writers may do, what is taken away, a snapshot "
    "that is put back",
    "counters": "the shell around the choice of a counter store, on a fake clock that is set as well",
    "failover": "each rule of `ratelimit/core/failover.py` by itself, and recorded scenarios of fleets",
    "handing over": "fleets that hand minutes over in virtual time, with faults, and the same on a real Postgres",
    "counting": "the stores that count, and the slots of accounts, on a real Redis, Redis Cluster and Postgres",
    "adopted": "tables of an application's on a real Postgres: odd rows, migrations, transactions that meet",
}
PROTOCOL = ("rules", "units", "scenarios", "orders", "storms", "machine")
SCHEMA = ("postgres",)
WEB = ("web",)
LOOPS = ("loops",)
STARTS = ("starts",)
AGES = ("storms", "machine", "memory")
LIMITS = ("limits",)
COUNTERS = ("counters",)
HANDING_OVER = ("handing over",)
COUNTING = ("counting",)
OF_FAILOVER = ("failover",)

FRESHNESS, DOUBTS = "tenantcache/freshness/core/freshness.py", "tenantcache/freshness/core/doubts.py"
FOLLOWER, PULLER = "tenantcache/freshness/follower.py", "tenantcache/freshness/puller.py"
FAULT_CHECK, PACE = "tenantcache/freshness/faultcheck.py", "tenantcache/freshness/pace.py"
RESOLVER, JUDGEMENT = "tenantcache/lookup/resolver.py", "tenantcache/lookup/core/judgement.py"
MEMORY = "tenantcache/lookup/memory.py"
STORE = "tenantcache/stores/postgres.py"
CHANGE_LOG, LOG_HEAD = "tenantcache/stores/changelog.py", "tenantcache/stores/loghead.py"
INDEXER = "tenantcache/lookup/indexer.py"
FAST_PATHS = "tenantcache/lookup/fastpaths.py"
ENGINE = "tenantcache/engine.py"
LIMITER = "tenantcache/ratelimit/limiter.py"
RESERVATION = "tenantcache/ratelimit/core/reservation.py"
FLEET_COUNTERS = "tenantcache/ratelimit/counters.py"
COORDINATOR = "tenantcache/ratelimit/coordinator.py"
FAILOVER = "tenantcache/ratelimit/core/failover.py"
AGREEMENT, REDIS_HEALTH = "tenantcache/ratelimit/core/agreement.py", "tenantcache/ratelimit/core/redishealth.py"
HANDOVER = "tenantcache/ratelimit/core/handover.py"
REDIS_COUNTERS, POSTGRES_COUNTERS = "tenantcache/stores/rediscounters.py", "tenantcache/stores/counters.py"
SQL = "tenantcache/schema/schema.sql"
FORWARDED = "tenantcache/web/forwarded.py"
PEERS = "tenantcache/web/peers.py"
MIDDLEWARE, STRATEGIES = "tenantcache/web/middleware.py", "tenantcache/web/strategies.py"
REGISTRY = "tenantcache/stores/registry.py"
LOG = "tenantcache/schema/log.sql"
SERVE = "tenantcache/schema/serve.sql"


@dataclass(frozen=True)
class Mutant:
    """`old` occurs exactly once in `path`."""

    guard: str
    path: str
    old: str
    new: str
    suites: tuple[str, ...] = PROTOCOL


MUTANTS = [
    Mutant("the floor test", FRESHNESS, "return watermark >= floor", "return True"),
    Mutant("the alias's floor", FRESHNESS, "max(self.tail_start, self._alias_floors.get(alias, 0))", "self.tail_start"),
    Mutant("the tenant's floor", FRESHNESS, "floor = max(floor, self._tenant_floors.get(tenant_id, 0))", "pass"),
    Mutant("the tail's start", FRESHNESS, "floor = max(self.tail_start, ", "floor = max(0, "),
    Mutant("shared copies: not of another epoch", FRESHNESS, "return epoch == self.epoch and ", "return "),
    Mutant(
        "shared copies: their entry is in the log",
        FRESHNESS,
        "return epoch == self.epoch and self.knows(mark) and ",
        "return epoch == self.epoch and ",
    ),
    Mutant(
        "shared copies: their entry is told by its time too",
        FRESHNESS,
        "return self._marks.get(mark.seq) == mark.at",
        "return mark.seq in self._marks",
    ),
    Mutant(
        "what reads have seen", FRESHNESS, "        if watermark > self.applied or pending:\n", "        if False:\n"
    ),
    Mutant(
        "what reads have seen must turn up in the log",
        FRESHNESS,
        "return any(entry.seq == seen.seq and entry.at == seen.at for entry in entries)",
        "return True",
    ),
    Mutant(
        "a log that ends before what reads have seen",
        FRESHNESS,
        "return asked.newest_known < self._seen_watermark  #",
        "return True  #",
    ),
    Mutant(
        "reads: another entry of a known number",
        FRESHNESS,
        "return known is not None and known != mark.at",
        "return False",
    ),
    Mutant(
        "reads: their entry is in the log",
        FRESHNESS,
        "if not (mark.seq > self.applied or self.knows(mark)) or not self.accepts(",
        "if not self.accepts(",
    ),
    Mutant(
        "the log vouches for what it has come to",
        FRESHNESS,
        "return watermark <= self.applied and watermark % 1 == 0",
        "return watermark % 1 == 0",
    ),
    Mutant("the log never vouches for what was pending", FRESHNESS, " and watermark % 1 == 0", ""),
    Mutant(
        "a pending read is newer than its entry",
        FRESHNESS,
        "return mark.seq + 0.5 if pending else mark.seq",
        "return mark.seq",
    ),
    Mutant(
        "the order of two pending reads",
        FRESHNESS,
        "return not pending or self._follows(asked, watermark, alias, tenant_id)",
        "return True",
    ),
    Mutant(
        "the order of pending reads whose floors are forgotten",
        FRESHNESS,
        "if watermark == self.tail_start and asked.answers < self._forgotten_at:",
        "if False:",
    ),
    Mutant(
        "reads from before a doubt",
        FRESHNESS,
        "if self.doubts.hold(alias, tenant_id, asked=asked.doubts):",
        "if False:",
    ),
    Mutant(
        "copies of what is doubted",
        FRESHNESS,
        "if self.doubts.hold(alias, tenant_id):",
        "if False:",
    ),
    Mutant("an index may lack what is doubted", FRESHNESS, " and not self.doubts.hold(alias, None)", ""),
    Mutant(
        "doubts end",
        DOUBTS,
        "for name, number in self._numbers.items() if number > asked}",
        "for name, number in self._numbers.items()}",
    ),
    Mutant(
        "doubts outlive an earlier pull",
        DOUBTS,
        "for name, number in self._numbers.items() if number > asked}",
        "for name, number in self._numbers.items() if False}",
    ),
    Mutant("doubts are bounded", DOUBTS, "if len(self._numbers) + len(names) > MAX_DOUBTED:", "if False:"),
    Mutant("a doubt evicts", FOLLOWER, "            self._sink.doubted(doubt)", "            pass"),
    Mutant(
        "nothing is doubted while notifications are empty",
        FOLLOWER,
        "not self._pace.patience and self._fresh",
        "self._fresh",
    ),
    Mutant(
        "what was pending is not shared",
        RESOLVER,
        "if share and row is not None and not snapshot.pending:",
        "if share and row is not None:",
    ),
    Mutant(
        "nothing is held that may be older than what was served",
        RESOLVER,
        "                if snapshot.pending:\n                    self._drop_unordered",
        "                if False:\n                    self._drop_unordered",
    ),
    Mutant(
        "pending changes prove nothing",
        PULLER,
        "        if not pull.pending:\n",
        "        if True:\n",
    ),
    Mutant(
        "what was pending counts once it is covered",
        PULLER,
        "if pull.covers and self._pending_since is not None:",
        "if self._pending_since is not None:",
    ),
    Mutant(
        "a pull that has not looked for faults proves no more than one that has",
        PULLER,
        "self._freshness.extend(min(proves_from, self._checks.faultless_at))",
        "self._freshness.extend(proves_from)",
    ),
    Mutant(
        "a fault proves nothing",
        FAULT_CHECK,
        "self.faultless_at = sent_at if pull.fault is None else NEVER",
        "self.faultless_at = sent_at",
    ),
    Mutant(
        "pulls again while transactions run",
        PACE,
        "self._awaited, self._pause = running, MIN_PULL_PAUSE",
        "self._awaited, self._pause = frozenset(), MIN_PULL_PAUSE",
        ("units",),
    ),
    Mutant(
        "empty notifications wait",
        PACE,
        "if self._empty > EMPTY_NOTIFICATIONS:",
        "if False:",
        ("units",),
    ),
    Mutant(
        "an entry that a notification has made up is forgotten",
        PULLER,
        "            self._notices.told = 0  # the answer",
        "            pass  # the answer",
        ("units",),
    ),
    Mutant(
        "a check that has made way for changes is made up for",
        FAULT_CHECK,
        "            if now < self._owed_since + self._may_wait:\n",
        "            if True:\n",
        ("units",),
    ),
    Mutant(
        "what reads have seen outlives a collapse",
        FRESHNESS,
        "self.tail_start = self.newest_known",
        "self.tail_start = self.applied",
    ),
    Mutant("answers of an earlier generation", FRESHNESS, "asked.generation != self.generation or ", ""),
    Mutant("answers that took too long", FRESHNESS, " or now >= asked.sent_at + self.max_staleness", ""),
    Mutant("reads: another epoch", FRESHNESS, "if epoch != self.epoch or watermark_of", "if watermark_of"),
    Mutant(
        "reads: a log that ends too early",
        FRESHNESS,
        " or watermark_of(mark, pending=pending) < asked.newest_known",
        "",
    ),
    Mutant(
        "a pull counts from its sending",
        PULLER,
        "self._freshness.extend(min(proves_from, self._checks.faultless_at))",
        "self._freshness.extend(self._clock())",
    ),
    Mutant(
        "a read counts from its sending",
        RESOLVER,
        'self._install(alias, self._tenant(row), watermark, asked.sent_at, "postgres")',
        'self._install(alias, self._tenant(row), watermark, self._clock(), "postgres")',
    ),
    Mutant(
        "the log's epoch",
        PULLER,
        "pull.continuous and pull.epoch == self._freshness.epoch",
        "pull.continuous",
    ),
    Mutant("the log's continuity", PULLER, "pull.continuous and pull.epoch ==", "pull.epoch =="),
    Mutant(
        "a pull of an earlier generation", PULLER, "if asked.generation != self._freshness.generation:", "if False:"
    ),
    Mutant("a mark of an earlier generation", PULLER, "if asked.generation != self._generation:", "if False:"),
    Mutant("a tail older than a read", PULLER, "return overtaken and ", "return False and "),
    Mutant(
        "a flush at the start of a timeline",
        PULLER,
        "only floors here.\n        self._sink.flush()\n",
        "only floors here.\n",
    ),
    Mutant("a sync waits for a pull sent after it", FOLLOWER, "wanted = self._started + 1", "wanted = self._started"),
    Mutant(
        "an answer overtaken is read again",
        JUDGEMENT,
        "if not freshness.accepts_read(asked, snapshot.mark, alias, tenant_id, pending=snapshot.pending):",
        "if False:",
    ),
    Mutant(
        "a flush detaches loads in flight, and not what waits for one",
        "tenantcache/lookup/flights.py",
        "        self._flights = dict(self._waiting)",
        "        pass",
    ),
    Mutant(
        "a start: hosts past the budget of unknown ones wait for the index",
        RESOLVER,
        "            await self._unknown.settled()\n",
        "",
        STARTS,
    ),
    Mutant(
        "a timeout leaves out the time in which the loop stood still",
        "tenantcache/runtime/deadline.py",
        "PARTS = 4\n",
        "PARTS = 1\n",
        STARTS,
    ),
    Mutant(
        "a start: a lookup that waits for the loads of others has longer",
        "tenantcache/lookup/flights.py",
        "waits_for_turn = key in self._waiting",
        "waits_for_turn = False",
        STARTS,
    ),
    Mutant(
        "a start: copies in Redis are left alone",
        "tenantcache/lookup/warmup.py",
        "self._resolver.sharing.is_on = False",
        "pass",
        STARTS,
    ),
    Mutant(
        "a start: a row brings no name that it shares with another",
        RESOLVER,
        "            if alias in shared:\n",
        "            if False:\n",
        STARTS,
    ),
    Mutant(
        "a start: a name that was not read yet may lead to another",
        "tenantcache/schema/adopted.sql",
        "where a.alias = n) <> array[",
        "where a.alias = n union select r.tenant ->> 'id') <> array[",
        STARTS,
    ),
    Mutant(
        "a start: memory that cannot hold all tenants is not filled unasked",
        "tenantcache/lookup/warmup.py",
        "if stream.more and not self._partly:",
        "if False:",
        STARTS,
    ),
    Mutant(
        "a change detaches loads in flight",
        RESOLVER,
        "            self._flights.detach(alias)\n            self._memory",
        "            self._memory",
    ),
    Mutant(
        "a refused answer detaches its load",
        RESOLVER,
        "            self._flights.detach(alias)\n            if step",
        "            if step",
    ),
    Mutant(
        "a change evicts the tenant",
        RESOLVER,
        "            self._memory.drop_older(held.alias, before)\n        for",
        "            pass\n        for",
    ),
    Mutant(
        "a change evicts the alias",
        RESOLVER,
        "            self._memory.drop_older(alias, before)",
        "            pass",
    ),
    Mutant("a newer read evicts siblings", RESOLVER, "if is_older and sibling.tenant != tenant:", "if False:"),
    Mutant(
        "siblings of a pending read",
        RESOLVER,
        "is_older = sibling.watermark < watermark or (sibling.watermark == watermark and watermark % 1 > 0)",
        "is_older = sibling.watermark < watermark",
    ),
    Mutant("a copy belongs to its alias", JUDGEMENT, "alias in tenant.aliases\n        and", "True\n        and"),
    Mutant(
        "the index is a copy as of what was applied",
        RESOLVER,
        " or not self._freshness.accepts_absence(alias):",
        ":",
    ),
    Mutant(
        "the index may lack what was pending",
        FRESHNESS,
        "return self.accepts(self.settled, alias, None)",
        "return self.accepts(self.applied, alias, None)",
    ),
    Mutant(
        "the index is not taken from a snapshot with changes pending",
        INDEXER,
        "if stream.pending:",
        "if False:",
    ),
    Mutant(
        "the index is of the timeline that is followed",
        INDEXER,
        "if self._meanwhile is not meanwhile or not self._freshness.knows(stream.mark):",
        "if self._meanwhile is not meanwhile:",
    ),
    Mutant(
        "a change during the load of the index",
        INDEXER,
        "            self._meanwhile += entry.aliases",
        "            pass",
        ("storms", "machine", "index"),
    ),
    Mutant(
        "the index is not trusted while memory has lapsed",
        INDEXER,
        "return self._freshness.is_valid(self._clock())",
        "return True",
        ("storms", "machine", "index"),
    ),
    Mutant(
        "the fast path is open to what the log vouches for",
        FAST_PATHS,
        "if not self._freshness.vouches_for(entry.watermark):",
        "if False:",
    ),
    Mutant(
        "what has expired leaves every map at the next look",
        MEMORY,
        "            self.expire(now)\n            return self.get(alias)",
        "            return self.get(alias)",
        AGES,
    ),
    Mutant(
        "what is dropped is gone, whatever its age",
        MEMORY,
        '            self.expire(now)\n            return cast("Entry | None", self.pop(alias, None))',
        '            return cast("Entry | None", self.pop(alias, None))',
        ("memory",),  # of a change, the look that goes before it is enough
    ),
    Mutant(
        "what leaves for its age leaves every map",
        MEMORY,
        "        for _, entry in expired:\n            self._on_leave(entry)\n",
        "",
        AGES,
    ),
    Mutant(
        "what is due is held until it is read again",
        MEMORY,
        "max(grace, ttl), clock",
        "grace, clock",
        ("memory",),
    ),
    Mutant("an entry lapses", FRESHNESS, "        if now < until:\n", "        if True:\n"),
    Mutant(
        "what has lapsed is refused in the end",
        FRESHNESS,
        "return State.LAPSED if now < until + self.stale_if_error else State.REFUSED",
        "return State.LAPSED",
    ),
    Mutant(
        "a copy is believed only while memory is valid",
        JUDGEMENT,
        "        and freshness.is_valid(now)\n",
        "",
    ),
    Mutant("an id that was not there", JUDGEMENT, "return id_in(alias) if row is None", "return None if row is None"),
    Mutant(
        "one publisher at a time",
        LOG,
        "perform from tenantcache.publisher p for update skip locked;",
        "perform from tenantcache.publisher p;",
        SCHEMA,
    ),
    Mutant(
        "a publisher does not wait for another",
        LOG,
        "perform from tenantcache.publisher p for update skip locked;",
        "perform from tenantcache.publisher p for update;",
        SCHEMA,
    ),
    Mutant(
        "the floor: below every transaction under way",
        LOG,
        "floor = case when is_all then pg_snapshot_xmin(seen) else floor end",
        "floor = case when is_all then pg_snapshot_xmax(seen) else floor end",
        SCHEMA,
    ),
    Mutant(
        "the floor: not of another server",
        LOG,
        "case when p.floor <= pg_snapshot_xmax(pg_current_snapshot()) then p.floor else '0' end",
        "p.floor",
        SCHEMA,
    ),
    Mutant(
        "a snapshot tells what is not published",
        LOG,
        "select exists (select from tenantcache.outbox o where o.xid >= (select tenantcache.floor()))",
        "select false",
        SCHEMA,
    ),
    Mutant(
        "covered: nothing that was under way at the publication",
        LOG,
        "pg_visible_in_snapshot(x.xid, nullif(earlier, '')::pg_snapshot)",
        "false",
        SCHEMA,
    ),
    Mutant(
        "covered: nothing of which only a part is published",
        LOG,
        "published = case when is_all then seen else published end",
        "published = seen",
        SCHEMA,
    ),
    Mutant(
        "covered: nothing by another server's publication",
        LOG,
        "            and pg_snapshot_xmax(p.published) <= pg_snapshot_xmax(pg_current_snapshot()) and not exists (",
        "            and not exists (",
        SCHEMA,
    ),
    Mutant(
        "a transaction that stays open silences no others",
        LOG,
        "7307199742000000 + (extract(epoch from now()) * 100)::bigint % 1000000",
        "7307199742000000",
        SCHEMA,
    ),
    Mutant("a notification is short", LOG, "octet_length(names) > 1000", "false", SCHEMA),
    Mutant("every client can decode a notification", LOG, " or names ~ E'[^\\x01-\\x7f]'", "", SCHEMA),
    Mutant("a few changes of many are named", LOG, " or woken = xid || '+++++++'", "", SCHEMA),
    Mutant(
        "a full queue of notifications",
        LOG,
        "if pg_notification_queue_usage() < 0.5 then",
        "if true then",
        SCHEMA,
    ),
    Mutant(
        "the outbox may be dropped",
        LOG,
        "if to_regclass('tenantcache.outbox') is null then\n        return;",
        "if false then\n        return;",
        SCHEMA,
    ),
    Mutant(
        "publications of all tables",
        LOG,
        "alter table tenantcache.outbox replica identity full;",
        "null;",
        SCHEMA,
    ),
    Mutant(
        "publishers are not serializable",
        CHANGE_LOG,
        'self._isolates = isolation != "read committed"',
        "self._isolates = False",
        SCHEMA,
    ),
    Mutant(
        "nobody may call our routines unasked",
        SERVE,
        "execute format('revoke execute on routine %s from public', routine);",
        "null;",
        SCHEMA,
    ),
    Mutant(
        "faults: triggers are enabled ALWAYS",
        LOG,
        "where t.tgrelid = w.relation and t.tgenabled in ('A', 'O')\n",
        "where t.tgrelid = w.relation\n",
        SCHEMA,
    ),
    Mutant(
        "faults: another table of that name",
        LOG,
        "when to_regclass(w.name) <> w.relation then",
        "when false then",
        SCHEMA,
    ),
    Mutant(
        "faults: triggers that were off for a moment",
        LOG,
        "t.tgenabled, t.xmin, md5(p.prosrc)",
        "t.tgenabled",
        SCHEMA,
    ),
    Mutant(
        "an answer is bounded in bytes",
        CHANGE_LOG,
        "where bytes <= {MAX_PAGE_BYTES} or bytes is null or place = 1\n",
        "where true\n",
        SCHEMA,
    ),
    Mutant(
        "a server in recovery proves nothing",
        LOG_HEAD,
        'if records[0]["in_recovery"]:',
        "if False:",
        SCHEMA,
    ),
    Mutant(
        "hot requests: freshness",
        FAST_PATHS,
        "if now >= valid_until or server_now >= reservation.until",
        "if server_now >= reservation.until",
        WEB,
    ),
    Mutant(
        "hot requests: a fast path that is opened ends the lease",
        FAST_PATHS,
        "reservation.lend(NEVER)",
        "pass",
        WEB,
    ),
    Mutant(
        "hot requests: headers are made anew when a lease was ended",
        FAST_PATHS,
        "if reservation.hot_until == NEVER:",
        "if headers is None:",
        WEB,
    ),
    Mutant(
        "hot requests: a lease lasts as long as memory is fresh",
        FAST_PATHS,
        "reservation.lend(min(valid_until, ends - offset))",
        "reservation.lend(ends - offset)",
        WEB,
    ),
    Mutant(
        "hot requests: an old name of a tenant never becomes hot",
        "tenantcache/web/redirect.py",
        " and not tenant.leads_on(alias)\n",
        "\n",
        WEB,
    ),
    Mutant(
        "hot requests: a host that no strategy asked for leads nowhere",
        "tenantcache/web/admission.py",
        "by_host.under_base), scope)",
        "by_host.under_base), scope, raw_host)",
        WEB,
    ),
    Mutant(
        "floods: hosts that are too long are not remembered",
        "tenantcache/web/admission.py",
        " or len(raw_host) > MAX_HOST_LENGTH:",
        ":",
        WEB,
    ),
    Mutant(
        "hot requests: a name in a path is hot within its kind alone",
        STRATEGIES,
        'f"path:{self.by}:{self.kind}"',
        'f"path:{self.by}"',
        WEB,
    ),
    Mutant(
        "hot requests: a name in a header is hot as what it is alone",
        STRATEGIES,
        'f"header:{self.by}:{self.kind}"',
        'f"header:{self.kind}"',
        WEB,
    ),
    Mutant(
        "hot requests: of two names in headers neither is hot",
        STRATEGIES,
        "is_single, value = value is None, each",
        "value = each",
        WEB,
    ),
    Mutant(
        "hot requests: two Host lines are refused whatever strategies find",
        MIDDLEWARE,
        "                            host = None\n",
        "",
        WEB,
    ),
    Mutant(
        "hot requests: what strategies find counts only if no outer middleware serves",
        MIDDLEWARE,
        "if host is None or not self._has_strategies or serving_of(scope) is not None:",
        "if host is None or not self._has_strategies:",
        WEB,
    ),
    Mutant(
        "hot requests: the look for the fast path comes after strategies, which may wait",
        MIDDLEWARE,
        "found = await self._admission.find_named(host, scope)\n        fast = self.cache.memory.hot.get(found[0])",
        "before = dict(self.cache.memory.hot)\n        found = await self._admission.find_named(host, scope)\n"
        "        fast = before.get(found[0])",
        WEB,
    ),
    Mutant(
        "names: the database's lower case is that of A to Z alone",
        "tenantcache/lookup/core/names.py",
        "name.translate(_ASCII_LOWER)",
        "name.lower()",
        WEB,
    ),
    Mutant(
        "names: no name leads into another kind",
        STRATEGIES,
        'alias_of_name(name, kind) if kind or by == "slug" else alias_of_label(name)',
        'alias_of_name(name, kind) if by == "slug" else alias_of_label(name)',
        WEB,
    ),
    Mutant(
        "hot requests: no lease is renewed in another event loop",
        FAST_PATHS,
        " or self._is_elsewhere()",
        "",
        LOOPS,
    ),
    Mutant(
        "an engine is called in the event loop that has it open",
        "tenantcache/runtime/eventloops.py",
        "raise not_open()\n        self.require_here()",
        "raise not_open()",
        LOOPS,
    ),
    Mutant(
        "an engine is closed with its event loop",
        "tenantcache/lifecycle.py",
        "if self._home.is_open and self._home.loop is running_loop():",
        "if False:",
        LOOPS,
    ),
    Mutant(
        "forwarded headers: one budget of lines",
        FORWARDED,
        "if len(lines) > MAX_FORWARDED_LINES or sum(",
        "if sum(",
        ("floods",),
    ),
    Mutant(
        "forwarded headers: one budget of octets",
        FORWARDED,
        " or sum([len(value) for _, value in lines]) > MAX_FORWARDED_LENGTH:",
        ":",
        ("floods",),
    ),
    Mutant(
        "forwarded headers: one budget of pairs",
        FORWARDED,
        "for line in lines]) > MAX_FORWARDED_PAIRS:",
        "for line in lines]) > 1e9:",
        ("floods",),
    ),
    Mutant("forwarded headers: one budget of addresses", PEERS, "effort += named.effort", "pass", ("floods",)),
    Mutant(
        "a tenant takes away its own domain only",
        REGISTRY,
        "tenant_domains where domain = $1 and tenant_id = $2 returning domain",
        "tenant_domains where domain = $1 returning domain",
        ("domains",),
    ),
    Mutant(
        "a tenant takes back its own claim only",
        REGISTRY,
        "domain_challenges where domain = $1 and tenant_id = $2 returning domain",
        "domain_challenges where domain = $1 and $2::text <> '' returning domain",
        ("domains",),
    ),
    Mutant(
        "a tenant chooses the primary among its own domains only",
        REGISTRY,
        "where domain = $1 and tenant_id = $2)\n    returning",
        "where domain = $1 and $2::text <> '')\n    returning",
        ("domains",),
    ),
    Mutant(
        "OLD in the trigger: the label",
        LOG,
        "'subdomain:' || old.subdomain, ",
        "",
        SCHEMA,
    ),
    Mutant(
        "OLD in the trigger: the domain",
        LOG,
        "array['domain:' || old.domain, ",
        "array[",
        SCHEMA,
    ),
    Mutant(
        "OLD in the trigger: the tenant",
        LOG,
        "old_id := old.tenant_id;",
        "",
        SCHEMA,
    ),
    Mutant(
        "triggers fire always",
        LOG,
        "enable always trigger tenantcache_written, enable always trigger tenantcache_changed,",
        "enable trigger tenantcache_written, enable trigger tenantcache_changed,",
        SCHEMA,
    ),
    Mutant(
        "the epoch names the database",
        LOG,
        "        (select oid from pg_database where datname = current_database()),\n",
        "",
        SCHEMA,
    ),
    Mutant(
        "the mark is told by its time too",
        CHANGE_LOG,
        "where seq = $1 and at = $2) as continuous",
        "where seq = $1) as continuous",
        SCHEMA,
    ),
    Mutant(
        "the tail has no gaps",
        CHANGE_LOG,
        "(select max(seq) from newest where at <= now()",
        "(select min(seq) from newest where at <= now()",
        SCHEMA,
    ),
    Mutant(
        "a statement that hangs costs its connection",
        STORE,
        "                connection.terminate()\n                raise",
        "                raise",
        SCHEMA,
    ),
    Mutant(
        "limits: what one store granted while the other failed",
        "tenantcache/ratelimit/meter.py",
        "if not isinstance(error, StoreError) or not error.values:",
        "if True:",
        LIMITS,
    ),
    Mutant(
        "limits: Postgres is asked before Redis",
        "tenantcache/ratelimit/counters.py",
        '= ("postgres", "redis")',
        '= ("redis", "postgres")',
        LIMITS,
    ),
    Mutant(
        "limits: a store that fails is left alone",
        "tenantcache/ratelimit/outage.py",
        "0 <= now - failure.at < failure.pause",
        "False",
        LIMITS,
    ),
    Mutant(
        "limits: after a failure no more than is needed",
        RESERVATION,
        "Event.FAILED: State.CAUTIOUS",
        "Event.FAILED: State.HOLDING",
        LIMITS,
    ),
    Mutant(
        "limits: 429 only if the counters say so",
        "tenantcache/web/limitrefusal.py",
        "if not decision.unavailable:",
        "if True:",
        WEB,
    ),
    Mutant(
        "limits: an earlier minute is entered with nothing",
        "tenantcache/ratelimit/core/minutewindow.py",
        "self.restart(now)",
        "self._forecast.forget_usage(now)",
        LIMITS,
    ),
    Mutant(
        "limits: a later minute that grants nothing is asked once",
        "tenantcache/ratelimit/core/advance.py",
        "walled = self.wall > minute",
        "walled = False",
        LIMITS,
    ),
    Mutant(
        "limits: the time of an admission travels with the request",
        FAST_PATHS,
        "each.serving = each.serving._replace(admitted_at=server_now)",
        "pass",
        LIMITS,
    ),
    Mutant(
        "limits: a cost is a whole number",
        "tenantcache/ratelimit/core/arguments.py",
        "type(cost) is not int or ",
        "",
        LIMITS,
    ),
    Mutant(
        "handing over: an answer after the report is not used",
        FLEET_COUNTERS,
        "if self.failover.version_of(minute_at(asked)) != counters:",
        "if False:",
        COUNTERS,
    ),
    Mutant(
        "handing over: the day is written down before the report",
        COORDINATOR,
        "            await self.days.write(self._server_now())\n            if await self.holder.report(report):",
        "            if await self.holder.report(report):",
        COUNTERS,
    ),
    Mutant(
        "handing over: who decided alone does not report",
        FAILOVER,
        "if self.isolation.standing_of(minute) is not None:",
        "if False:",
        COUNTERS,
    ),
    Mutant(
        "handing over: a minute that begins again is not handed over",
        HANDOVER,
        "return minute > self._begun_before and ",
        "return ",
        COUNTERS,
    ),
    Mutant(
        "handing over: what was spent in a loop that has ended",
        LIMITER,
        "(*self._meters, *self._left, *self._released)",
        "(*self._meters, *self._released)",
        LIMITS,
    ),
    Mutant(
        "handing over: a holder is known to Postgres",
        HANDOVER,
        "return minute <= self.through or (is_vouched_for and self.through >= 0)",
        "return True",
        ("counters", "handing over"),
    ),
    Mutant(
        "handing over: nothing is taken after the report",
        HANDOVER,
        "return self._given_up == version",
        "return False",
        ("counters", "handing over"),
    ),
    Mutant(
        "handing over: all holders have reported",
        SQL,
        "(reported_version, reported_minute) is distinct from (known_version, of_minute));",
        "false);",
        HANDING_OVER,
    ),
    Mutant(
        "handing over: a holder is one of the row that it knows",
        SQL,
        "if holds and exists (select from tenantcache.counter_store where version = known_version) then",
        "if holds then",
        HANDING_OVER,
    ),
    Mutant("counting: a full counter stays full", REDIS_COUNTERS, '"OVERFLOW", "SAT", ', "", COUNTING),
    Mutant(
        "counting: the debits of one account in one quarter are one command",
        REDIS_COUNTERS,
        " and command.places[-1][0] != number",
        "",
        COUNTING,
    ),
    Mutant(
        "counting: an expiry that failed is sent again",
        REDIS_COUNTERS,
        " or command.string in self._unexpiring",
        "",
        COUNTING,
    ),
    Mutant(
        "counting: a string whose first answer was lost expires",
        REDIS_COUNTERS,
        "self._remember(command.string)",
        "pass",
        COUNTING,
    ),
    Mutant(
        "counting: rows are locked in one order",
        POSTGRES_COUNTERS,
        "        order by d.tenant_id, d.policy, d.number\n",
        "",
        COUNTING,
    ),
    Mutant(
        "counting: no row falls below 0",
        POSTGRES_COUNTERS,
        "greatest(0, c.value + coalesce(",
        "(c.value + coalesce(",
        COUNTING,
    ),
    Mutant(
        "slots: callers that write wait for each other",
        SQL,
        "lock table tenantcache.counter_slots in share row exclusive mode;",
        "null;",
        COUNTING,
    ),
    Mutant(
        "slots: one that is in use is not given away",
        SQL,
        "where used_on < today - 30",
        "where used_on <= today - 30",
        COUNTING,
    ),
    Mutant(
        "slots: use is written down",
        SQL,
        "where s.owner = any (owners) and s.used_on <= today - 7;",
        "where false;",
        COUNTING,
    ),
    Mutant(
        "failover: a minute is known no longer than the notice lasts",
        AGREEMENT,
        "if choice.store is None or minute * MINUTE >= self.settled_until:",
        "if choice.store is None:",
        OF_FAILOVER,
    ),
    Mutant(
        "failover: PING proves nothing once a take has failed",
        REDIS_HEALTH,
        "    RedisState.NOT_COUNTING: {\n",
        "    RedisState.NOT_COUNTING: {\n        RedisEvent.PINGED: RedisState.ANSWERING,\n",
        OF_FAILOVER,
    ),
    Mutant(
        "failover: silence alone proves nothing",
        REDIS_HEALTH,
        "return self._failing_until > self._failing_since + FAILING_FOR",
        "return True",
        OF_FAILOVER,
    ),
    Mutant(
        "failover: only an unbroken chain of answers vouches for Redis",
        REDIS_HEALTH,
        "return self._heard if self._answering_since <= then else -inf",
        "return self._heard",
        OF_FAILOVER,
    ),
    Mutant(
        "failover: a minute is a process's own only after some seconds of isolation",
        "tenantcache/ratelimit/core/isolation.py",
        "max(self._since + ISOLATED_FOR, known_until)",
        "known_until",
        OF_FAILOVER,
    ),
    Mutant(
        "failover: no tokens of a day are taken just before a change",
        FAILOVER,
        "if begins is not None and now >= begins - GUARD:",
        "if False:",
        OF_FAILOVER,
    ),
]

ROUTINES = "tenantcache/schema/adopt/routines.py"
ADOPTED_SQL = "tenantcache/schema/adopted.sql"
LOG_SQL = "tenantcache/schema/log.sql"
ADOPTED = ("adopted",)
MUTANTS += [
    Mutant(
        "an adopted row is found by its old key too",
        ROUTINES,
        """(("old", "INSERT"), ("new", "DELETE"))""",
        """(("new", "DELETE"),)""",
        ADOPTED,
    ),
    Mutant(
        "changes that are not published yield candidates",
        ADOPTED_SQL,
        "        union select unnest(changed_ids)\n",
        "",
        ADOPTED,
    ),
    Mutant(
        "the names that a tenant had are named",
        ADOPTED_SQL,
        "        union select b.tenant_id::text, b.alias::text from before b\n",
        "",
        ADOPTED,
    ),
    Mutant(
        "a failed trigger is told for each transaction",
        ADOPTED_SQL,
        "    if not exists (select from tenantcache.outbox o where o.xid",
        "    if (select p.incomplete is null from tenantcache.publisher p)"
        " and not exists (select from tenantcache.outbox o where o.xid",
        ADOPTED,
    ),
    Mutant(
        "a look-up gives up waiting for a table",
        ADOPTED_SQL,
        "plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '800ms'",
        "plpgsql security definer set search_path = pg_catalog, pg_temp",
        ADOPTED,
    ),
    Mutant(
        "a trigger that was off in between is another one",
        LOG_SQL,
        "t.tgenabled, t.xmin, md5",
        "t.tgenabled, md5",
        ADOPTED,
    ),
    Mutant(
        "tenants that share a row are published some at a time",
        LOG_SQL,
        "if cardinality(changes) > 2 * most then",
        "if false then",
        ADOPTED,
    ),
]
