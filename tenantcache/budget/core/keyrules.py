"""Rules about keys: those that INFO counts, and those that a sample shows."""

from __future__ import annotations

from tenantcache.budget.core.facts import NO_OWNER, Facts, KeyFacts, ValueFacts
from tenantcache.budget.core.finding import Judgement, NotKnown, crit, ok, warn
from tenantcache.budget.core.keylives import find_unread
from tenantcache.budget.core.prices import FREE
from tenantcache.budget.core.serverrules import INFO_IS_SILENT, MANY_KEYS
from tenantcache.budget.core.spenders import LIMITERS, commands_by_owner
from tenantcache.budget.core.traffic import share, size

LARGE_VALUE, TOO_LARGE_VALUE = 1 << 20, 10 << 20
FEW = 0.01
"""The share of keys that may stay without a finding: a queue, a lock, a set of members."""
FLAT_SHARE = 0.1
UNUSED_SHARE = 0.2
SEPARATORS = ":/."
SHOWN = 3
"""Patterns that evidence names."""

MIX = 5
"""Commands that evidence names."""

NO_SAMPLE = "no keys were sampled"


def judge_expiry(facts: Facts) -> Judgement:
    """INFO counts all keys and those that expire, so this needs no sample. The sample names the patterns."""
    keys, expiring = facts.server.keys, facts.server.expiring
    if keys is None or expiring is None:
        return _judge_sampled_expiry(facts.sample)
    staying = keys - expiring
    part = staying / keys if keys else 0.0
    evidence = f"{staying:,} of {keys:,} keys have no TTL{_worst(facts.sample)}"
    if part > 0.5 and keys > MANY_KEYS:
        return crit("Most keys never expire, and there are more and more", evidence)
    if part > FEW:
        return warn(f"{share(part)} of the keys never expire", evidence)
    return ok("Keys expire", evidence)


def _judge_sampled_expiry(keys: KeyFacts | None) -> Judgement:
    if keys is None:
        return NotKnown(f"{INFO_IS_SILENT}, and {NO_SAMPLE}")
    told = [(pattern.keys, pattern.without_expiry) for pattern in keys.patterns if pattern.without_expiry is not None]
    if keys.patterns and not told:
        return NotKnown(f"{INFO_IS_SILENT}, and TTL cannot be asked here")
    part = sum(count * without for count, without in told) / max(sum(count for count, _ in told), 1)
    evidence = f"of {keys.sampled:,} sampled keys{_worst(keys)}"
    return warn(f"{share(part)} of the keys never expire", evidence) if part > FEW else ok("Keys expire", evidence)


def _worst(keys: KeyFacts | None) -> str:
    if keys is None:
        return ""
    staying = [
        (pattern.keys * pattern.without_expiry, pattern.pattern) for pattern in keys.patterns if pattern.without_expiry
    ]
    names = [name for _, name in sorted(staying, key=lambda pair: -pair[0])]
    return f": most of them {_listed(names)}" if names else ""


def judge_names(facts: Facts) -> Judgement:
    if facts.sample is None:
        return NotKnown(NO_SAMPLE)
    flat = [p for p in facts.sample.patterns if not any(separator in p.pattern for separator in SEPARATORS)]
    part = facts.sample.share(sum(pattern.keys for pattern in flat))
    if part > FLAT_SHARE:
        flat.sort(key=lambda pattern: -pattern.keys)
        return warn(f"{share(part)} of the keys have flat names", _listed([pattern.pattern for pattern in flat]))
    return ok("Keys have namespaces", f"of {facts.sample.sampled:,} sampled keys, {share(part)} have none")


def judge_values(facts: Facts) -> Judgement:
    if facts.sample is None:
        return NotKnown(NO_SAMPLE)
    if facts.sample.largest is None:
        return NotKnown("the sizes of values cannot be asked here")
    large = [(key, count) for key, count in facts.sample.largest if count > LARGE_VALUE]
    if not large:
        greatest = max((count for _, count in facts.sample.largest), default=0)
        return ok("No large value", f"the largest of {facts.sample.sampled:,} sampled has {size(greatest)}")
    evidence = _listed([f"{key} ({size(count)})" for key, count in large])
    greatest = max(count for _, count in large)
    if greatest > TOO_LARGE_VALUE:
        return crit(f"A value of {size(greatest)}", evidence)
    return warn(f"A value of {size(greatest)}", evidence)


