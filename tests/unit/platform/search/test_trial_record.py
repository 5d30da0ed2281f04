"""How a trial ended: which of two is better."""

from __future__ import annotations

import math

import pytest

from platform.plan.plan import Plan
from platform.search.trial_record import Entry, score
from tests.helpers.ledgers import measured, result_of


def entry_of(plan: Plan, objective: float, violation: float) -> Entry:
    trial = plan.trials[1]
    result = result_of(trial, **measured(objective, violation))
    return Entry(trial=trial, state="finished", result=result)


def test_infeasible_trials_rank_below_all_feasible_ones_by_their_violation(plan: Plan) -> None:
    figures = [(9.0, 0.5), (5.0, 0.2), (7.0, 1e-9), (-1.0, 0.0), (0.1, -0.3), (0.2, -0.1)]
    entries = [entry_of(plan, *pair) for pair in figures]
    mixed = [entries[place] for place in (3, 0, 5, 1, 4, 2)]
    assert sorted(mixed, key=lambda entry: entry.rank) == entries
    assert [entry.feasible for entry in entries] == [False] * 3 + [True] * 3
    assert entries[1].forget_ratio == pytest.approx(math.exp(5.0))
    assert entries[1].retain_ratio == pytest.approx(1.1 * math.exp(0.2))


def test_scores_order_reports_as_ranks_order_trials(plan: Plan) -> None:
    reports = [
        {"val/objective": objective, "val/violation": violation}
        for objective in (-2.0, 0.1, 3.0)
        for violation in (-0.5, 0.0, 0.2, 4.0)
    ]

    def ranked(metrics: dict[str, float]) -> tuple[bool, float]:
        return entry_of(plan, metrics["val/objective"], metrics["val/violation"]).rank

    by_score = sorted(reports, key=score)
    assert [ranked(each) for each in by_score] == sorted(map(ranked, reports))
