"""A sweep whose storage has an address: the driver's replica, its lease, and what is refused."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from platform.cli.messages import resume_command
from platform.execution.scheduler import Scheduler, SweepRun
from platform.plan.build import make_plan
from platform.plan.plan import Limits, Plan
from platform.plan.serialization import write_plan
from platform.search.ledger import FILE, Ledger
from platform.search.trial_queue import TrialQueue
from platform.storage import lease
from platform.storage.address import fetch_sweep, open_storage, push_folder, storage_option
from platform.storage.lease import InUseError, driver_lock
from platform.storage.replica import Replica
from platform.storage.results import write_results
from platform.storage.sweep_folder import read_sweep
from platform.tracking.client import record_folder
from search_spaces import STUDIES
from tests.helpers.command import SETTINGS, Captured, called, planned, refused
from tests.helpers.ledgers import be_impatient, held
from trainables.config.names import RESULT, SNAPSHOT
from trainables.utils import waiting
from trainables.utils.object_store import Mirror
from trainables.utils.remote_folder import RemoteFolder


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    on_machine("first", tmp_path, monkeypatch)
    return (tmp_path / "place").as_uri()


def on_machine(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on this process has the folder for temporary files of another machine."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / name))


def plan_in(storage: Path, name: str = "a") -> Plan:
    made = make_plan(STUDIES["quickstart"], name=name, storage=storage, overrides=SETTINGS, seed=0)
    made.folder.mkdir(parents=True, exist_ok=True)
    write_plan(made)
    return made


def test_a_sweep_is_taken_up_on_another_machine(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(open_storage(address))
    (plan.folder / "environment.json").write_text("{}")
    trial = plan.trial_folder(plan.trials[0])
    trial.mkdir(parents=True)
    (trial / RESULT).write_text("{}")
    Replica(plan).begin()
    assert Replica(plan).push() == ""

    on_machine("second", tmp_path, monkeypatch)
    other = plan_in_of(open_storage(address))
    assert other.folder != plan.folder
    assert not (other.folder / "environment.json").exists()
    Replica(other).pull()
    assert (other.folder / "environment.json").is_file()
    assert (other.trial_folder(other.trials[0]) / RESULT).is_file()


def plan_in_of(storage: Path) -> Plan:
    from platform.plan.serialization import read_plan

    return read_plan(storage / "a")


def test_the_plan_by_which_a_sweep_is_known_comes_last(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(open_storage(address))
    for name in ("results.parquet", "record.json", "ledger.db-journal"):
        (plan.folder / name).write_text("")
    sent: list[str] = []
    monkeypatch.setattr(Mirror, "push", lambda self, path, **how: sent.append(path.name) or {})
    Replica(plan).begin()
    assert sent[-1] == "plan.json"
    assert sorted(sent) == ["plan.json", "record.json", "results.parquet"]


def test_what_has_begun_is_brought_now_and_then(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.storage.replica._PUSH_EVERY_S", 0.05)
    plan = plan_in(open_storage(address))
    replica = Replica(plan)
    seen = Mirror(plan.storage, address)
    replica.push_changes()
    assert seen.remote.folders() == []
    with replica.held():
        replica.begin()
        (plan.folder / "results.parquet").write_text("later")
        waited_for(lambda: seen.read(plan.folder / "results.parquet") == b"later")


def waited_for(happens: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while not happens():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_database_goes_after_what_it_names_and_only_if_it_changed(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(open_storage(address))
    path = plan.folder / "mlflow.db"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("create table runs (name)")
    (plan.folder / "mlartifacts").mkdir()
    (plan.folder / "results.parquet").write_text("")
    # a change is due at once, however soon it follows
    monkeypatch.setattr("platform.storage.replica._DATABASE_RATE", math.inf)
    sent: list[str] = []
    monkeypatch.setattr(Mirror, "push", lambda self, path, **how: sent.append(path.name) or {})
    monkeypatch.setattr(Mirror, "push_changed", lambda self, path, of: sent.append(path.name))
    monkeypatch.setattr(Mirror, "push_as", lambda self, copy, path: sent.append(path.name))
    replica = Replica(plan)
    replica.begin()
    assert sent == ["mlartifacts", "results.parquet", "mlflow.db", "plan.json"]
    sent.clear()
    replica.push_changes()
    assert sent == ["mlartifacts", "results.parquet", "plan.json"]
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("insert into runs values ('a')")
    replica.push_changes()
    assert sent[-2:] == ["mlflow.db", "plan.json"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What addresses are asked to do, each with the name of the file or folder."""
    asked: list[str] = []

    def noted(method: str, place: int) -> None:
        call = getattr(RemoteFolder, method)

        def note(self: RemoteFolder, *given: Any, **how: Any) -> Any:
            asked.append(f"{method} {given[place]}")
            return call(self, *given, **how)

        monkeypatch.setattr(RemoteFolder, method, note)

    for method, place in {"files": 0, "info": 0, "read": 0, "upload": 1}.items():
        noted(method, place)
    return asked


