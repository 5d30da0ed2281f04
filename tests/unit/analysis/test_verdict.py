"""The verdict, by figures from which it is known."""

import pytest

from analysis.verdict import verdict
from tests.helpers.rows import CRITERION, ORIGINAL, REFERENCE, comparisons_of, row, seeded


def said(rows):
    """The verdict's lines on one comparison, the last being the criterion."""
    lines = verdict(comparisons_of(rows), CRITERION)
    assert lines[-1].startswith("Criterion: ")
    return lines[:-1]


def test_where_the_original_is_as_near_to_the_retrained_model_that_is_said():
    rows = [REFERENCE, row("retrained", 10.0, 11.0), row("ours", 10.0, 26.0)]
    assert said(rows)[1].endswith(
        "The original itself is 1.0 away; so by this measure no variant is better than doing "
        "nothing."
    )


@pytest.mark.parametrize(
    ("rows", "start", "rest"),
    [
        (
            [("ours", 10, 30), ("max_loss", 10, 20)],
            "Ours beats the baselines in this run",
            "chance",
        ),
        ([("ours", 10, 20), ("max_loss", 10, 30)], "Ours does not beat the baselines: ", "chance"),
        ([("ours", 10, 20), ("max_loss", 10, 20)], "Ours does not beat the baselines: ", "chance"),
        ([("ours", 10, 20), ("max_loss", 20, 90)], "Ours beats the baselines: of 1 ", "none kept"),
        ([("ours", 20, 90), ("max_loss", 10, 20)], "Ours does not beat", "it did not keep"),
        ([("ours", 20, 90), ("max_loss", 20, 20)], "None of 2 variants kept", "within 10 %"),
        ([("max_loss", 10, 20)], "No answer: Ours has no finished trial.", "Max Loss (forget"),
        ([("ours", 10, 20), ("ours_proxy", 10, 30)], "No answer: no baseline", "beside Ours"),
    ],
)
def test_the_verdict_follows_from_the_figures(rows, start, rest):
    (line,) = said([REFERENCE, *(row(name, float(x), float(y)) for name, x, y in rows)])
    assert line.startswith(start)
    assert rest in line


def test_ours_with_proxy_is_no_baseline_of_ours():
    rows = [("ours", 10.0, 30.0), ("ours_proxy", 10.0, 90.0), ("max_loss", 10.0, 20.0)]
    (line,) = said([REFERENCE, *(row(*each) for each in rows)])
    assert line.startswith("Ours beats the baselines in this run: Ours (forget 30.0")


@pytest.mark.parametrize(
    ("ours", "theirs", "start"),
    [
        ([30.0, 31.0, 32.0], [20.0, 21.1, 22.2], "Ours beats the baselines, each beyond chance"),
        (
            [30.0, 10.0, 50.0],
            [20.0, 25.0, 10.0],
            "Ours has the highest mean, but beats only 0 of 1",
        ),
        ([20.0, 21.0, 22.0], [30.0, 31.1, 32.2], "Ours does not beat the baselines"),
        ([20.0, 25.0, 10.0], [30.0, 10.0, 50.0], "Ours does not beat the baselines"),
    ],
)
def test_over_several_seeds_chance_is_ruled_out_or_not(ours, theirs, start):
    rows = [
        *seeded("ours", [(10.0, value) for value in ours]),
        *seeded("max_loss", [(10.0, value) for value in theirs]),
    ]
    (line,) = said([REFERENCE, *rows])
    assert line.startswith(start)
    assert ("is beyond chance" in line) == (max(ours) < min(theirs))


@pytest.mark.parametrize("close", [0, 1])
def test_one_baseline_beaten_beyond_chance_is_not_all_of_them(close):
    steady, wild = (20.0, 21.1, 22.2), (29.0, 15.0, 33.0)
    theirs = {"max_loss": wild, "noisy_label": steady}
    if close:
        theirs = {"max_loss": steady, "noisy_label": wild}
    rows = [*seeded("ours", [(10.0, value) for value in (30.0, 31.0, 32.0)])]
    for group, values in theirs.items():
        rows += seeded(group, [(10.0, value) for value in values])
    (line,) = said([REFERENCE, *rows])
    assert line.startswith(
        "Ours has the highest mean, but beats only 1 of 2 baselines beyond chance: Ours ("
    )


def test_a_baseline_of_one_common_seed_leaves_chance_open():
    rows = [
        *seeded("ours", [(10.0, value) for value in (30.0, 31.0, 32.0)]),
        *seeded("max_loss", [(10.0, value) for value in (20.0, 21.1, 22.2)]),
        row("noisy_label", 10.0, 20.0),
    ]
    (line,) = said([REFERENCE, *rows])
    assert line.startswith("Ours beats the baselines in this run: ")
    assert line.endswith("One common seed gives no interval: the difference may be chance.")


def test_without_an_original_there_is_no_verdict():
    (line,) = said([row("ours", 10.0, 20.0), row("max_loss", 10.0, 30.0)])
    assert line == ("No answer: no original finished, so nothing tells who kept the retain set.")


def test_a_verdict_on_several_models_counts_them():
    rows = []
    for model, forget in (("a", 30.0), ("b", 15.0)):
        pairs = (("original", ORIGINAL), ("ours", forget), ("max_loss", 20.0))
        rows += [
            row(f"{model}/{name}", 10.0, value, name=f"{model}-{name}", model=model)
            for name, value in pairs
        ]
    lines = verdict(comparisons_of(rows), CRITERION)
    assert lines[0] == "Ours beats the baselines in 1 of 2 comparisons."
    assert lines[1].startswith("a: Ours beats the baselines in this run")
    assert lines[2].startswith("b: Ours does not beat the baselines")
