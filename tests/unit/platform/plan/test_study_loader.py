"""The studies: what each asks, that each can be planned, and a user's own from a file."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution

from platform.plan.build import make_plan
from platform.plan.serialization import plan_digest
from platform.plan.study_loader import StudyError, find_study, study_faults
from search_spaces import STUDIES, Study
from search_spaces.paper import ALPHAS, FULL, TINY
from tests.helpers.command import Captured, called, planned, refused, setting
from trainables.shipped import RECIPES

ON_PHOTOS = sorted(set(STUDIES) - {"table_1_2"})
OWN = """
from search_spaces.study import SearchConfig, Study

STUDY = Study(
    name="mine",
    question="Does it?",
    cost="seconds",
    command="python -m platform.sweep mine.py",
    variants=({"method": "original"}, {"method": "ours", "forget_alpha": 0.7}),
    search=SearchConfig(trials=0),
)
"""


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_says_what_it_asks_where_it_is_from_what_it_costs_and_how_it_runs(
    name: str,
) -> None:
    study = STUDIES[name]
    text = importlib.import_module(f"search_spaces.{name}").__doc__ or ""
    first, rest = text.split("\n", 1)
    assert first.endswith("?")
    assert "In the paper:" in rest
    assert study.cost
    assert study.name == name
    assert study.question.endswith("?")
    assert study.command.startswith(f"python -m platform.sweep {name}")


@pytest.mark.parametrize("name", ON_PHOTOS)
@pytest.mark.parametrize("model", TINY)
def test_a_study_runs_on_the_photographs_with_any_small_model(
    name: str, model: str, tmp_path: Path
) -> None:
    plan = make_plan(STUDIES[name], name="a", storage=tmp_path, overrides=[f"model={model}"])
    assert {trial.config.model for trial in plan.trials} == {model}
    assert {trial.config.data.source for trial in plan.trials} == {"photos"}
    assert set(TINY) == set(RECIPES)


@pytest.mark.parametrize("name", sorted(set(ON_PHOTOS) - {"quickstart"}))
def test_a_study_runs_at_a_published_size_by_options(
    name: str, tmp_path: Path, capsys: Captured
) -> None:
    model = "mae_vit_base_patch16"
    asked = ["--storage", str(tmp_path), *setting(f"model={model}")]
    assert "needs the published weights" in "".join(refused(capsys, name, *asked))
    own = FULL[model]
    assert own["unlearn.steps"] == 469
    assert own["networks.embeddings"] == "ViT-H-14"


def test_whatever_is_searched_encloses_the_grid_of_alphas() -> None:
    searched = [study.space["forget_alpha"] for study in STUDIES.values() if study.space]
    assert searched
    for axis in searched:
        assert isinstance(axis, FloatDistribution)
        assert axis.low <= min(ALPHAS)
        assert max(ALPHAS) <= axis.high
    assert STUDIES["forget_alpha"].axes == {"forget_alpha": ALPHAS}


def test_every_mix_of_retain_images_has_the_same_forget_images_and_steps(tmp_path: Path) -> None:
    plan = make_plan(STUDIES["retain_availability"], name="a", storage=tmp_path)
    unlearned = [trial.config for trial in plan.trials if trial.config.unlearns]
    rows = [config.batch_rows() for config in unlearned]
    assert {each["forget"] for each in rows} == {16}
    assert {each.get("retain", 0) + each.get("proxy", 0) for each in rows} == {16, 0}
    assert {(c.unlearn.steps, c.data.train_per_class) for c in unlearned} == {(60, 512)}
    assert {c.retain_source for c in unlearned} == {"real", "3:1", "1:1", "1:3", "proxy", "none"}


def test_every_variant_is_tuned_by_the_same_budget_over_the_same_space(tmp_path: Path) -> None:
    plan = make_plan(STUDIES["tuned_methods"], name="a", storage=tmp_path)
    searched = [group for group in plan.groups if group.config.unlearns]
    assert len(searched) == 6
    assert {group.trials for group in searched} == {20}
    assert {group.replicates for group in searched} == {2}
    assert len({tuple(sorted(group.space)) for group in searched}) == 1


# --- A study of the user's own ---------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "my study.py"
    path.write_text(OWN)
    return path


def test_a_study_of_a_file_is_planned_as_any_other(
    own: Path, tmp_path: Path, capsys: Captured
) -> None:
    out = planned(capsys, str(own), "--storage", tmp_path / "runs")
    assert "mine: Does it?" in out
    assert f"sweep mine, new, in {tmp_path}/runs/mine/" in out
    assert "\nours-alpha0.7 " in out


def test_a_plan_knows_the_file_of_its_study(own: Path, tmp_path: Path) -> None:
    plan = make_plan(find_study(str(own)), name="a", storage=tmp_path, study_file=str(own))
    other = dataclasses.replace(plan, study_file="/elsewhere.py")
    assert plan.study_file == str(own)
    assert plan_digest(plan) == plan_digest(other)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import nothing_of_that_name\n", "ModuleNotFoundError: No module named"),
        ("def (\n", "SyntaxError: invalid syntax"),
        ("x = 1\n", "holds no STUDY = Study(...)"),
        ("STUDY = 1\n", "holds no STUDY = Study(...)"),
        (OWN.replace('"mine"', '"../mine"'), "name='../mine' is no name for a sweep"),
        (OWN.replace("cost=", "price="), "TypeError: "),
        (
            OWN.replace("from search", "from trainables.config import TrialConfig\nfrom search")
            + "\nBASE = TrialConfig(forget_alpha=-1.0)\n",
            "forget_alpha=-1.0 is below 0",
        ),
        (OWN.replace("variants=(", "variants=() and ("), "variants is empty"),
        (OWN.replace('{"method": "original"}, ', "").replace("0.7},)", "0.7})"), "not a tuple"),
        (OWN.replace("search=", 'axes={"seed": (1)},\n    search='), "is written (1,)"),
        (OWN.replace("search=", 'space={"seed": (1, 2)},\n    search='), "is no distribution"),
        (OWN.replace("search=", 'base={"seed": 1},\n    search='), "base is no TrialConfig(...)"),
        (OWN.replace("trials=0", "trials=-1"), "search.trials=-1 is below 0"),
        (
            OWN.replace("trials=0", 'goal="best"'),
            "search.goal='best' is not one of feasible, front",
        ),
        (OWN.replace("trials=0", "asha=1"), "search.asha=1 is not of type bool"),
    ],
)
def test_a_file_that_holds_no_study_is_refused_in_a_line(
    own: Path, capsys: Captured, text: str, told: str
) -> None:
    own.write_text(text)
    with pytest.raises(StudyError) as caught:
        find_study(str(own))
    assert str(own) in str(caught.value)
    assert told in str(caught.value)
    (line,) = refused(capsys, str(own), "--dry-run")
    assert told in line


def test_a_variant_that_cannot_be_is_refused(own: Path, capsys: Captured) -> None:
    own.write_text(OWN.replace('"forget_alpha": 0.7', '"forget_alfa": 0.7'))
    (line,) = refused(capsys, str(own), "--dry-run")
    assert "unknown field 'forget_alfa'" in line


def test_an_absent_file_is_refused(tmp_path: Path, capsys: Captured) -> None:
    (line,) = refused(capsys, str(tmp_path / "no.py"))
    assert f"{tmp_path}/no.py is not a file" in line


@pytest.mark.parametrize("study", STUDIES.values(), ids=list(STUDIES))
def test_the_products_own_studies_are_as_a_users_must_be(study: Study) -> None:
    assert study_faults(study) == []


def test_all_studies_are_listed(capsys: Captured) -> None:
    status, out, _ = called(capsys, "--list")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == list(STUDIES)


def test_the_table_holds_every_study_file() -> None:
    folder = Path(importlib.import_module("search_spaces").__path__[0])
    others = {"__init__", "study", "paper"}
    assert {path.stem for path in folder.glob("*.py")} - others == set(STUDIES)
    assert [study.name for study in STUDIES.values()] == list(STUDIES)
