"""Study + settings -> plan: which trials there are, what each is searched over, what is refused."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from platform.plan.build import make_plan
from platform.plan.plan import Plan
from search_spaces import Study
from tests.helpers.studies import ONE_FAMILY
from trainables.config import TrialConfig
from trainables.utils.errors import ConfigError

QUICKSTART = ONE_FAMILY
VARIANTS = [
    "original",
    "max_loss",
    "noisy_label",
    "retain_label",
    "random_encoder",
    "ours",
    "ours_proxy",
]
SEARCHED = {"forget_alpha", "unlearn.lr"}


def planned(*settings: str, study: Study = QUICKSTART, seed: int = 0) -> Plan:
    return make_plan(study, name="a", storage=Path("runs"), overrides=settings, seed=seed)


def faults(*settings: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        planned(*settings)
    return caught.value.problems


def names(plan: Plan) -> list[str]:
    return [trial.name for trial in plan.trials]


def small(**changes: Any) -> Study:
    """A study of the original and of Ours, without a search unless one is given."""
    given: dict[str, Any] = {
        "name": "small",
        "question": "?",
        "cost": "none",
        "command": "none",
        "variants": ({"method": "original"}, {"method": "ours"}),
        **changes,
    }
    return Study(**given)


# --- Which trials ----------------------------------------------------------------------------


def test_quickstart_has_seven_defaults_and_four_search_trials_for_each_of_six() -> None:
    plan = planned()
    assert [trial.group for trial in plan.trials if trial.kind == "default"] == VARIANTS
    searched = Counter(trial.group for trial in plan.trials if trial.kind == "search")
    assert searched == dict.fromkeys(VARIANTS[1:], 4)
    assert plan.total == len(plan.trials) == 31
    assert {trial.config.forget_alpha for trial in plan.trials if trial.kind == "default"} == {0.25}


def test_defaults_run_first_then_the_search_round_by_round() -> None:
    assert names(planned("method=ours,max_loss", "search.trials=2")) == [
        "max_loss",
        "ours",
        "ours_proxy",
        *("max_loss-s1", "ours-s1", "ours_proxy-s1"),
        *("max_loss-s2", "ours-s2", "ours_proxy-s2"),
    ]


def test_the_original_runs_before_all_wherever_a_study_names_it() -> None:
    study = small(variants=({"method": "ours"}, {"method": "original"}))
    assert names(planned(study=study)) == ["original", "ours"]


def test_a_search_of_no_trials_leaves_the_defaults() -> None:
    plan = planned("search.trials=0")
    assert names(plan) == VARIANTS
    assert plan.total == 7
    assert {trial.kind for trial in plan.trials} == {"default"}


def test_names_and_keys_are_unique_and_fit_for_files() -> None:
    plan = planned("forget_alpha=0.1,0.2", "data.image_size=32,64", "unlearn.steps=5,6")
    assert len(set(names(plan))) == len({trial.key for trial in plan.trials}) == len(plan.trials)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in names(plan))
    assert max(map(len, names(plan))) < 80


def test_keys_are_those_of_the_configurations_and_the_same_in_every_process() -> None:
    plan = planned("search.trials=2")
    assert all(trial.key == trial.config.key() for trial in plan.trials)
    code = (
        "import _platform_bridge; _platform_bridge.install()\n"
        "from pathlib import Path\n"
        "from platform.plan.build import make_plan\n"
        "from tests.helpers.studies import ONE_FAMILY\n"
        "plan = make_plan(ONE_FAMILY, name='b', storage=Path('elsewhere'),\n"
        "                 overrides=['search.trials=2'])\n"
        "print(*(trial.key for trial in plan.trials))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        cwd=Path(__file__).parents[4],
    )
    assert elsewhere.stdout.split() == [trial.key for trial in plan.trials]


def test_a_plan_is_made_without_torch_ray_and_mlflow() -> None:
    code = (
        "import _platform_bridge; _platform_bridge.install()\n"
        "import sys\n"
        "import platform.plan.build, platform.plan.estimate, platform.plan.serialization\n"
        "print(sorted({'torch', 'ray', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[4],
    )
    assert done.stdout.strip() == "[]"


def test_equal_configurations_are_one_trial() -> None:
    plan = planned("retain_source=proxy", "search.trials=1")
    assert names(plan).count("ours_proxy") == 1
    assert sum(trial.config.method == "ours" for trial in plan.trials) == 2
    same = [f"forget_alpha=0.3{end}" for end in ("", "0")]
    assert planned(same[0]).trials == planned(same[1]).trials


def test_a_method_that_the_study_lacks_gets_a_plain_variant() -> None:
    plan = planned("method=max_loss", study=small(base=TrialConfig(forget_alpha=0.5)))
    assert [(trial.name, trial.config.forget_alpha) for trial in plan.trials] == [("max_loss", 0.5)]


def test_the_seed_of_the_call_reaches_every_trial_unless_a_setting_says_otherwise() -> None:
    assert {trial.config.seed for trial in planned(seed=5).trials} == {5}
    assert {trial.config.seed for trial in planned("seed=6", seed=5).trials} == {6}
    assert names(planned("search.trials=0", seed=5)) == VARIANTS


# --- Pinned, enumerated, searched ------------------------------------------------------------


def spaces(plan: Plan) -> dict[str, set[str]]:
    return {group.name: set(group.space) for group in plan.groups}


def test_every_trained_variant_is_searched_and_the_original_is_not() -> None:
    plan = planned()
    assert spaces(plan) == {"original": set(), **dict.fromkeys(VARIANTS[1:], SEARCHED)}
    assert {group.name: group.trials for group in plan.groups}["original"] == 0


def test_one_value_takes_its_axis_out_of_the_search() -> None:
    plan = planned("forget_alpha=0.7")
    assert spaces(plan)["ours"] == {"unlearn.lr"}
    searched = [trial for trial in plan.trials if trial.kind == "search"]
    assert {trial.config.forget_alpha for trial in searched} == {0.7}
    assert all(set(trial.params) == {"unlearn.lr"} for trial in plan.trials[1:])
    assert len({trial.config.unlearn.lr for trial in searched}) == 4


def test_with_every_axis_pinned_there_is_no_search() -> None:
    plan = planned("forget_alpha=0.7", "unlearn.lr=1e-3")
    assert names(plan) == VARIANTS
    assert plan.total == 7


def test_a_list_is_enumerated_and_each_value_searched_over_the_rest() -> None:
    plan = planned("forget_alpha=0.25,0.5,1", "method=original,ours", "search.trials=1")
    assert names(plan)[:3] == ["original", "ours", "ours_proxy"]
    assert [(t.name, t.kind, t.config.forget_alpha) for t in plan.trials if t.group == "ours"] == [
        ("ours", "default", 0.25),
        ("ours-alpha0.5", "grid", 0.5),
        ("ours-alpha1", "grid", 1.0),
        ("ours-s1", "search", 0.25),
        ("ours-alpha0.5-s1", "search", 0.5),
        ("ours-alpha1-s1", "search", 1.0),
    ]
    assert spaces(plan)["ours-alpha0.5"] == {"unlearn.lr"}
    assert {trial.group_name for trial in plan.trials} == set(spaces(plan))


def test_the_original_is_one_trial_however_many_values_it_ignores() -> None:
    plan = planned("forget_alpha=0.1,0.2", "unlearn.lr=1e-3,2e-3", "unlearn.steps=5,6")
    assert names(plan).count("original") == 1
    assert sum(trial.config.method == "original" for trial in plan.trials) == 1
    assert sum(trial.group == "ours" for trial in plan.trials) == 8


def test_what_the_original_does_not_ignore_gives_it_a_trial_each() -> None:
    plan = planned("method=original", "data.seed=0,1", "test_task.kind=centre,outpaint")
    assert names(plan) == [
        "original",
        "original-kindoutpaint",
        "original-seed1",
        "original-seed1-kindoutpaint",
    ]


def test_retain_sources_are_variants_of_their_own() -> None:
    plan = planned("method=ours", "retain_source=real,proxy,none,1:3", "search.trials=0")
    assert [trial.group for trial in plan.trials] == [
        "ours",
        "ours_proxy",
        "ours_none",
        "ours_1to3",
    ]
    assert {trial.kind for trial in plan.trials} == {"default"}


def test_a_setting_overrules_a_studys_axis() -> None:
    study = small(axes={"forget_alpha": (0.1, 0.2)})
    assert names(planned(study=study)) == ["original", "ours-alpha0.1", "ours-alpha0.2"]
    assert [trial.kind for trial in planned(study=study).trials] == ["default", "default", "grid"]
    assert names(planned("forget_alpha=0.3", study=study)) == ["original", "ours"]
    assert names(planned("forget_alpha=0.25,0.4", study=study))[1:] == ["ours", "ours-alpha0.4"]


def test_axes_of_every_type_are_searched_within_their_bounds() -> None:
    study = small(
        space={
            "unlearn.steps": IntDistribution(10, 90, log=True),
            "formulation": CategoricalDistribution(("paper", "released")),
            "unlearn.lr": FloatDistribution(1e-4, 1e-2, log=True),
        }
    )
    searched = [t.config for t in planned("search.trials=8", study=study).trials if t.number]
    assert {config.method for config in searched} == {"ours"}
    assert {type(config.unlearn.steps) for config in searched} == {int}
    assert all(10 <= config.unlearn.steps <= 90 for config in searched)
    assert all(1e-4 <= config.unlearn.lr <= 1e-2 for config in searched)
    assert {config.formulation for config in searched} == {"paper", "released"}


# --- The points ------------------------------------------------------------------------------


def points(plan: Plan) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {}
    for trial in plan.trials:
        if trial.kind == "search":
            found.setdefault(trial.group_name, []).append(trial.params)
    return found


def test_every_variant_gets_the_same_points() -> None:
    by_group = points(planned())
    assert len(by_group) == 6
    first = by_group["ours"]
    assert all(each == first for each in by_group.values())
    assert len({tuple(point.items()) for point in first}) == 4


def test_a_longer_search_begins_with_the_points_of_a_shorter_one() -> None:
    few, many = points(planned("search.trials=3")), points(planned("search.trials=9"))
    assert [len(many[name]) for name in few] == [9] * 6
    assert all(many[name][:3] == few[name] for name in few)


def test_another_seed_has_other_points() -> None:
    assert points(planned(seed=0))["ours"] == points(planned(seed=0))["ours"]
    assert points(planned(seed=0))["ours"] != points(planned(seed=1))["ours"]


def test_no_more_than_ten_points_are_known_before_the_start() -> None:
    plan = planned("method=ours", "retain_source=real", "search.trials=13")
    assert len(points(plan)["ours"]) == 10
    assert plan.total == len(plan.trials) + 3 == 14


def test_search_points_are_within_the_space_and_in_the_configurations() -> None:
    for trial in planned("search.trials=10").trials:
        if trial.kind == "search":
            alpha, rate = trial.config.forget_alpha, trial.config.unlearn.lr
            assert trial.params == {"forget_alpha": alpha, "unlearn.lr": rate}
            assert 0.01 <= alpha <= 1.0
            assert 3e-4 <= rate <= 3e-3


# --- What is refused -------------------------------------------------------------------------


def test_every_fault_of_a_call_is_found_together_and_once() -> None:
    found = faults(
        "forget_alhpa=1",
        "unlearn.lr=-1",
        "unlearn.steps=none",
        "search.trials=-2",
        "data.forget=cofee",
        "data.retain=rocket",
        "retain_source=some",
    )
    told = "\n".join(found)
    for part in (
        "unknown field 'forget_alhpa' (close: forget_alpha",
        "unlearn.lr=-1.0 is outside (0, 10)",
        "unlearn.steps='none' is not a whole number",
        "search.trials=-2 is below 0",
        "unknown class 'cofee' (close: coffee",
        "retain_source='some' is not real",
    ):
        assert told.count(part) == 1
    assert len(found) == 6


def test_a_class_in_two_roles_is_refused() -> None:
    (fault,) = faults("data.forget=coffee,chelsea", "data.retain=coffee")
    assert fault == "data.forget and data.retain both name class 'coffee'"


def test_a_value_that_one_variant_cannot_have_is_refused() -> None:
    (fault,) = faults("retain_source=real,none")
    assert fault.startswith("retain_label maps forget rows onto retain rows")


def test_numbers_that_are_none_are_refused() -> None:
    assert faults("forget_alpha=nan") == ["forget_alpha=nan is not a finite number"]
    assert faults("unlearn.lr=inf") == ["unlearn.lr=inf is outside (0, 10)"]


def test_folders_of_classes_are_looked_at(tmp_path: Path) -> None:
    for name in ("church", "harbour", "garden"):
        (tmp_path / name).mkdir()
    root = f"data.root={tmp_path}"
    (fault,) = faults("data.source=folder", root, "data.forget=curch", "data.retain=garden")
    assert "unknown class 'curch' (close: church" in fault
    (missing,) = faults(
        "data.source=folder", f"data.root={tmp_path / 'none'}", "data.forget=church"
    )
    assert missing.endswith("no such directory")
    named = ("data.forget=church", "data.retain=garden,harbour", "retain_source=real")
    good = planned("data.source=folder", root, *named)
    assert good.trials[0].config.data.retain == ("garden", "harbour")


def test_a_studys_own_mistake_is_told_too() -> None:
    study = dataclasses.replace(QUICKSTART, variants=({"method": "outs"}, {"metod": "ours"}))
    with pytest.raises(ConfigError) as caught:
        planned(study=study)
    assert len(caught.value.problems) == 2


# --- Several models --------------------------------------------------------------------------


FAMILIES = small(
    models={"mae_tiny": {}, "mage_tiny": {"unlearn.steps": 7, "search.trials": 0}},
    space={"forget_alpha": FloatDistribution(0.1, 1.0)},
)


def test_a_study_crosses_its_variants_with_its_models() -> None:
    plan = planned("search.generation=2", study=FAMILIES)
    assert [group.label for group in plan.groups] == [
        f"{model}/{method}"
        for model in ("mae_tiny", "mage_tiny")
        for method in ("original", "ours")
    ]
    steps = {t.name: t.config.unlearn.steps for t in plan.trials}
    assert (steps["mae_tiny-ours"], steps["mage_tiny-ours"]) == (100, 7)
    searched = Counter(trial.group for trial in plan.trials if trial.kind == "search")
    assert searched == {"mae_tiny/ours": 4}


def test_a_size_of_the_search_that_the_user_gives_is_every_models() -> None:
    plan = planned("search.trials=2", study=FAMILIES)
    searched = Counter(trial.group for trial in plan.trials if trial.kind == "search")
    assert searched == {"mae_tiny/ours": 2, "mage_tiny/ours": 2}
    plan = planned("search.trials=2", "mae_tiny/search.trials=1", study=FAMILIES)
    searched = Counter(trial.group for trial in plan.trials if trial.kind == "search")
    assert searched == {"mae_tiny/ours": 1, "mage_tiny/ours": 2}


def test_one_of_a_studys_models_keeps_its_own_fields() -> None:
    plan = planned("model=mage_tiny", study=FAMILIES)
    assert names(plan) == ["original", "ours"]
    assert plan.trials[1].config.unlearn.steps == 7
    plan = planned("model=mage_tiny", "unlearn.steps=9", study=FAMILIES)
    assert plan.trials[1].config.unlearn.steps == 9


def test_models_that_a_study_does_not_name_run_with_its_base() -> None:
    plan = planned("model=mage_tiny,palette_tiny", study=FAMILIES)
    assert {t.config.model for t in plan.trials} == {"mage_tiny", "palette_tiny"}
    assert plan.trials[-1].config.unlearn.steps == 100


def test_models_of_a_family_have_its_fields_under_their_own() -> None:
    study = dataclasses.replace(
        FAMILIES, families={"mage": {"unlearn.steps": 5, "unlearn.lr": 2e-3, "search.trials": 1}}
    )
    plan = planned("model=mage_tiny,mage_vit_base_patch16,mae_tiny", study=study)
    found = {t.config.model: t.config.unlearn for t in plan.trials if t.kind == "default"}
    assert {name: (each.steps, each.lr) for name, each in found.items()} == {
        "mage_tiny": (7, 2e-3),
        "mage_vit_base_patch16": (5, 2e-3),
        "mae_tiny": (100, 1e-3),
    }
    searched = Counter(t.config.model for t in plan.trials if t.kind == "search")
    assert searched == {"mage_vit_base_patch16": 1, "mae_tiny": 4}


def test_a_study_of_published_originals_trains_none_unasked() -> None:
    study = dataclasses.replace(FAMILIES, published=True)
    assert planned(study=study).trials  # they come with the product
    with pytest.raises(ConfigError) as caught:
        planned("mage_tiny/data.image_size=64", study=study)
    (fault,) = caught.value.problems
    assert fault.startswith("mage_tiny needs the published weights: --set mage_tiny/checkpoint=")
    assert planned("mage/data.image_size=64", "mage/pretrain.steps=900", study=study).trials


def test_a_setting_of_one_model_is_not_the_others() -> None:
    plan = planned("mae_tiny/forget_alpha=0.2,0.3", "mage_tiny/retain_source=none", study=FAMILIES)
    alphas = {
        model: {t.config.forget_alpha for t in plan.trials if t.config.model == model} - {0.25}
        for model in ("mae_tiny", "mage_tiny")
    }
    assert alphas == {"mae_tiny": {0.2, 0.3}, "mage_tiny": set()}
    sources = {t.config.retain_source for t in plan.trials if t.config.model == "mage_tiny"}
    assert sources == {"none"}


def test_a_setting_of_a_model_that_is_not_in_the_sweep_is_refused() -> None:
    assert planned("model=mae_tiny", "mage/unlearn.steps=5", study=FAMILIES).trials
    (fault,) = faults("palette/unlearn.steps=5")
    assert fault == "palette/...: the sweep has no such model, only mae_tiny"


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mage.pth"
    assert faults(f"checkpoint={path}") == [f"checkpoint: {path} is not a file"]
    path.touch()
    assert planned(f"checkpoint={path}").trials[0].config.checkpoint == (str(path),)
