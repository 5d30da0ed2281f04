"""Runs the trials that the scheduler hands out by Ray Tune. The only importer of ray.tune.

Functions import Ray, not the module: Ray reads its environment then, which `cluster` sets before.
"""

from __future__ import annotations

import contextlib
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from platform.execution import cluster, nodes, ray_internals, trial_process
from platform.execution.failures import Cause, Failure, diagnose
from platform.execution.scheduler import Outcome, Scheduler, SweepRun
from platform.execution.trial_process import TrialOrder
from platform.plan import hardware, resources
from platform.tracking.tags import numbers
from trainables.utils.waiting import waiting

if TYPE_CHECKING:
    from ray.tune.schedulers import AsyncHyperBandScheduler

    from platform.plan.plan import Plan
    from trainables.config import UnlearnConfig

_NODES_ASKED_EVERY_S = 5.0


def run(sweep: SweepRun) -> Outcome:
    """Runs every trial that a sweep has outstanding, and takes in each as it ends.

    Raises:
        UserError: shared work that cannot be built from what the user gave.
    """
    plan = sweep.plan
    have = hardware.this_machine()
    with contextlib.ExitStack() as stack:
        if sweep.address:
            stack.callback(cluster.leave)
        else:
            stack.enter_context(cluster.local(have.cpus, have.gpus, debug=sweep.debug))
        from platform.execution import shared_work

        if sweep.address:
            nodes.check_storage(plan.storage.absolute())
        sweep.begin_phase("of work that trials share")
        shared_work.build(plan, sweep.queue.waiting(), sweep.tell_shared_work)
        sweep.begin_phase("of trials")
        if not sweep.debug:
            ray_internals.silence(*ray_internals.TRIAL_LOGGERS)
        most = resources.concurrency(plan)
        return _fit(Scheduler(sweep), _room_on_cluster(plan) if sweep.address else lambda: most)


def _room_on_cluster(plan: Plan) -> Callable[[], int]:
    """Returns a function that says how many trials may be under way, or wait for a node.

    The cluster is asked anew as nodes come and go.
    """
    # one that waits is what an autoscaler adds a node for; workers that wait would hold CPUs
    spare = 0 if resources.uses_trainer(plan.launch) else 1
    asked, most = 0.0, 0

    def room() -> int:
        nonlocal asked, most
        if most == 0 or time.monotonic() - asked > _NODES_ASKED_EVERY_S:
            asked = time.monotonic()
            fit = resources.concurrency(plan, *nodes.machines()) + spare
            most = min(fit, plan.launch.max_concurrent or fit)
        return most

    return room


def _fit(scheduler: Scheduler, room: Callable[[], int]) -> Outcome:
    """Runs one Tune experiment until no trial is outstanding, or a signal arrives."""
    from ray import tune

    ray_internals.silence(ray_internals.SNAPSHOT_LOGGER)
    folder = scheduler.plan.folder
    tuner = tune.Tuner(
        tune.with_resources(_trial, _resources(scheduler.plan)),
        tune_config=tune.TuneConfig(
            search_alg=_searcher(scheduler, room),
            scheduler=_early_stopping(scheduler),
            num_samples=-1,
            time_budget_s=scheduler.seconds_left(),
            # a fresh process imports torch for seconds; a trial leaves nothing behind in one
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder.absolute()),
            callbacks=[_callback(scheduler)],
            verbose=0,
        ),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuner.fit()
    # the ledger and the trials' folders hold all that counts; nothing is ever resumed from this
    for name in ("tune", "train"):
        shutil.rmtree(folder / name, ignore_errors=True)
    scheduler.sweep.replica.remove_trainers()
    return scheduler.outcome()


def _resources(plan: Plan) -> Any:
    from ray import tune

    gpus = plan.launch.gpus_per_trial
    trainer = tune.PlacementGroupFactory([{"CPU": resources.TRAINER_CPUS}])
    alone = tune.PlacementGroupFactory([{"CPU": 1, "GPU": min(gpus, 1.0)}])
    return lambda config: trainer if config["order"]["trainer"] else alone


def _trial_name(trial: Any) -> str:
    return f"{trial.config['name']}-{trial.trial_id}"


def _key(trial: Any) -> str:
    """Returns our key of one of Tune's trials."""
    return str(trial.config["order"]["key"])


def _searcher(scheduler: Scheduler, room: Callable[[], int]) -> Any:
    """Returns a Tune searcher that suggests the scheduler's next trial where there is room."""
    from ray.tune.search import Searcher

    class SchedulerSearcher(Searcher):
        """Suggests what the scheduler hands out."""

        def suggest(self, trial_id: str) -> Any:  # Ray's own annotation leaves FINISHED out
            has_room = scheduler.under_way() < room()
            ahead = scheduler.next_ahead() if has_room else None
            trial = ahead or (scheduler.next() if has_room else None)
            if trial is None:
                # a trial under way may be lost, and then be run again
                over = scheduler.over() and not scheduler.under_way()
                return Searcher.FINISHED if over else None
            order = scheduler.order(trial, ahead=ahead is not None)
            return {"name": trial.name, "order": asdict(order)}

        def on_trial_complete(
            self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
        ) -> None:
            """Does nothing: the callback tells the scheduler."""

        def save(self, checkpoint_path: str) -> None:
            """Does nothing: the ledger is on disk, and Tune's snapshots are not resumed from."""

        def restore(self, checkpoint_path: str) -> None:
            """Does nothing, as `save`."""

        def __reduce__(self) -> tuple[Any, ...]:
            return Searcher, ()

    return SchedulerSearcher()


