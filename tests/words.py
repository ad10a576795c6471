"""Counts the words of the documents and of the code that make a reader stop: `python -m tests.words [--show NAME]`.

It measures prose alone. Code blocks, addresses and the names between backticks are not prose. A heading, an item of a
list, a cell of a table and a paragraph each end a sentence.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAX_SENTENCE = 25

# "where" may follow a word for a place, or one that asks for a place. Elsewhere it stands for "if" or "when".
_PLACES = (
    "at|base|blocks?|boundar\\w+|columns?|directory|end|file|find|folders?|from|functions?|know|knows|lines?|lists?|or|"
    "pages?|places?|points?|position|rows?|sections?|see|say|says|show|shows|table|tables|tell|tells|to|visible"
)
# Calls that tell a person something, and their arguments that do.
_TELLS = re.compile(r"[A-Z]\w*Error|Field|Option|Argument|echo|warn|fault|debug|info|warning|error|exception")
_TOLD = {"description", "help"}
COUNTED = {
    "where": re.compile(rf"(?<!\w)(?:(?!(?:{_PLACES})\b)\w+\W+|^\W*)where\b", re.I),
    "nobody": re.compile(r"\b(?:nobody|somebody|anybody|everybody|whoever|no one)\b", re.I),
    "he": re.compile(r"\b(?:he|his|him)\b", re.I),
    "is no": re.compile(r"(?<!\bthere )\b(?:is|are|was|were) no\b(?! (?:longer|more)\b)", re.I),
}


@dataclass
class Count:
    """What one body of text holds: the number of its words, and each finding with its file and line."""

    words: int = 0
    found: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in [*COUNTED, "long"]})

    def rates(self) -> dict[str, float]:
        """Findings in a thousand words, by name."""
        return {name: round(1000 * len(found) / max(self.words, 1), 2) for name, found in self.found.items()}


def count(blocks: Iterable[tuple[str, str]]) -> Count:
    """Count what stands in `blocks`: pairs of a place (`file:line`) and a text without breaks."""
    counted = Count()
    for place, text in blocks:
        for sentence in sentences(text):
            length = len(re.findall(r"[^\W\d_][\w'’-]*", sentence))
            counted.words += length
            if length > MAX_SENTENCE:
                counted.found["long"].append(f"{place} ({length} words): {sentence}")
            for name, pattern in COUNTED.items():
                counted.found[name] += [f"{place}: {sentence}" for _ in pattern.findall(sentence)]
    return counted


def sentences(text: str) -> list[str]:
    """Split a block at `.`, `!` and `?`; what is between backticks, and an address of a link, is one word."""
    text = re.sub(r"``?[^`]+``?", "code", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"https?://\S+|\*\*|(?<!\w)\*|\*(?!\w)", "", text)
    text = re.sub(r"\b(e\.g|i\.e|vs)\.", r"\1", text)
    return [part for part in re.split(r"(?<=[.!?])[\"')]*\s+", " ".join(text.split())) if part]


def pages() -> Iterator[tuple[str, str]]:
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        yield from markdown(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())


def python_code() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "tenantcache").rglob("*.py")):
        yield from python(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())


def tests_code() -> Iterator[tuple[str, str]]:
    """Of all tests but those of this file, which name the words."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if path.name not in ("words.py", "test_words.py"):
            yield from python(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())


def sql_code() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "tenantcache").rglob("*.sql")):
        lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        comments = ((number, line.strip()[2:].strip()) for number, line in lines if line.strip().startswith("--"))
        yield from _joined(comments, path.relative_to(ROOT).as_posix())


def markdown(text: str, name: str) -> Iterator[tuple[str, str]]:
    """Give headings, paragraphs, items and cells as blocks, and leave out code and comments."""
    block: list[str] = []
    start, fenced = 0, False
    for number, line in enumerate([*text.splitlines(), ""], 1):
        bare = line.strip()
        fence = bare.startswith("```")
        starts = not bare or fence or fenced or bare.startswith(("#", "|", "<!--")) or re.match(r"[-*] |\d+\. ", bare)
        if starts and block:
            yield f"{name}:{start}", " ".join(block)
            block = []
        code = fence or fenced or (line.startswith("    ") and not block)
        fenced = fenced != fence
        if code or not bare or bare.startswith("<!--"):
            continue
        if bare.startswith("|"):
            yield from ((f"{name}:{number}", cell) for cell in bare.strip("|").split("|"))
        elif bare.startswith("#"):
            yield f"{name}:{number}", bare.lstrip("# ")
        else:
            start = start if block else number
            block.append(re.sub(r"^(?:[-*]|\d+\.) ", "", bare))


def python(text: str, name: str) -> Iterator[tuple[str, str]]:
    """Give docstrings by paragraph, those of constants too, comments on lines one after the other, and messages."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(docstring))):
                paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(docstring))
                prose = [paragraph for paragraph in paragraphs if not paragraph.startswith("    ")]
                items = (item for paragraph in prose for item in re.split(r"\n\s*[-*] ", paragraph))
                yield from ((f"{name}:{node.lineno}", " ".join(item.split())) for item in items)
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called)) if _TELLS.fullmatch(called):
                told = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg in _TOLD)]
                yield from ((f"{name}:{node.lineno}", text) for text in map(_message, told) if " " in text)
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = [(token.start[0], token.string[1:].strip()) for token in tokens if token.type == tokenize.COMMENT]
    yield from _joined((pair for pair in comments if not re.match(r"(?:fmt|type|noqa|pragma|ruff)\b", pair[1])), name)


def _message(node: ast.expr) -> str:
    """The text of a literal, with a word in place of each value in it; "" for anything else."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_message(part) if isinstance(part, ast.Constant) else "`value`" for part in parts)
    return ""


def _joined(lines: Iterable[tuple[int, str]], name: str) -> Iterator[tuple[str, str]]:
    """Join numbered lines that follow one another; an empty one and an item of a list begin a new block."""
    block: list[str] = []
    start = last = 0
    for number, line in [*lines, (-1, "")]:
        item = re.match(r"[-*] |\d+\. ", line)
        if block and (number != last + 1 or not line or item):
            yield f"{name}:{start}", " ".join(block)
            block = []
        if line:
            start = start if block else number
            block.append(line[item.end() :] if item else line)
        last = number


TEXTS = {"pages": pages, "python": python_code, "tests": tests_code, "sql": sql_code}


def main(arguments: list[str]) -> None:
    shown = arguments[1] if arguments[:1] == ["--show"] else None
    for text, blocks in TEXTS.items():
        counted = count(blocks())
        rates = "  ".join(f"{name} {rate:.2f}" for name, rate in counted.rates().items())
        sys.stdout.write(f"{text}: {counted.words} words; in a thousand: {rates}\n")
        if shown in counted.found:
            sys.stdout.write("".join(f"    {line}\n" for line in counted.found[shown]))


if __name__ == "__main__":
    main(sys.argv[1:])
