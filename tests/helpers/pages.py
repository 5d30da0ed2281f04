"""The pages for users, read: their blocks of code, commands, inline code, headings and links."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md")))
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def text(page: str) -> str:
    """A page as it is."""
    return (ROOT / page).read_text("utf-8")


def blocks(page: str, language: str = "") -> list[str]:
    """The fenced blocks of a language, in order."""
    return [body for name, body in _BLOCK.findall(text(page)) if name == language]


def prose(page: str) -> str:
    """A page without its blocks."""
    return _BLOCK.sub("", text(page))


def inline(page: str) -> list[str]:
    """What stands between single backticks, each once; a table's bars are not escaped."""
    return list(dict.fromkeys(each.replace("\\|", "|") for each in _INLINE.findall(prose(page))))


def commands(page: str) -> list[list[str]]:
    """The command lines of a page's console blocks as words, comments and dots left out."""
    found = []
    for block in blocks(page, "console"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            assert line.startswith("$ "), f"{page}: {line!r} is no command"
            found.append([word for word in words if word != "..."])
    return found


def links(page: str) -> list[str]:
    """Where a page's links lead, those to other sites left out."""
    return [each for each in _LINK.findall(prose(page)) if "://" not in each]


def anchors(page: str) -> set[str]:
    """What a link may name after `#`, as GitHub makes it of headings."""
    heads = _HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def rows(page: str, first: str) -> list[list[str]]:
    """The cells of the table whose first heading is `first`, row by row."""
    lines = iter(prose(page).splitlines())
    if not any(line.startswith(f"| {first} |") for line in lines):
        raise LookupError(f"{page}: no table of {first!r}")
    next(lines)
    table = []
    for line in lines:
        if not line.startswith("|"):
            break
        cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
        table.append([cell.strip().replace("\\|", "|") for cell in cells])
    return table


def saved(page: str, folder: Path, name: str) -> Path:
    """The page's first block of Python as a file."""
    path = folder / name
    path.write_text(blocks(page, "python")[0], "utf-8")
    return path


def loaded(path: Path) -> ModuleType:
    """The module of a file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
