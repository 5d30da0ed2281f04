"""The tables of variants: at their defaults, as chosen, against Ours, and seed by seed."""

import pytest

from analysis.main_tables import against_ours, main_table, seeds_table
from analysis.verdict import verdict
from tests.helpers.rows import CRITERION, REFERENCE, comparisons_of, failed, row, seeded


def test_the_gap_to_the_retrained_model_is_told_and_ranked():
    rows = [
        REFERENCE,
        row("retrained", 10.0, 30.0),
        row("max_loss", 10.0, 90.0),
        row("ours", 10.0, 26.0),
    ]
    (comparison,) = comparisons_of(rows)
    told = {each["variant"]: each for each in main_table(comparison, CRITERION).rows}
    assert (told["Max Loss"]["gap"].mean, told["Ours"]["gap"].mean) == (60.0, 4.0)
    assert told["Original"]["gap"].mean == 20.0
    assert told["Retrained"]["gap"] is None
    places = [(told[name]["rank_forget"], told[name]["rank_gap"]) for name in ("Max Loss", "Ours")]
    assert places == [(1, 2), (2, 1)]
    assert "gap" in main_table(comparison, CRITERION).schema().names
    lines = verdict([comparison], CRITERION)
    assert lines[0].startswith("Ours does not beat the baselines: Ours (forget 26.0, 2.60 times")
    assert lines[1].endswith("Ours is best, 4.0 away. The original itself is 20.0 away.")


def test_without_a_retrained_model_there_is_no_gap():
    (comparison,) = comparisons_of(
        [REFERENCE, row("max_loss", 10.0, 90.0), row("ours", 10.0, 26.0)]
    )
    table = main_table(comparison, CRITERION)
    assert not [name for name in table.schema().names if "gap" in name]
    assert any("No retrained reference was run" in note for note in table.notes)


def test_each_column_shows_its_own_metric_of_the_test_images():
    names = [
        *(("fd", "fid"), ("kid", "kid_mean"), ("is", "is_mean"), ("cosine", "clip")),
        ("is_split_std", "is_std"),
    ]
    metrics = [f"{role}/{name}" for role in ("retain", "forget") for _, name in names]
    others = [*(f"val/{name}" for name in metrics), "retain/kid_std", "forget/kid_std"]
    values = {name: 10.0 + at for at, name in enumerate(metrics)}
    ours = row("ours", 1.0, 1.0) | values | dict.fromkeys(others, 10.5)
    (comparison,) = comparisons_of([REFERENCE | dict.fromkeys(others, 10.5), ours])
    told = {each["variant"]: each for each in main_table(comparison, CRITERION).rows}["Ours"]
    for role in ("retain", "forget"):
        for column, name in names:
            found = told[f"{role}_{column}"]
            value = found if column == "is_split_std" else found.mean
            assert value == values[f"{role}/{name}"], (role, column)


def test_a_variant_that_failed_is_in_the_table():
    rows = [REFERENCE, row("ours", 10.0, 26.0), failed("max_loss")]
    (comparison,) = comparisons_of(rows)
    told = {each["variant"]: each for each in main_table(comparison, CRITERION).rows}
    assert told["Max Loss"]["trial"] == "no trial finished: crash"
    assert "No trial of Max Loss finished." in verdict([comparison], CRITERION)[1]


def test_differences_are_over_common_seeds():
    rows = [
        REFERENCE,
        *seeded("ours", [(10.0, 20.0), (10.0, 30.0), (10.0, 40.0)]),
        *seeded("max_loss", [(10.0, 25.0), (10.0, 36.0)]),
    ]
    (comparison,) = comparisons_of(rows)
    first, second = against_ours(comparison, CRITERION).rows
    assert (first["trial"], second["trial"]) == ("default", "chosen")
    assert (first["forget_fd"].mean, first["seeds"]) == (5.5, 2)
    assert first["forget_fd"].low == pytest.approx(5.5 - 12.7062 * 0.5, rel=1e-5)
    seeds = seeds_table(comparison, CRITERION).rows
    assert [each["forget_fd"] for each in seeds] == [20.0, 30.0, 40.0, 25.0, 36.0]


def test_one_seed_has_no_table_of_seeds_and_alone_ours_has_no_differences():
    (comparison,) = comparisons_of([REFERENCE, row("ours", 10.0, 20.0)])
    assert seeds_table(comparison, CRITERION) is None
    assert against_ours(comparison, CRITERION) is None
