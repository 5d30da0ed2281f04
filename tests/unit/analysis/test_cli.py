"""What all analyses share: their command line, and what they say of a sweep that is not there."""

import subprocess
import sys
from pathlib import Path

import pytest

from analysis import ablation, report, samples, tables, tsne
from tests.helpers.analyses import run
from tests.helpers.earlier import as_recorded_before
from tests.helpers.recorded import plan_of, planned_trials, record_sweep

ALL = (report, tables, tsne, samples, ablation)


def test_a_sweep_recorded_by_the_version_before_is_analysed(storage, tmp_path):
    def written(name):
        return {
            path.name: path.read_bytes()
            for path in sorted((tmp_path / name).rglob("*"))
            if path.suffix in (".csv", ".md", ".tex")
        }

    for name in ("new", "old"):
        for module in (tables, report):
            assert run(module, storage, "--out", str(tmp_path / name)) == 0
        if name == "new":
            as_recorded_before(storage / "quickstart")
    assert written("new")
    assert written("old") == written("new")


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.__name__)
def test_each_runs_as_a_program(module, storage):
    command = [sys.executable, "-m", module.__name__, "quickstart", "--storage", str(storage)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    written = [Path(line) for line in done.stdout.splitlines()]
    assert written
    assert all(path.parent == storage / "quickstart" / "analysis" for path in written)
    assert all(path.stat().st_size > 0 for path in written)


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.__name__)
def test_no_such_sweep_is_one_line_that_lists_close_names(module, recorded, capsys):
    assert module.main(["quickstrat", "--storage", str(recorded.storage)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no sweep 'quickstrat'" in error
    assert "close: quickstart" in error


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.__name__)
def test_a_sweep_without_finished_trials_is_one_line(module, tmp_path, capsys):
    plan = plan_of(tmp_path, planned_trials()[2:3])  # the one that fails
    record_sweep(plan)
    assert module.main(["quickstart", "--storage", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no finished trial" in error


@pytest.mark.parametrize("name", ["results.parquet", "plan.json", "environment.json"])
@pytest.mark.parametrize("keep", [0, 20, -9], ids=["empty", "start", "all but its end"])
def test_a_truncated_file_is_named(storage, capsys, name, keep):
    path = storage / "quickstart" / name
    path.write_bytes(path.read_bytes()[:keep])
    assert run(tables, storage) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(path) in error
    assert "damaged" in error


def test_debug_shows_where_an_error_comes_from(tmp_path, capsys):
    assert tables.main(["none", "--storage", str(tmp_path), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_fault_of_the_program_is_status_1(recorded, capsys, monkeypatch):
    monkeypatch.setattr(tables, "markdown", lambda *_: 1 / 0)
    assert run(tables, recorded.storage) == 1
    assert capsys.readouterr().err == (
        "error: ZeroDivisionError: division by zero (--debug shows where)\n"
    )


@pytest.mark.parametrize("arguments", [[], ["quickstart", "--nonsense"]])
def test_wrong_arguments_are_status_2(arguments, capsys):
    assert tables.main(arguments) == 2
    assert "usage: python -m analysis.tables" in capsys.readouterr().err


def test_reading_a_sweep_does_not_import_mlflow_or_torch():
    code = (
        "import sys, analysis.tables, analysis.tsne, analysis.samples, analysis.ablation;"
        "import analysis.report;"
        "print({'mlflow', 'torch', 'ray', 'optuna', 'sklearn'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
