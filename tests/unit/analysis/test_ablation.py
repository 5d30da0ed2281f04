"""The curves of a small recorded sweep over forget_alpha."""

import pytest

from analysis import ablation
from tests.helpers.analyses import read_csv, run, size_of


def test_ablation_has_a_row_for_each_finished_trial(recorded, tmp_path):
    assert run(ablation, recorded.storage, "--out", str(tmp_path)) == 0
    rows = read_csv(tmp_path / "ablation.csv")
    assert rows[0] == [*ablation.TRIAL_COLUMNS, *ablation.METRICS]
    trials = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    ours = [trial for trial in trials if trial["group"] == "ours"]
    assert [float(trial["forget_alpha"]) for trial in ours] == [0.1, 0.25, 0.8]
    assert [float(trial["retain/fid"]) for trial in ours] == pytest.approx([18.36, 20.4, 27.88])
    assert {trial["group"] for trial in trials} == {"max_loss", "ours", "ours_proxy"}
    assert size_of(tmp_path / "mae_tiny_ablation.png") == (1260, 600)
    assert (tmp_path / "mae_tiny_ablation.pdf").read_bytes().startswith(b"%PDF")
