"""`python -m platform.sweep`: what it lists, plans and refuses before anything is started."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from platform.cli import run
from platform.cli.request import LAUNCHERS
from platform.plan import build
from platform.plan.overrides import known_fields, parse_overrides
from platform.sweep import main
from search_spaces import STUDIES, SearchConfig
from tests.helpers.command import Captured, called, planned, refused
from trainables.utils.errors import UserError

HEAVY = ("torch", "ray", "mlflow", "matplotlib", "sklearn")


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A storage that does not exist yet, as at a user's first call."""
    return tmp_path / "runs"


# --- Listing and planning --------------------------------------------------------------------


def test_the_list_shows_every_study_with_its_question_and_cost(capsys: Captured) -> None:
    status, out, err = called(capsys, "--list")
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == len(STUDIES)
    for line, (name, study) in zip(out.splitlines(), STUDIES.items(), strict=True):
        assert line.split()[0] == name
        assert study.question in line
        assert study.cost in line


def test_a_reader_that_goes_is_no_fault() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "platform.sweep", "--fields"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_help_names_every_documented_option(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for option in [
        "--list",
        "--dry-run",
        "--set",
        "--name",
        "--storage",
        "--resume",
        "--seed",
        "--max-concurrent",
        "--workers",
        "--gpus-per-trial",
        "--launcher",
        "--tracking-uri",
        "--strict",
        "--debug",
    ]:
        assert f"{option} " in shown


def test_a_dry_run_prints_the_plan_of_quickstart(capsys: Captured, storage: Path) -> None:
    lines = planned(capsys, "--storage", storage).splitlines()
    assert lines[0] == f"quickstart: {STUDIES['quickstart'].question}"
    assert lines[1] == f"sweep quickstart, new, in {storage}/quickstart/"
    heads = lines.index(next(line for line in lines if line.startswith("trial ")))
    trials = [line.split() for line in lines[heads + 1 : heads + 34]]
    methods = ("max_loss", "noisy_label", "retain_label", "random_encoder", "ours", "ours_proxy")
    models = ("mae_tiny", "mage_tiny", "palette_tiny")
    assert [trial[0] for trial in trials[:21]] == [
        *(f"{model}-original" for model in models),
        *(f"{model}-{method}" for model in models for method in methods),
    ]
    # one family is searched
    assert all(trial[2] == "mae_tiny" for trial in trials[21:])
    unlearn = STUDIES["quickstart"].base.unlearn
    steps, rate = unlearn.steps, unlearn.lr
    assert trials[7][2:] == ["mae_tiny", "0.25", f"{rate:.2g}", str(steps), "real"]
    assert lines[heads + 34] == "33 trials: 21 at their defaults, 12 searched"
    assert [line for line in lines if line.startswith("original: ")] == [
        f"original: {model} as it comes with the product" for model in models
    ]


@pytest.mark.parametrize("model", ["mae_tiny", "mage_tiny", "palette_tiny"])
def test_one_family_is_run_alone(model: str, capsys: Captured, storage: Path) -> None:
    lines = planned(capsys, "--storage", storage, "--set", f"model={model}").splitlines()
    searched = 12 if model == "mae_tiny" else 0
    assert any(line.startswith(f"{7 + searched} trials: 7 at their defaults") for line in lines)
    assert all(model in line for line in lines[3:10])


def test_a_dry_run_tells_resources_time_and_disk(capsys: Captured, storage: Path) -> None:
    out = planned(capsys, "--storage", storage, "--max-concurrent", 1)
    assert "a trial takes 1 CPU(s), each in a process of its own; here are " in out
    assert " CPU(s), " in out.partition("here are ")[2]
    assert ": 1 at once\n" in out
    assert "\ntime: about " in out
    assert "\ndisk: about " in out
    assert out.endswith("Nothing was started and nothing was written.\n")


def test_a_dry_run_writes_nothing(capsys: Captured, tmp_path: Path, storage: Path) -> None:
    planned(capsys, "--storage", storage)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import _platform_bridge; _platform_bridge.install()\n"
        "import sys\n"
        "from platform.sweep import main\n"
        f"status = main(['--dry-run', '--storage', {str(tmp_path / 'runs')!r}])\n"
        f"print(status, *sorted(set(sys.modules) & {set(HEAVY)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.splitlines()[-1] == "0"


def test_what_the_user_asks_for_is_in_the_plan(capsys: Captured, storage: Path) -> None:
    asked = ["--set", "method=ours", "--set", "forget_alpha=0.1,0.5", "--set", "search.trials=12"]
    asked += ["--set", "model=mae_tiny"]
    out = planned(capsys, "quickstart", "--storage", storage, "--name", "two", *asked)
    assert f"sweep two, new, in {storage}/two/" in out
    assert "\nours-alpha0.5 " in out
    assert "... and 8 that follow from the results of these" in out
    assert "52 trials: 2 at their defaults, 2 enumerated, 48 searched" in out
    assert "searched: unlearn.lr 0.0003 to 0.003 (log), 12 trials a variant" in out


def test_several_workers_are_run_by_ray_train(capsys: Captured, storage: Path) -> None:
    out = planned(capsys, "--storage", storage, "--launcher", "train")
    assert "a trial takes 1 CPU(s), by Ray Train; " in out
    assert LAUNCHERS == ("auto", "inline", "train")


# --- Exit status -----------------------------------------------------------------------------


def test_every_fault_of_a_call_is_told_together(capsys: Captured, storage: Path) -> None:
    wrong = ["--wrkers", "2", "--seed", "x", "--workers", "0", "--launcher", "rocket"]
    wrong += ["--name", "a/b", "--set", "forget_alhpa=1", "--set", "unlearn.steps=many"]
    lines = refused(capsys, *wrong, "--storage", storage)
    assert len(lines) == 4
    told = "\n".join(lines)
    for part in (
        "unknown option --wrkers (close: --workers",
        "--seed 'x' is not a whole number",
        "--workers 0 is below 1",
        "--launcher 'rocket' is not one of auto, inline, train",
        "--name 'a/b' is no name for a sweep",
        "unknown field 'forget_alhpa' (close: forget_alpha",
        "unlearn.steps='many' is not a whole number",
    ):
        assert part in told
    assert not storage.exists()


def test_a_traceback_is_shown_where_it_is_asked_for(capsys: Captured, storage: Path) -> None:
    call = ["nothing", "--storage", storage]
    assert "Traceback" not in called(capsys, *call)[2]
    status, _, err = called(capsys, *call, "--debug")
    assert status == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: unknown study 'nothing'")


def test_a_fault_of_ours_is_told_as_one(
    capsys: Captured, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("no points\nat all")

    monkeypatch.setattr(build, "sobol_points", broken)
    status, out, err = called(capsys, "--storage", storage)
    assert (status, out) == (1, "")
    assert err == "error: ZeroDivisionError: no points at all (--debug shows where)\n"
    status, _, err = called(capsys, "--storage", storage, "--debug")
    assert status == 1
    assert "in broken" in err


@pytest.mark.parametrize(
    ("raised", "status", "told"),
    [
        (KeyboardInterrupt(), 130, "interrupted before anything was started"),
        (UserError("no such thing"), 2, "error: no such thing"),
        (OSError(28, "No space left on device"), 2, "error: the disk is full: free some room, "),
        (OSError(5, "I/O error"), 1, "error: OSError: [Errno 5] I/O error"),
    ],
)
def test_what_ends_a_session_gives_the_exit_status(
    capsys: Captured,
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    status: int,
    told: str,
) -> None:
    def ends(*_: object, **__: object) -> int:
        raise raised

    monkeypatch.setattr(run, "run", ends)
    found, out, err = called(capsys, "--storage", storage)
    assert (found, out) == (status, "")
    assert err.startswith(told)
    assert len(err.splitlines()) == 1


# --- Options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "close"),
    [
        ("--lst", "--list"),
        ("--dryrun", "--dry-run"),
        ("--gpus-per-trail", "--gpus-per-trial"),
        ("--nam=a", "--name"),
        ("-name", "--name"),
    ],
)
def test_an_unknown_option_lists_the_close_ones(
    capsys: Captured, storage: Path, option: str, close: str
) -> None:
    (line,) = refused(capsys, option, "--storage", storage)
    name = option.partition("=")[0]
    assert line.startswith(f"unknown option {name} (close: ")
    assert close in line.partition("close: ")[2].rstrip(")").split(", ")


def test_the_value_of_an_unknown_option_is_no_fault_of_its_own(
    capsys: Captured, storage: Path
) -> None:
    (line,) = refused(capsys, "--nam", "first", "--storage", storage)
    assert line.startswith("unknown option --nam ")


def test_the_beginning_of_an_option_is_not_taken_for_it(capsys: Captured, storage: Path) -> None:
    (line,) = refused(capsys, "--stor", storage)
    assert line.startswith("unknown option --stor (close: --storage")


def test_an_argument_too_many_is_refused(capsys: Captured, storage: Path) -> None:
    lines = refused(capsys, "quickstart", "second", "--storage", storage)
    assert lines == ["unexpected argument 'second'"]


@pytest.mark.parametrize("option", ["--name", "--set", "--storage", "--workers", "--seed"])
def test_an_option_without_its_value_is_refused_with_the_other_faults(
    capsys: Captured, option: str
) -> None:
    for call in ([option], [option, "--launcher", "rocket"], ["--launcher", "rocket", option]):
        lines = refused(capsys, *call, "--dry-run")
        assert f"{option} needs a value" in lines
        assert len(lines) == (1 if len(call) == 1 else 2)


def test_a_flag_takes_no_value(capsys: Captured, storage: Path) -> None:
    lines = refused(capsys, "--strict=yes", "--workers", "0", "--storage", storage)
    assert lines == ["--strict takes no value", "--workers 0 is below 1"]


def test_a_negative_number_is_a_value(capsys: Captured, storage: Path) -> None:
    lines = refused(capsys, "--seed", "-1", "--storage", storage)
    assert lines == ["--seed -1 is outside [0, 2^32)"]


def test_a_list_with_an_unknown_option_is_refused(capsys: Captured) -> None:
    (line,) = refused(capsys, "--list", "--studies")
    assert line.startswith("unknown option --studies")


def test_fields_are_all_that_can_be_set_and_their_defaults_are_taken(capsys: Captured) -> None:
    status, out, err = called(capsys, "--fields")
    assert (status, err) == (0, "")
    shown = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert set(shown) == set(known_fields())
    assert shown["forget_alpha"] == ["0.25"]
    given = [f"{name}={''.join(value).lower()}" for name, value in shown.items() if value]
    settings, faults = parse_overrides(given)
    assert not faults
    assert settings.pinned["unlearn.lr"] == 0.001
    assert settings.search == dataclasses.asdict(SearchConfig())
