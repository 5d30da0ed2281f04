"""Plan -> Ray Tune -> results: Tune runs what the ledger says is next."""

from __future__ import annotations

import shutil
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from platform import cluster, launch, resources, reuse, stages
from platform.launch import Failure, Order
from platform.life import Watch
from platform.limits import RETRIED, Limits
from platform.progress import counted
from trainables.config import to_dict

if TYPE_CHECKING:
    from platform.ledger import Ledger
    from platform.plan import Plan, PlannedTrial
    from platform.progress import Progress
    from platform.timing import Phases
    from platform.tracking import Recorder


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        interrupted: with trials outstanding.
        reason: why, in a line, where it was not a signal.
    """

    interrupted: bool
    reason: str = ""


def run(
    plan: Plan,
    ledger: Ledger,
    recorder: Recorder,
    progress: Progress,
    phases: Phases,
    limits: Limits,
    *,
    debug: bool = False,
) -> Outcome:
    """Runs every trial that the ledger has outstanding, and records each as it ends.

    Args:
        plan: the sweep.
        ledger: what is outstanding, and how what ends has ended.
        recorder: writes to MLflow.
        progress: tells the user.
        phases: of the session's time.
        limits: of this session.
        debug: lets Ray's own log through.

    Raises:
        UserError: shared work that cannot be built from what the user gave.
    """
    have = resources.available()
    with cluster.local(have.cpus, have.gpus, debug=debug):
        phases.begin("of work that trials share")
        stages.build(plan, progress.stage)
        phases.begin("of trials")
        watch = Watch()
        with watch.watching():
            return _Run(plan, ledger, recorder, progress, limits, phases, watch).fit()


class _Run:
    """One Tune experiment over what is outstanding."""

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        recorder: Recorder,
        progress: Progress,
        limits: Limits,
        phases: Phases,
        watch: Watch,
    ) -> None:
        self.plan = plan
        self.ledger = ledger
        self.recorder = recorder
        self.progress = progress
        self.limits = limits
        self.phases = phases
        self.watch = watch
        self.running: dict[str, PlannedTrial] = {}
        self.begun: set[str] = set()
        self.lost: Counter[str] = Counter()
        self.reason = ""

    def fit(self) -> Outcome:
        """Runs until the ledger is exhausted or a signal arrives."""
        from ray import tune

        tuner = tune.Tuner(
            tune.with_resources(_trial, self._resources()),
            tune_config=tune.TuneConfig(
                search_alg=_searcher(self),
                num_samples=-1,
                max_concurrent_trials=resources.concurrency(self.plan),
                time_budget_s=self._seconds_left(),
                # a fresh process imports torch for seconds; a trial leaves nothing behind in one
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(self.plan.folder.resolve()),
                callbacks=[_callback(self)],
                verbose=0,
            ),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tuner.fit()
        # the ledger and the trials' folders hold all that counts; nothing is ever resumed from this
        for name in ("tune", "train"):
            shutil.rmtree(self.plan.folder / name, ignore_errors=True)
        interrupted = bool(self.running)
        self.ledger.interrupt()
        if self._time_is_up():
            self.reason = self.reason or "the time budget is spent"
        if self._trials_are_up():
            self.reason = self.reason or f"{counted(len(self.begun), 'trial')} started (--trials)"
        return Outcome(interrupted=interrupted or self.ledger.outstanding() > 0, reason=self.reason)

    def _seconds_left(self) -> float | None:
        budget = self.limits.time_budget_s
        return None if budget is None else max(0.1, budget - self.phases.elapsed())

    def _time_is_up(self) -> bool:
        budget = self.limits.time_budget_s
        return budget is not None and self.phases.elapsed() >= budget

    def _trials_are_up(self) -> bool:
        return self.limits.trials is not None and len(self.begun) >= self.limits.trials

    def next(self) -> PlannedTrial | None:
        """The next trial to start; None where nothing can start now, see `over`."""
        if self.over():
            return None
        trial = self.ledger.next()
        if trial is not None:
            self.running[trial.key] = trial
            self.begun.add(trial.key)
        return trial

    def over(self) -> bool:
        """Whether this session starts no more trials."""
        if self.reason or self._trials_are_up():
            return True
        return not (self.ledger.ready() or self.ledger.waiting())

    def _resources(self) -> Any:
        from ray import tune

        trainer = resources.uses_trainer(self.plan.launch)
        if trainer:
            return tune.PlacementGroupFactory([{"CPU": resources.TRAINER_CPUS}])
        return tune.PlacementGroupFactory([{"CPU": 1, "GPU": self.plan.launch.gpus_per_trial}])

    def order(self, trial: PlannedTrial) -> Order:
        """What the trial's process is told."""
        return Order(
            key=trial.key,
            config=to_dict(trial.config),
            folder=str((self.plan.folder / "trials" / trial.name).resolve()),
            cache=str(self.plan.cache.resolve()),
            trainer=resources.uses_trainer(self.plan.launch),
            workers=self.plan.launch.workers,
            gpus=self.plan.launch.gpus_per_trial,
        )

    def started(self, key: str) -> None:
        """A process began the trial."""
        self.watch.add(key, self.plan.trial_folder(self.running[key]))
        self.recorder.trial_started(self.running[key])
        self.progress.started(self.running[key])

    def reported(self, key: str, metrics: dict[str, float]) -> None:
        """An evaluation arrived."""
        self.recorder.trial_reported(self.running[key], metrics)
        self.progress.reported(self.running[key], metrics)

    def ended(self, key: str, failure: Failure | None) -> None:
        """The trial's process is done: its result file or its failure decides what is recorded."""
        trial = self.running.pop(key)
        folder = self.plan.trial_folder(trial)
        if self.watch.remove(key):
            silent = f"a process gave no sign of life for {self.watch.lost_after_s:.0f} s"
            failure = Failure(cause="worker lost", message=f"{silent} and was killed")
        if failure is None:
            try:
                result = launch.read_result(folder)
            except (OSError, ValueError) as error:
                failure = Failure(cause="crash", message=f"no result: {error}")
        if failure is not None:
            self._failed(trial, failure)
            return
        if not self.ledger.finish(trial, result):
            self._tell_failed(trial, "non-finite", "the objective is not a finite number")
            return
        reuse.enter(self.plan, trial)
        self.recorder.trial_finished(trial, folder, result)
        self.progress.finished(trial, result)

    def _failed(self, trial: PlannedTrial, failure: Failure) -> None:
        """A failure that another attempt may mend leaves the trial outstanding."""
        if failure.cause == "disk":
            # every other trial would meet it too
            self.ledger.put_back(trial)
            self.reason = f"the disk is full ({failure.message}): free some room"
            self.progress.put_back(trial, f"disk: {failure.message}")
        elif failure.cause in RETRIED and self.lost[trial.key] < self.limits.max_failures:
            self.lost[trial.key] += 1
            count = self.lost[trial.key]
            self.ledger.put_back(trial)
            self.begun.discard(trial.key)
            self.recorder.trial_retried(trial, count, failure.cause)
            again = f"tried again, {count} of at most {self.limits.max_failures} times"
            self.progress.put_back(trial, f"{failure.cause}: {failure.message}; {again}")
        else:
            self.ledger.fail(trial, failure.cause, failure.message)
            self._tell_failed(trial, failure.cause, failure.message)

    def _tell_failed(self, trial: PlannedTrial, cause: str, message: str) -> None:
        self.recorder.trial_failed(trial, cause, message)
        self.progress.failed(trial, f"{cause}: {message}")


