"""Hashes values, files and source code, and seals JSON so that an alteration is noticed."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SEAL = "sha256"


def content_key(material: Any) -> str:
    """Returns twelve hexadecimal digits of the SHA-256 of values that JSON can hold.

    The order of keys does not matter.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(material, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def digest(values: Any) -> str:
    """Returns the SHA-256 of values that JSON can hold; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def seal(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values together with their digest, under `SEAL`."""
    return {**values, SEAL: digest(values)}


def unseal(values: Any) -> dict[str, Any]:
    """Returns the values that `seal` was given.

    Raises:
        ValueError: they are no object, have no seal, or are not what was sealed.
    """
    if not isinstance(values, dict) or SEAL not in values:
        raise ValueError("it holds no sealed object")
    rest = {name: value for name, value in values.items() if name != SEAL}
    if values[SEAL] != digest(rest):
        raise ValueError("its content is not what was written")
    return rest


def read_sealed(path: Path) -> dict[str, Any]:
    """Returns the values of a JSON file that was sealed.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged or was altered.
    """
    try:
        return unseal(json.loads(path.read_text("utf-8")))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def hash_bytes(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes in hexadecimal.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def code_version(*names: str) -> str:
    """Returns twelve hexadecimal digits of the source code of modules and packages.

    Args:
        names: dotted; a package counts with all modules below it.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    digest = hashlib.sha256()
    for name in sorted(names):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"no source for {name}")
        origin = Path(spec.origin)
        is_package = spec.submodule_search_locations is not None
        files = sorted(origin.parent.rglob("*.py")) if is_package else [origin]
        for file in files:
            digest.update(f"{name}/{file.relative_to(origin.parent).as_posix()}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
