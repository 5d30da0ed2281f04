"""Optuna's studies of a ledger: made and read all at once, and as Optuna itself makes them."""

from __future__ import annotations

import time
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from platform.search.studies import Studies

NAMES = ["ours", "max_loss-a'b", "original ? %d", "grün"]
BOTH = [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE]


def test_studies_are_as_optuna_makes_and_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "studies #1?.db"
    Studies.create(path, NAMES, BOTH, {"plan": "d0d0", "more": [1, "é"]})
    path.rename(tmp_path / "plain.db")
    storage = RDBStorage(f"sqlite:///{tmp_path / 'plain.db'}")
    assert [each.study_name for each in storage.get_all_studies()] == NAMES
    for name in NAMES:
        study = optuna.load_study(study_name=name, storage=storage)
        assert study.directions == BOTH
        assert study.user_attrs == {"plan": "d0d0", "more": [1, "é"]}
        assert study.trials == []
    storage.remove_session()
    storage.engine.dispose()


def test_what_is_written_to_a_study_is_read_again_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "studies.db"
    Studies.create(path, NAMES, BOTH[1:], {"plan": "d0d0"})
    studies = Studies(path)
    assert studies.trials() == []
    for name in (NAMES[2], NAMES[0]):
        studies[name].add_trial(create_trial(value=1.0, user_attrs={"of": name}))
    studies[NAMES[0]].add_trial(create_trial(state=TrialState.FAIL, user_attrs={"of": "failed"}))
    studies[NAMES[1]].set_user_attr("chosen", "key")
    again = Studies(path)
    assert [trial.user_attrs["of"] for trial in again.trials()] == [NAMES[0], "failed", NAMES[2]]
    assert again.attributes(NAMES[1]) == {"plan": "d0d0", "chosen": "key"}
    assert again.attributes(NAMES[0]) == {"plan": "d0d0"}
    with pytest.raises(KeyError):
        again.attributes("none")
    with pytest.raises(KeyError):
        again["none"]


def test_thousands_of_studies_take_no_longer_than_a_moment(tmp_path: Path) -> None:
    names = [f"ours-{number}" for number in range(5000)]
    began = time.process_time()
    Studies.create(tmp_path / "studies.db", names, BOTH[1:], {"plan": "d0d0"})
    studies = Studies(tmp_path / "studies.db")
    assert studies.trials() == []
    assert {studies.attributes(name)["plan"] for name in names} == {"d0d0"}
    # one by one they take more than ten seconds
    assert time.process_time() - began < 3.0
