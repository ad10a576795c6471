"""What is shown of other people's text: nothing that moves a cursor, turns a line around or hides."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rich.console import Console

from tenantcache.cli.tenantview import rows_table
from tenantcache.cli.visible import to_json, visible

ANY_TEXT = st.text(st.characters())  # halves of surrogate pairs as well


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Büro \u05d0 \u65e5\u672c [bold]", "Büro \u05d0 \u65e5\u672c [bold]"),
        ("\x1b[31m\x07\r\n\t\0\x7f\x9b", "\\x1b[31m\\x07\\r\\n\\t\\x00\\x7f\\x9b"),
        ("a\u202eb\u200f\u2066", "a\\u202eb\\u200f\\u2066"),
        ("\udcff", "\\udcff"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_escapes(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(ANY_TEXT)
def test_all_of_it_is_printable(text: str) -> None:
    assert visible(text).isprintable()


@given(st.recursive(ANY_TEXT | st.integers() | st.none(), lambda inner: st.dictionaries(ANY_TEXT, inner, max_size=3)))
def test_json_is_printable_and_means_the_same(document: object) -> None:
    assume(json.loads(json.dumps(document)) == document)  # two halves of a pair side by side are one character
    text = to_json(document)
    assert all(line.isprintable() for line in text.split("\n"))
    assert json.loads(text) == document


@given(st.lists(ANY_TEXT, min_size=2, max_size=2))
def test_a_table_has_no_markup_and_no_control_characters(cells: list[str]) -> None:
    out = io.StringIO()
    Console(file=out, width=10_000).print(rows_table(["one", "two"], [cells]))
    assert all(line.isprintable() for line in out.getvalue().split("\n"))
    row = out.getvalue().split("\n")[1]
    assert all(visible(cell).strip() in row for cell in cells)
