"""Plan -> Ray Tune -> results: Tune runs what the ledger says is next."""

from __future__ import annotations

import logging
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from platform.execution import cluster, shared_work, trial_process
from platform.execution.failures import Cause, Failure, diagnose
from platform.execution.scheduler import Outcome, Scheduler, SweepRun
from platform.execution.trial_process import TrialOrder
from platform.plan import resources

if TYPE_CHECKING:
    from platform.plan.plan import Plan

_LOOK_S = 5.0
# of trials that fail they print Ray's own traceback, where the progress has a line
_TELLING_OF_TRIALS = ("ray.tune.execution.tune_controller", "ray.tune.tune")


def run(sweep: SweepRun) -> Outcome:
    """Runs every trial that a sweep has outstanding, and takes in each as it ends.

    Raises:
        UserError: shared work that cannot be built from what the user gave.
    """
    plan = sweep.plan
    have = resources.available()
    local = cluster.local(have.cpus, have.gpus, debug=sweep.debug)
    with cluster.joined() if sweep.address else local:
        if sweep.address:
            cluster.check_storage(plan.storage.absolute())
        sweep.begin_phase("of work that trials share")
        shared_work.build(plan, sweep.tell_shared_work)
        sweep.begin_phase("of trials")
        if not sweep.debug:
            for name in _TELLING_OF_TRIALS:
                logging.getLogger(name).setLevel(logging.CRITICAL)
        return _fit(Scheduler(sweep), _of_cluster(plan) if sweep.address else _of_machine(plan))


def _of_machine(plan: Plan) -> Callable[[], int]:
    """How many trials may be under way on this machine."""
    most = resources.concurrency(plan)
    return lambda: most


def _of_cluster(plan: Plan) -> Callable[[], int]:
    """How many trials may be under way or wait for a node, asked anew as nodes come and go."""
    # one that waits is what an autoscaler adds a node for; workers that wait would hold CPUs
    waiting = 0 if resources.uses_trainer(plan.launch) else 1
    looked, most = 0.0, 0

    def room() -> int:
        nonlocal looked, most
        if most == 0 or time.monotonic() - looked > _LOOK_S:
            looked = time.monotonic()
            fit = resources.concurrency(plan, *cluster.machines()) + waiting
            most = min(fit, plan.launch.max_concurrent or fit)
        return most

    return room


