"""One driver a sweep, and what is looked at before its first trial."""

from __future__ import annotations

import errno
import math
import sqlite3
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import torch

from platform.cli import run
from platform.cli.request import Request
from platform.cli.requested_plan import SweepCall, plan_request
from platform.cli.session import Phases, Session
from platform.plan.build import make_plan
from platform.plan.plan import Plan
from platform.plan.serialization import is_abandoned, read_plan, write_plan
from platform.plan.validation import check_weights
from platform.search.ledger import FILE, Ledger
from platform.search.trial_queue import TrialQueue
from platform.storage import manifest
from platform.storage.address import open_storage
from platform.storage.replica import Replica
from platform.storage.sweep_folder import read_json
from tests.helpers.command import Captured, called, refused, sweep
from tests.helpers.ledgers import PAIR, be_impatient, held, plan_in, result_of, take
from tests.helpers.studies import ONE_FAMILY
from trainables.models import build_model
from trainables.utils.addresses import StorageError
from trainables.utils.errors import CheckpointError, ConfigError, DataError
from trainables.utils.files import write_json
from trainables.utils.hashing import seal
from trainables.utils.local_files import take_inventory
from trainables.utils.waiting import HeldError


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left"), sqlite3.OperationalError("database or disk is full")],
)
def test_a_full_disk_is_told_in_a_line_also_before_the_first_trial(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def opened(plan: Plan) -> Ledger:
        raise error

    sweep(tmp_path)
    monkeypatch.setattr(Ledger, "open", opened)
    told = f"the disk of {tmp_path} is full: free some room, and give the same command again"
    assert refused(capsys, "--sync", "first", "--storage", tmp_path) == [told]


def test_what_a_kill_before_the_plan_left_is_no_sweep(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    for name in (".ledger.db", "ledger.db", "manifest.parquet", ".plan.json.7"):
        assert is_abandoned(folder)
        (folder / name).touch()
    request = Request(storage=str(tmp_path), name="a")
    assert plan_request(request, []).plan.name == "a"
    (folder / "photo.jpg").touch()  # a user's own folder
    assert not is_abandoned(folder)
    with pytest.raises(ConfigError, match="--name a is in use"):
        plan_request(request, [])
    (folder / "photo.jpg").rename(folder / "plan.json")
    assert not is_abandoned(folder)


def test_a_sweep_that_goes_on_finds_its_images_and_notes_where_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "Recorder", lambda plan, uri: uri)
    table = pa.table({"path": ["a@1,2"]})
    own, other = (
        SimpleNamespace(manifest=table, fingerprint=each, refused=()) for each in ("d0d0", "d1d1")
    )
    plan = make_plan(ONE_FAMILY, name="a", storage=tmp_path)
    plan.folder.mkdir()

    def opened(*datasets: Any, resume: bool) -> Ledger:
        call = SweepCall(plan=plan, request=Request(resume=resume))
        return run._queue_and_recorder(call, datasets)[0].ledger

    described = plan.folder / "environment.json"
    assert opened(own, resume=False).outstanding() == plan.total
    assert read_json(described)["packages"]["torch"] == version("torch")
    described.unlink()
    for given in ((other,), (own, other), ()):
        with pytest.raises(DataError, match="the images are not those that sweep 'a' began with"):
            opened(*given, resume=True)
    assert opened(own, resume=True).outstanding() == plan.total
    assert described.exists()


def test_weights_of_networks_are_looked_for_before_any_image_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    monkeypatch.setattr(manifest, "load_all", lambda plan: decoded.append(plan.name))
    settings = ("networks.embeddings=ViT-B-32", "networks.clip_pretrained=mine")
    plan = make_plan(ONE_FAMILY, name="a", storage=tmp_path, overrides=settings)
    with pytest.raises(CheckpointError, match="clip_pretrained=mine is no weights of ViT-B-32"):
        run.run(SweepCall(plan=plan), sys.stdout)
    assert decoded == []
    assert not plan.folder.exists()


def test_a_published_original_is_refused_before_any_image_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    monkeypatch.setattr(manifest, "load_all", lambda plan: decoded.append(plan.name))
    torch.manual_seed(0)
    state = build_model("mae_tiny").state_dict()
    whole, poor = tmp_path / "whole.pth", tmp_path / "poor.pth"
    torch.save({"model": state}, whole)
    torch.save({"model": {**state, "cls_token": torch.full((1, 1, 96), math.nan)}}, poor)

    def plan(name: str, path: Path) -> Plan:
        settings = [f"checkpoint={path}"]
        return make_plan(ONE_FAMILY, name=name, storage=tmp_path, overrides=settings)

    with pytest.raises(CheckpointError, match=r"poor\.pth: cls_token holds NaN or infinity"):
        run.run(SweepCall(plan=plan("poor", poor)), sys.stdout)
    assert decoded == []
    assert not plan("poor", poor).folder.exists()
    check_weights(plan("whole", whole))


@pytest.mark.parametrize("options", [{"resume": True}, {"resume": True, "retry_failed": True}])
def test_a_sweep_whose_ledger_is_held_is_not_opened_and_says_how_to_try_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, bool],
) -> None:
    monkeypatch.setattr(manifest, "load_all", lambda plan: {})
    be_impatient(monkeypatch)
    plan = plan_in(tmp_path)
    Ledger.create(plan)
    write_plan(plan)
    with held(plan.folder / FILE):
        status = run.run(SweepCall(plan=plan, request=Request(**options)), sys.stdout)
    assert status == 130
    why, command = capsys.readouterr().out.splitlines()
    assert why == (f"Stopped: {plan.folder / FILE} cannot be read (database is locked). To go on:")
    asked = " --retry-failed" if "retry_failed" in options else ""
    assert command.endswith(f"--name a --resume --storage {tmp_path}{asked}")


