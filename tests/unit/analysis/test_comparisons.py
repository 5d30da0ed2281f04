"""Seed groups, references and comparisons, and what is chosen and concluded from them."""

import json
import math

import pytest

from analysis import importance
from analysis.main_tables import against_ours, main_table, seeds_table
from analysis.pareto import front_table
from analysis.selection import choices, chosen
from analysis.trial_configs import flatten
from analysis.verdict import verdict
from tests.helpers.rows import CRITERION, ORIGINAL, comparisons_of, failed, row, seeded, sweep_of

REFERENCE = row("original", ORIGINAL, ORIGINAL)


def member(comparison, group):
    return next(each for each in comparison.members if each.variant.group == group)


def said(rows):
    """The verdict's lines on one comparison, the last being the criterion."""
    lines = verdict(comparisons_of(rows), CRITERION)
    assert lines[-1].startswith("Criterion: ")
    return lines[:-1]


def config(**changes):
    return json.dumps(
        {
            "model": "m",
            "method": "ours",
            "seed": 0,
            "forget_alpha": 0.25,
            "unlearn": {"lr": 1e-3, "steps": 60},
            "test_task": {"kind": "centre", "ratio": 0.5},
            "pretrain": {"seed": 0, "tasks": ["a", "b"]},
            "evaluation": {"seed": 0, "retain_tolerance": 0.1},
        }
        | changes
    )


# --- Seed groups and references --------------------------------------------------------------


def test_rows_that_differ_in_seeds_alone_are_one_measurement():
    (comparison,) = comparisons_of([REFERENCE, *seeded("ours", [(10.0, 20.0), (10.4, 24.0)])])
    (group,) = member(comparison, "ours").seed_groups
    estimate = group.estimate("forget/fid")
    assert (estimate.mean, estimate.n) == (22.0, 2)
    # s / sqrt(2) = 2, t(0.975, 1) = 12.7062
    assert estimate.high == pytest.approx(22.0 + 12.7062 * 2.0, rel=1e-5)
    assert member(comparison, "ours").default is group


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "planned"])
def test_without_the_column_point_the_configurations_tell_seed_groups(recorded):
    changes = [{"seed": 0}, {"seed": 1}, {"seed": 1, "forget_alpha": 0.5}]
    rows = [
        row("ours", 10.0, 20.0 + at, name=f"t{at}", point=None, seed=each["seed"])
        | ({"config": config(**each)} if recorded else {})
        for at, each in enumerate(changes)
    ]
    planned = [
        {"key": each["trial_key"], "name": each["name"], "config": json.loads(config(**change))}
        for each, change in zip(rows, changes, strict=True)
    ]
    (comparison,) = comparisons_of(rows, {} if recorded else {"trials": planned})
    names = [
        [trial.row["name"] for trial in group.trials] for group in comparison.members[0].seed_groups
    ]
    assert names == [["t0", "t1"], ["t2"]]


def test_rows_of_which_too_little_is_known_are_seed_groups_of_their_own():
    rows = [row("ours", 10.0, 20.0, name=name, point=None) for name in ("a", "b")]
    (comparison,) = comparisons_of(rows)
    assert [len(group.trials) for group in comparison.members[0].seed_groups] == [1, 1]


def test_a_trial_is_held_against_the_original_of_its_own_seeds():
    rows = [
        row("original", ORIGINAL * (1 + seed), 10.0, name=f"o{seed}", pretrain_seed=seed)
        for seed in (0, 1)
    ] + [row("ours", 20.0, 40.0, name=f"t{seed}", seed=seed, pretrain_seed=seed) for seed in (0, 1)]
    (comparison,) = comparisons_of([each | {"evaluation_seed": 0} for each in rows])
    trials = member(comparison, "ours").trials
    assert [trial.original["retain/fid"] for trial in trials] == [10.0, 20.0]
    assert trials[1].log_ratios() == pytest.approx((0.0, 1.3862944))


def test_without_an_original_nothing_has_log_ratios():
    (comparison,) = comparisons_of([row("ours", 10.0, 20.0)])
    assert comparison.members[0].trials[0].log_ratios() is None
    assert comparison.members[0].candidates == []


def test_trials_of_other_tasks_are_not_compared():
    tasks = {name: {"kind": "centre", "ratio": ratio} for name, ratio in (("a", 0.5), ("b", 0.25))}
    rows = [
        row(
            *(method, 10.0 * (1 + at), 20.0),
            name=f"{method}-{name}",
            kind="grid" if at else "default",
            test_task=f"centre_{task['ratio']}",
            config=config(method=method, test_task=task),
        )
        for at, (name, task) in enumerate(tasks.items())
        for method in ("original", "ours")
    ]
    first, second = comparisons_of(rows)
    assert (first.title, first.stem) == ("m, test_task.ratio 0.5", "m")
    assert (second.title, second.stem) == ("m, test_task.ratio 0.25", "m_2")
    assert [trial.row["name"] for trial in member(second, "ours").trials] == ["ours-b"]
    assert member(second, "ours").trials[0].original["retain/fid"] == 20.0
    assert verdict([first, second], CRITERION)[0].startswith("No baseline was run beside Ours")