def judge_objects(facts: Facts) -> Judgement:
    """Keys like user:{id}:name beside user:{id}:email are one object, and a hash would be one key."""
    if facts.sample is None:
        return NotKnown(NO_SAMPLE)
    fields: dict[str, set[str]] = {}
    for pattern in facts.sample.patterns:
        stem, separator, last = pattern.pattern.rpartition(":")
        if separator and stem.endswith("}") and "{" not in last:
            fields.setdefault(stem, set()).add(last)
    found = {stem: names for stem, names in fields.items() if len(names) >= SHOWN}
    if found:
        told = [f"{stem}:{'|'.join(sorted(names)[:SHOWN])}" for stem, names in sorted(found.items())]
        return warn("Several keys for one object", _listed(told))
    return ok("Objects are one key each", f"{len(facts.sample.patterns):,} patterns")


def judge_unused(facts: Facts) -> Judgement:
    if facts.idle is None:
        return NotKnown("how long keys are unused cannot be asked here")
    if not facts.idle.asked:
        return ok("No key is left unused", "there are no keys")
    part = facts.idle.unused / facts.idle.asked
    evidence = f"{facts.idle.unused} of {facts.idle.asked} keys that were asked were not used for a week"
    return (
        warn(f"{share(part)} of the keys are unused", evidence)
        if part > UNUSED_SHARE
        else ok("Keys are used", evidence)
    )


def judge_one_time(facts: Facts) -> Judgement:
    if facts.idle is None:
        return NotKnown("how long keys are unused cannot be asked here")
    found = find_unread(facts.lives)
    if not found:
        return ok("No keys that are written and never read", f"of {len(facts.lives)} keys that were asked")
    told = [f"{one.pattern}: {one.unread} of {one.judged} keys in the second half of their life" for one in found]
    return warn("Keys are written and never read", _listed(told))


def judge_secrets(facts: Facts) -> Judgement:
    if facts.sample is None:
        return NotKnown(NO_SAMPLE)
    told = [pattern.secret for pattern in facts.sample.patterns if pattern.secret is not None]
    values = facts.values or ValueFacts(0)
    told += [f"a field of {pattern} ({kind})" for pattern, kind in values.secrets]
    if told:
        return warn("Secrets lie in Redis", _listed(told))
    return ok("No secret is seen", f"in the names of {facts.sample.sampled:,} keys, and in {values.read} values")


def judge_spenders(facts: Facts) -> Judgement:
    if facts.sample is None:
        return NotKnown(NO_SAMPLE)
    owners = facts.sample.by_owner()
    commands = commands_by_owner(facts.traffic.calls, owners)
    told = [
        f"{owner} has {share(part)} of the keys"
        + (f" and {share(commands[owner])} of the commands" if commands.get(owner) else "")
        for owner, part in owners.items()
        if owner != NO_OWNER
    ]
    if NO_OWNER in owners:
        told.append(f"{share(owners[NO_OWNER])} of the keys are of no known library")
    calls = [pair for pair in facts.traffic.calls.items() if pair[0] not in FREE]
    greatest = sorted(calls, key=lambda pair: -pair[1])[:MIX]
    mix = "; the commands are " + ", ".join(f"{name} {count:,}" for name, count in greatest) if greatest else ""
    evidence = f"{'; '.join(told) or 'no keys'}{mix}"
    limiting = {owner: part for owner, part in owners.items() if owner in LIMITERS and part > 0.5}
    if limiting:
        return warn(f"Most keys are those of the rate limiter {next(iter(limiting))}", evidence)
    known = [owner for owner in owners if owner != NO_OWNER]
    return ok(f"{known[0]} has the most keys" if known else "No library is recognized by its keys", evidence)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
