"""What a trial's process leaves in its folder, and what it copies to the storage's address."""

from __future__ import annotations

import dataclasses
import os
import threading
from pathlib import Path

import pytest

from platform.execution import trial_process
from platform.execution.failures import Cause
from platform.execution.trial_process import Report, TrialFiles, TrialOrder, execute
from trainables.config.names import RESULT, SNAPSHOT
from trainables.utils.errors import NonFiniteError
from trainables.utils.object_store import Mirror, working_copy


@pytest.fixture
def order(tmp_path: Path) -> TrialOrder:
    return TrialOrder(
        key="k", config={}, folder=str(tmp_path / "trials" / "a"), cache=str(tmp_path / "cache")
    )


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialOrder:
    """The order of a trial whose storage is behind an address."""
    (tmp_path / "bucket").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    address = f"file://{tmp_path}/bucket"
    return TrialOrder(key="k", config={}, folder="s/trials/a", cache="cache", address=address)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Lets every trial leave a snapshot and a half file, and then fail."""

    def fail(order: TrialOrder, files: TrialFiles, report: Report) -> None:
        for name in (SNAPSHOT, "config.json"):
            (files.folder / name).write_text("{")
        raise error

    monkeypatch.setattr(trial_process, "_train", fail)


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_full_disk_leaves_no_half_files_and_the_snapshot(
    order: TrialOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, OSError(28, "No space left on device"))
    failure = execute(order, lambda metrics: None)
    assert failure is not None
    assert failure.cause is Cause.DISK
    assert left(Path(order.folder)) == {SNAPSHOT, "error.txt"}


def test_nothing_goes_on_from_the_snapshot_of_a_trial_that_became_nan(
    away: TrialOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = TrialFiles(away)
    mirror = files.mirror
    assert mirror is not None
    mirror.write(files.folder / SNAPSHOT, b"of an earlier attempt")
    failing(monkeypatch, NonFiniteError("the loss became NaN at step 17"))
    failure = execute(away, lambda metrics: None)
    assert failure is not None
    assert failure.cause is Cause.NON_FINITE
    assert left(files.folder) == {"config.json", "error.txt"}
    assert mirror.read(files.folder / SNAPSHOT) is None
    assert b"NaN at step 17" in (mirror.read(files.folder / "error.txt") or b"")


def test_an_attempt_begins_with_the_snapshot_alone(order: TrialOrder) -> None:
    files = TrialFiles(order)
    (files.folder / "kept").mkdir(parents=True)
    for name in (SNAPSHOT, RESULT, ".alive-0", f".{SNAPSHOT}.0a1b.part", "kept/file"):
        (files.folder / name).touch()
    (files.folder / "elsewhere").symlink_to(files.folder.parent)
    files.clear(hidden=False)
    assert left(files.folder) == {SNAPSHOT, ".alive-0"}
    files.clear()
    assert left(files.folder) == {SNAPSHOT}


def test_the_snapshot_of_another_node_is_fetched_and_one_that_is_gone_removed(
    away: TrialOrder,
) -> None:
    files = TrialFiles(away)
    assert files.mirror is not None
    files.clear()
    files.mirror.write(files.folder / SNAPSHOT, b"of another node")
    files.fetch_snapshot()
    assert (files.folder / SNAPSHOT).read_bytes() == b"of another node"
    files.mirror.remove(files.folder / SNAPSHOT)
    files.fetch_snapshot()
    assert not (files.folder / SNAPSHOT).exists()


def test_an_upload_is_not_waited_for_and_the_next_is_left_out_meanwhile(
    away: TrialOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    pushed: list[str] = []

    def push(self: Mirror, path: Path, **how: object) -> None:
        answers.wait(30)
        pushed.append(path.name)

    monkeypatch.setattr(Mirror, "push", push)
    files = TrialFiles(away)
    files.upload(Path("first"))
    files.upload(Path("second"))
    assert pushed == []
    answers.set()
    files.wait_for_upload()
    assert pushed == ["first"]
    files.upload(Path("third"))
    files.wait_for_upload()
    assert pushed == ["first", "third"]


def test_a_finished_trial_delivers_its_result_last(
    away: TrialOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = TrialFiles(away)
    files.clear()
    for name in (RESULT, "samples.png", "weights.safetensors"):
        (files.folder / name).write_text(name)
        os.utime(files.folder / name, (1, 1))
    sent: list[str] = []
    send = Mirror._send
    monkeypatch.setattr(
        Mirror, "_send", lambda self, file, there: (sent.append(file.name), send(self, file, there))
    )
    files.deliver()
    assert sent[-1] == RESULT
    assert sorted(sent) == sorted([RESULT, "samples.png", "weights.safetensors"])
    other = working_copy(away.address)
    assert other.read(files.folder / RESULT) == RESULT.encode()
    (files.folder / RESULT).unlink()
    assert files.fetch_result()
    assert (files.folder / RESULT).read_text() == RESULT


def test_a_storage_that_cannot_be_used_is_a_failure_by_its_cause() -> None:
    failure = execute(
        TrialOrder(key="k", config={}, folder="a", cache="c", address="nothing://b"),
        lambda metrics: None,
    )
    assert failure is not None
    assert failure.cause is Cause.STORAGE


def test_a_trial_that_asks_for_a_gpu_is_not_run_on_the_cpu(
    order: TrialOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    failure = execute(dataclasses.replace(order, gpus=0.5), lambda metrics: None)
    assert failure is not None
    assert failure.cause is Cause.USER
    assert failure.message.startswith("--gpus-per-trial 0.5: torch ")
    assert failure.message.endswith(" sees no GPU here; python -m platform.doctor says why")
