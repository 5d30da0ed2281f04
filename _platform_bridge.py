"""Lets the package folder `platform/` live below the standard library's module `platform`.

torch, ray, mlflow and pytest import the standard module, so `import platform` must always be it.
Python finds the parts of a package through the package's `__path__`: the bridge gives the standard
module one that leads to our folder. Every Python start in the environment runs this file (by its
`.pth`), hence neither pathlib nor typing.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.machinery import ModuleSpec

_NAME = "platform"


class _Locations:
    """Where `platform.*` is found: looked up late, since `sys.path` still grows at start-up."""

    def __iter__(self) -> Iterator[str]:
        for entry in sys.path:
            folder = os.path.join(entry or os.getcwd(), _NAME)
            if os.path.isfile(os.path.join(folder, "sweep.py")):
                yield folder
                return


class _Finder:
    """Answers for the standard `platform`, and for what `python -m platform` runs."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Returns the standard module's spec, with our folder as the place of its submodules."""
        if name not in (_NAME, f"{_NAME}.__main__"):
            return None
        spec = PathFinder.find_spec(_NAME, [os.path.dirname(os.__file__)])
        if spec is None or spec.origin is None:
            return None
        if name != _NAME:
            from importlib.util import spec_from_file_location

            return spec_from_file_location(name, spec.origin)
        spec.submodule_search_locations = _Locations()  # type: ignore[assignment]
        return spec


def install() -> None:
    """Puts the bridge in place; a second call changes nothing."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
    module = sys.modules.get(_NAME)
    if module is not None and module.__spec__ is not None and not hasattr(module, "__path__"):
        locations = _Locations()
        module.__path__ = locations  # type: ignore[assignment]
        module.__spec__.submodule_search_locations = locations  # type: ignore[assignment]


def restore() -> None:
    """Puts the standard module where our `platform/__init__.py` stands in `sys.modules`."""
    install()
    del sys.modules[_NAME]
    __import__(_NAME)
