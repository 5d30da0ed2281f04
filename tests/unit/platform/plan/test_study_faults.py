"""What is wrong with a study itself: fields that contradict each other, or that nothing reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from platform.plan.build import make_plan
from platform.plan.study_loader import StudyError, find_study, study_faults
from search_spaces import SearchConfig, Study
from trainables.config import DataConfig, SamplingConfig, TrialConfig, UnlearnConfig

RATE = {"unlearn.lr": FloatDistribution(1e-4, 1e-2, log=True)}


def study(**changes: Any) -> Study:
    given: dict[str, Any] = {
        "name": "mine",
        "question": "?",
        "cost": "none",
        "command": "none",
        "variants": ({"method": "original"}, {"method": "ours"}),
        **changes,
    }
    return Study(**given)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"space": {"forget_alpha": FloatDistribution(0.1, 0.1)}},
            "space: forget_alpha has one value, so that nothing is searched: give it in base or "
            "variants",
        ),
        (
            {"space": {"forget_alpha": CategoricalDistribution((0.1,))}},
            "space: forget_alpha has one value, so that nothing is searched: give it in base or "
            "variants",
        ),
        (
            {"axes": {"forget_alpha": ()}},
            "axes: forget_alpha=() has no value: leave it out, or give one",
        ),
        (
            {"space": RATE, "axes": {"unlearn.lr": (1e-3, 1e-4)}},
            "space: unlearn.lr is also in axes, which takes its place: leave one out",
        ),
        (
            {"points": ({"unlearn.lr": 1e-3},), "axes": {"unlearn.lr": (1e-3, 1e-4)}},
            "points: unlearn.lr is also in axes, which takes its place: leave one out",
        ),
        (
            {
                "variants": ({"method": "ours", "retain_source": "proxy"},),
                "axes": {"retain_source": ("real", "none")},
            },
            "variants: retain_source is also in axes, which takes its place: leave one out",
        ),
        (
            {"variants": ({"method": "ours", "model": "mage_tiny"},)},
            "variants: model='mage_tiny' is not read: models names the models",
        ),
        (
            {"axes": {"model": ("mae_tiny", "mage_tiny")}},
            "axes: model=('mae_tiny', 'mage_tiny') is not read: models names the models",
        ),
        (
            {"base": TrialConfig(model="mage_tiny"), "models": {"mae_tiny": {}}},
            "base: model='mage_tiny' is not read: models names mae_tiny",
        ),
        (
            {"others": {"mage_tniy": {}}},
            "others: unknown name 'mage_tniy' (close: mage_tiny, mae_tiny, palette_tiny)",
        ),
        (
            {"base": TrialConfig(sampling=SamplingConfig(sampler="ddim"))},
            "base: sampling.sampler=ddim changes nothing here: it is read only by Palette models; "
            "leave it out",
        ),
        (
            {"models": {"mae_tiny": {"unlearn.noise_bank": 64}, "mage_tiny": {}}},
            "models: unlearn.noise_bank=64 changes nothing here: it is read only by ours on a MAGE "
            "model; leave it out",
        ),
        (
            {"others": {"mage_tiny": {"sampling.sampler": "ddim"}}},
            "others: sampling.sampler=ddim changes nothing here: it is read only by Palette "
            "models; leave it out",
        ),
        (
            {"families": {"mae": {"sampling.steps": 9}}},
            "families: sampling.steps=9 changes nothing here: it is read only by MAGE models, and "
            "by Palette models with sampling.sampler=ddim; leave it out",
        ),
        (
            {"axes": {"loader.workers": (0, 2)}},
            "axes: loader.workers=0,2: no result depends on it, so that these values are one "
            "trial; give one",
        ),
        (
            {"points": ({"data.views": 2},)},
            "points: data.views=2 changes nothing here: it is read only with data.augment=true; "
            "leave it out",
        ),
        (
            {"space": {**RATE, "loader.workers": IntDistribution(0, 2)}},
            "space: no result of this study depends on loader.workers: leave it out",
        ),
        (
            {"search": SearchConfig(trials=8)},
            "search.trials=8 changes nothing here: no field is searched: the study has none, or "
            "all are pinned or enumerated; leave it out",
        ),
        (
            {"space": RATE, "search": SearchConfig(sampler="nsga2")},
            "search.sampler=nsga2 changes nothing here: all search trials are among the "
            "search.sobol_trials=10; leave it out",
        ),
        (
            {"models": {"mae_tiny": {"search.trials": 2}}},
            "mae_tiny/search.trials=2 changes nothing here: no field is searched: the study has "
            "none, or all are pinned or enumerated; leave it out",
        ),
    ],
)
def test_what_changes_nothing_in_a_study_is_refused(changes: dict[str, Any], told: str) -> None:
    assert study_faults(study(**changes)) == [told]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"space": RATE, "search": SearchConfig(trials=12, sampler="nsga2")},
        # a variant's own value is that of its default
        {"space": RATE, "variants": ({"method": "ours", "unlearn.lr": 5e-4},)},
        # only some trials read them
        {"base": TrialConfig(unlearn=UnlearnConfig(steps=9)), "axes": {"forget_alpha": (0.1, 0.2)}},
        {"models": {"mae_tiny": {}, "mage_tiny": {"unlearn.noise_bank": 64}}},
        {"families": {"palette": {"sampling.steps": 9}}},
        {"base": TrialConfig(sampling=SamplingConfig(steps=9)), "others": {"mage_tiny": {}}},
        # only at some points of the search
        {
            "base": TrialConfig(unlearn=UnlearnConfig(steps=30, eval_every=30)),
            "space": {"unlearn.steps": IntDistribution(30, 90)},
            "search": SearchConfig(asha=True),
        },
        {
            "variants": ({"method": "ours", "retain_source": "proxy"},),
            "base": TrialConfig(unlearn=UnlearnConfig(retainset_ratio=0.5)),
            "space": {"retain_source": CategoricalDistribution(("proxy", "1:1"))},
        },
        # it is to be a multiple of the parts of a batch
        {
            "variants": ({"method": "ours", "retain_source": "none"},),
            "base": TrialConfig(
                unlearn=UnlearnConfig(forget_batch=33, retain_batch=33, accumulate=3)
            ),
        },
        # whose folder the user names
        {"models": {"mae_tiny": {"data.source": "folder", "sampling.steps": 9}}},
    ],
)
def test_what_is_read_somewhere_is_no_fault(changes: dict[str, Any]) -> None:
    assert study_faults(study(**changes)) == []


def test_a_step_that_misses_the_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from optuna.distributions import FloatDistribution\n"
        "SPACE = {'forget_alpha': FloatDistribution(0.0, 1.0, step=0.3)}\n"
    )
    with pytest.raises(StudyError, match="range is not divisible by `step`"):
        find_study(str(path))


@pytest.mark.parametrize(
    "part", ["space={'forget_alfa': FloatDistribution(0.1, 1.0)}", "points=({'forget_alfa': 0.1},)"]
)
def test_an_unknown_field_is_told_with_the_file_that_names_it(tmp_path: Path, part: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from optuna.distributions import FloatDistribution\n"
        "from search_spaces import Study\n"
        "STUDY = Study(name='mine', question='?', cost='none', command='none',\n"
        f"    variants=({{'method': 'ours'}},), {part})\n"
    )
    with pytest.raises(StudyError, match=r"mine\.py: unknown field 'forget_alfa'"):
        find_study(str(path))


def test_the_seed_of_a_studys_base_is_its_trials_unless_the_call_has_another() -> None:
    mine = study(base=TrialConfig(seed=5, data=DataConfig(seed=1)))

    def seeds(**given: Any) -> set[int]:
        plan = make_plan(mine, name="a", storage=Path("runs"), **given)
        return {trial.config.seed for trial in plan.trials}

    assert seeds() == {5}
    assert seeds(seed=3) == {3}
    assert seeds(seed=3, overrides=("seed=4",)) == {4}
