"""One run of a sweep, new or resumed: its folder, ledger, record and progress around the runner."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from platform import estimate, resources, results
from platform.ledger import Ledger
from platform.plan import Plan, write_plan
from platform.progress import Progress
from platform.results import result_row, write_environment, write_results
from platform.summary import commands, resume_command, summary
from platform.tracking import Recorder, SweepStatus
from trainables.config import DataConfig, content_key, to_dict
from trainables.data import Dataset, load
from trainables.errors import DataError, UserError

FINISHED, SOME_FAILED, INTERRUPTED = 0, 1, 130


class InUseError(UserError):
    """Another process runs this sweep."""


def run(
    plan: Plan,
    *,
    resume: bool = False,
    tracking_uri: str | None = None,
    debug: bool = False,
    stream: TextIO = sys.stdout,
) -> int:
    """Runs a sweep to its end or to an interruption, records it and tells how it went.

    Args:
        plan: the sweep.
        resume: go on with its folder, which exists.
        tracking_uri: of an MLflow server; by default `mlflow.db` in the storage folder.
        debug: lets Ray's own log through.
        stream: for progress and the table.

    Returns:
        The exit status: 0 all finished, 1 some failed, 130 interrupted.

    Raises:
        UserError: what the user gave cannot be run; a new sweep then leaves no folder.
    """
    plan.storage.mkdir(parents=True, exist_ok=True)
    with _sole_driver(plan), _sigterm_as_interrupt():
        datasets = _load_data(plan)
        with _folder(plan, resume=resume):
            ledger, recorder = _open(plan, datasets, resume=resume, tracking_uri=tracking_uri)
        try:
            return _drive(plan, ledger, recorder, tracking_uri, debug=debug, stream=stream)
        except UserError:
            if not resume and ledger.outstanding() == plan.total:
                shutil.rmtree(plan.folder, ignore_errors=True)
            raise


@contextlib.contextmanager
def _sole_driver(plan: Plan) -> Iterator[None]:
    lock = FileLock(plan.storage / f".{plan.name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InUseError(
            f"sweep {plan.name!r} is being run by another process: wait for it, or take "
            "another --name"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM stops a sweep as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        # a script's background processes ignore Ctrl-C
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _folder(plan: Plan, *, resume: bool) -> Iterator[None]:
    """The sweep's folder; a new one that cannot be furnished is taken away again."""
    if not resume:
        try:
            plan.folder.mkdir()
        except FileExistsError:
            raise InUseError(f"--name {plan.name} is in use in {plan.storage}") from None
    try:
        yield
    except BaseException:
        if not resume:
            shutil.rmtree(plan.folder, ignore_errors=True)
        raise


def _load_data(plan: Plan) -> list[Dataset]:
    """Every data set of the plan, decoded before anything is started.

    Raises:
        DataError: data that is missing, unusable, or too little to be measured.
    """
    configs: dict[str, DataConfig] = {}
    most_splits = 2  # a covariance needs two images
    for trial in plan.trials:
        configs.setdefault(content_key(to_dict(trial.config.data)), trial.config.data)
        most_splits = max(most_splits, trial.config.evaluation.is_splits)
    datasets = [load(config, plan.cache) for config in configs.values()]
    for dataset in datasets:
        for split in ("val", "test"):
            for role in ("retain", "forget"):
                count = len(dataset.rows(role, split))
                if count < most_splits:
                    raise DataError(
                        f"{count} {split} images of the {role} classes are too few for an "
                        f"Inception Score of {most_splits} splits: add images, or lower "
                        f"evaluation.is_splits to at most {count}"
                    )
    return datasets


def _open(
    plan: Plan, datasets: list[Dataset], *, resume: bool, tracking_uri: str | None
) -> tuple[Ledger, Recorder]:
    if resume:
        ledger = Ledger.open(plan)
        _refuse_other_data(plan, datasets)
    else:
        write_plan(plan)
        ledger = Ledger.create(plan)
        _write_manifests(plan, datasets)
    write_environment(plan.folder)
    with FileLock(plan.storage / ".mlflow.lock"):  # MLflow's first use of a file is not locked
        recorder = Recorder(plan, tracking_uri)
    if resume:
        ledger.recover()
        _catch_up(plan, ledger, recorder)
    return ledger, recorder


