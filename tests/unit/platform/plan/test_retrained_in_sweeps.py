"""A retrained model in a sweep: planned once, told where it comes from, shown as a reference."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from analysis import ablation, samples, tables
from platform.cli.dry_run import describe
from platform.cli.progress import Progress
from platform.cli.summary import summary
from platform.execution import shared_work
from platform.plan import estimate
from platform.plan.build import make_plan
from platform.plan.plan import Plan
from platform.storage.results import result_row, write_results
from platform.storage.variants import variants
from platform.tracking.tags import trial_params
from tests.helpers.recorded import plan_of, planned_trials, record_sweep, result_of, trial
from tests.helpers.studies import ONE_FAMILY
from tests.helpers.tiny import tiny
from trainables import shipped
from trainables.config import to_dict
from trainables.shipped import RECIPES
from trainables.utils.errors import ConfigError

SETTINGS = ("method=original,retrained,ours", "retain_source=real", "search.trials=0")


def planned(*settings: str, storage: Path = Path("runs")) -> Plan:
    given = {text.partition("=")[0] for text in settings}
    usual = [text for text in SETTINGS if text.partition("=")[0] not in given]
    return make_plan(ONE_FAMILY, name="a", storage=storage, overrides=[*usual, *settings])


def names(plan: Plan) -> list[str]:
    return [each.name for each in plan.trials]


def lines_of(plan: Plan) -> list[str]:
    return [line for line in describe(plan) if line.startswith("retrained: ")]


# --- The plan --------------------------------------------------------------------------------


def test_it_is_one_trial_that_is_neither_searched_nor_enumerated() -> None:
    plan = planned("search.trials=2", "unlearn.lr=0.001,0.002", "forget_alpha=0.1,0.5")
    assert names(plan).count("retrained") == 1
    assert sum(each.config.method == "retrained" for each in plan.trials) == 1
    (group,) = [each for each in plan.groups if each.label == "retrained"]
    assert (group.space, group.trials) == ({}, 0)
    assert names(plan).index("original") == 0


def test_what_changes_its_training_gives_it_a_trial_each() -> None:
    plan = planned("method=retrained", "pretrain.seed=0,1")
    assert [each.config.pretrain.seed for each in plan.trials] == [0, 1]


def test_a_published_original_cannot_be_retrained(tmp_path: Path) -> None:
    path = tmp_path / "mae.pth"
    path.touch()
    with pytest.raises(ConfigError) as caught:
        planned(f"checkpoint={path}")
    (line,) = caught.value.problems
    assert line.startswith("method=retrained needs an original that is trained here")
    assert planned(f"checkpoint={path}", "method=original,ours").trials


# --- Its cost --------------------------------------------------------------------------------


def test_it_costs_a_pretraining_that_its_trials_share() -> None:
    with_it = planned("pretrain.steps=5000")
    without = planned("pretrain.steps=5000", "method=original,ours")
    more = estimate.shared_seconds(with_it) - estimate.shared_seconds(without)
    cost = estimate.COSTS["mae_tiny"].pretrain_row * 5000 * 64
    assert more == pytest.approx(cost)
    twice = planned("pretrain.steps=5000", "test_task.ratio=0.25,0.5")
    # one model is measured on both, as the original is
    assert estimate.shared_seconds(twice) == pytest.approx(estimate.shared_seconds(with_it))
    taken = {each.name: estimate.trial_seconds(each.config, with_it) for each in with_it.trials}
    assert taken["original"] == taken["retrained"] < taken["ours"]


def test_beside_a_shipped_original_it_costs_the_recipe_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    (tmp_path / "mae_tiny.safetensors").touch()
    plan = planned()
    steps = RECIPES["mae_tiny"].steps
    assert lines_of(plan) == [
        "retrained: mae_tiny pretrained here without the forget classes by the recipe of the "
        f"original, {steps} steps, unless the cache holds it"
    ]
    cost = estimate.COSTS["mae_tiny"].pretrain_row * steps * RECIPES["mae_tiny"].batch_size
    assert estimate.shared_seconds(plan) > cost
    (tmp_path / "mae_tiny_retrained.safetensors").touch()
    assert lines_of(plan) == [
        "retrained: mae_tiny without the forget classes as it comes with the product"
    ]
    assert estimate.shared_seconds(plan) < cost


def test_where_the_original_is_trained_here_so_is_it() -> None:
    assert lines_of(planned("pretrain.steps=700")) == [
        "retrained: mae_tiny pretrained here without the forget classes, 700 steps, unless the "
        "cache holds it"
    ]
    assert lines_of(planned("method=original,ours")) == []


def test_further_tests_take_one_evaluation_each() -> None:
    plain, more = (
        planned("unlearn.steps=40", "unlearn.eval_every=10", *given)
        for given in ((), ("more_tests=centre:0.25,outpaint:0.25,centre:0.5",))
    )
    extra = {
        one.name: estimate.trial_seconds(other.config, more)
        - estimate.trial_seconds(one.config, plain)
        for one, other in zip(plain.trials, more.trials, strict=True)
    }
    assert extra.keys() == {"original", "retrained", "ours"}
    # 12 classes of 64 validation and 64 test images, two tasks: the third is the test task
    images = 2 * 12 * 128
    for seconds in extra.values():
        assert seconds == pytest.approx(images * estimate.COSTS["mae_tiny"].complete_row)


def test_it_is_shared_work_beside_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_work.ray, "get_gpu_ids", list)
    config = tiny(method="retrained", pretrain__threads=1)
    assert any({"base", "retrained"} <= set(together) for together in shared_work._GROUPS)
    told: list[tuple[str, int, int]] = []
    shared_work._build_kind(
        "retrained", to_dict(config), str(tmp_path), "", lambda *each: told.append(each)
    )
    assert len([path for path in tmp_path.glob("retrained-*") if path.is_dir()]) == 1
    assert told[-1] == ("pretraining mae_tiny without the forget classes", 5, 5)


# --- What a sweep says of it -----------------------------------------------------------------


def test_it_is_never_the_best() -> None:
    plan = planned()
    progress = Progress(plan, io.StringIO())
    trials = {each.name: each for each in plan.trials}
    for name, objective in (("original", 0.0), ("retrained", 9.0), ("ours", 1.0)):
        assert "best" not in progress.status()
        metrics = {"val/objective": objective, "val/violation": -0.1}
        progress.started(trials[name])
        progress.finished(trials[name], {"trial_key": trials[name].key, "metrics": metrics})
    assert "best ours: " in progress.status()
    assert set(trial_params(trials["retrained"])) == {"model", "method", "seed"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A sweep with a retrained model, whose trials were measured on outpainting too."""
    more = ("outpaint:0.25", "centre:0.25")
    trials = (*planned_trials()[:2], trial("retrained", more_tests=more), planned_trials()[3])
    plan = plan_of(tmp_path_factory.mktemp("runs"), trials)
    record_sweep(plan)
    return plan


