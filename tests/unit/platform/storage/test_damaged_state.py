"""Each file that a resumed sweep reads, emptied, cut or with a bit turned: never a silent restart.

What may follow is a refusal that names the file, or the state as it was.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from platform.plan.build import make_plan
from platform.plan.plan import Plan
from platform.plan.serialization import plan_to_dict, read_plan, write_plan
from platform.search.ledger import Ledger
from platform.search.trial_queue import TrialQueue
from platform.storage import manifest
from platform.tracking.runs import sweep_identity
from tests.helpers.recorded import result_of
from tests.helpers.studies import ONE_FAMILY
from trainables.config.names import SNAPSHOT
from trainables.training.snapshots import Snapshot, read_snapshot, write_snapshot
from trainables.utils.errors import UserError
from trainables.utils.files import write_json
from trainables.utils.hashing import seal

SETTINGS = ("method=ours", "retain_source=real", "search.sobol_trials=2", "search.trials=6")
IDENTITY = {"trial": "b7b4c83f5f39", "code": "d0d0"}
DATASET: Any = SimpleNamespace(fingerprint="d0d0")

FILES = (
    "plan.json",
    "ledger.db",
    "record.json",
    "manifest.parquet",
    "trials/ours-s1/result.json",
    f"trials/ours-s2/{SNAPSHOT}",
)
DAMAGES = ("emptied", *(f"cut to {n} %" for n in (10, 50, 90, 99)), *(f"bit {n}" for n in range(8)))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A killed sweep: a trial is done, one has left its result, one its snapshot, one failed."""
    plan = make_plan(
        ONE_FAMILY, name="a", storage=tmp_path_factory.mktemp("s"), overrides=SETTINGS, seed=1
    )
    plan.folder.mkdir()
    write_plan(plan)
    table = pa.table({"path": ["a@1,2"] * 50, "data_hash": ["d0d0"] * 50})
    pq.write_table(table, plan.folder / "manifest.parquet", write_page_checksum=True)
    sweep_identity(plan.folder)
    queue = TrialQueue(Ledger.create(plan))
    own, first, second = (queue.next() for _ in range(3))
    assert own is not None
    assert first is not None
    assert second is not None
    queue.finish(own, result_of(own))
    for trial in (first, second):
        plan.trial_folder(trial).mkdir(parents=True)
    write_json(plan.trial_folder(first) / "result.json", seal(result_of(first)))
    tensors = {"weights": torch.arange(100.0)}
    write_snapshot(plan.trial_folder(second), Snapshot(40, tensors, ({"step": 40},)), IDENTITY)
    return plan


def state(folder: Path) -> dict[str, Any]:
    """All that a resumed sweep knows of the sessions before."""
    plan = read_plan(folder)
    queue = TrialQueue(Ledger.open(plan))
    manifest.refuse_others(plan, [DATASET])
    queue.recover()
    snapshot = read_snapshot(folder / "trials" / "ours-s2", IDENTITY)
    assert snapshot is not None
    return {
        "plan": plan_to_dict(plan) | {"storage": ""},
        "entries": {e.trial.key: (e.state, dict(e.result)) for e in queue.ledger.entries()},
        "outstanding": [trial.key for trial in queue.waiting()],
        "identity": sweep_identity(folder),
        "snapshot": (snapshot.step, snapshot.tensors["weights"].tolist(), snapshot.history),
    }


def damage(content: bytes, how: str, seed: str) -> bytes:
    if how == "emptied":
        return b""
    if how.startswith("cut"):
        return content[: len(content) * int(how.split()[2]) // 100]
    place = random.Random(f"{seed} {how}").randrange(8 * len(content))
    turned = bytearray(content)
    turned[place // 8] ^= 1 << place % 8
    return bytes(turned)


def test_the_state_is_whole(sweep: Plan, tmp_path: Path) -> None:
    found = state(shutil.copytree(sweep.folder, tmp_path / "a"))
    states = [state for state, _ in found["entries"].values()]
    assert states == ["finished", "finished", "interrupted"]
    assert len(found["outstanding"]) == 1


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_no_silent_restart(
    sweep: Plan, tmp_path: Path, name: str, how: str
) -> None:
    folder = shutil.copytree(sweep.folder, tmp_path / "a")
    before = state(shutil.copytree(sweep.folder, tmp_path / "whole" / "a"))
    path = folder / name
    path.write_bytes(damage(path.read_bytes(), how, name))
    refused = ""
    found = before
    try:
        found = state(folder)
    except UserError as error:
        refused = str(error)
    if refused:
        assert str(path) in refused
        assert "\n" not in refused
    assert found == before


@pytest.mark.parametrize("name", FILES)
def test_a_pickle_in_its_place_is_refused_and_not_run(
    sweep: Plan, tmp_path: Path, name: str
) -> None:
    folder = shutil.copytree(sweep.folder, tmp_path / "a")
    mark = tmp_path / "run"
    (folder / name).write_bytes(b"cposix\nsystem\n(S'touch %s'\ntR." % str(mark).encode())
    with pytest.raises(UserError, match=Path(name).name):
        state(folder)
    assert not mark.exists()