def _fit(run: Scheduler, room: Callable[[], int]) -> Outcome:
    """One Tune experiment over what is outstanding, until that is nothing or a signal arrives."""
    from ray import tune

    # of a full disk the ledger and the trials tell; what Tune would save is never read
    logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)
    tuner = tune.Tuner(
        tune.with_resources(_trial, _resources(run)),
        tune_config=tune.TuneConfig(
            search_alg=_searcher(run, room),
            scheduler=_scheduler(run),
            num_samples=-1,
            time_budget_s=run.seconds_left(),
            # a fresh process imports torch for seconds; a trial leaves nothing behind in one
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(run.plan.folder.absolute()),
            callbacks=[_callback(run)],
            verbose=0,
        ),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuner.fit()
    # the ledger and the trials' folders hold all that counts; nothing is ever resumed from this
    for name in ("tune", "train"):
        shutil.rmtree(run.plan.folder / name, ignore_errors=True)
    run.sweep.replica.forget_trainers()
    return run.outcome()


def _resources(run: Scheduler) -> Any:
    from ray import tune

    if resources.uses_trainer(run.plan.launch):
        return tune.PlacementGroupFactory([{"CPU": resources.TRAINER_CPUS}])
    return tune.PlacementGroupFactory([{"CPU": 1, "GPU": run.plan.launch.gpus_per_trial}])


def _trial_name(trial: Any) -> str:
    return f"{trial.config['name']}-{trial.trial_id}"


def _searcher(run: Scheduler, room: Callable[[], int]) -> Any:
    """A Tune searcher that hands out what the ledger has outstanding, where there is room."""
    from ray.tune.search import Searcher

    class LedgerSearcher(Searcher):
        """One searcher over the ledger's Optuna studies, one a variant."""

        def suggest(self, trial_id: str) -> Any:  # Ray's own annotation leaves FINISHED out
            trial = run.next() if len(run.running) < room() else None
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


def _scheduler(run: Scheduler) -> Any:
    """Stops search trials that lie behind those of their own group; None where all run whole."""
    if not run.plan.search.asha:
        return None
    from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler

    from platform.search.trial_record import score

    class Halving(FIFOScheduler):
        """Ray's ASHA for each group by itself: variants are not measured against each other."""

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self._of_group: dict[str, AsyncHyperBandScheduler] = {}

        def set_search_properties(self, metric: Any, mode: Any, **spec: Any) -> bool:
            """Takes none: each group's scheduler knows its own."""
            return True

        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            planned = run.running.get(trial.config["order"]["key"])
            if planned is None or planned.kind != "search" or "step" not in result:
                return str(FIFOScheduler.CONTINUE)
            unlearn = planned.config.unlearn
            if planned.group_name not in self._of_group:
                self._of_group[planned.group_name] = AsyncHyperBandScheduler(
                    time_attr="step",
                    metric="score",
                    mode="max",
                    grace_period=unlearn.eval_every,
                    max_t=max(unlearn.steps, unlearn.eval_every + 1),
                    reduction_factor=2,
                    stop_last_trials=False,
                )
            asha = self._of_group[planned.group_name]
            if trial.trial_id not in asha._trial_info:
                asha.on_trial_add(controller, trial)
            told = {"step": result["step"], "score": score(result)}
            verdict = str(asha.on_trial_result(controller, trial, told))
            # what has trained to its end is worth its pictures
            if verdict != FIFOScheduler.STOP or result["step"] >= unlearn.steps:
                return str(FIFOScheduler.CONTINUE)
            run.halted.add(planned.key)
            return verdict

        def __reduce__(self) -> tuple[Any, ...]:
            return FIFOScheduler, ()

    return Halving()


def _callback(run: Scheduler) -> Any:
    """Tells the ledger, the record and the progress of what Tune sees."""
    from ray import tune

    class Watch(tune.Callback):
        """The driver's side of every trial."""

        failures: dict[str, Failure]
        last: dict[str, dict[str, float]]

        def __init__(self) -> None:
            self.failures = {}
            self.last = {}

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            run.started(trial.config["order"]["key"])

        def on_trial_result(
            self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            key = trial.config["order"]["key"]
            if "failure" in result:
                self.failures[key] = Failure(
                    cause=Cause(result["failure"]), message=result["message"]
                )
            elif "step" in result:
                self.last[key] = _metrics(result)
                run.reported(key, self.last[key])

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            key = trial.config["order"]["key"]
            failure, last = self.failures.pop(key, None), self.last.pop(key, {})
            run.ended(key, failure, last)

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            key = trial.config["order"]["key"]
            for told in (self.failures, self.last):
                told.pop(key, None)
            run.ended(key, _why(trial))

        def __reduce__(self) -> tuple[Any, ...]:
            return tune.Callback, ()

    return Watch()


def _why(trial: Any) -> Failure:
    """Why Tune gave a trial up: what its process died of, as far as Ray knows."""
    error = trial.get_pickled_error() or trial.get_error()
    if isinstance(error, BaseException):
        return diagnose(error)
    return Failure(cause=Cause.WORKER_LOST, message="a process of the trial died")


def _metrics(result: dict[str, Any]) -> dict[str, float]:
    """Ours, among what Tune adds to each result."""
    return {
        name: value
        for name, value in result.items()
        if name == "step" or ("/" in name and isinstance(value, float | int))
    }


def _trial(config: dict[str, Any]) -> None:
    """Runs one trial, on a worker. A failure is a result, so that the process serves the next."""
    from ray import tune

    order = TrialOrder(**config["order"])
    if order.trainer:
        from ray.tune.integration.ray_train import TuneReportCallback

        from platform.execution import ray_train

        failure = ray_train.execute(order, [TuneReportCallback()])
    else:
        failure = trial_process.execute(order, lambda metrics: tune.report(dict(metrics)))
    if failure is not None:
        tune.report({"failure": failure.cause.value, "message": failure.message})
