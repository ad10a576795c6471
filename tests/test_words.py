"""The documents and the code read as those of the field do: their words stay below measured rates (`tests/words.py`).

For comparison, in a thousand words, by the same count. Documents: structlog has "where" 0.7, "nobody" 0.0, "is no" 0.0
and 7.1 sentences over 25 words; httpcore 0.8, 0.0, 0.0 and 5.3. Docstrings and comments: structlog 0.2, 0.0, 0.0 and
2.6; httpcore 0.8, 0.0, 0.0 and 3.7.
"""

from __future__ import annotations

import functools

import pytest

from tests import words

pytestmark = pytest.mark.static

# In a thousand words. Those of long sentences in code and tests are the present ones, and may only fall.
LIMITS = {
    "pages": {"where": 0.3, "nobody": 0.0, "he": 0.0, "is no": 0.1, "long": 0.5},
    "python": {"where": 0.2, "nobody": 0.0, "he": 0.0, "is no": 0.1, "long": 1.5},
    "tests": {"where": 0.6, "nobody": 0.0, "he": 0.0, "is no": 0.1, "long": 1.0},
    "sql": {"where": 0.0, "nobody": 0.0, "he": 0.0, "is no": 0.0, "long": 1.0},
}


@functools.cache
def counted(text: str) -> words.Count:
    return words.count(words.TEXTS[text]())


@pytest.mark.parametrize(("text", "name"), [(text, name) for text in LIMITS for name in LIMITS[text]])
def test_words_stay_below_their_rate(text: str, name: str) -> None:
    assert counted(text).words > 2000
    rate, most = counted(text).rates()[name], LIMITS[text][name]
    assert rate <= most, f"{name}: {rate} in a thousand words, at most {most}:\n" + "\n".join(counted(text).found[name])


def count_of(text: str) -> dict[str, int]:
    return {name: len(found) for name, found in words.count([("page:1", text)]).found.items() if found}


def test_a_condition_is_told_from_a_place() -> None:
    assert count_of("None where there is none. Where it fails, it says so.") == {"where": 2}
    assert count_of("The file where it stands, and from where it comes.") == {}
    assert count_of("It is kept elsewhere.") == {}


def test_persons_are_not_processes() -> None:
    assert count_of("Nobody knows; whoever asks waits for his turn.") == {"nobody": 2, "he": 1}
    assert count_of("This history is there.") == {}


def test_is_no_is_not_is_no_longer() -> None:
    assert count_of("A label is no host. It is no longer one.") == {"is no": 1}


def test_a_sentence_ends_at_its_stop_and_code_is_one_word() -> None:
    assert words.sentences("One `a. B`. Two e.g. this! Three") == ["One code.", "Two e.g this!", "Three"]
    assert count_of("word " * words.MAX_SENTENCE + ".") == {}
    assert count_of("word " * (words.MAX_SENTENCE + 1) + ".") == {"long": 1}


def test_markdown_gives_prose_alone() -> None:
    prose = "# A title\n\nOne line\nand its end.\n\n- an item\n  goes on\n\n| a | b |\n|---|---|\n"
    page = prose.replace("- an item", "    code\n\n- an item") + "```py\ncode\n```\n"
    assert list(words.markdown(page, "x.md")) == [
        ("x.md:1", "A title"),
        ("x.md:3", "One line and its end."),
        ("x.md:8", "an item goes on"),
        ("x.md:11", " a "),
        ("x.md:11", " b "),
        ("x.md:12", "---"),
        ("x.md:12", "---"),
    ]


def test_python_gives_docstrings_and_comments() -> None:
    docstring = '"""One.\n\nTwo\nlines.\n\n    code\n"""\n'
    code = docstring + '# A comment\n# of two lines\nx = 1\n"""Seconds."""\ny = "not # this"\n# fmt: off\n'
    code += """z = f"\\"#{x}" + r'\\\'#'  # Its end\n"""
    code += 'raise AnError(f"no {y} here", y)\nx = Field(1, description="a message")\n'
    assert sorted(words.python(code, "x.py")) == [
        ("x.py:1", "One."),
        ("x.py:1", "Two lines."),
        ("x.py:11", "Seconds."),
        ("x.py:14", "Its end"),
        ("x.py:15", "no `value` here"),
        ("x.py:16", "a message"),
        ("x.py:8", "A comment of two lines"),
    ]
