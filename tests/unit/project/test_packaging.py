"""What the lock promises, and what a wheel of the project holds."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("platform", "trainables", "search_spaces", "analysis")


@pytest.fixture(scope="module")
def lock():
    """Each pinned release with its hashes, the lines of one release joined."""
    text = (ROOT / "requirements.lock").read_text()
    return text.replace("\\\n", " ").splitlines()


def test_lock_names_no_address(lock):
    assert not [line for line in lock if re.search(r"://|^\s*-|@|/", line)]


def test_lock_pins_one_public_release_with_hashes_a_line(lock):
    release = r"[a-z0-9-]+(\[[a-z,-]+\])?==[^ +]+( ; [^#]+?)?( +--hash=sha256:[0-9a-f]{64})+"
    assert not [line for line in lock if not re.fullmatch(release, line)]


def test_lock_holds_every_declared_dependency(lock):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    locked = {re.split(r"[=\[]", line)[0] for line in lock}
    assert {distribution(entry) for entry in declared} <= locked


def test_every_imported_package_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = {distribution(entry) for entry in project["project"]["dependencies"]}
    providers = importlib.metadata.packages_distributions()
    for name in imported() - set(sys.stdlib_module_names) - {*PACKAGES, "_platform_bridge"}:
        assert declared & {distribution(provider) for provider in providers[name]}, name


def imported() -> set[str]:
    """The top-level names that the packages import, also late and inside functions."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text()))]
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    parts = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in plain + parts}


def distribution(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-")


def test_wheel_holds_every_file_of_the_packages(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    with zipfile.ZipFile(next(tmp_path.iterdir())) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        metadata = {name.partition(".dist-info/")[2] for name in wheel.namelist()}
    ours = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == ours | {"_platform_bridge.py", "_platform_bridge.pth"}
    licences = {"licenses/LICENSE", "licenses/trainables/data/labelled/fashion.LICENSE"}
    assert {"entry_points.txt", *licences} <= metadata