def read_csv(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_the_last_table_shows_it_without_a_search(recorded: Plan) -> None:
    rows = [result_row(recorded, each, "finished", result_of(each)) for each in recorded.trials]
    found = {each.label: each for each in variants(rows)}
    assert [found[name].is_reference for name in ("Original", "Retrained", "Ours")] == [
        *(True, True, False)
    ]
    assert not found["Retrained"].is_original
    for row in rows:
        row["val/violation"] = 0.5  # its star would say that it keeps too little
    (line,) = [each for each in summary(recorded, rows) if each.startswith("Retrained")]
    assert line.split() == ["Retrained", "17.0", "15.0", "trials/retrained/samples.png"]


def test_the_analyses_take_it_as_a_reference(recorded: Plan, tmp_path: Path) -> None:
    options = ["quickstart", "--storage", str(recorded.storage), "--out", str(tmp_path)]
    for each in (tables, ablation, samples):
        assert each.main(options) == 0
    table = (tmp_path / "table.md").read_text()
    (line,) = [line for line in table.splitlines() if "Retrained" in line]
    assert [cell.strip() for cell in line.split("|")[1:5]] == [
        *("Retrained", "reference", "–", "–")
    ]
    points = read_csv(tmp_path / "ablation.csv")
    assert {row[1] for row in points[1:]} == {"max_loss", "ours"}


def test_a_further_test_has_a_row_in_the_papers_files(recorded: Plan, tmp_path: Path) -> None:
    rows = [result_row(recorded, each, "finished", result_of(each)) for each in recorded.trials]
    further = {
        f"{task}/{split}{role}/{name}": value
        for task, value in (("outpaint_0.25", 3.0), ("centre_0.25", 4.0))
        for split in ("", "val/")
        for role in ("retain", "forget")
        for name in ("fid", "is_mean", "is_std", "clip")
    }
    rows[2] |= further
    write_results(recorded.folder, rows)
    options = ["quickstart", "--storage", str(recorded.storage), "--out", str(tmp_path)]
    assert tables.main(options) == 0
    fid = {row[0]: row[1:] for row in read_csv(tmp_path / "fid_is_eval_inpaint.csv")[1:]}
    assert list(fid) == [
        *("original/centre_0.5", "max_loss/centre_0.5"),
        *("retrained/centre_0.5", "retrained/centre_0.25", "ours/centre_0.5"),
    ]
    assert set(fid["retrained/centre_0.25"]) == {"4.0"}
    assert fid["retrained/centre_0.5"][0] == "17.0"
    for name in ("fid_is_eval", "clip_cosine"):
        outside = read_csv(tmp_path / f"{name}_outpaint.csv")
        assert [row[0] for row in outside[1:]] == ["retrained/outpaint_0.25"]
        assert set(outside[1][1:]) == {"3.0"}
