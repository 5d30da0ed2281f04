"""Trials of other sweeps are taken over where all that can change a figure is the same, only."""

from __future__ import annotations

import dataclasses
import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from platform.execution import reuse, trial_process
from platform.plan.build import make_plan
from platform.plan.plan import Plan, PlannedTrial
from platform.plan.serialization import write_plan
from platform.search.ledger import Ledger
from platform.search.trial_queue import TrialQueue
from platform.search.trial_record import Entry
from platform.storage import manifest
from platform.storage.address import open_storage
from platform.storage.replica import Replica
from platform.storage.sweep_folder import read_json
from tests.helpers.studies import ONE_FAMILY
from trainables.utils.files import write_json
from trainables.utils.hashing import seal
from trainables.utils.local_files import take_inventory

SETTINGS = ("method=ours", "retain_source=real", "search.trials=0", "pretrain.shipped=false")
INGREDIENTS = (
    *("trial", "data", "original", "networks", "code", "torch", "device"),
    *("processes", "threads"),
)


@dataclasses.dataclass
class Images:
    """As much of a data set as an identity looks at."""

    fingerprint: str = "d0d0"


def plan_in(storage: Path, name: str, **launched: Any) -> Plan:
    plan = make_plan(ONE_FAMILY, name=name, storage=storage, overrides=SETTINGS, seed=1)
    plan = dataclasses.replace(plan, launch=dataclasses.replace(plan.launch, **launched))
    plan.folder.mkdir(parents=True, exist_ok=True)
    return plan


def taken_by(plan: Plan, queue: TrialQueue, fingerprint: str = "d0d0") -> list[PlannedTrial]:
    """What a sweep takes over from the others of its storage."""
    data: Any = {manifest.key_of(plan.trials[0].config.data): Images(fingerprint)}
    return reuse.take_over(plan, queue, data, Replica(plan)).trials


def leave(plan: Plan, **changes: str | None) -> Path:
    """The only trial of a sweep, finished and entered; what its identity is changed in."""
    (trial,) = plan.trials
    data: Any = Images()
    identity = {**reuse._identity(plan, trial, data), **changes}
    metrics = {"val/objective": 0.5, "val/violation": -0.1}
    result = {"trial_key": trial.key, "metrics": metrics, "timing": {"total_s": 1.0}}
    told = {name: value for name, value in identity.items() if value is not None}
    folder = plan.trial_folder(trial)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.safetensors").write_bytes(b"weights")
    listed = take_inventory([folder / "weights.safetensors"])
    write_json(folder / "result.json", seal({**result, "identity": told, "files": listed}))
    reuse.enter(plan, trial, Replica(plan))
    return folder


def test_an_equal_trial_is_taken_over_with_its_files_and_its_origin(tmp_path: Path) -> None:
    folder = leave(plan_in(tmp_path, "first"))
    second = plan_in(tmp_path, "second")
    (trial,) = taken_by(second, TrialQueue(Ledger.create(second)))
    taken = second.trial_folder(trial)
    assert {path.name for path in taken.iterdir()} == {
        *(path.name for path in folder.iterdir()),
        reuse.MARK,
    }
    assert read_json(taken / reuse.MARK) == {"from": "first/trials/ours"}
    assert trial_process.read_result(taken) == trial_process.read_result(folder)
    assert Ledger.open(second).counts()["finished"] == 1
    # a third that finds it by the second is told whose it was
    reuse.enter(second, trial, Replica(second))
    third = plan_in(tmp_path, "third")
    taken_by(third, TrialQueue(Ledger.create(third)))
    assert read_json(third.trial_folder(trial) / reuse.MARK) == {"from": "first/trials/ours"}


def test_equal_keys_do_not_make_trials_equal(tmp_path: Path) -> None:
    first, second = plan_in(tmp_path, "first"), plan_in(tmp_path, "second")
    queue = TrialQueue(Ledger.create(second))
    for ingredient in INGREDIENTS:
        for other in ({ingredient: "another"}, {ingredient: None}):
            leave(first, **other)
            assert taken_by(second, queue) == [], other
    assert queue.ledger.outstanding() == 1
    leave(first)
    assert taken_by(second, queue) == list(second.trials)