def _catch_up(plan: Plan, ledger: Ledger, recorder: Recorder) -> None:
    """Records what ended and was not recorded before an earlier session was lost."""
    recorded = recorder.finished_before()
    for entry in ledger.entries():
        if entry.state == "finished" and entry.trial.key not in recorded:
            folder = plan.trial_folder(entry.trial)
            recorder.trial_finished(entry.trial, folder, dict(entry.result))
        if entry.state == "failed" and entry.trial.key not in recorder.failed_before():
            recorder.trial_failed(entry.trial, entry.cause, entry.message)


def _refuse_other_data(plan: Plan, datasets: list[Dataset]) -> None:
    """A resumed sweep compares its trials on the images that it began with.

    Raises:
        DataError: the images have changed since.
    """
    path = plan.folder / "manifest.parquet"
    if not path.is_file():  # killed before it was written: nothing has run
        _write_manifests(plan, datasets)
        return
    before = set(results.read_table(path)["data_hash"].to_pylist())
    now = {each.fingerprint for each in datasets}
    if before != now:
        raise DataError(
            f"the images are not those that sweep {plan.name!r} began with (data hash "
            f"{', '.join(sorted(now))}, in {path} {', '.join(sorted(before))}): put them back, or "
            "take another --name"
        )


def _write_manifests(plan: Plan, datasets: list[Dataset]) -> None:
    """`manifest.parquet`, a row an image; `refused.json`, the files left out of every method."""
    tables = [
        each.manifest.append_column("data_hash", pa.array([each.fingerprint] * len(each.manifest)))
        for each in datasets
    ]
    path = plan.folder / "manifest.parquet"
    with results.replacing(path) as beside:
        pq.write_table(pa.concat_tables(tables), beside)
    refused = {
        each.fingerprint: {lost.path: lost.reason for lost in each.refused} for each in datasets
    }
    if any(refused.values()):
        results.write_json(plan.folder / "refused.json", refused)


def _drive(
    plan: Plan,
    ledger: Ledger,
    recorder: Recorder,
    tracking_uri: str | None,
    *,
    debug: bool,
    stream: TextIO,
) -> int:
    from platform import runner

    progress = Progress(
        plan,
        stream,
        at_once=resources.concurrency(plan),
        trial_s=estimate.trial_seconds(plan),
        entries=tuple(ledger.entries()),
    )
    _tell(stream, _opening(plan, ledger))
    status: SweepStatus = "failed"
    try:
        if ledger.outstanding():
            outcome = runner.run(plan, ledger, recorder, progress, debug=debug)
            status = "interrupted" if outcome.interrupted else "finished"
        else:
            status = "finished"
    except KeyboardInterrupt:
        status = "interrupted"
    finally:
        progress.close()
        rows = _write_results(plan, ledger)
        recorder.close(status)
    return _end(plan, ledger, recorder, rows, status, tracking_uri, stream)


def _opening(plan: Plan, ledger: Ledger) -> list[str]:
    counts = ledger.counts()
    ended = counts["finished"] + counts["failed"]
    done = f", {ended} of them done before" if ended else ""
    return [
        f"Sweep {plan.name}: {plan.question}",
        f"{plan.total} trials{done}, {resources.concurrency(plan)} at once, in {plan.folder}/",
    ]


def _write_results(plan: Plan, ledger: Ledger) -> list[dict[str, Any]]:
    rows = [
        result_row(
            plan,
            entry.trial,
            entry.state,
            entry.result,
            failure=entry.cause,
            duration_s=entry.duration_s or None,
        )
        for entry in ledger.entries()
    ]
    write_results(plan.folder, rows)
    return rows


def _end(
    plan: Plan,
    ledger: Ledger,
    recorder: Recorder,
    rows: list[dict[str, Any]],
    status: SweepStatus,
    tracking_uri: str | None,
    stream: TextIO,
) -> int:
    _tell(stream, ["", *summary(plan, rows), ""])
    if recorder.missed:
        missing = len(recorder.missed)
        _tell(
            stream,
            [
                f"MLflow at {recorder.shown_uri} missed {missing} entries of the record; "
                f"everything is in {plan.folder}/, and this brings it up to date:",
                f"  {resume_command(plan, tracking_uri)}",
            ],
        )
    if status == "interrupted":
        left = ledger.outstanding()
        _tell(stream, [f"Interrupted with {left} of {plan.total} trials outstanding. To go on:"])
        _tell(stream, [f"  {resume_command(plan, tracking_uri)}"])
        return INTERRUPTED
    _tell(stream, commands(plan, recorder.shown_uri, recorder.variants_page))
    if ledger.counts()["failed"]:
        return SOME_FAILED
    return FINISHED


def _tell(stream: TextIO, lines: list[str]) -> None:
    stream.write("\n".join(lines) + "\n")
    stream.flush()
