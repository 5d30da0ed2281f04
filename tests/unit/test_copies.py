"""A sweep whose storage has an address: the driver's copy, its lease, and what is refused."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from platform import copies
from platform.copies import Copy, InUseError, find, place, record_folder
from platform.plan import Plan, write_plan
from platform.planning import make_plan
from platform.results import read_sweep, write_results
from platform.summary import resume_command
from search_spaces import STUDIES
from tests.command import SETTINGS, Captured, called, planned, refused
from trainables import mirror
from trainables.mirror import Mirror
from trainables.sections.names import RESULT, SNAPSHOT


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    on_machine("first", tmp_path, monkeypatch)
    return (tmp_path / "place").as_uri()


def on_machine(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on this process has the folder for temporary files of another machine."""
    monkeypatch.setattr(mirror.tempfile, "tempdir", str(tmp_path / name))


def plan_in(storage: Path, name: str = "a") -> Plan:
    made = make_plan(STUDIES["quickstart"], name=name, storage=storage, settings=SETTINGS, seed=0)
    made.folder.mkdir(parents=True, exist_ok=True)
    write_plan(made)
    return made


def test_a_sweep_is_taken_up_on_another_machine(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(find(address))
    (plan.folder / "environment.json").write_text("{}")
    trial = plan.trial_folder(plan.trials[0])
    trial.mkdir(parents=True)
    (trial / RESULT).write_text("{}")
    Copy(plan).begin()
    assert Copy(plan).give() == ""

    on_machine("second", tmp_path, monkeypatch)
    other = plan_in_of(find(address))
    assert other.folder != plan.folder
    assert not (other.folder / "environment.json").exists()
    Copy(other).take()
    assert (other.folder / "environment.json").is_file()
    assert (other.trial_folder(other.trials[0]) / RESULT).is_file()


def plan_in_of(storage: Path) -> Plan:
    from platform.plan import read_plan

    return read_plan(storage / "a")


def test_the_plan_by_which_a_sweep_is_known_comes_last(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(find(address))
    for name in ("results.parquet", "record.json"):
        (plan.folder / name).write_text("")
    sent: list[str] = []
    monkeypatch.setattr(Mirror, "push", lambda self, path, **how: sent.append(path.name))
    Copy(plan).begin()
    assert sent[-1] == "plan.json"
    assert sorted(sent) == ["plan.json", "record.json", "results.parquet"]


def test_a_step_is_taken_now_and_then(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_in(find(address))
    copy = Copy(plan)
    seen = Mirror(plan.storage, address)
    copy.step()
    assert seen.folders() == []
    monkeypatch.setattr(copies, "_STEP_S", -1.0)
    copy.step()
    assert seen.folders() == ["a"]


def test_a_place_that_is_gone_is_told_at_the_end(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(find(address))

    def gone(*given: Any, **how: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(Mirror, "push", gone)
    monkeypatch.setattr(copies, "_STEP_S", -1.0)
    copy = Copy(plan)
    copy.step()
    told = copy.give()
    assert address in told
    assert "no route to host" in told
    assert str(plan.folder) in told
    assert "--resume brings it there" in told


def test_a_trial_is_taken_as_it_is_there(address: str) -> None:
    plan = plan_in(find(address))
    folder = plan.trial_folder(plan.trials[0])
    other = Mirror(plan.storage.with_name("other"), address)
    write = other.local / folder.relative_to(plan.storage)
    write.mkdir(parents=True)
    (write / RESULT).write_text("{}")
    other.push(write)
    folder.mkdir(parents=True)
    (folder / SNAPSHOT).write_text("of an attempt on this machine")
    Copy(plan).take_trial(folder)
    assert [path.name for path in folder.iterdir()] == [RESULT]
    Copy(plan).forget_snapshot(plan.trials[0])
    assert other.read(write / RESULT) == b"{}"


def test_one_driver_at_a_time(address: str) -> None:
    plan = plan_in(find(address))
    seen = Mirror(plan.storage, address)
    lease = plan.storage / ".a.driver"
    with Copy(plan).held():
        assert json.loads(seen.read(lease) or b"")["host"] == socket.gethostname()
    assert seen.read(lease) is None

    seen.write(lease, json.dumps({"host": "elsewhere", "pid": 1}).encode())
    with pytest.raises(InUseError, match=r"elsewhere.*if it was killed, wait 90 s"):
        Copy(plan).held().__enter__()
    # of a driver on this machine it is known whether it lives
    seen.write(lease, json.dumps({"host": socket.gethostname(), "pid": 2**22 + 1}).encode())
    with Copy(plan).held():
        pass
    seen.write(lease, json.dumps({"host": socket.gethostname(), "pid": 1}).encode())
    with pytest.raises(InUseError):
        Copy(plan).held().__enter__()


def test_a_lease_that_is_not_renewed_runs_out(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(find(address))
    seen = Mirror(plan.storage, address)
    seen.write(plan.storage / ".a.driver", b'{"host": "elsewhere", "pid": 1}')
    monkeypatch.setattr(copies, "_GONE_S", 0.05)
    time.sleep(0.2)
    with Copy(plan).held():
        told = seen.read(plan.storage / ".a.driver") or b""
        assert json.loads(told)["host"] == socket.gethostname()


def test_a_lease_is_renewed_while_it_is_held(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "_BEAT_S", 0.05)
    plan = plan_in(find(address))
    seen = Mirror(plan.storage, address)
    lease = plan.storage / ".a.driver"
    with Copy(plan).held():
        seen.write(lease, b"")
        until = time.monotonic() + 30
        while not seen.read(lease) and time.monotonic() < until:
            time.sleep(0.05)
        assert seen.read(lease)


def test_a_folder_needs_none_of_it(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    copy = Copy(plan)
    with copy.held():
        copy.take()
        copy.begin()
        copy.take_trial(plan.folder)
        copy.step()
        copy.drop()
    assert copy.give() == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    assert place(plan) == str(tmp_path)
    assert record_folder(plan.folder) == tmp_path.resolve()


def test_commands_name_the_address_and_no_folder_of_a_machine(address: str) -> None:
    plan = plan_in(find(address))
    assert place(plan) == address
    assert record_folder(plan.folder) == plan.folder
    assert f"--storage {address}" in resume_command(plan, None)


def test_the_command_line_plans_behind_an_address(address: str, capsys: Captured) -> None:
    settings = [part for text in SETTINGS for part in ("--set", text)]
    assert "Nothing was started" in planned(capsys, "--storage", address, "--name", "b", *settings)
    plan = plan_in(find(address))
    Copy(plan).begin()
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
    plan = plan_in(find(address))
    write_results(plan.folder, [])
    Copy(plan).give()
    on_machine("second", tmp_path, monkeypatch)
    storage = copies.fetched(address, "a")
    assert storage != plan.storage
    assert read_sweep(storage, "a").name == "a"
    made = storage / "a" / "analysis"
    made.mkdir()
    (made / "table.csv").write_text("a,b\n")
    copies.give(made)
    assert Mirror(plan.storage, address).read(plan.folder / "analysis" / "table.csv") == b"a,b\n"
    copies.give(tmp_path)  # of no sweep: nothing happens


def test_the_doctor_looks_behind_an_address(
    address: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    from platform import doctor

    monkeypatch.setattr(doctor, "_ray", lambda: "starts")
    assert doctor.main(["--storage", address]) == 0
    assert f"storage {address} answers" in capsys.readouterr().out
    assert doctor.main(["--storage", "s3:///"]) == 1
    assert "fail  --storage s3:/// is no address" in capsys.readouterr().out


def test_the_command_line_tells_of_no_secret(capsys: Captured) -> None:
    status, out, err = called(capsys, "--storage", "s3://AKIA:abc@runs", "--dry-run")
    assert status == 2
    assert "abc" not in out + err
