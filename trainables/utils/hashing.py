"""Hashes values that JSON can hold, and seals JSON files so that an alteration is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SEAL = "sha256"


def content_key(material: Any) -> str:
    """Twelve hexadecimal digits of the SHA-256 of canonical JSON."""
    text = json.dumps(material, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def digest(values: Any) -> str:
    """SHA-256 in hexadecimal of values that JSON can hold; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def seal(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values and their digest, under `SEAL`."""
    return {**values, SEAL: digest(values)}


def unseal(values: Any) -> dict[str, Any]:
    """The values that `seal` was given.

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
    """The values of a file that was written with a seal.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged or was altered.
    """
    try:
        return unseal(json.loads(path.read_text("utf-8")))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
