"""Reads the import graph of a package with `ast`, and says which imports point the wrong way.

Every import counts, also one inside a function or under TYPE_CHECKING: a layer that needs a type of a higher one
knows that layer.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = "tenantcache"

# A module is of the layer whose name is the longest beginning of its own. What lies below a folder `core` is pure.
LAYER_OF = {
    "tenantcache.tenant": "core",
    "tenantcache.stats": "core",
    "tenantcache.errors": "ground",
    "tenantcache.runtime": "ground",
    "tenantcache.settings": "settings",
    "tenantcache.freshness": "freshness",
    "tenantcache.ratelimit": "ratelimit",
    "tenantcache.lookup": "lookup",
    "tenantcache.admin": "admin",
    "tenantcache.values": "values",
    "tenantcache.budget": "budget",
    "tenantcache.fleet": "fleet",
    "tenantcache.schema": "schema",
    "tenantcache.stores": "stores",
    "tenantcache.wiring": "wiring",
    "tenantcache.wiring.stores": "adapters",
    "tenantcache.lifecycle": "wiring",
    "tenantcache.startreport": "wiring",
    "tenantcache.engine": "engine",
    "tenantcache.web": "web",
    "tenantcache.observability": "observability",
    "tenantcache.limits": "faces",
    "tenantcache.fastapi": "faces",
    "tenantcache.devservers": "devservers",
    "tenantcache.testing": "testing",
    "tenantcache.cli": "cli",
}

# The wings and what lies below them, from the bottom up: a wing may import those before it.
_GROUND = {"core", "ground"}
_WINGS = {*_GROUND, "settings", "freshness", "ratelimit", "lookup", "admin", "values", "budget", "fleet"}
_ENGINE = {*_WINGS, "adapters", "wiring", "engine"}
_WEB = {*_ENGINE, "web", "observability"}
_FACES = {*_WEB, "faces", "root"}
MAY_IMPORT = {
    "core": {"core"},
    "ground": {*_GROUND},
    "settings": {*_GROUND, "settings"},
    "freshness": {*_GROUND, "freshness"},
    "ratelimit": {*_GROUND, "freshness", "ratelimit"},
    "lookup": {*_GROUND, "freshness", "lookup"},
    "admin": _WINGS - {"budget", "values", "fleet"},
    "values": {*_GROUND, "freshness", "lookup", "values"},
    "budget": {*_GROUND, "freshness", "budget"},
    "fleet": {*_GROUND, "fleet"},
    "schema": {*_GROUND, "schema"},
    "stores": {*_WINGS - {"settings"}, "stores"},
    "adapters": {*_WINGS, "stores"},
    "wiring": {*_WINGS, "adapters", "wiring"},
    "engine": _ENGINE,
    "web": _WEB - {"observability"},
    "observability": _WEB,
    "faces": _FACES - {"root"},
    "root": _FACES,
    "devservers": {"devservers", "ground"},
    "testing": {*_FACES, "devservers", "testing"},
    "cli": {*_FACES, "devservers", "schema", "stores", "cli"},
}

# datetime is not among them: its `now` reads the clock.
# fmt: off
PURE_STDLIB = frozenset({
    "__future__", "abc", "array", "base64", "bisect", "collections", "copy", "dataclasses", "decimal", "difflib",
    "enum", "fractions", "functools", "hashlib", "heapq", "hmac", "ipaddress", "itertools", "json", "math", "operator",
    "re", "string", "struct", "types", "typing", "unicodedata", "zlib",
})
# fmt: on
CORE_PACKAGES = frozenset({"idna"})
DRIVERS = frozenset({"asyncpg", "redis", "hiredis", "cachetools"})
FACE_PACKAGES = frozenset({"starlette", "fastapi", "typer", "uvicorn", "jinja2"})
# It takes 50 ms to import, and an application never needs it.
ONLY_IN = {"sqlglot": "tenantcache.schema.adopt.ways"}
IMPURE_CALLS = frozenset({"open", "print", "input"})


@dataclass
class Module:
    """One file: its dotted name, and the dotted names that it imports and what is not pure, each with the line."""

    name: str
    is_package: bool
    imports: list[tuple[int, str]] = field(default_factory=list)
    impurities: list[tuple[int, str]] = field(default_factory=list)

    @property
    def layer(self) -> str:
        if self.name == PACKAGE:
            return "root"
        if "core" in self.name.split("."):
            return "core"
        fitting = [prefix for prefix in LAYER_OF if (self.name + ".").startswith(prefix + ".")]
        return LAYER_OF[max(fitting, key=len)] if fitting else "none"


@functools.cache
def read_package(root: Path) -> dict[str, Module]:
    """Read all modules of the package below `root` (the directory that holds the package's own)."""
    files, modules = {}, {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = list(path.relative_to(root).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        files[name], modules[name] = path, Module(name, is_package)
    for name, module in modules.items():
        tree = ast.parse(files[name].read_text(encoding="utf-8"), str(files[name]))
        module.imports = list(_imports(module, tree, modules))
        if module.layer == "core":
            module.impurities = list(_impurities(tree))
    return modules


def _imports(module: Module, tree: ast.Module, modules: dict[str, Module]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            for alias in node.names:
                submodule = f"{base}.{alias.name}"
                yield node.lineno, submodule if submodule in modules else base


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    kept = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*kept, *([node.module] if node.module else [])])


def violations(root: Path) -> list[str]:
    """Return what breaks the rules, a line each; [] if nothing does."""
    modules = read_package(root)
    found = [line for module in modules.values() for line in _module_violations(module, modules)]
    return found + [f"import cycle: {' -> '.join(cycle)}" for cycle in cycles(modules)]


def _module_violations(module: Module, modules: dict[str, Module]) -> Iterator[str]:
    for line, name in module.imports:
        top = name.partition(".")[0]
        if top == PACKAGE:
            layer = modules[name].layer if name in modules else None
            if layer is None:
                yield f"{module.name}:{line} imports {name}, which does not exist"
            elif module.layer == "none":
                yield f"{module.name} has no place in the plan"
            elif layer not in MAY_IMPORT[module.layer]:
                yield f"{module.name}:{line} ({module.layer}) imports {name} ({layer})"
        elif top in ONLY_IN and module.name != ONLY_IN[top]:
            yield f"{module.name}:{line} imports {name}, which only {ONLY_IN[top]} may"
        elif top not in ONLY_IN and not _is_allowed(module.layer, top):
            yield f"{module.name}:{line} ({module.layer}) imports {name}"
    yield from (f"{module.name}:{line} (core) {what}" for line, what in module.impurities)


def _is_allowed(layer: str, top: str) -> bool:
    if layer == "core":
        return top in PURE_STDLIB | CORE_PACKAGES
    if layer == "ground":
        return top in sys.stdlib_module_names
    if layer in ("stores", "schema"):
        return top in sys.stdlib_module_names or top in DRIVERS
    if layer == "settings" or layer in _ENGINE:
        return top not in FACE_PACKAGES
    return True


def _impurities(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.AsyncFunctionDef() | ast.AsyncFor() | ast.AsyncWith() | ast.Await():
                yield node.lineno, "is asynchronous"
            case ast.comprehension(is_async=1):
                yield node.target.lineno, "is asynchronous"
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS:
                yield node.lineno, f"calls {name}()"


def cycles(modules: dict[str, Module]) -> list[list[str]]:
    """Return one cycle for each import that closes one, as names that end where they began."""
    graph = {name: sorted({to for _, to in module.imports if to in modules}) for name, module in modules.items()}
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
        elif name not in done:
            for to in graph[name]:
                visit(to, [*path, name])
            done.add(name)

    for name in graph:
        visit(name, [])
    return found
