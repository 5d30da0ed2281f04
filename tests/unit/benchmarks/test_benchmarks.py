"""Every benchmark runs with tiny sizes and prints its figures, whose sizes are not asserted."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import _measuring, completion, loader, published_sizes, unlearning
from trainables.models import build_model
from trainables.models.checkpoints import load_published

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
Captured = pytest.CaptureFixture[str]


def positive(text: str, pattern: str) -> list[float]:
    """The numbers that a pattern's group finds, all of which are above 0."""
    found = [float(each) for each in re.findall(pattern, text, re.MULTILINE)]
    assert all(each > 0.0 for each in found), text
    return found


def test_the_loader_prints_a_rate_and_a_ratio_of_each_store(capsys: Captured) -> None:
    loader.main(["--images", "12", "--steps", "1", "--batch", "4", "--workers", "0"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["files", "parquet"]
    for line in lines:
        assert positive(line, r"([\d.]+) images/s")
        assert positive(line, r"([\d.]+) x$")


def test_completion_prints_a_ratio_of_each_comparison(capsys: Captured) -> None:
    completion.main(["--quick"])
    lines = capsys.readouterr().out.splitlines()
    compared = [re.split(r" {2,}", line)[0] for line in lines]
    models = completion.MODELS
    assert compared == [
        *(f"{model}: 4 completions" for model in models),
        "palette_tiny: 1 completions",
        *(f"{m}: {what}" for m in models for what in ("what trials share", "evaluation")),
    ]
    for line in lines:
        assert len(positive(line, r"([\d.]+) s\b")) == 2
        assert positive(line, r"([\d.]+) x$")


def test_unlearning_prints_a_ratio_of_each_formulation(capsys: Captured) -> None:
    unlearning.main(["--quick"])
    lines = capsys.readouterr().out.splitlines()
    wanted = ["plain", "structure", "noise bank", "token cache"]
    assert [re.split(r" {2,}|: ", line)[1] for line in lines] == wanted
    for line in lines:
        assert positive(line, r"([\d.]+) s\b")
        assert positive(line, r"([\d.]+) x$")


@pytest.mark.parametrize(
    ("model", "work"),
    [
        ("mae_tiny", "completion of 2"),
        ("mage_tiny", "completion of 2"),
        ("palette_tiny", "one denoising of 2"),
    ],
)
def test_a_size_prints_what_loading_completing_and_a_step_take(
    model: str, work: str, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "published.pth"
    published_sizes.write_published(model, path)
    # a file of the published form: all that the whole model holds is read from it
    network = build_model(model)
    assert load_published(network, path) == network.published_forms()[0].names
    asked = published_sizes.Asked(device="cpu", batch=2, repeats=1)
    published_sizes.measure_size(model, path, asked)  # type: ignore[arg-type]
    told = dict(re.findall(r"^  (\S.*?) {2,}(.*)$", capsys.readouterr().out, re.MULTILINE))
    palette = {"computed"} if model == "palette_tiny" else set()
    assert told.keys() == {"file", "load", "memory", work, "step of 2"} | palette
    for name in (work, "step of 2"):
        assert positive(told[name], r"([\d.]+) images/s")
        assert positive(told[name], r"([\d.]+) GFLOP an image")


def test_operations_are_those_of_one_call_however_many_are_timed(
    tmp_path: Path, capsys: Captured
) -> None:
    published_sizes.write_published("mae_tiny", tmp_path / "w.pth")
    counted = []
    for repeats in (1, 3):
        asked = published_sizes.Asked(device="cpu", batch=2, repeats=repeats)
        published_sizes.measure_size("mae_tiny", tmp_path / "w.pth", asked)
        counted.append(positive(capsys.readouterr().out, r"([\d.]+) GFLOP an image"))
    assert len(counted[0]) == 2
    assert counted[0] == counted[1]


def test_a_step_that_does_not_fit_is_left_out_and_told(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_sizes, "free_memory", lambda device: 1000)
    published_sizes.write_published("mae_tiny", tmp_path / "w.pth")
    asked = published_sizes.Asked(device="cpu", batch=2, repeats=1)
    published_sizes.measure_size("mae_tiny", tmp_path / "w.pth", asked)
    out = capsys.readouterr().out
    assert re.search(
        r"step of 2 +left out: takes \S+ GB beside activations, 1e-06 GB are free", out
    )
    assert "completion of 2" in out


def test_a_size_that_cannot_be_measured_is_told_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the processes that it starts, whose temporary folder is that of the environment."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    # no photograph has so many crops
    assert published_sizes.main(["mae_tiny", "--batch", "10000000"]) == 1
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert lines[0] == "mae_tiny"
    assert lines[-1] == "  failed              exit status 1"
    assert positive(out, r"^  file +([\d.]+) GB$")
    assert "train crops, data.train_per_class asks for 10000000" in err
    assert not [*tmp_path.iterdir()]


def test_a_size_that_is_killed_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    called: list[tuple[object, object]] = []

    def alone(work: object, name: str, *rest: object) -> int:
        called.append((work, name))
        return -9 if (work, name) == (published_sizes.measure_size, "mage_tiny") else 0

    monkeypatch.setattr(published_sizes, "_alone", alone)
    assert published_sizes.main(["mage_tiny", "mae_tiny"]) == 1
    assert called == [
        (work, name)
        for name in ("mage_tiny", "mae_tiny")
        for work in (published_sizes.write_published, published_sizes.measure_size)
    ]
    assert capsys.readouterr().out.splitlines() == [
        "mage_tiny",
        "  failed              killed, for its memory?",
        "mae_tiny",
    ]
    assert published_sizes.main(["mae_tiny"]) == 0


def test_an_unknown_model_is_refused(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as refused:
        published_sizes.main(["mae_tiny", "mae_huge"])
    assert refused.value.code == 2
    assert "no such model: mae_huge" in capsys.readouterr().err


def test_without_names_all_published_sizes_are_measured() -> None:
    assert set(published_sizes.PUBLISHED) == {
        "mae_vit_base_patch16",
        "mae_vit_large_patch16",
        "mage_vit_base_patch16",
        "mage_vit_large_patch16",
        "palette_places2",
    }


# --- One command for all ---------------------------------------------------------------------

BENCHMARK = """
import sys

print("{name} runs", flush=True)
sys.exit({status})
"""


def test_the_command_knows_every_benchmark_and_the_loader_comes_first() -> None:
    files = {path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py")}
    assert set(command.names()) == files
    assert files >= {"loader", "completion", "published_sizes"}
    assert command.names()[0] == "loader"
    assert command.names()[1:] == sorted(files - {"loader"})


@pytest.mark.parametrize("broken", [0, 3])
def test_one_command_runs_all_in_order_whichever_fail(broken: int, tmp_path: Path) -> None:
    package = tmp_path / "benchmarks"
    package.mkdir()
    for name in ("__init__", "__main__"):
        shutil.copyfile(ROOT / "benchmarks" / f"{name}.py", package / f"{name}.py")
    for name, status in (("loader", 0), ("a_first", broken), ("unlearning", 0), ("_helper", 7)):
        (package / f"{name}.py").write_text(BENCHMARK.format(name=name, status=status))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.findall(r"^== (\w+)\n(\w+) runs$", done.stdout, re.MULTILINE) == [
        (name, name) for name in ("loader", "a_first", "unlearning")
    ], done.stdout + done.stderr
    assert done.stdout.startswith("torch ")
    assert done.returncode == int(bool(broken))
    assert ("failed: a_first" in done.stderr) == bool(broken)


def test_the_list_runs_none(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--list"])
    monkeypatch.setattr(subprocess, "run", None)
    assert command.main() == 0
    assert capsys.readouterr().out.split() == command.names()


# --- What they measure with ------------------------------------------------------------------


def test_works_take_turns_and_their_medians_are_told(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    clock = iter([0.0, 9.0, 10.0, 11.0, 20.0, 24.0, 30.0, 32.0, 40.0, 42.0, 50.0, 59.0])
    monkeypatch.setattr(_measuring.time, "perf_counter", lambda: next(clock))
    seconds = _measuring.interleaved(
        {"slow": lambda: done.append("slow"), "fast": lambda: done.append("fast")},
        3,
        before=lambda: done.append("before"),
    )
    assert done == ["before", "slow", "fast"] * 3
    assert seconds == {"slow": 4.0, "fast": 2.0}
    _measuring.tell("some work", seconds)
    assert re.sub(" +", " ", capsys.readouterr().out) == (
        "some work slow 4.0000 s, fast 2.0000 s 2.00 x\n"
    )


def test_the_peak_is_of_this_process_and_stays() -> None:
    before = _measuring.peak_memory()
    torch.ones(before // 4 + 50_000_000)  # float32: more than was ever held
    after = _measuring.peak_memory()
    assert after >= before + 100_000_000
    assert _measuring.peak_memory() >= after


def test_memory_that_is_free_is_part_of_the_machine() -> None:
    assert 10_000_000 < _measuring.free_memory(CPU) < 2**50


def test_a_matmul_s_rate_is_its_operations_over_the_best_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 0.1, 1.0, 1.5, 2.0, 2.25])
    monkeypatch.setattr(_measuring.time, "perf_counter", lambda: next(clock))
    # the first is not timed
    assert _measuring.matmul_rate(CPU, side=10, repeats=2) == 2000 / 0.25
