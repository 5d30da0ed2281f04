"""Runs import-linter on a package that the standard library has the name of.

import-linter finds a package by its spec. That of `platform` names the standard library's file, so
it is exchanged for one that names our folder, in this process only.
"""

from __future__ import annotations

import ast
import sys
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

from importlinter import Contract, ContractCheck, fields, output
from importlinter.cli import lint_imports

import platform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grimp import ImportGraph


class SoleImporterContract(Contract):
    """One module alone may import an external module, which may be a part of a package.

    import-linter's own contracts see external packages whole: they cannot tell `ray.tune` from
    `ray.train`. So the modules that import the package are read again here.

    Fields:
        module: the dotted name that is kept to one importer, with everything below it.
        importer: the one module that may import it.
    """

    module = fields.StringField()
    importer = fields.StringField()

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Collects where the module is imported by another than its importer."""
        package = str(self.module).partition(".")[0]
        importers = graph.find_modules_that_directly_import(package) - {str(self.importer)}
        found = [
            f"{name}:{line}"
            for name in sorted(importers)
            for line in _lines_importing(str(self.module), _source(name))
        ]
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Prints each place."""
        for place in check.metadata["found"]:
            output.print_error(f"{place} imports {self.module}; only {self.importer} may")


def _source(name: str) -> Path:
    path = Path(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _lines_importing(module: str, path: Path) -> Iterator[int]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if any(f"{name}.".startswith(f"{module}.") for name in _names(node)):
            yield node.lineno  # type: ignore[attr-defined]


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return [f"{node.value.id}.{node.attr}"]  # `import ray`, then `ray.tune`
    return []


def main() -> int:
    """Checks the packages of the current folder by the contracts in its pyproject.toml."""
    spec = spec_from_file_location(
        "platform", "platform/__init__.py", submodule_search_locations=["platform"]
    )
    assert spec is not None
    platform.__spec__ = spec
    return lint_imports(no_cache=True, no_logo=True)


if __name__ == "__main__":
    sys.exit(main())
