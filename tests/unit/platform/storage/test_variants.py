"""Which trials stand for a variant: its default, its best feasible one, and what was lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from platform.search.trial_record import Entry
from platform.storage.ranking import is_feasible
from platform.storage.results import result_row, write_results
from platform.storage.sweep_folder import read_sweep
from platform.storage.variants import failures, label, metric_labels, variants
from tests.helpers.recorded import plan_of, result_of, trial


def row(name: str, objective: float | None, violation: float | None, **more: Any) -> dict[str, Any]:
    """A finished search trial of Ours, unless more is said."""
    return {
        "name": name,
        "group": "ours",
        "model": "mae_tiny",
        "method": "ours",
        "state": "finished",
        "kind": "search",
        "failure": None,
        "val/objective": objective,
        "val/violation": violation,
        **more,
    }


def test_the_best_is_the_feasible_one_of_the_highest_objective() -> None:
    (found,) = variants(
        [
            row("wild", 9.0, 0.3),
            row("good", 2.0, 0.0),
            row("modest", 1.0, -0.9, kind="default"),
            row("lost", 7.0, -1.0, state="failed"),
            row("good-r1", 5.0, -0.2, kind="replicate"),
        ]
    )
    assert found.best is not None
    assert found.default is not None
    assert (found.best["name"], found.default["name"]) == ("good", "modest")
    assert [len(found.finished), len(found.trials)] == [4, 5]


def test_a_default_may_be_the_best() -> None:
    (found,) = variants([row("default", 2.0, -0.1, kind="default"), row("s1", 1.0, -0.1)])
    assert found.best is found.default is not None


def test_a_variant_of_no_feasible_or_no_finished_trial_has_no_best() -> None:
    wild, lost = variants(
        [
            row("wild", 9.0, 0.3, kind="default"),
            row("without an objective", None, -0.1),
            row("without a violation", 1.0, None),
            row("lost", None, None, group="max_loss", kind="default", state="failed"),
        ]
    )
    assert wild.best is None
    assert wild.default is not None
    assert (lost.best, lost.default, lost.finished) == (None, None, ())
    assert len(lost.trials) == 1


def test_the_choice_is_the_ledgers_own() -> None:
    """The table and the ledger name the same trial, on any figures."""
    figures = [(9.0, 0.3), (2.0, 0.0), (2.5, -0.2), (1.0, -0.9), (4.0, 0.01)]
    rows, entries = [], []
    for number, (objective, violation) in enumerate(figures, 1):
        planned = trial("ours", number, seed=number)
        result = {"metrics": {"val/objective": objective, "val/violation": violation}}
        rows.append(row(planned.name, objective, violation))
        entries.append(Entry(trial=planned, state="finished", result=result))
    (found,) = variants(rows)
    assert found.best is not None
    assert found.best["name"] == max(entries, key=lambda entry: entry.rank).trial.name == "ours-s3"


def test_variants_come_in_the_asked_order_then_as_they_appear() -> None:
    rows = [row("a", 1.0, 0.0, group=group) for group in ("ours_proxy", "max_loss", "ours")]
    assert [v.group for v in variants(rows)] == ["ours_proxy", "max_loss", "ours"]
    ordered = variants(rows, order=("original", "ours"))
    assert [v.group for v in ordered] == ["ours", "ours_proxy", "max_loss"]
    assert variants([]) == []


def test_the_original_is_known_by_its_method() -> None:
    found = variants([row("a", 0.0, -0.1, group="x", method="original"), row("b", 1.0, 0.0)])
    assert [variant.is_original for variant in found] == [True, False]


@pytest.mark.parametrize(
    ("group", "text"),
    [
        ("original", "Original"),
        ("ours_proxy", "Ours, proxy"),
        ("mae_tiny/retain_label", "Retain Label"),
        ("ours_1to3", "ours 1to3"),
    ],
)
def test_labels_are_for_people(group: str, text: str) -> None:
    assert label(group) == text


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        (("photos CNN",) * 3, ["FD (photos CNN)", "IS (photos CNN)", "cosine (photos CNN)"]),
        (("Inception-v3", "Inception-v3", "ViT-H-14 laion2b_s32b_b79k"), ["FID", "IS", "CLIP"]),
        (
            ("Inception-v3", "Places-365 ResNet-50", "ViT-B-32 openai"),
            ["FID", "IS (Places-365 ResNet-50)", "CLIP"],
        ),
    ],
)
def test_figures_are_named_by_the_network_that_made_them(
    networks: tuple[str, ...], expected: list[str]
) -> None:
    names = ("fid_extractor", "is_extractor", "clip_model")
    found = row("a", 1.0, 0.0, **dict(zip(names, networks, strict=True)))
    assert list(metric_labels([found]).values()) == expected


def test_figures_that_nobody_or_several_made_are_named_so() -> None:
    assert metric_labels([])["fid"] == "FD (not recorded)"
    lost = row("a", None, None, state="failed", fid_extractor="Inception-v3")
    assert metric_labels([lost])["fid"] == "FD (not recorded)"
    both = [row("a", 1.0, 0.0, fid_extractor=name) for name in ("photos CNN", "Inception-v3")]
    assert metric_labels(both)["fid"] == "FD (Inception-v3, photos CNN)"
    assert metric_labels(both)["clip"] == "cosine (not recorded)"


def test_what_did_not_finish_is_counted_by_its_cause() -> None:
    kept = row("a", 1.0, 0.0)
    lost = [row("b", None, None, state="failed", failure="non-finite") for _ in range(2)]
    cut = row("c", None, None, state="interrupted")
    assert failures([kept]) == failures([]) == ""
    assert failures([kept, cut, *lost]) == (
        "3 of 4 trials did not finish (non-finite 2, interrupted 1)."
    )


def test_recorded_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, (trial("original"), trial("ours"), trial("ours", 1, forget_alpha=0.1)))
    rows = [result_row(plan, each, "finished", result_of(each)) for each in plan.trials]
    write_results(plan.folder, rows)
    (plan.folder / "plan.json").write_text("{}")
    original, ours = variants(read_sweep(tmp_path, plan.name).rows())
    assert original.is_original
    assert ours.default is not None
    assert ours.best is not None
    assert (ours.default["name"], ours.best["name"]) == ("ours", "ours-s1")
    assert not is_feasible(ours.default["val/violation"])