def test_bringing_changes_costs_what_changed_however_much_there_is(
    address: str, asked: list[str]
) -> None:
    plan = plan_in(open_storage(address))
    artifacts = plan.folder / "mlartifacts"
    for number in range(30):
        (artifacts / f"run{number}").mkdir(parents=True)
        (artifacts / f"run{number}" / "result.json").write_text("{}")
    (plan.folder / "record.json").write_text("{}")
    replica = Replica(plan)
    replica.begin()
    asked.clear()
    replica.push_changes()
    assert asked == ["read a/.session"]
    asked.clear()
    (artifacts / "run7" / "result.json").write_text("[]")
    (artifacts / "run7" / "samples.png").write_text("new")
    for _ in range(2):
        replica.push_changes()
    sent = [f"a/mlartifacts/run7/{name}" for name in ("result.json", "samples.png")]
    pairs = [(f"upload {name}", f"info {name}") for name in sent]
    assert asked == ["read a/.session", *itertools.chain(*pairs), "read a/.session"]
    assert Mirror(plan.storage, address).read(artifacts / "run7" / "result.json") == b"[]"


def test_a_file_that_could_not_be_brought_is_brought_the_next_time(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(open_storage(address))
    replica = Replica(plan)
    replica.begin()
    (plan.folder / "results.parquet").write_text("later")

    def gone(*given: Any, **how: Any) -> None:
        raise OSError("no route to host")

    with monkeypatch.context() as patch:
        patch.setattr(RemoteFolder, "upload", gone)
        replica.push_changes()
    replica.push_changes()
    assert Mirror(plan.storage, address).read(plan.folder / "results.parquet") == b"later"


def test_a_large_database_goes_less_often_and_at_the_end(
    address: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("platform.storage.replica.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("platform.storage.replica._DATABASE_RATE", 1000)
    plan = plan_in(open_storage(address))
    path = plan.folder / "mlflow.db"
    replica = Replica(plan)

    def write_and_bring(seconds: float) -> bool:
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute("create table if not exists runs (name)")
            database.executemany("insert into runs values (?)", [("x" * 1000,)] * 30)
        clock[0] += seconds
        asked.clear()
        replica.push_changes()
        return "upload a/mlflow.db" in asked

    replica.begin()
    assert write_and_bring(1.0)
    size = path.stat().st_size
    assert size > 30_000
    assert not write_and_bring(10.0)
    assert write_and_bring(path.stat().st_size / 1000 + 60.0)
    assert not write_and_bring(10.0)
    asked.clear()
    assert replica.push() == ""
    assert "upload a/mlflow.db" in asked


def test_what_a_lost_driver_had_not_brought_is_gone_on_with(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(open_storage(address))
    (plan.folder / "results.parquet").write_text("brought")
    (plan.folder / "record.json").write_text("{}")
    Replica(plan).begin()
    # here it is lost
    (plan.folder / "results.parquet").write_text("newer")
    (plan.folder / "record.json").unlink()
    for look in (Replica(plan).pull, lambda: fetch_sweep(address, "a")):
        look()
        assert (plan.folder / "results.parquet").read_text() == "newer"
        assert (plan.folder / "record.json").read_text() == "{}"

    on_machine("second", tmp_path, monkeypatch)
    other = plan_in_of(open_storage(address))
    Replica(other).pull()
    (other.folder / "results.parquet").write_text("of the second machine")
    Replica(other).begin()

    on_machine("first", tmp_path, monkeypatch)
    Replica(plan).pull()
    assert (plan.folder / "results.parquet").read_text() == "of the second machine"


def test_an_analysis_leaves_a_sweep_alone_that_runs_here(address: str) -> None:
    plan = plan_in(open_storage(address))
    write_results(plan.folder, [])
    Replica(plan).begin()
    (plan.folder / ".session").unlink()
    (plan.folder / "results.parquet").write_text("newer")
    with driver_lock(plan.storage, "a"):
        fetch_sweep(address, "a")
        assert (plan.folder / "results.parquet").read_bytes() == b"newer"
    fetch_sweep(address, "a")
    assert (plan.folder / "results.parquet").read_bytes() != b"newer"


def test_the_end_brings_no_older_attempt_of_a_trial(address: str) -> None:
    plan = plan_in(open_storage(address))
    folder = plan.trial_folder(plan.trials[0])
    folder.mkdir(parents=True)
    for name in (SNAPSHOT, "history.json", "samples.png"):
        (folder / name).write_text("of an earlier attempt")
    seen = Mirror(plan.storage, address)
    seen.write(folder / "history.json", b"of a later one")
    assert Replica(plan).push() == ""
    assert seen.read(folder / SNAPSHOT) is None
    assert seen.read(folder / "history.json") == b"of a later one"
    assert seen.read(folder / "samples.png") == b"of an earlier attempt"


def test_a_trial_that_cannot_be_brought_here_stays_outstanding(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(open_storage(address))
    queue = TrialQueue(Ledger.create(plan))
    told: list[str] = []

    class Quiet:
        def __getattr__(self, name: str) -> Any:
            return lambda *given, **how: told.append(name)

    quiet: Any = Quiet()
    run = Scheduler(
        SweepRun(
            plan=plan,
            queue=queue,
            listeners=(quiet,),
            limits=Limits(),
            replica=Replica(plan),
            elapsed_s=lambda: 0.0,
        )
    )
    trial = run.next()
    assert trial is not None
    folder = plan.trial_folder(trial)
    folder.mkdir(parents=True)
    (folder / ".silent-0").write_text("of an attempt before")
    run.order(trial)
    assert not (folder / ".silent-0").exists()
    run.started(trial.key)

    def gone(*given: Any, **how: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(Mirror, "pull", gone)
    monkeypatch.setattr(waiting, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(waiting, "_PAUSE_S", 0.0)
    run.ended(trial.key, None)
    assert "put_back" in told
    assert run.next() is None
    assert run.outcome().interrupted
    assert "no route to host" in run.outcome().reason
    assert queue.ledger.outstanding() == plan.total


def test_a_place_that_is_gone_is_told_at_the_end(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(open_storage(address))

    def gone(*given: Any, **how: Any) -> None:
        raise OSError("no route to host")

    replica = Replica(plan)
    replica.begin()
    monkeypatch.setattr(Mirror, "push", gone)
    replica.push_changes()
    told = replica.push()
    assert address in told
    assert "no route to host" in told
    assert str(plan.folder) in told
    assert "--resume brings it there" in told


def test_a_ledger_that_is_held_is_no_fault_of_the_address(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(open_storage(address))
    Ledger.create(plan)
    replica = Replica(plan)
    be_impatient(monkeypatch)
    told = f"{plan.folder / FILE} cannot be read (database is locked)"
    with held(plan.folder / FILE):
        with pytest.raises(OSError, match="database is locked") as caught:
            replica.begin()
        assert str(caught.value) == told
        assert replica.push().startswith(f"{told}; what {address} lacks is in {plan.folder}/ of ")
    replica.begin()


def test_a_trial_is_taken_as_it_is_there(address: str) -> None:
    plan = plan_in(open_storage(address))
    folder = plan.trial_folder(plan.trials[0])
    other = Mirror(plan.storage.with_name("other"), address)
    write = other.local / folder.relative_to(plan.storage)
    write.mkdir(parents=True)
    (write / RESULT).write_text("{}")
    other.push(write)
    folder.mkdir(parents=True)
    (folder / SNAPSHOT).write_text("of an attempt on this machine")
    Replica(plan).pull_trial(folder)
    assert [path.name for path in folder.iterdir()] == [RESULT]
    Replica(plan).remove_file(plan.trials[0], SNAPSHOT)
    assert other.read(write / RESULT) == b"{}"


def test_one_driver_at_a_time(address: str) -> None:
    plan = plan_in(open_storage(address))
    seen = Mirror(plan.storage, address)
    file = plan.storage / ".a.driver"
    with Replica(plan).held():
        assert json.loads(seen.read(file) or b"")["host"] == socket.gethostname()
    assert seen.read(file) is None

    seen.write(file, driver(host="elsewhere", processes="others"))
    with pytest.raises(InUseError, match=r"\(1 of elsewhere\).*if it was killed, wait 90 s"):
        Replica(plan).held().__enter__()
    # of a driver on this machine it is known whether it lives, even if its number was used again
    for gone in (driver(pid=2**22 + 1), driver(began="earlier")):
        seen.write(file, gone)
        with Replica(plan).held():
            pass
    seen.write(file, driver())
    with pytest.raises(InUseError):
        Replica(plan).held().__enter__()


def driver(**other: Any) -> bytes:
    """The lease of a process that runs on this machine."""
    here = {"host": socket.gethostname(), "pid": 1}
    ours = {"processes": lease.process_namespace(), "began": lease.start_of_process(1)}
    return json.dumps({"driver": "another", **here, **ours, **other}).encode()


def test_a_sweep_that_appears_meanwhile_is_not_written_over(address: str) -> None:
    plan = plan_in(open_storage(address))
    Replica(plan).begin()
    with pytest.raises(InUseError, match="--name a is in use in"):
        Replica(plan).held(new=True).__enter__()
    with Replica(plan).held():
        pass


def test_a_driver_that_was_taken_for_gone_gives_way(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.storage.replica.BEAT_S", 0.05)
    plan = plan_in(open_storage(address))
    seen = Mirror(plan.storage, address)
    file = plan.storage / ".a.driver"
    replica = Replica(plan)
    with replica.held():
        replica.begin()
        seen.write(file, driver())
        waited_for(lambda: replica.taken_over)
        (plan.folder / "results.parquet").write_text("of the one that was slow")
        replica.push_changes()
        # and stays so once the other has ended
        seen.remove(file)
        time.sleep(0.3)
        assert replica.taken_over
        assert "another process has taken this sweep over" in replica.push()
    assert seen.read(plan.folder / "results.parquet") is None
    assert seen.read(file) is None


def test_a_driver_that_slept_while_another_drove_gives_way(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(open_storage(address))
    replica = Replica(plan)
    replica.begin()
    on_machine("second", tmp_path, monkeypatch)
    other = plan_in_of(open_storage(address))
    Replica(other).pull()
    (other.folder / "results.parquet").write_text("of the second machine")
    Replica(other).begin()
    (plan.folder / "results.parquet").write_text("of the one that slept")
    replica.push_changes()
    assert replica.taken_over
    assert "another process has taken this sweep over" in replica.push()
    seen = Mirror(plan.storage, address)
    assert seen.read(plan.folder / "results.parquet") == b"of the second machine"


def test_a_lease_that_is_not_renewed_runs_out(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(open_storage(address))
    seen = Mirror(plan.storage, address)
    seen.write(plan.storage / ".a.driver", driver(host="elsewhere", processes="others"))
    monkeypatch.setattr(lease, "GONE_S", 0.05)
    time.sleep(0.2)
    with Replica(plan).held():
        told = seen.read(plan.storage / ".a.driver") or b""
        assert json.loads(told)["host"] == socket.gethostname()


def test_a_lease_is_renewed_while_it_is_held(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.storage.replica.BEAT_S", 0.05)
    plan = plan_in(open_storage(address))
    seen = Mirror(plan.storage, address)
    file = plan.storage / ".a.driver"
    with Replica(plan).held():
        seen.write(file, b"")
        waited_for(lambda: seen.read(file))
        assert json.loads(seen.read(file) or b"{}")["host"] == socket.gethostname()


def test_a_folder_needs_none_of_it(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    replica = Replica(plan)
    with replica.held():
        replica.pull()
        replica.begin()
        replica.pull_trial(plan.folder)
        replica.push_changes()
        replica.remove()
    assert replica.push() == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    assert storage_option(plan) == str(tmp_path)
    assert record_folder(plan.folder) == tmp_path.resolve()


def test_commands_name_the_address_and_no_folder_of_a_machine(address: str) -> None:
    plan = plan_in(open_storage(address))
    assert storage_option(plan) == address
    assert record_folder(plan.folder) == plan.folder
    assert f"--storage {address}" in resume_command(plan, None)


def test_the_command_line_plans_behind_an_address(address: str, capsys: Captured) -> None:
    settings = [part for text in SETTINGS for part in ("--set", text)]
    assert "Nothing was started" in planned(capsys, "--storage", address, "--name", "b", *settings)
    plan = plan_in(open_storage(address))
    Replica(plan).begin()
    (line,) = refused(capsys, "--storage", address, "--name", "a", *settings)
    assert "--name a is in use" in line


def test_an_address_that_cannot_be_used_is_told_with_all_else(
    address: str, capsys: Captured, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    under = (tmp_path / "file" / "place").as_uri()
    first, second = refused(capsys, "--storage", under, "--seed", "x")
    told = f"{first} {second}"
    assert f"--storage {under} cannot be used" in told
    assert "--seed 'x' is not a whole number" in told


def test_an_analysis_reads_a_sweep_from_its_address(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(open_storage(address))
    write_results(plan.folder, [])
    Replica(plan).push()
    on_machine("second", tmp_path, monkeypatch)
    storage = fetch_sweep(address, "a")
    assert storage != plan.storage
    assert read_sweep(storage, "a").name == "a"
    made = storage / "a" / "analysis"
    made.mkdir()
    (made / "table.csv").write_text("a,b\n")
    push_folder(made)
    assert Mirror(plan.storage, address).read(plan.folder / "analysis" / "table.csv") == b"a,b\n"
    push_folder(tmp_path)  # of no sweep: nothing happens


def test_the_doctor_looks_behind_an_address(
    address: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    from platform import doctor
    from platform.cli import diagnosis

    monkeypatch.setattr(diagnosis, "_ray", lambda: "starts")
    assert doctor.main(["--storage", address]) == 0
    assert f"storage {address} answers" in capsys.readouterr().out
    assert doctor.main(["--storage", "s3:///"]) == 1
    assert "fail  --storage s3:/// is no address" in capsys.readouterr().out


def test_the_command_line_tells_of_no_secret(capsys: Captured) -> None:
    status, out, err = called(capsys, "--storage", "s3://AKIA:abc@runs", "--dry-run")
    assert status == 2
    assert "abc" not in out + err
