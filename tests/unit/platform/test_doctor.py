"""`python -m platform.doctor`: what it finds, and what it lets a script know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from platform import doctor
from platform.cli import diagnosis
from platform.execution import cluster, nodes
from platform.plan import hardware
from trainables.utils.errors import UserError


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ray that starts at once; that it does start is the cluster tests' matter."""
    monkeypatch.setattr(diagnosis, "_ray", lambda: "starts")


def found(
    capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, dict[str, list[str]]]:
    """The exit status, and the lines by their level."""
    status = doctor.main([str(each) for each in arguments])
    levels: dict[str, list[str]] = {"ok": [], "note": [], "fail": []}
    *lines, verdict = capsys.readouterr().out.splitlines()
    for line in lines:
        level, _, text = line.partition(" ")
        levels[level].append(text.strip())
    assert verdict == ("something above must be mended first" if status else "a sweep can run here")
    return status, levels


def test_a_machine_that_can_run_the_quickstart(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, levels = found(capsys, "--storage", tmp_path)
    assert (status, levels["fail"]) == (0, [])
    assert "quickstart: 33 trials; data and weights are there" in levels["ok"]
    assert "every package has its locked version" in levels["ok"]
    assert any(line.startswith("MLflow makes ") for line in levels["ok"])
    assert list(tmp_path.iterdir()) == []


def test_what_a_study_lacks_is_a_line_each(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings = ("--set", "data.root=/nowhere", "--storage", tmp_path)
    status, levels = found(capsys, "table_1_2", *settings)
    assert status == 1
    assert len([line for line in levels["fail"] if "needs the published weights" in line]) == 3
    assert "data.root=/nowhere: no such directory" in levels["fail"]


def test_a_study_that_is_none_is_a_mistake_in_the_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["quikstart"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: unknown study 'quikstart' (close: quickstart)")


def test_an_option_that_is_none_is_a_mistake_in_the_call(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert doctor.main(["--storge", "here", "--set"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "error: unknown option --storge (close: --storage, --set)",
        "error: --set needs a value",
    ]


def test_a_storage_that_does_not_answer_fails_and_the_rest_is_looked_at(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(address: str) -> Path:
        raise UserError(f"{address} does not answer")

    monkeypatch.setattr(diagnosis, "open_storage", gone)
    monkeypatch.chdir(tmp_path)
    status, levels = found(capsys, "--storage", "s3://bucket/runs")
    assert (status, levels["fail"]) == (1, ["s3://bucket/runs does not answer"])
    assert "the rest is looked at without it" in levels["note"]
    assert "quickstart: 33 trials; data and weights are there" in levels["ok"]


def test_a_storage_that_answers_is_looked_at_here(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "open_storage", lambda address: tmp_path / "here")
    status, levels = found(capsys, "--storage", "s3://bucket/runs")
    assert status == 0
    told = f"storage s3://bucket/runs answers; this node's copy is {tmp_path}/here (0 s)"
    assert told in levels["ok"]
    assert any(line.endswith(f"free for --storage {tmp_path}/here") for line in levels["ok"])


def test_a_record_that_does_not_answer_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    uri = "http://someone:secret@127.0.0.1:9"
    status, levels = found(capsys, "--storage", tmp_path, "--tracking-uri", uri)
    (line,) = levels["fail"]
    assert status == 1
    assert "is the server running" in line
    assert "secret" not in line


def test_a_ray_that_does_not_start_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> str:
        raise RuntimeError("no port\nis free")

    monkeypatch.setattr(diagnosis, "_ray", broken)
    status, levels = found(capsys, "--storage", tmp_path)
    assert status == 1
    assert levels["fail"][0].startswith("Ray: no port is free (")


def test_other_versions_than_the_locked_are_noted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==0.1 \\\n    --hash=sha256:0\nnumpy==0.2 \\\nnothing==1.0 \\\n")
    monkeypatch.setattr(diagnosis, "_LOCK", lock)
    status, levels = found(capsys, "--storage", tmp_path)
    assert status == 0
    assert any("numpy" in line and "(locked 0.1 or 0.2)" in line for line in levels["note"])
    assert not any("nothing" in line for line in levels["note"])


def test_gpus_are_named_with_their_memory(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[dict[str, Any]] = [{"name": "NVIDIA X", "memory.total": "80 GiB"}]
    monkeypatch.setattr(hardware, "list_gpus", lambda: listed)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    _, levels = found(capsys, "--storage", tmp_path)
    assert any("1 hidden by CUDA_VISIBLE_DEVICES" in line for line in levels["note"])
    machine = hardware.Machine(cpus=2, gpus=99, memory=0)
    monkeypatch.setattr(hardware, "this_machine", lambda: machine)
    status, levels = found(capsys, "--storage", tmp_path)
    assert "NVIDIA X, 80 GiB" in levels["ok"]
    assert status == 1
    assert any("of 99 GPUs" in line for line in levels["fail"])


@pytest.mark.cluster
@pytest.mark.slow
def test_ray_answers() -> None:
    with cluster.local(1, 0):
        assert nodes.probe() < 60
