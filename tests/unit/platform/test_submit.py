"""`python -m platform.submit`: its exit status, and what it says before anything is submitted."""

from __future__ import annotations

import pytest

from platform import submit
from platform.cli import job


def test_a_refusal_is_a_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert submit.main(["--address", "http://head:8265"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("error: --storage names")


def test_ctrl_c_before_the_job_is_there_submits_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(address: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "_client", interrupted)
    asked = ["--address", "http://head:8265", "--storage", "/shared/runs"]
    assert submit.main(asked) == 130
    assert capsys.readouterr() == ("", "interrupted before anything was submitted\n")


def test_a_fault_of_the_program_is_a_line_and_status_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(address: str) -> None:
        raise ZeroDivisionError("no\npoint")

    monkeypatch.setattr(job, "_client", broken)
    asked = ["--address", "http://head:8265", "--storage", "/shared/runs"]
    assert submit.main(asked) == 1
    told = capsys.readouterr().err
    assert told == "error: ZeroDivisionError: no point (--debug shows where)\n"
    assert submit.main([*asked, "--debug"]) == 1
    assert "in broken" in capsys.readouterr().err
