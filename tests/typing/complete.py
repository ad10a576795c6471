"""Whether type checkers know the type of each public name, and of all that it has: `python -m tests.typing.complete`.

Public is what docs/api.md lists. Only pyright can tell; it takes a minute.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.test_public import LISTED

COMMAND = [sys.executable, "-m", "pyright", "--verifytypes", "tenantcache", "--ignoreexternal", "--outputjson"]


OF_OTHERS = {"Type of metaclass unknown", "Type of base class unknown"}
"""What pyright says of a class of another package, which it does not look into here."""


def homes() -> frozenset[str]:
    """The dotted names of what is public: as it is imported, and in the module that defines it."""
    names = {f"{module}.{name}" for module, listed in LISTED.items() for name in listed}
    found = {name: getattr(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in names}
    defined = (f"{value.__module__}.{value.__qualname__}" for value in found.values() if hasattr(value, "__qualname__"))
    return frozenset({*names, *defined})


def unknown(symbols: list[Mapping[str, Any]]) -> Iterator[str]:
    """What pyright does not know of public names and their members, a line each."""
    public = homes()
    found = {symbol["name"] for symbol in symbols}
    yield from (
        f"{module}.{name}: not found" for module in LISTED for name in LISTED[module] if f"{module}.{name}" not in found
    )
    for symbol in symbols:
        name = symbol["name"]
        told = {" ".join(each["message"].split()) for each in symbol["diagnostics"]}
        is_public = name in public or any(name.startswith(f"{home}.") for home in public)
        is_known = symbol["isTypeKnown"] and not symbol["isTypeAmbiguous"]
        if is_public and not is_known and (not told or told - OF_OTHERS):
            yield f"{name}: {'; '.join(sorted(told)) or 'it has a member of an unknown type'}"


def main() -> None:
    # An editable installation has a folder of the package's name, which holds the example alone.
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=False)
    symbols = json.loads(done.stdout)["typeCompleteness"]["symbols"]
    lines = list(unknown(symbols))
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.write(f"{len(homes())} names, {len(symbols)} symbols, {len(lines)} not known\n")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