def _early_stopping(scheduler: Scheduler) -> Any:
    """Returns what stops search trials that lie behind their group; None where all run whole."""
    if not scheduler.plan.search.asha:
        return None
    from ray.tune.schedulers import FIFOScheduler

    from platform.search.trial_record import score

    class GroupHalving(FIFOScheduler):
        """Runs Ray's ASHA in each group by itself: variants are not measured by each other."""

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self._by_group: dict[str, AsyncHyperBandScheduler] = {}
            self._added: set[str] = set()

        def set_search_properties(self, metric: Any, mode: Any, **spec: Any) -> bool:
            """Takes none: each group's ASHA knows its own."""
            return True

        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            planned = scheduler.running.get(_key(trial))
            if planned is None or planned.kind != "search" or "step" not in result:
                return str(FIFOScheduler.CONTINUE)
            unlearn = planned.config.unlearn
            asha = self._by_group.setdefault(planned.group_name, _asha(unlearn))
            if trial.trial_id not in self._added:
                self._added.add(trial.trial_id)
                asha.on_trial_add(controller, trial)
            figures = {"step": result["step"], "score": score(result)}
            verdict = str(asha.on_trial_result(controller, trial, figures))
            # what has trained to its end is worth its pictures
            if verdict != FIFOScheduler.STOP or result["step"] >= unlearn.steps:
                return str(FIFOScheduler.CONTINUE)
            return verdict if scheduler.halt(planned.key) else str(FIFOScheduler.CONTINUE)

        def __reduce__(self) -> tuple[Any, ...]:
            return FIFOScheduler, ()

    return GroupHalving()


def _asha(unlearn: UnlearnConfig) -> AsyncHyperBandScheduler:
    from ray.tune.schedulers import AsyncHyperBandScheduler

    return AsyncHyperBandScheduler(
        time_attr="step",
        metric="score",
        mode="max",
        grace_period=unlearn.eval_every,
        max_t=max(unlearn.steps, unlearn.eval_every + 1),
        reduction_factor=2,
        stop_last_trials=False,
    )


_DIED = Failure(cause=Cause.WORKER_LOST, message="a process of the trial died")


def _callback(scheduler: Scheduler) -> Any:
    """Returns a Tune callback that tells the scheduler what happens to each trial."""
    from ray import tune

    class SchedulerCallback(tune.Callback):
        """Tells the scheduler, in the driver."""

        def __init__(self) -> None:
            self._failures: dict[str, Failure] = {}
            self._last: dict[str, dict[str, float]] = {}

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            scheduler.started(_key(trial))

        def on_trial_result(
            self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            key = _key(trial)
            if "failure" in result:
                self._failures[key] = _failure(result)
            elif "work" in result:
                scheduler.sweep.tell_shared_work(*result["work"])
            elif "step" in result:
                # our own figures, without what Tune adds to each result
                self._last[key] = {"step": result["step"], **numbers(result)}
                scheduler.reported(key, self._last[key])

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            key = _key(trial)
            scheduler.ended(key, self._failures.pop(key, None), self._last.pop(key, {}))

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            key = _key(trial)
            self._failures.pop(key, None)
            self._last.pop(key, None)
            error = ray_internals.error_of(trial)
            scheduler.ended(key, _DIED if error is None else diagnose(error))

        def __reduce__(self) -> tuple[Any, ...]:
            return tune.Callback, ()

    return SchedulerCallback()


def _failure(result: dict[str, Any]) -> Failure:
    return Failure(cause=Cause(result["failure"]), message=result["message"])


def _trial(config: dict[str, Any]) -> None:
    """Runs one trial on a worker, or builds its shared work; reports a failure, serves the next."""
    order = TrialOrder(**config["order"])
    if order.ahead:
        from platform.execution import shared_work

        shared_work.build_for(order, lambda *told: _report({"work": told}))
        return
    if order.trainer:
        from ray.tune.integration.ray_train import TuneReportCallback

        from platform.execution import ray_train

        failure = ray_train.execute(order, [TuneReportCallback()])
    else:
        failure = trial_process.execute(order, _report)
    if failure is not None:
        _report({"failure": failure.cause.value, "message": failure.message})


def _report(values: Mapping[str, Any]) -> None:
    """Reports to the driver, which takes it once it has done all else, unless it dies."""
    from ray import tune

    with waiting():
        tune.report(dict(values))