def test_a_trial_on_other_images_another_device_or_more_processes_is_not_taken_over(
    tmp_path: Path,
) -> None:
    leave(plan_in(tmp_path, "first"))
    second = plan_in(tmp_path, "second")
    queue = TrialQueue(Ledger.create(second))
    assert taken_by(second, queue, fingerprint="d1d1") == []
    for launched in ({"workers": 2}, {"gpus_per_trial": 1.0}):
        assert taken_by(plan_in(tmp_path, "second", **launched), queue) == [], launched
    assert taken_by(second, queue) == list(second.trials)


def test_a_trial_of_other_software_or_another_original_is_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(plan_in(tmp_path, "first"))
    second = plan_in(tmp_path, "second")
    queue = TrialQueue(Ledger.create(second))
    for target, value in (
        ("torch.__version__", "0.0.1"),
        ("trainables.shared.identity.code_version", lambda *parts: "another"),
        ("trainables.shared.identity.base_material", lambda *given: {"model": "another"}),
        ("trainables.shared.identity.material", lambda *given: {"parts": "another"}),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(target, value)
            assert taken_by(second, queue) == [], target
    assert taken_by(second, queue) == list(second.trials)


def alter_result(folder: Path) -> None:
    path = folder / "result.json"
    path.write_text(path.read_text().replace("0.5", "0.6"))


LOSSES: dict[str, Callable[[Path], object]] = {
    "result.json is altered (": alter_result,
    "result.json is gone": lambda folder: (folder / "result.json").unlink(),
    "weights.safetensors is gone": lambda folder: (folder / "weights.safetensors").unlink(),
    "weights.safetensors is altered": lambda folder: (folder / "weights.safetensors").write_bytes(
        b"Weights"
    ),
    "its folder is gone": shutil.rmtree,
}


@pytest.mark.parametrize("told", LOSSES)
def test_a_trial_that_is_no_longer_whole_is_not_taken_over_and_told_of(
    tmp_path: Path, told: str
) -> None:
    first, second = plan_in(tmp_path, "first"), plan_in(tmp_path, "second")
    write_plan(first)
    LOSSES[told](leave(first))
    data: Any = {manifest.key_of(second.trials[0].config.data): Images()}
    taken = reuse.take_over(second, TrialQueue(Ledger.create(second)), data, Replica(second))
    assert taken.trials == []
    (fault,) = taken.lost.pop("first/trials/ours")
    assert fault.startswith(told)
    assert taken.lost == {}


def test_nothing_is_told_of_a_sweep_that_was_removed(tmp_path: Path) -> None:
    first, second = plan_in(tmp_path, "first"), plan_in(tmp_path, "second")
    leave(first)
    shutil.rmtree(first.folder)
    data: Any = {manifest.key_of(second.trials[0].config.data): Images()}
    taken = reuse.take_over(second, TrialQueue(Ledger.create(second)), data, Replica(second))
    assert taken == reuse.TakenOver()


def test_a_fault_of_the_cache_is_not_told_as_one_of_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(plan_in(tmp_path, "first"))
    second = plan_in(tmp_path, "second")

    def out_of_reach(*given: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "weights")

    monkeypatch.setattr(reuse, "_identity", out_of_reach)
    with pytest.raises(PermissionError, match="weights"):
        taken_by(second, TrialQueue(Ledger.create(second)))


def test_what_another_machine_has_entered_is_not_entered_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "node"))
    plan = plan_in(open_storage((tmp_path / "place").as_uri()), "first")
    leave(plan)
    (trial,) = plan.trials
    (entry,) = (plan.cache / "trials").iterdir()
    entry.unlink()  # this machine's copy
    monkeypatch.setattr(reuse, "enter", None)
    reuse.enter_lacking(plan, [Entry(trial=trial, state="finished")], Replica(plan))
    assert entry.is_file()
