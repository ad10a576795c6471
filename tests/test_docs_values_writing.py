"""The figures of docs/values-writing.md are the code's."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from tenantcache import Settings, WriteBehind
from tenantcache.values import writebehind
from tenantcache.values.core.writequeue import DIVIDED_BY, FIRST_PAUSE, LONGEST_PAUSE
from tenantcache.values.members import MAX_MEMBERS, MEMBER_BYTES

PAGE = (Path(__file__).parents[1] / "docs" / "values-writing.md").read_text(encoding="utf-8")


def test_the_options_are_those_of_a_write_behind() -> None:
    listed = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \| ", PAGE, re.MULTILINE))
    fields = {field.name: field.default for field in dataclasses.fields(WriteBehind) if field.name != "write"}
    assert {name: listed[name].removesuffix(" s") for name in fields} == {
        name: "none" if default is None else f"{default:g}" for name, default in fields.items()
    }


def test_its_figures() -> None:
    settings = Settings.model_fields
    for figure in (
        f"`TENANTCACHE_VALUES_MAX_WRITES` values ({settings['values_max_writes'].default:,})",
        f"`TENANTCACHE_VALUES_MAX_WRITE_BYTES` ({settings['values_max_write_bytes'].default // 1_000_000} MB)",
        f"takes {writebehind.CLOSE_TIMEOUT:g} seconds at most",
        f"after {FIRST_PAUSE:g} to {LONGEST_PAUSE:g} s",
        f"A set has {MAX_MEMBERS:,} members at most",
        f"about {MEMBER_BYTES} bytes a member",
    ):
        assert figure in PAGE
    assert DIVIDED_BY == 8
    assert "divided by eight" in PAGE
