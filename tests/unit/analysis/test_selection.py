"""What is chosen on validation images, and how it is measured on test images."""

import pytest

from analysis.selection import agreement, choices, chosen
from tests.helpers.rows import (
    CRITERION,
    ORIGINAL,
    REFERENCE,
    comparisons_of,
    member_of,
    row,
    seeded,
)


def test_what_is_chosen_on_validation_is_measured_on_test():
    rows = [
        REFERENCE,
        row("ours", 10.0, 12.0),
        row("ours", 30.0, 20.0, name="good", kind="search", val_retain=10.9, val_forget=99.0),
        row("ours", 10.0, 90.0, name="lost", kind="search", val_retain=11.1, val_forget=200.0),
    ]
    (comparison,) = comparisons_of(rows)
    assert chosen(member_of(comparison, "ours"), 0.10).first.row["name"] == "good"
    table = choices(comparison, CRITERION)
    told = {each["tolerance"]: each for each in table.rows}
    assert [told[name]["trial"] for name in ("5 %", "10 %", "20 %")] == ["ours", "good", "lost"]
    good = told["10 %"]
    assert (good["val_retain"], good["val_forget"]) == pytest.approx((1.09, 9.9))
    assert (good["test_retain"], good["forget_fd"].mean) == pytest.approx((3.0, 20.0))


def test_a_choice_is_the_most_forgetful_within_the_limit():
    limits = [(0.0, 10.0), (0.05, 20.0), (0.1, 30.0), (0.2001, 90.0)]
    rows = [
        row(
            "ours", ORIGINAL * (1 + above), forget, name=f"{above}", kind="search", point=f"{above}"
        )
        for above, forget in limits
    ]

    def name_at(tolerance, rows=rows):
        (comparison,) = comparisons_of([REFERENCE, *rows])
        group = chosen(member_of(comparison, "ours"), tolerance)
        return group and group.first.row["name"]

    assert [name_at(tolerance) for tolerance in (0.05, 0.10, 0.20)] == ["0.05", "0.1", "0.1"]
    assert name_at(0.21) == "0.2001"
    assert name_at(0.1, rows[3:]) is None


def test_a_repetition_of_the_chosen_trial_takes_no_part_in_choosing():
    lucky = row("ours", 10.0, 50.0, name="a", kind="search", val_forget=50.0)
    again = row("ours", 10.0, 10.0, name="a2", kind="replicate", val_retain=30.0, seed=1, point="a")
    (comparison,) = comparisons_of([REFERENCE, row("ours", 10.0, 12.0), lucky, again])
    group = chosen(member_of(comparison, "ours"), 0.10)
    assert [trial.row["name"] for trial in group.trials] == ["a", "a2"]
    assert group.estimate("forget/fid").mean == 30.0


def test_a_group_of_several_seeds_is_chosen_by_its_mean():
    steady = seeded("ours", [(10.0, 30.0), (10.0, 30.0)])
    lucky = [
        row(
            "ours", 10.0, forget, name=f"l{seed}", kind="search", seed=seed, point="l", val_retain=v
        )
        for seed, (forget, v) in enumerate([(60.0, 10.5), (60.0, 15.0)])
    ]
    (comparison,) = comparisons_of([REFERENCE, *steady, *lucky])
    assert chosen(member_of(comparison, "ours"), 0.10).first.row["name"] == "ours"


def test_validation_that_ranks_otherwise_than_test_is_told():
    def told(*forget_on_validation):
        rows = [
            row(
                *("ours", ORIGINAL + at, 10.0 * at),
                name=f"{at}",
                kind="search",
                point=f"{at}",
                val_forget=measured,
            )
            for at, measured in enumerate(forget_on_validation, 1)
        ]
        (comparison,) = comparisons_of(rows)
        return agreement(comparison)

    assert told(1.0, 2.0, 3.0, 4.0, 5.0) == (
        "m: rank correlation of validation and test (Spearman's, with its 95 % interval) "
        "1.00 by the retain distance and 1.00 by the forget distance, over 5 trials."
    )
    doubted = told(5.0, 2.0, 3.0, 4.0, 1.0)
    assert "1.00 by the retain distance and -0.60 [-0.98, 0.67] by the forget" in doubted
    assert doubted.endswith("They disagree: raise data.val_per_class and data.test_per_class.")
    assert told(1.0, 2.0, 3.0).startswith("m: too few trials to tell")
