"""How a command ends: its exit status, and what it says of an error."""

from __future__ import annotations

import pytest

from trainables.utils.errors import ConfigError, UserError, exit_status, fault_lines

FULL = "is full: free some room, and give the same command again"


def raising(error: BaseException) -> object:
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (UserError("no such\nthing"), 2, "error: no such thing\n"),
        (ConfigError(["a", "b"]), 2, "error: a\nerror: b\n"),
        (OSError("lost"), 1, "error: OSError: lost (--debug shows where)\n"),
        (OSError(28, "No space left", "/a"), 2, f"error: the disk that holds /a {FULL}\n"),
        (RuntimeError("os error 28"), 2, f"error: the disk {FULL}\n"),
        (KeyboardInterrupt(), 130, "stopped\n"),
    ],
)
def test_an_error_is_a_line_and_an_exit_status(
    capsys: pytest.CaptureFixture[str], error: BaseException, status: int, told: str
) -> None:
    assert exit_status(raising(error), interrupted="stopped") == status
    assert capsys.readouterr() == ("", told)


def test_a_command_that_ends_gives_its_own_status() -> None:
    assert exit_status(lambda: 7) == 7


def test_what_counts_as_a_mistake_may_be_wider(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(raising(OSError("full")), mistakes=(OSError,)) == 2
    assert capsys.readouterr().err == "error: full\n"


def test_the_traceback_is_shown_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(raising(UserError("x")), debug=True) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert shown.endswith("\nerror: x\n")


def test_at_most_four_lines_hold_every_fault() -> None:
    assert fault_lines(["a", "b\n  c"]) == ["a", "b c"]
    assert fault_lines(["a", "b", "c", "d"]) == ["a", "b", "c", "d"]
    assert fault_lines(["a", "b", "c", "d", "e", "f"]) == ["a", "b", "c", "d; e; f"]