def _trial_name(trial: Any) -> str:
    return f"{trial.config['name']}-{trial.trial_id}"


def _searcher(run: _Run) -> Any:
    """A Tune searcher that hands out what the ledger has outstanding."""
    from ray.tune.search import Searcher

    class LedgerSearcher(Searcher):
        """One searcher over the ledger's Optuna studies, one a variant."""

        def suggest(self, trial_id: str) -> Any:  # Ray's own annotation leaves FINISHED out
            trial = run.next()
            if trial is None:
                # a trial under way may be lost, and then be run again
                return Searcher.FINISHED if run.over() and not run.running else None
            return {"name": trial.name, "order": asdict(run.order(trial))}

        def on_trial_complete(
            self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
        ) -> None:
            """The callback tells the ledger, with what it read from the trial's folder."""

        def save(self, checkpoint_path: str) -> None:
            """Nothing: the ledger is on disk already, and Tune's snapshots are not resumed from."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing, as `save`."""

        def __reduce__(self) -> tuple[Any, ...]:
            return Searcher, ()

    return LedgerSearcher()


def _callback(run: _Run) -> Any:
    """Tells the ledger, the record and the progress of what Tune sees."""
    from ray import tune

    class Watch(tune.Callback):
        """The driver's side of every trial."""

        failures: dict[str, Failure]

        def __init__(self) -> None:
            self.failures = {}

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            run.started(trial.config["order"]["key"])

        def on_trial_result(
            self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            key = trial.config["order"]["key"]
            if "failure" in result:
                self.failures[key] = Failure(cause=result["failure"], message=result["message"])
            elif "step" in result:
                run.reported(key, {k: v for k, v in result.items() if k in _metric_names(result)})

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            key = trial.config["order"]["key"]
            run.ended(key, self.failures.pop(key, None))

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            key = trial.config["order"]["key"]
            self.failures.pop(key, None)
            run.ended(key, _why(trial))

        def __reduce__(self) -> tuple[Any, ...]:
            return tune.Callback, ()

    return Watch()


def _why(trial: Any) -> Failure:
    """Why Tune gave a trial up: what its process died of, as far as Ray knows."""
    error = trial.get_pickled_error() or trial.get_error()
    if isinstance(error, BaseException):
        return launch.diagnose(error)
    return Failure(cause="worker lost", message="a process of the trial died")


def _metric_names(result: dict[str, Any]) -> set[str]:
    """Ours, among what Tune adds to each result."""
    return {"step"} | {
        name for name, value in result.items() if "/" in name and isinstance(value, float | int)
    }


def _trial(config: dict[str, Any]) -> None:
    """Runs on a worker: one trial. A failure is a result, so that the process serves the next."""
    from ray import tune

    order = Order(**config["order"])
    callbacks = []
    if order.trainer:
        from ray.tune.integration.ray_train import TuneReportCallback

        callbacks.append(TuneReportCallback())
    failure = launch.execute(order, lambda metrics: tune.report(dict(metrics)), callbacks)
    if failure is not None:
        tune.report({"failure": failure.cause, "message": failure.message})
