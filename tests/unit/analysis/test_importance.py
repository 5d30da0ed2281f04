"""Which trials and distances the importance of searched fields is computed from."""

import json
import math

import pytest

from analysis import importance
from tests.helpers.rows import (
    ORIGINAL,
    REFERENCE,
    comparisons_of,
    row,
    sweep_of,
)


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
