"""The pages for users are true: code, commands, names, links, messages and what they print."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_args

import pytest

from platform.cli.request import parse_sweep
from platform.plan.overrides import known_fields, parse_overrides
from platform.plan.study_loader import find_study, is_file
from search_spaces import STUDIES, SearchConfig, Study
from tests.helpers import pages
from tests.helpers.command import Captured, planned, refused
from tests.helpers.pages import PAGES, ROOT
from trainables.config import REFERENCES, ModelName
from trainables.data.__main__ import _config, _parser
from trainables.methods import METHODS

STUDY, DATA = "docs/own-study.md", "docs/own-data.md"
# what a page makes, and names that it adds, with one that is there
MADE = {
    "trainables/methods/zero_encoder.py": "trainables/methods/ours.py",
    "trainables/models/conv.py": "docs/examples/conv.py",
}
ADDED = {"zero_encoder": "ours", "conv_tiny": "mae_tiny"}
PACKAGES = ("platform", "trainables", "search_spaces", "analysis", "tests", "benchmarks", "docs")
SECTIONS = tuple({name.partition(".")[0] + "." for name in known_fields() if "." in name})
NEEDS_FILES = ("data.root=", "checkpoint=", "networks.", "--resume", "--sync")
SOURCES = "\n".join(
    path.read_text("utf-8")
    for package in (*PACKAGES, "scripts")
    for path in sorted((ROOT / package).rglob("*.py"))
)


def known(words: Iterable[str]) -> list[str]:
    """Words with a name that is there in place of one that a page adds."""
    found = []
    for word in words:
        for name, there in ADDED.items():
            word = word.replace(name, there)
        found.append(word)
    return found


# --- Every page ------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in pages.links(page):
        path, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in pages.anchors(target.relative_to(ROOT).as_posix()), link


@pytest.mark.parametrize("page", PAGES)
def test_python_compiles_and_imports_what_is_there(page: str) -> None:
    for block in pages.blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                assert all(hasattr(module, each.name) for each in node.names), node.module


@pytest.mark.parametrize("page", PAGES)
def test_files_fields_options_and_tests_that_are_named_are_there(page: str) -> None:
    for code in pages.inline(page):
        path = MADE.get(code, code)
        if re.fullmatch(r"[\w./-]+", path) and path.startswith(tuple(f"{p}/" for p in PACKAGES)):
            assert (ROOT / path).exists(), code
        name = code.partition("=")[0]
        if re.fullmatch(r"[a-z_.0-9]+", name) and name.startswith(SECTIONS) and name[-1] != ".":
            assert name in known_fields(), code
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", code):
            assert f'"{option}"' in SOURCES or code.split()[0] in OTHERS, code
        if re.fullmatch(r"test_\w+", code) and code not in ("test_task",):
            assert f"def {code}(" in SOURCES, code


@pytest.mark.parametrize("page", PAGES)
def test_modules_and_tests_of_inline_commands_are_there(page: str) -> None:
    for code in pages.inline(page):
        words = [word for word in code.split() if word != "..."]
        if words[:2] == ["python", "-m"] or words[0] == "pytest":
            assert_can_be_called(words if words[0] == "python" else ["python", "-m", *words])


@pytest.mark.parametrize("page", PAGES)
def test_commands_can_be_called(page: str) -> None:
    for words in pages.commands(page):
        assert_can_be_called(words)


# programs that the pages call and the project does not hold; their arguments are not looked at
OTHERS = {
    *(
        "apt-get",
        "source",
        "export",
        "ssh",
        "scp",
        "pip",
        "curl",
        "openssl",
        "uv",
        "git",
        "tail",
        "cd",
    ),
    *("ray", "mlflow", "docker", "kubectl", "helm", "sbatch", "scancel", "squeue", "scontrol"),
}


def assert_can_be_called(words: list[str]) -> None:
    """Asserts that a command line is of a program that is there, with arguments that it takes."""
    program, rest = words[0].rpartition("/")[2], words[1:]
    if program == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
    elif program == "cp":
        assert (ROOT / rest[0]).is_file(), words
        assert rest[1] in MADE, words
    elif program == "python" and rest[0] == "-m":
        assert importlib.util.find_spec(rest[1]) is not None, words
        CALLED.get(rest[1], lambda arguments: None)(rest[2:])
    else:  # a user's own file, the shell, and programs of others
        assert program in OTHERS or words[1] == "make_photos.py", words


def takes_sweep(arguments: list[str]) -> None:
    options, faults = parse_sweep(known(arguments))
    study = options.study or "quickstart"
    assert faults == [], arguments
    assert parse_overrides(options.overrides)[1] == [], arguments
    assert is_file(study) or study in {*STUDIES, "[STUDY]", "STUDY"}, arguments


def takes_check(arguments: list[str]) -> None:
    options = _parser().parse_args(arguments)
    source = options.source or "folder"
    assert _config(source, options).source == source


def takes_tests(arguments: list[str]) -> None:
    for path in (word for word in arguments if word.startswith("tests/")):
        assert (ROOT / path).exists(), arguments


CALLED: dict[str, Callable[[list[str]], None]] = {
    "platform.sweep": takes_sweep,
    "trainables.data": takes_check,
    "pytest": takes_tests,
}


@pytest.mark.parametrize("page", PAGES)
def test_what_can_be_planned_here_is_planned(page: str, tmp_path: Path, capsys: Captured) -> None:
    for words in pages.commands(page):
        if words[1:3] != ["-m", "platform.sweep"] or {"--list", "--fields"} & set(words):
            continue
        if not any(need in word for need in NEEDS_FILES for word in words):
            arguments = known(words[3:])
            if arguments[:1] == ["mask_ratio.py"]:
                arguments[0] = str(pages.saved(STUDY, tmp_path, "mask_ratio.py"))
            given = [word for word in arguments if word != "--dry-run"]
            assert "Nothing was started" in planned(capsys, *given, "--storage", tmp_path / "runs")


# --- README ----------------------------------------------------------------------------------


def test_the_readme_lists_the_studies_as_they_are() -> None:
    wanted = [[f"`{study.name}`", study.question, study.cost] for study in STUDIES.values()]
    assert pages.rows("README.md", "study") == wanted


def test_the_readme_names_every_method_model_and_option_of_a_search() -> None:
    methods = {row[0].strip("`") for row in pages.rows("README.md", "`method`")}
    assert set(METHODS) >= methods >= set(METHODS) - set(REFERENCES)
    named = " ".join(row[0] for row in pages.rows("README.md", "`model`"))
    assert all(f"`{name}`" in named for name in get_args(ModelName))
    told = pages.prose("README.md")
    assert all(f"`search.{each.name}" in told for each in dataclasses.fields(SearchConfig))


# --- A study ---------------------------------------------------------------------------------


def test_the_page_tells_of_every_field_of_a_study() -> None:
    told = " ".join(row[0] for row in pages.rows(STUDY, "field of `Study`"))
    assert all(f"`{each.name}`" in told for each in dataclasses.fields(Study))
    told = " ".join(row[0] for row in pages.rows(STUDY, "field of `SearchConfig`"))
    assert all(f"`{each.name}`" in told for each in dataclasses.fields(SearchConfig))


def test_the_page_shows_the_plan_of_its_study(tmp_path: Path, capsys: Captured) -> None:
    path = pages.saved(STUDY, tmp_path, "mask_ratio.py")
    assert find_study(str(path)).name == "mask_ratio"

    def without_keys(shown: str) -> str:
        # a key changes with every new field of a trial
        return re.sub(r"\b[0-9a-f]{12}\b", "KEY", shown)

    out = without_keys(planned(capsys, str(path), "--storage", tmp_path / "runs"))
    assert without_keys(pages.blocks(STUDY)[0]) in out


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("STUDY = ", "study = "),
        ("unlearn.lr", "unlearn.rate"),
        ("(0.5, 0.75)", "(0.5)"),
        ("FloatDistribution(3e-4, 3e-3, log=True)", "(0.001, 0.003)"),
        ("(0.5, 0.75)", "(0.5, 1.5)"),
    ],
)
def test_a_study_is_refused_as_the_page_says(
    old: str, new: str, tmp_path: Path, capsys: Captured
) -> None:
    path = pages.saved(STUDY, tmp_path, "bad.py")
    path.write_text(path.read_text().replace(old, new))
    (line,) = refused(capsys, str(path), "--dry-run", "--storage", tmp_path / "runs")
    told = [row[0].strip("`") for row in pages.rows(STUDY, "message")]
    assert any(message in line.replace(f"{tmp_path}/", "") for message in told), line


# --- Images ----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the page on images makes, in the folder that is worked in."""
    monkeypatch.chdir(tmp_path)
    pages.loaded(pages.saved(DATA, tmp_path, "make_photos.py"))
    (tmp_path / "roles.csv").write_text(pages.blocks(DATA, "csv")[0])
    return tmp_path