def test_a_record_whose_ledger_is_held_is_not_brought_up_to_date_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    be_impatient(monkeypatch)
    plan = plan_in(tmp_path)
    Ledger.create(plan)
    write_plan(plan)
    with held(plan.folder / FILE):
        status, out, err = called(capsys, "--sync", "a", "--storage", tmp_path)
    assert (status, err) == (1, "")
    assert out == (
        f"error: {plan.folder / FILE} cannot be read (database is locked): give the same command "
        "again once it can be used, such as when the process that holds it has ended\n"
    )


class Unrecorded:
    """A recorder that takes everything, and knows of nothing before."""

    missed: tuple[object, ...] = ()
    shown_uri, variants_page = "sqlite:///mlflow.db", "#/"

    def __init__(self, plan: Plan, tracking_uri: str | None) -> None:
        self.plan = plan

    def __getattr__(self, name: str) -> Any:
        return lambda *given: set()


@pytest.mark.parametrize("goes_on", ["resumed", "brought up to date"])
def test_a_trial_that_a_killed_session_left_is_entered_for_other_sweeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goes_on: str
) -> None:
    monkeypatch.setattr(run, "Recorder", Unrecorded)
    monkeypatch.setattr(manifest, "load_all", lambda plan: {})
    monkeypatch.setattr(manifest, "refuse_others", lambda plan, datasets: None)
    plan = plan_in(tmp_path)
    queue = TrialQueue(Ledger.create(plan))
    recorded, left = take(queue), take(queue)
    queue.finish(recorded, result_of(recorded))  # killed before it was entered
    for trial in (recorded, left):
        plan.trial_folder(trial).mkdir(parents=True)
        write_json(plan.trial_folder(trial) / "result.json", seal(result_of(trial)))
    call = SweepCall(plan=plan, request=Request(resume=True))
    if goes_on == "resumed":
        run._opened(call, Replica(plan), Phases("to start"), sys.stdout)
    else:
        run.sync(call, sys.stdout)
    entered = {path.stem: read_json(path) for path in (plan.cache / "trials").iterdir()}
    assert {key: each["folder"] for key, each in entered.items()} == {
        trial.key: f"a/trials/{trial.name}" for trial in (recorded, left)
    }


def test_a_repair_behind_an_address_outlasts_a_session_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(run, "Recorder", Unrecorded)
    monkeypatch.setattr(manifest, "load_all", lambda plan: {})
    monkeypatch.setattr(manifest, "refuse_others", lambda plan, datasets: None)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "node"))
    plan = plan_in(open_storage((tmp_path / "place").as_uri()))
    queue = TrialQueue(Ledger.create(plan))
    write_plan(plan)
    trial = take(queue)
    weights = plan.trial_folder(trial) / "weights"
    weights.parent.mkdir(parents=True)
    weights.write_text("w" * 2**21)
    result = result_of(trial) | {"files": take_inventory([weights])}
    write_json(weights.with_name("result.json"), seal(result))
    queue.finish(trial, result)
    weights.write_text("W" * 2**21)
    Replica(plan).begin()
    assert Replica(plan).push() == ""
    for repair in (True, False):  # as if the first session had been killed
        call = SweepCall(plan=plan, request=Request(resume=True, repair=repair, no_reuse=True))
        session = run._opened(call, Replica(plan), Phases("to start"), sys.stdout)
        assert trial in session.queue.waiting()
    # once: only a repair reads the files
    read = "Comparing the digests of 1 file of 1 finished trial, 2 MB ...\n"
    assert capsys.readouterr().out == read


@pytest.mark.parametrize("within", ["opening", "driving"])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left"), "Stopped: the disk is full: free some room."),
        (StorageError("--storage s3://b cannot be used"), "Stopped: --storage s3://b cannot be "),
        (HeldError("cache/base.lock is locked"), "Stopped: cache/base.lock is locked."),
        (KeyboardInterrupt(), "Interrupted."),
    ],
)
def test_what_stops_a_new_sweep_once_it_is_planned_is_told_with_the_command_that_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
    within: str,
    error: BaseException,
    told: str,
) -> None:
    def stops(*given: Any) -> None:
        raise error

    monkeypatch.setattr(run, "Recorder", Unrecorded)
    monkeypatch.setattr(manifest, "load_all", lambda plan: {})
    monkeypatch.setattr(manifest, "write_manifests", lambda plan, datasets: None)
    monkeypatch.setattr(*(run, "_catch_up") if within == "opening" else (Session, "drive"), stops)
    plan = make_plan(ONE_FAMILY, name="a", storage=tmp_path, overrides=PAIR)
    status = run.run(SweepCall(plan=plan, request=Request(name="a", no_reuse=True)), sys.stdout)
    out, err = capsys.readouterr()
    assert (status, err) == (130, "")
    why, command = out.splitlines()
    assert why.startswith(told)
    assert why.endswith(" To go on:")
    assert command.endswith(f"--name a --resume --storage {tmp_path}")
    assert read_plan(plan.folder).name == "a"


def test_what_stops_a_new_sweep_before_it_is_planned_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(manifest, "load_all", lambda plan: {})
    monkeypatch.setattr(manifest, "write_manifests", stops)
    plan = make_plan(ONE_FAMILY, name="a", storage=tmp_path, overrides=PAIR)
    with pytest.raises(KeyboardInterrupt):
        run.run(SweepCall(plan=plan, request=Request(name="a")), sys.stdout)
    assert not plan.folder.exists()
