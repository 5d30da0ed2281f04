"""Seconds that the driver spends on a trial, in sweeps of more and more trials that do nothing.

The ledger, the record and the progress are the real ones; each trial leaves what a tiny one does,
with small weights, and ends at once.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from platform.cli.progress import Progress
from platform.cli.session import Phases
from platform.execution import cluster
from platform.execution import tune as runner
from platform.execution.scheduler import Scheduler, SweepRun
from platform.plan import estimate, hardware, resources
from platform.plan.build import make_plan
from platform.plan.plan import Limits, Plan, PlannedTrial
from platform.plan.serialization import write_plan
from platform.search.ledger import Ledger
from platform.search.trial_queue import TrialQueue
from platform.storage.environment import write_environment
from platform.storage.replica import Replica
from platform.storage.results import result_row, write_results
from platform.tracking.recorder import Recorder
from search_spaces.quickstart import STUDY
from tests.reliability.figures import Figures
from trainables.utils.hashing import seal

# of a tiny trial's files, but for its weights
_FILES = {
    "config.json": 2_200,
    "embeddings.parquet": 16_300,
    "samples.parquet": 43_600,
    "samples.png": 38_800,
    "tsne.pdf": 13_400,
    "tsne.png": 29_900,
    "weights.safetensors": 100_000,
}
_METRICS = (
    *("loss/total", "loss/retain", "loss/forget"),
    *(
        f"{split}{role}/{name}"
        for split in ("", "val/")
        for role in ("retain", "forget")
        for name in ("fid", "is_mean", "is_std", "clip")
    ),
    *("val/objective", "val/violation"),
)
_EVALUATIONS = 2


def add_options(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 200, 1000], metavar="TRIALS")
    parser.add_argument("--most", type=float, default=1.5, help="the last size's over the first's")
    parser.add_argument("--tpe", action="store_true", help="points beyond the first 10 by TPE")
    parser.add_argument("--with-ray", action="store_true", help="by Ray Tune, too")


def measure(options: argparse.Namespace) -> int:
    """Measures every size; returns the exit status."""
    figures = Figures()
    parts: dict[str, Callable[[Plan], float]] = {
        "the ledger": lambda plan: _ledger(figures, plan),
        "the record": lambda plan: _record(figures, plan),
        "all of the driver's own work": lambda plan: _together(figures, plan),
    }
    if options.with_ray:
        parts["a whole trial by Ray Tune"] = lambda plan: _by_ray(figures, plan)
    for part, seconds_of in parts.items():
        found = []
        for size in options.sizes:
            with tempfile.TemporaryDirectory() as folder:
                plan, began = plan_of(Path(folder), size, by_tpe=options.tpe), time.process_time()
                found.append(seconds_of(plan))
            each, cpu = 1000 * found[-1], 1000 * (time.process_time() - began) / size
            figures.tell(f"{part}: {size} trials, {each:.1f} ms a trial, {cpu:.1f} ms of a core")
        sizes = f"{options.sizes[-1]} trials over {options.sizes[0]}"
        figures.at_most(f"{part}: a trial of {sizes}", found[-1] / found[0], options.most)
    return figures.verdict()


def plan_of(storage: Path, size: int, *, by_tpe: bool = False) -> Plan:
    """A sweep of so many trials, with a folder that holds its plan."""
    searched = size - 2
    sobol = 10 if by_tpe else searched
    settings = (
        *("model=mae_tiny", "method=original,ours", "retain_source=real"),
        *(f"search.trials={searched}", f"search.sobol_trials={sobol}"),
    )
    plan = make_plan(STUDY, name="a", storage=storage, overrides=settings)
    plan.folder.mkdir(parents=True)
    write_plan(plan)
    write_environment(plan.folder)
    return plan


def _ledger(figures: Figures, plan: Plan) -> float:
    queue = TrialQueue(Ledger.create(plan))
    seconds = []
    while (trial := queue.next()) is not None:
        result = _result_of(trial.key)
        began = time.perf_counter()
        queue.finish(trial, result)
        seconds.append(time.perf_counter() - began)
    began = time.perf_counter()
    TrialQueue(Ledger.open(plan))
    figures.tell(f"  {_course(seconds)}; opened again in {time.perf_counter() - began:.2f} s")
    return statistics.mean(seconds)


def _record(figures: Figures, plan: Plan) -> float:
    """Each trial's events and their delivery, one trial after the other."""
    queue, recorder = TrialQueue(Ledger.create(plan)), Recorder(plan)
    seconds = []
    while (trial := queue.next()) is not None:
        result = _leave(plan, trial)
        began = time.perf_counter()
        recorder.started(trial)
        for report in _history(result):
            recorder.reported(trial, report)
        recorder.finished(trial, result)
        assert recorder.settle()
        seconds.append(time.perf_counter() - began)
        queue.finish(trial, result)
    began = time.perf_counter()
    recorder.close("finished")
    assert not recorder.missed
    closed = time.perf_counter() - began
    began = time.perf_counter()
    Recorder(plan).close("finished")
    again = time.perf_counter() - began
    figures.tell(f"  {_course(seconds)}; closed in {closed:.2f} s, taken up again in {again:.2f} s")
    return statistics.mean(seconds)


