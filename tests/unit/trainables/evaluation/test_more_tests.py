"""Further test tasks of a trial: each measured as its own test task is, once, at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from tests.helpers.tiny import EVALUATED, files, tiny
from trainables.config import TrialConfig
from trainables.evaluation import evaluate
from trainables.training.context import Context, TrialSetup
from trainables.trial import run_trial
from trainables.utils.errors import NonFiniteError

TASKS = ("centre:0.25", "outpaint:0.25")
NAMES = ("centre_0.25", "outpaint_0.25")
FIGURES = {
    f"{split}{role}/{name}"
    for split in ("", "val/")
    for role in ("retain", "forget")
    for name in ("fid", "is_mean", "is_std", "clip")
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


def small(**fields: Any) -> TrialConfig:
    return tiny(pretrain__threads=1, **fields)


def ran(config: TrialConfig, root: Path, name: str) -> dict[str, float]:
    """The final metrics of a trial."""
    context = Context(folder=root / name, cache=root / "cache")
    metrics: dict[str, float] = run_trial(config, context, planned=True)["metrics"]
    return metrics


def history(root: Path, name: str) -> list[dict[str, float]]:
    loaded: list[dict[str, float]] = json.loads((root / name / "history.json").read_text())
    return loaded


@pytest.fixture(scope="module")
def several(root: Path) -> dict[str, float]:
    return ran(small(more_tests=TASKS), root, "several")


@pytest.fixture(scope="module")
def plain(root: Path) -> dict[str, float]:
    return ran(small(), root, "plain")


def test_each_task_is_measured_at_the_last_step_alone(
    several: dict[str, float], plain: dict[str, float], root: Path
) -> None:
    further = {f"{name}/{figure}" for name in NAMES for figure in FIGURES}
    assert several.keys() == plain.keys() | further
    *early, last = history(root, "several")
    assert [each["step"] for each in early] == list(EVALUATED[:-1])
    assert all(each.keys() == plain.keys() | {"step"} for each in early)
    assert last == {**several, "step": EVALUATED[-1]}


@pytest.mark.parametrize(("kind", "name"), [("centre", NAMES[0]), ("outpaint", NAMES[1])])
def test_its_figures_are_those_of_a_trial_with_that_test_task(
    kind: str, name: str, several: dict[str, float], root: Path
) -> None:
    own = ran(small(test_task__kind=kind, test_task__ratio=0.25), root, kind)
    assert {figure: several[f"{name}/{figure}"] for figure in FIGURES} == {
        figure: own[figure] for figure in FIGURES
    }


def test_nothing_else_of_the_trial_changes(
    several: dict[str, float], plain: dict[str, float], root: Path
) -> None:
    assert plain == {name: several[name] for name in plain}
    for name in ("weights.safetensors", "samples.parquet", "samples.png"):
        assert (root / "several" / name).read_bytes() == (root / "plain" / name).read_bytes()
    first, second = (
        pq.read_table(root / name / "embeddings.parquet") for name in ("several", "plain")
    )
    assert first.equals(second)
    pictures = {f"samples_{name}.png" for name in NAMES}
    assert files(root / "several") == files(root / "plain") | pictures


@pytest.mark.parametrize("method", ["original", "retrained"])
def test_a_reference_is_measured_on_them_at_its_only_look(method: str, root: Path) -> None:
    metrics = ran(small(method=method, more_tests=TASKS[:1]), root, method)
    assert {f"{NAMES[0]}/{figure}" for figure in FIGURES} <= metrics.keys()
    assert len(history(root, method)) == 1


def test_a_completion_that_is_not_finite_names_its_task(
    root: Path, several: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_completions = evaluate._completions

    def spoilt(model: Any, setup: TrialSetup, rows: Any) -> Any:
        for images in plain_completions(model, setup, rows):
            bad = setup.config.test_task.name == NAMES[1]
            yield images * (torch.nan if bad else 1.0)

    monkeypatch.setattr(evaluate, "_completions", spoilt)
    with pytest.raises(NonFiniteError, match=r"^test task outpaint_0\.25: the completions of the"):
        ran(small(more_tests=TASKS), root, "spoilt")
    assert "result.json" not in files(root / "spoilt")
