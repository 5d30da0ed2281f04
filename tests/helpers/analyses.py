"""Runs analyses in this process, and reads what they wrote."""

from __future__ import annotations

import csv
from pathlib import Path
from types import ModuleType

from PIL import Image


def run(module: ModuleType, storage: Path, *options: str) -> int:
    """Runs an analysis of the sweep `quickstart` and returns its exit status."""
    status: int = module.main(["quickstart", "--storage", str(storage), *options])
    return status


def read_csv(path: Path) -> list[list[str]]:
    """Returns the rows of a CSV file, the header first."""
    with path.open(newline="") as file:
        return list(csv.reader(file))


def size_of(path: Path) -> tuple[int, int]:
    """Returns the width and the height of a picture, pixels."""
    with Image.open(path) as picture:
        return picture.size