def _together(figures: Figures, plan: Plan) -> float:
    """What the runner does as trials come and go, and the end of the sweep."""
    sweep, recorder = _opened(plan)
    for trial in plan.trials:
        _leave(plan, trial)
    began = time.perf_counter()
    seconds = _drive(sweep)
    rest = _close(sweep, recorder)
    figures.tell(
        f"  {_course(seconds)}, without waiting for MLflow; it had all {rest:.2f} s after the last"
    )
    assert sweep.queue.ledger.outstanding() == 0
    return (time.perf_counter() - began) / plan.total


def driven(plan: Plan) -> None:
    """A sweep of trials that do nothing, from its start to its end, without Ray."""
    sweep, recorder = _opened(plan)
    _drive(sweep)
    _close(sweep, recorder)


def _drive(sweep: SweepRun) -> list[float]:
    """Hands every trial out and takes its end in; returns the seconds of each."""
    scheduler = Scheduler(sweep)
    seconds = []
    while (trial := scheduler.next()) is not None:
        result = _leave(sweep.plan, trial)
        since = time.perf_counter()
        scheduler.order(trial)
        scheduler.started(trial.key)
        for report in _history(result):
            scheduler.reported(trial.key, report)
        scheduler.ended(trial.key, None)
        seconds.append(time.perf_counter() - since)
    return seconds


def _by_ray(figures: Figures, plan: Plan) -> float:
    have = hardware.this_machine()
    usual = runner._trial
    runner._trial = _nothing
    try:
        with cluster.local(have.cpus, 0):
            sweep, recorder = _opened(plan)
            began = time.perf_counter()
            outcome = runner._fit(Scheduler(sweep), lambda: resources.concurrency(plan))
            seconds = time.perf_counter() - began
    finally:
        runner._trial = usual
    assert not outcome.interrupted
    figures.tell(
        f"  {seconds:.1f} s; MLflow had all {_close(sweep, recorder):.1f} s after the last"
    )
    return seconds / plan.total


def _nothing(config: dict[str, Any]) -> None:
    """A trial by Ray Tune that reports and ends."""
    from ray import tune

    order = config["order"]
    result = _leave_files(Path(order["folder"]), order["key"])
    for report in _history(result):
        tune.report(report)


class _Terminal(io.StringIO):
    """Where the progress is told at every step, not once a trial."""

    def isatty(self) -> bool:
        return True


def _opened(plan: Plan) -> tuple[SweepRun, Recorder]:
    queue, recorder = TrialQueue(Ledger.create(plan)), Recorder(plan)
    progress = Progress(
        plan,
        _Terminal(),
        at_once=2,
        trial_s=lambda trial: estimate.trial_seconds(trial.config, plan),
        total=queue.ledger.total,
    )
    sweep = SweepRun(
        plan=plan,
        queue=queue,
        listeners=(recorder, progress),
        limits=Limits(),
        replica=Replica(plan),
        elapsed_s=Phases("all").elapsed,
    )
    return sweep, recorder


def _close(sweep: SweepRun, recorder: Recorder) -> float:
    """Ends the sweep; returns the seconds that it takes."""
    began = time.perf_counter()
    rows = [
        result_row(sweep.plan, entry.trial, entry.state, entry.result)
        for entry in sweep.queue.ledger.entries()
    ]
    write_results(sweep.plan.folder, rows)
    recorder.close("finished")
    assert not recorder.missed
    return time.perf_counter() - began


def _course(seconds: list[float]) -> str:
    """The first tenth beside the last."""
    tenth = max(1, len(seconds) // 10)
    first, last = (1000 * statistics.median(each) for each in (seconds[:tenth], seconds[-tenth:]))
    return f"median of the first tenth {first:.1f} ms, of the last {last:.1f} ms"


def _leave(plan: Plan, trial: PlannedTrial) -> dict[str, Any]:
    return _leave_files(plan.trial_folder(trial), trial.key)


def _leave_files(folder: Path, key: str) -> dict[str, Any]:
    result = _result_of(key)
    if folder.exists():
        return result
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    for name, size in _FILES.items():
        (folder / name).write_bytes(noise.bytes(size))
    (folder / "history.json").write_text(json.dumps(_history(result)))
    (folder / "result.json").write_text(json.dumps(seal(result)))
    return result


def _result_of(key: str) -> dict[str, Any]:
    """A result of a tiny trial's shape; its figures are drawn by the trial's key."""
    chance = np.random.default_rng(int(key, 16))
    return {
        "trial_key": key,
        "metrics": {name: float(chance.normal()) for name in _METRICS},
        "extractors": dict.fromkeys(("fid_extractor", "is_extractor", "clip_model"), "photos CNN"),
        "fid": {"width": 64, "images": dict.fromkeys(("val/retain", "val/forget"), 96)},
        "timing": dict.fromkeys(("prepare_s", "evaluation_s", "train_s", "total_s"), 1.0),
        "resumed_from": 0,
        "data_hash": "ef89a01aedbf",
        "code_version": "c3067ec68695",
        "identity": dict.fromkeys(("trial", "data", "original", "code"), "26cf07e25681"),
    }


def _history(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"step": step, **result["metrics"]} for step in range(1, _EVALUATIONS + 1)]
