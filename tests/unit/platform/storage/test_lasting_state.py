"""Every file of a sweep's state is on the disk, before it has its name and after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from platform.cli.run import _folder
from platform.execution import reuse
from platform.plan.build import make_plan
from platform.plan.plan import Plan
from platform.plan.serialization import write_plan
from platform.search.ledger import Ledger
from platform.storage import manifest
from platform.storage.environment import write_environment
from platform.storage.replica import Replica
from platform.storage.results import result_row, write_results
from platform.tracking.client import make_database
from platform.tracking.runs import sweep_identity
from tests.helpers.losing_disk import LosingDisk
from tests.helpers.studies import ONE_FAMILY
from trainables.utils.files import make_folder
from trainables.utils.object_store import Mirror

SETTINGS = ("method=ours", "retain_source=real", "search.trials=0")
REFUSED = SimpleNamespace(path="broken.jpg", reason="cut short")
DATASET: Any = SimpleNamespace(
    manifest=pa.table({"path": ["a@1,2"]}), fingerprint="d0d0", refused=(REFUSED,)
)


def left_results(plan: Plan) -> None:
    write_results(plan.folder, [result_row(plan, plan.trials[0], "failed", failure="crash")])


def begun_behind_an_address(plan: Plan) -> None:
    there = plan.storage / "there"
    make_folder(there)
    Mirror(plan.storage, there.as_uri()).mark()
    write_plan(plan)
    Replica(plan).begin()


def taken_over(plan: Plan) -> None:
    source = plan.storage.parent / "other" / "trials" / "ours"
    source.mkdir(parents=True)
    for left in ("weights.safetensors", "result.json"):
        (source / left).write_text(left)
    reuse._copy(source, plan.trial_folder(plan.trials[0]), plan.storage.parent)


WRITERS: dict[str, Callable[[Plan], object]] = {
    "plan.json": write_plan,
    "record.json": lambda plan: sweep_identity(plan.folder),
    "results.parquet": left_results,
    "manifest.parquet": lambda plan: manifest.write_manifests(plan, [DATASET]),
    "environment.json": lambda plan: write_environment(plan.folder),
    "ledger.db": Ledger.create,
    "mlflow.db": lambda plan: make_database(plan.storage / "mlflow.db"),
    ".session": begun_behind_an_address,
    "trials/ours/result.json": taken_over,
    "cache/trials/*.json": lambda plan: reuse.enter(plan, plan.trials[0], Replica(plan)),
}


@pytest.mark.parametrize(
    "name",
    # MLflow takes seconds to make a database
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "mlflow.db")) for name in WRITERS],
)
def test_what_is_written_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    disk = LosingDisk(monkeypatch)
    plan = make_plan(ONE_FAMILY, name="a", storage=tmp_path / "runs", overrides=SETTINGS)
    make_folder(plan.storage)
    with _folder(plan, resume=False):
        WRITERS[name](plan)
    assert [*plan.folder.glob(name), *plan.storage.glob(name)]
    assert disk.named_too_early == []
    assert disk.lost(plan.storage) == []
