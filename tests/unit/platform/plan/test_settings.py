"""What the user sets and no trial of the sweep reads: refused in a line, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.command import Captured, planned, refused, setting, sweep

MAE = "model=mae_tiny"
PINNED = ("forget_alpha=0.1", "unlearn.lr=1e-3")
SEARCHED = "no field is searched: the study has none, or all are pinned or enumerated; leave it out"
NO_TRIALS = "every search has 0 trials; leave it out"
SOBOL = "all search trials are among the search.sobol_trials=10; leave it out"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            (MAE, "sampling.sampler=ddim"),
            "sampling.sampler=ddim changes nothing here: it is read only by Palette models; "
            "leave it out",
        ),
        (
            ("method=original", "unlearn.lr=1e-4,1e-3"),
            "unlearn.lr=0.0001 changes nothing here: it is read only by methods that unlearn; "
            "leave it out",
        ),
        (
            ("mae/unlearn.noise_bank=256",),
            "mae/unlearn.noise_bank=256 changes nothing here: it is read only by ours on a MAGE "
            "model; leave it out",
        ),
        (
            ("data.proxy_root=/coco",),
            "data.proxy_root=/coco changes nothing here: it is read only with "
            "data.proxy_source=coco; leave it out",
        ),
        (
            ("seed=1", "mae/seed=2", "mage_tiny/seed=3", "palette/seed=4"),
            "seed=1 holds for no model here: each has mae/seed, mage_tiny/seed, palette/seed "
            "in its place; leave one out",
        ),
        (
            ("mae/unlearn.steps=30", "mae_tiny/unlearn.steps=40"),
            "mae/unlearn.steps=30 holds for no model here: each has mae_tiny/unlearn.steps in "
            "its place; leave one out",
        ),
        (
            (MAE, "loader.workers=0,2"),
            "loader.workers=0,2: no result depends on it, so that these values are one trial; "
            "give one",
        ),
        (
            (MAE, *PINNED, "search.trials=6"),
            f"search.trials=6 changes nothing here: {SEARCHED}",
        ),
        (
            (*PINNED, "palette/search.trials=6"),
            f"palette/search.trials=6 changes nothing here: {SEARCHED}",
        ),
        (
            (MAE, "search.trials=0", "search.goal=front"),
            f"search.goal=front changes nothing here: {NO_TRIALS}",
        ),
        (
            (MAE, *PINNED, "search.generation=2"),
            f"search.generation=2 changes nothing here: {SEARCHED}",
        ),
        (
            ("model=mage_tiny", "search.trials=6", "mage/search.trials=0"),
            f"search.trials=6 changes nothing here: {NO_TRIALS}",
        ),
        (
            (MAE, "search.trials=10", "search.sampler=nsga2"),
            f"search.sampler=nsga2 changes nothing here: {SOBOL}",
        ),
        (
            (MAE, "search.trials=10", "search.generation=2"),
            f"search.generation=2 changes nothing here: {SOBOL}",
        ),
        (
            (MAE, "search.trials=12", "search.sampler=nsga2", "search.generation=1"),
            "search.generation=1 changes nothing here: nsga2 has a population of 2 at least; "
            "leave it out",
        ),
        (
            (MAE, "search.asha=true", "unlearn.eval_every=60"),
            "search.asha=true changes nothing here: no searched trial is evaluated before its last "
            "unlearn.steps; leave it out",
        ),
        (
            ("method=original", "search.replicates=2"),
            "search.replicates=2 changes nothing here: no trial unlearns, and others are the same "
            "with every seed; leave it out",
        ),
        (
            ("mae/search.sampler=nsga2",),
            "mae/search.sampler is the same for all models: leave out mae/",
        ),
    ],
)
def test_what_changes_nothing_is_refused(
    capsys: Captured, tmp_path: Path, settings: tuple[str, ...], told: str
) -> None:
    assert refused(capsys, "--dry-run", "--storage", tmp_path, *setting(*settings)) == [told]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "settings",
    [
        # read by some of the sweep's trials
        ("method=original,ours", "forget_alpha=0.1", "search.trials=0"),
        ("unlearn.noise_bank=64",),
        ("sampling.steps=3",),
        ("method=ours", "retain_source=real,none", "unlearn.retain_batch=8", "search.trials=0"),
        # what a field is anyway
        (MAE, "unlearn.noise_bank=0", "sampling.sampler=default"),
        (MAE, *PINNED, "search.trials=0"),
        # meant for models that this sweep leaves out
        (MAE, "mage/unlearn.noise_bank=64", "palette_tiny/sampling.steps=3"),
        ("model=mage_tiny", "unlearn.steps=30", "mage/unlearn.steps=40"),
        # read, and one value each
        (MAE, "loader.workers=2", "unlearn.save_every=10"),
        (MAE, "search.trials=12", "search.sampler=nsga2", "search.goal=front"),
    ],
)
def test_what_one_trial_reads_is_no_mistake(
    capsys: Captured, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    planned(capsys, "--storage", tmp_path, *setting(*settings))


def test_a_seed_that_nothing_takes_is_refused(capsys: Captured, tmp_path: Path) -> None:
    asked = ["--dry-run", "--storage", tmp_path, "--seed", 3]
    (line,) = refused(capsys, *asked, *setting("method=original"))
    assert line == (
        "--seed 3 changes nothing here: nothing is searched, and no trial that unlearns has its "
        "seed; leave it out"
    )
    assert "--seed 3 " in refused(capsys, *asked, *setting("seed=1", "search.trials=0"))[0]
    planned(capsys, *asked, *setting("seed=1"))  # the search takes it
    planned(capsys, *asked, *setting("search.trials=0"))


def test_a_seed_of_0_that_leaves_that_of_the_study_is_refused(
    capsys: Captured, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from search_spaces import Study\n"
        "from trainables.config import TrialConfig\n"
        "STUDY = Study(name='mine', question='?', cost='none', command='none',\n"
        "    base=TrialConfig(seed=5), variants=({'method': 'ours'},))\n"
    )
    asked = [path, "--dry-run", "--storage", tmp_path / "runs", "--seed", 0]
    assert refused(capsys, *asked) == [
        "--seed 0 leaves the study's seed=5: --set seed=0 changes it"
    ]
    planned(capsys, *asked[:-1], 3)
    planned(capsys, *asked, *setting("seed=0"))


def test_a_sweep_is_resumed_whatever_it_was_planned_with(capsys: Captured, tmp_path: Path) -> None:
    asked = (MAE, "sampling.sampler=ddim")
    sweep(tmp_path, settings=asked)
    planned(capsys, "--storage", tmp_path, "--resume", *setting(*asked))