def test_the_folder_of_the_page_is_planned_and_its_mistakes_refused(
    folder: Path, capsys: Captured
) -> None:
    (command,) = [words for words in pages.commands(DATA) if "platform.sweep" in words]
    out = planned(capsys, *command[3:], "--storage", folder / "runs")
    assert "mae_tiny pretrained here on folder, 100 steps" in out
    told = [row[0].strip("`").partition("...")[0] for row in pages.rows(DATA, "message")]
    (folder / "wrong.csv").write_text("class,role\nchelsea,forgotten\n")
    base = ["data.source=folder", "data.root=photos", "method=original,ours", "model=mae_tiny"]
    real, roles = "retain_source=real", "data.split_file=roles.csv"
    for settings in (
        base,
        ["data.root=photos"],
        [*base, real, "data.forget=astronaut,chelsee", "data.retain=coffee"],
        [*base, real, "data.forget=chelsea", "data.retain=chelsea,coffee"],
        [*base, "data.forget=astronaut", "data.retain=coffee"],
        [*base, "data.split_file=wrong.csv"],
        [*base, roles, "data.image_size=30"],
        ["data.source=imagenet", "data.root=photos"],
    ):
        given = [part for text in settings for part in ("--set", text)]
        lines = refused(capsys, *given, "--dry-run", "--storage", folder / "runs")
        shown = " ".join(lines).replace(f"{folder}/", "")
        assert any(message in shown for message in told), shown
