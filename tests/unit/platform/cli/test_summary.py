"""What sums a sweep up: the table of variants, and what the time of its trials went into."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from platform.cli.summary import summary, trial_times
from platform.plan.build import make_plan
from platform.plan.plan import Plan
from platform.search.trial_record import Entry
from platform.storage.results import State, result_row
from search_spaces import STUDIES
from tests.helpers.recorded import plan_of, result_of

GREY = {"grey/retain/fid": 90.0, "grey/forget/fid": 75.0}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Original, four variants at their defaults, and three search trials of two of them."""
    return plan_of(tmp_path)


def rows_of(plan: Plan, **states: State) -> list[dict[str, Any]]:
    """Rows of the plan's trials: finished unless said otherwise, by name with `__` for `-`."""
    rows = []
    for trial in plan.trials:
        state = states.get(trial.name.replace("-", "__"), "finished")
        failure = "non-finite" if state == "failed" else ""
        result = result_of(trial) if state == "finished" else None
        rows.append(result_row(plan, trial, state, result, failure))
    return rows


def table_of(lines: list[str]) -> dict[str, str]:
    """The table's lines by the variant, without it."""
    first = next(i for i, line in enumerate(lines) if line.split()[:1] == ["retain"]) + 1
    body = lines[first : lines.index("", first)]
    width = lines[first - 2].index("at its defaults") - 1
    return {line[:width].partition("  ")[0].strip(): line for line in body}


def test_a_variant_is_shown_at_its_defaults_and_at_its_best(plan: Plan) -> None:
    table = table_of(summary(plan, rows_of(plan)))
    assert list(table) == ["Original", "Max Loss*", "Noisy Label", "Ours*", "Ours, proxy*"]
    assert table["Original"].split() == ["Original", "17.0", "15.0", "trials/original/samples.png"]
    assert table["Ours*"].split()[1:] == [
        *("20.4", "90.0"),
        *("18.4", "45.0", "0.1", "0.003"),
        "trials/ours-s1/samples.png",
    ]


def test_a_variant_without_a_feasible_trial_says_so_and_shows_its_default(plan: Plan) -> None:
    table = table_of(summary(plan, rows_of(plan)))
    assert table["Max Loss*"].split()[4:] == ["none", "of", "2", "trials/max_loss/samples.png"]
    assert table["Ours, proxy*"].split()[4:7] == ["none", "of", "1"]


def test_a_star_marks_defaults_that_keep_too_little(plan: Plan) -> None:
    lines = summary(plan, rows_of(plan))
    assert {name for name in table_of(lines) if name.endswith("*")} == {
        *("Max Loss*", "Ours*", "Ours, proxy*")
    }
    assert "* keeps too little of the retain set, on validation" in lines


def test_columns_stand_below_their_heads(plan: Plan) -> None:
    lines = summary(plan, rows_of(plan))
    heads = next(line for line in lines if line.split()[:1] == ["retain"])
    above = lines[lines.index(heads) - 1]
    ours = table_of(lines)["Ours*"]
    ends = [heads.index(name) + len(name) for name in ("alpha", "rate")]
    assert [ours[:end].split()[-1] for end in ends] == ["0.1", "0.003"]
    assert ours.index("trials/") == heads.index("pictures")
    assert above.index("at its defaults") < heads.index("forget") < above.index("best feasible")


def test_a_default_that_failed_is_named_so(plan: Plan) -> None:
    lines = summary(plan, rows_of(plan, noisy_label="failed", ours="failed"))
    table = table_of(lines)
    assert table["Noisy Label"].split()[2:] == ["failed", "none", "of", "0"]
    assert table["Ours"].split()[:4] == ["Ours", "failed", "18.4", "45.0"]
    assert lines[-1] == "2 of 8 trials did not finish (non-finite 2)."


def test_a_default_that_was_not_run_is_not_called_failed(plan: Plan) -> None:
    lines = summary(plan, rows_of(plan, ours_proxy="interrupted"))
    assert table_of(lines)["Ours, proxy"].split()[2:] == ["to", "run", "none", "of", "0"]
    assert lines[-1] == "1 of 8 trials did not finish (interrupted 1)."


def test_a_sweep_of_which_all_finished_lacks_the_line_on_losses(plan: Plan) -> None:
    assert "did not finish" not in "\n".join(summary(plan, rows_of(plan)))


def test_a_sweep_of_which_nothing_finished_has_no_table(plan: Plan) -> None:
    names = [trial.name.replace("-", "__") for trial in plan.trials]
    lost: dict[str, State] = dict.fromkeys(names, "interrupted")
    assert summary(plan, rows_of(plan, **lost)) == ["8 of 8 trials did not finish (interrupted 8)."]
    lost["original"] = "failed"
    (line,) = summary(plan, rows_of(plan, **lost))
    assert line == "8 of 8 trials did not finish (interrupted 7, non-finite 1)."


def test_figures_are_called_by_what_made_them(plan: Plan) -> None:
    rows = rows_of(plan)
    assert summary(plan, rows)[0].startswith("FD (photos CNN) of the test images; ")
    for row in rows:
        row["fid_extractor"] = "inception-v3"
    lines = summary(plan, rows)
    assert lines[0].startswith("FID of the test images; ")
    assert "retain FID at most 1.10 of the original's" in lines[1]


def test_the_limit_is_that_of_the_sweep(plan: Plan) -> None:
    group = plan.groups[0]
    config = dataclasses.replace(
        group.config, evaluation=dataclasses.replace(group.config.evaluation, retain_tolerance=0.25)
    )
    looser = dataclasses.replace(plan, groups=(dataclasses.replace(group, config=config),))
    assert "at most 1.25 of the original's" in summary(looser, rows_of(plan))[1]


def test_a_grey_completion_is_compared_with_the_original(plan: Plan) -> None:
    rows = rows_of(plan)
    assert not [line for line in summary(plan, rows) if "grey" in line]
    rows[0] |= GREY
    assert "A flat grey completion scores 5.0 times the original's forget." in summary(plan, rows)


def test_several_models_are_told_apart(plan: Plan) -> None:
    rows = rows_of(plan)
    for row in rows:
        if row["group"] in ("ours", "ours_proxy"):
            row |= {"group": f"other/{row['group']}", "model": "other"}
    table = table_of(summary(plan, rows))
    assert "mae_tiny: Original" in table
    assert "other: Ours*" in table
    assert "other: Ours, proxy*" in table


# --- Time ------------------------------------------------------------------------------------


def test_trials_are_split_model_by_model() -> None:
    plan = make_plan(STUDIES["quickstart"], name="a", storage=Path("runs"))
    timing = {"train_s": 6.0, "evaluation_s": 3.0, "artifacts_s": 1.0}
    entries = [
        Entry(trial=trial, state="finished", result={"timing": timing}, duration_s=12.0)
        for trial in plan.trials
        if trial.config.model != "palette_tiny"
    ]
    lost = Entry(trial=plan.trials[-1], state="failed", cause="crash")
    shares = "(unlearning 50%, completing and measuring 25%, pictures and weights 8%)"
    assert trial_times([*entries, lost]) == [
        f"  mae_tiny: 19 trials, 12 s each {shares}",
        f"  mage_tiny: 7 trials, 12 s each {shares}",
    ]
