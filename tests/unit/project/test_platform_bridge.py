"""The bridge's own rules; test_platform_name.py runs it in every kind of install."""

import ast
import inspect
import sys
from pathlib import Path

import _platform_bridge
import platform

ROOT = Path(__file__).parents[3]


def test_init_file_only_gives_way():
    # In an installed environment this file never runs: whatever it held would be missing there.
    docstring, *statements = ast.parse((ROOT / "platform/__init__.py").read_text()).body
    assert isinstance(docstring, ast.Expr)
    assert [ast.unparse(statement) for statement in statements] == [
        "import _platform_bridge",
        "_platform_bridge.restore()",
    ]


def test_the_pth_installs_the_bridge_in_one_line():
    lines = (ROOT / "_platform_bridge.pth").read_text().splitlines()
    assert lines == ["import _platform_bridge; _platform_bridge.install()"]


def test_stub_declares_functions_of_the_standard_module_only():
    for node in ast.parse((ROOT / "platform/__init__.pyi").read_text()).body:
        assert isinstance(node, ast.FunctionDef), ast.unparse(node)
        declared = [argument.arg for argument in node.args.args]
        assert list(inspect.signature(getattr(platform, node.name)).parameters) == declared


def test_stub_declares_just_the_functions_in_use():
    stub = ast.parse((ROOT / "platform/__init__.pyi").read_text())
    declared = {node.name for node in stub.body if isinstance(node, ast.FunctionDef)}
    assert _standard_names_in_use() == declared


def _standard_names_in_use() -> set[str]:
    ours = {path.stem for path in (ROOT / "platform").glob("*.py")}
    folders = ("platform", "trainables", "search_spaces", "analysis")
    return {
        node.attr
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "platform"
        and node.attr not in ours
    }


def test_install_twice_changes_nothing():
    _platform_bridge.install()
    finders, path = list(sys.meta_path), platform.__path__
    _platform_bridge.install()
    assert sys.meta_path == finders
    assert platform.__path__ is path


def test_finder_leaves_all_other_names_alone():
    assert _platform_bridge._Finder.find_spec("platform.sweep") is None
    assert _platform_bridge._Finder.find_spec("json") is None


def test_locations_follow_sys_path(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert list(_platform_bridge._Locations()) == []
    (tmp_path / "platform").mkdir()
    assert list(_platform_bridge._Locations()) == [], "a folder without sweep.py is not ours"
    (tmp_path / "platform/sweep.py").touch()
    assert list(_platform_bridge._Locations()) == [str(tmp_path / "platform")]
