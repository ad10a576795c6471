"""What docs/values-guardrails.md says: its examples do what it says of them, and its figures are the code's."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tenantcache.testing import MemoryCache
from tenantcache.values.core.kind import read_kinds
from tenantcache.values.core.lifetime import MIN_TTL
from tenantcache.values.core.loops import GAP, LOADS
from tenantcache.values.core.reuse import JUDGED, MOST_USED, WATCHED
from tenantcache.values.core.secrecy import MOST_LOOKED_AT, NAMES
from tenantcache.values.guardrails import MAX_PATTERNS, MAX_REPORTS
from tenantcache.values.sharing import MAX_REMEMBERED, WITHIN_LIVES

TEXT = (Path(__file__).parents[1] / "docs" / "values-guardrails.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


async def load() -> int:
    return 1


def load_profile(user_id: int) -> Callable[[], Coroutine[Any, Any, int]]:
    return load


async def load_profiles(keys: Sequence[str]) -> Mapping[str, int]:
    return dict.fromkeys(keys, 1)


async def run(cache: MemoryCache, example: str) -> None:
    """The example, as the body of a coroutine."""
    names: dict[str, Any] = {
        "cache": cache,
        "load": load,
        "load_profile": load_profile,
        "load_profiles": load_profiles,
        "user_ids": range(LOADS),
    }
    exec("async def example():\n    profiles = {}\n" + textwrap.indent(example, "    "), names)
    await names["example"]()


@pytest.mark.parametrize(("example", "loops"), list(zip(EXAMPLES, [0, 1, 0], strict=True)))
async def test_the_examples(tenant_cache: MemoryCache, example: str, loops: int) -> None:
    async with tenant_cache as cache:
        await run(cache, example)
        assert cache.stats()["values"]["loops"] == loops


async def test_without_the_word_a_short_ttl_is_refused(tenant_cache: MemoryCache) -> None:
    async with tenant_cache as cache:
        with pytest.raises(ValueError, match="short_ttl=True"):
            await run(cache, EXAMPLES[0].replace(", short_ttl=True", ""))


def test_the_setting() -> None:
    [setting] = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert read_kinds(json.loads(setting))["live"].ttl == 2


def test_the_figures_are_those_of_the_code() -> None:
    text = " ".join(TEXT.split())
    assert (MIN_TTL, LOADS, GAP, JUDGED, MOST_USED) == (10, 10, 0.005, 30, 1 / 30)
    assert "at least 30 of its keys have ended, and at most one in thirty" in text
    assert "ten misses of different keys of one pattern in one task, with no more than 5 milliseconds" in text
    assert f"The first {MOST_LOOKED_AT} parts" in text
    assert ", ".join(NAMES) in text
    assert WITHIN_LIVES == 2.0
    assert f"the last {MAX_REMEMBERED // 2:,} to {MAX_REMEMBERED:,} keys" in text
    assert f"at most {MAX_PATTERNS} patterns with {WATCHED} watched keys each" in text
    assert f"at most {MAX_REPORTS} mistakes of a kind" in text