def test_nested_values_are_flattened():
    assert flatten({"a": {"b": {"c": 1}, "d": [1, 2]}, "e": None}) == {
        "a.b.c": 1,
        "a.d": (1, 2),
        "e": None,
    }


# --- Choice ----------------------------------------------------------------------------------


def test_what_is_chosen_on_validation_is_measured_on_test():
    rows = [
        REFERENCE,
        row("ours", 10.0, 12.0),
        row("ours", 30.0, 20.0, name="good", kind="search", val_retain=10.9, val_forget=99.0),
        row("ours", 10.0, 90.0, name="lost", kind="search", val_retain=11.1, val_forget=200.0),
    ]
    (comparison,) = comparisons_of(rows)
    assert chosen(member(comparison, "ours"), 0.10).first.row["name"] == "good"
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
        group = chosen(member(comparison, "ours"), tolerance)
        return group and group.first.row["name"]

    assert [name_at(tolerance) for tolerance in (0.05, 0.10, 0.20)] == ["0.05", "0.1", "0.1"]
    assert name_at(0.21) == "0.2001"
    assert name_at(0.1, rows[3:]) is None


def test_a_repetition_of_the_chosen_trial_takes_no_part_in_choosing():
    lucky = row("ours", 10.0, 50.0, name="a", kind="search", val_forget=50.0)
    again = row("ours", 10.0, 10.0, name="a2", kind="replicate", val_retain=30.0, seed=1, point="a")
    (comparison,) = comparisons_of([REFERENCE, row("ours", 10.0, 12.0), lucky, again])
    group = chosen(member(comparison, "ours"), 0.10)
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
    assert chosen(member(comparison, "ours"), 0.10).first.row["name"] == "ours"


# --- Tables ----------------------------------------------------------------------------------


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
    lines = said(rows)
    assert lines[0].startswith("Ours does not beat the baselines: Ours (forget 26.0, 2.60 times")
    assert lines[1].endswith("Ours is best, 4.0 away. The original itself is 20.0 away.")


def test_where_the_original_is_as_near_to_the_retrained_model_that_is_said():
    rows = [REFERENCE, row("retrained", 10.0, 11.0), row("ours", 10.0, 26.0)]
    assert said(rows)[1].endswith(
        "The original itself is 1.0 away; so by this measure no variant is better than doing "
        "nothing."
    )


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
    assert "No trial of Max Loss finished." in said(rows)[1]


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


def test_the_hypervolume_is_of_log_ratios_up_to_twice_the_originals_retain():
    default = row("ours", 10.0, 20.0, val_forget=40.0)
    rows = [REFERENCE, default, row("ours", 40.0, 99.0, name="b", kind="search")]
    (comparison,) = comparisons_of(rows)
    (told,) = front_table(comparison).rows
    assert (told["trials"], told["front"]) == (2, 2)
    assert told["test"] == pytest.approx(0.693147**2, rel=1e-5)
    assert told["validation"] == pytest.approx(2 * 0.693147**2, rel=1e-5)


# --- Importances -----------------------------------------------------------------------------


def searched(count):
    """Search trials whose validation distances are 11, 12, ... and 21, 22, ..."""
    return [
        row("ours", 1.0, 1.0, name=f"s{at}", kind="search", params=json.dumps({"forget_alpha": at}))
        | {"val/retain/fid": 10.0 + at, "val/forget/fid": 20.0 + at}
        for at in range(1, count + 1)
    ]


def test_importances_explain_the_validation_distances_of_search_trials(monkeypatch):
    asked = []

    def explained(space, points, values):
        asked.append((space, points, values))
        return {"forget_alpha": 0.1 * len(asked)}

    monkeypatch.setattr(importance, "importances", explained)
    sweep = sweep_of([], {"groups": [{"label": "ours", "space": {"forget_alpha": "uniform"}}]})
    enough, few = (
        comparisons_of([REFERENCE, row("ours", 10.0, 12.0), *searched(count)])[0]
        for count in (importance.LEAST, importance.LEAST - 1)
    )
    assert importance.importance_table(few, sweep) is None
    assert asked == []
    (told,) = importance.importance_table(enough, sweep).rows
    assert told["trials"] == importance.LEAST
    assert (told["forget"], told["retain"]) == (0.1, 0.2)
    for (space, points, values), distance in zip(asked, (20.0, 10.0), strict=True):
        assert space == {"forget_alpha": "uniform"}
        numbers = [point["forget_alpha"] for point in points]
        assert values == pytest.approx([math.log((distance + at) / ORIGINAL) for at in numbers])


# --- The verdict -----------------------------------------------------------------------------


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
