"""One whole trial of each method, tiny: what it leaves, what it moves, and that it repeats."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from tests.helpers.tiny import EVALUATED, STEPS, files, tiny
from trainables.config import REFERENCES, TrialConfig, to_dict
from trainables.config.names import SNAPSHOT
from trainables.config.overrides import from_dict
from trainables.data import Dataset, load
from trainables.evaluation import figures
from trainables.methods import METHODS, LossBatch
from trainables.methods.base import weighted_sum
from trainables.models import build_model
from trainables.models.base import RowLoss
from trainables.shared.identity import identity
from trainables.training.context import Context, TrialSetup
from trainables.training.loop import Parallelise
from trainables.trial import run_trial, training_pools
from trainables.utils.distributed import World
from trainables.utils.errors import CheckpointError, ConfigError, NonFiniteError
from trainables.utils.hashing import read_sealed
from trainables.utils.local_files import lost

LEFT = {
    "config.json",
    "weights.safetensors",
    "samples.png",
    "samples.parquet",
    "embeddings.parquet",
    "tsne.png",
    "tsne.pdf",
    "history.json",
    "result.json",
}
MEASURED = {
    f"{split}{role}/{name}"
    for split in ("", "val/")
    for role in ("retain", "forget")
    for name in ("fid", "is_mean", "is_std", "clip")
} | {"val/objective", "val/violation"}
LOSSES = {"loss/total", "loss/retain", "loss/forget"}
TRAINED = [name for name in METHODS if name not in REFERENCES]
ENCODER_ONLY = [name for name in TRAINED if METHODS[name].moves == "encoder"]


@dataclasses.dataclass(frozen=True)
class Ran:
    """A trial that ended, and what it told while it ran."""

    config: TrialConfig
    folder: Path
    result: dict[str, Any]
    reported: list[dict[str, float]]

    @property
    def history(self) -> list[dict[str, float]]:
        found: list[dict[str, float]] = json.loads((self.folder / "history.json").read_text())
        return found

    @property
    def weights(self) -> dict[str, Tensor]:
        return load_file(self.folder / "weights.safetensors")


def ran(config: TrialConfig, root: Path, name: str) -> Ran:
    reported: list[dict[str, float]] = []
    context = Context(
        folder=root / name,
        cache=root / "cache",
        report=lambda metrics: reported.append(dict(metrics)),
    )
    return Ran(config, context.folder, run_trial(config, context, planned=True), reported)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def trials(root: Path) -> dict[str, Ran]:
    """Every method once, in one cache."""
    return {name: ran(tiny(method=name), root, name) for name in METHODS}


@pytest.fixture(scope="module")
def base(trials: Mapping[str, Ran], root: Path) -> dict[str, Tensor]:
    """Weights of the one original that all trials share."""
    [folder] = (root / "cache").glob("base-*/")
    return load_file(folder / "weights.safetensors")


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


# --- What a trial leaves ---------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_trial_leaves_its_files_and_the_result_last(
    method: str, trials: Mapping[str, Ran]
) -> None:
    trial = trials[method]
    assert files(trial.folder) == LEFT
    written = {name: (trial.folder / name).stat().st_mtime_ns for name in LEFT}
    assert written["result.json"] == max(written.values())
    assert read_sealed(trial.folder / "result.json") == trial.result
    assert trial.result["files"].keys() == LEFT - {"result.json"}
    assert lost(trial.folder, trial.result["files"], read=True) == []


@pytest.mark.parametrize("method", METHODS)
def test_the_result_names_what_it_measured(method: str, trials: Mapping[str, Ran]) -> None:
    trial = trials[method]
    result = trial.result
    assert result.keys() == {
        "trial_key",
        "metrics",
        "extractors",
        "fid",
        "timing",
        "resumed_from",
        "data_hash",
        "code_version",
        "identity",
        "files",
    }
    metrics = {n: v for n, v in result["metrics"].items() if not n.startswith("grey/")}
    assert metrics.keys() == (MEASURED if method in REFERENCES else MEASURED | LOSSES)
    assert all(math.isfinite(value) for value in metrics.values())
    assert result["trial_key"] == trial.config.key()
    assert set(result["extractors"].values()) == {"photos CNN"}
    assert result["extractors"].keys() == {"fid_extractor", "is_extractor", "clip_model"}
    count = {"val/retain": 48, "val/forget": 48, "retain": 48, "forget": 48}
    assert result["fid"] == {"width": 64, "images": count}
    timing = dict(result["timing"])
    total = timing.pop("total_s")
    # the references take no steps of their own
    assert timing.keys() | {"train_s"} == {"prepare_s", "train_s", "evaluation_s", "artifacts_s"}
    assert method in REFERENCES or timing["train_s"] > 0.0
    assert 0.0 < sum(timing.values()) <= total


@pytest.mark.parametrize("method", METHODS)
def test_history_is_what_was_reported_at_each_evaluation(
    method: str, trials: Mapping[str, Ran]
) -> None:
    trial = trials[method]
    assert trial.history == trial.reported
    steps = [0] if method in REFERENCES else list(EVALUATED)
    assert [each["step"] for each in trial.history] == steps
    for each in trial.history:
        assert each.keys() == trial.result["metrics"].keys() | {"step"}
    assert {**trial.result["metrics"], "step": steps[-1]} == trial.history[-1]


def test_the_last_step_is_evaluated_also_between_two_intervals(root: Path) -> None:
    trial = ran(tiny(unlearn__steps=5, unlearn__eval_every=3), root, "between")
    assert [each["step"] for each in trial.history] == [3, 5]


def test_objective_and_violation_compare_with_the_original(trials: Mapping[str, Ran]) -> None:
    original = trials["original"].result["metrics"]
    assert original["val/objective"] == 0.0
    assert original["val/violation"] == pytest.approx(-math.log(1.10))
    for trial in trials.values():
        metrics = trial.result["metrics"]
        forget = metrics["val/forget/fid"] / original["val/forget/fid"]
        retain = metrics["val/retain/fid"] / original["val/retain/fid"]
        assert metrics["val/objective"] == pytest.approx(math.log(forget))
        assert metrics["val/violation"] == pytest.approx(math.log(retain / 1.10))


def test_the_configuration_is_left_whole(trials: Mapping[str, Ran]) -> None:
    for trial in trials.values():
        assert from_dict(json.loads((trial.folder / "config.json").read_text())) == trial.config


def test_samples_are_pictures_of_both_roles(trials: Mapping[str, Ran]) -> None:
    trial = trials["ours"]
    dataset = load(trial.config.data, trial.folder.parent / "cache")
    table = pq.read_table(trial.folder / "samples.parquet").to_pylist()
    kinds = ("input", "truth", "original", "unlearned")
    assert sorted((each["role"], each["kind"]) for each in table) == sorted(
        (role, kind) for role in ("retain", "forget") for kind in kinds for _ in range(2)
    )
    pictures = {}
    for each in table:
        assert each["index"] in dataset.rows(each["role"], "test")
        pictures[each["index"], each["kind"]] = np.asarray(Image.open(io.BytesIO(each["png"])))
    hole = np.zeros((32, 32), dtype=bool)
    hole[8:24, 8:24] = True
    for index in {each["index"] for each in table}:
        truth = pictures[index, "truth"]
        assert np.array_equal(truth, dataset.pixels[index])
        for kind in ("input", "original", "unlearned"):
            assert np.array_equal(pictures[index, kind][~hole], truth[~hole])
        assert np.unique(pictures[index, "input"][hole]).size == 1
        assert not np.array_equal(
            pictures[index, "original"][hole], pictures[index, "unlearned"][hole]
        )
    with Image.open(trial.folder / "samples.png") as grid:
        assert min(grid.size) > 200


def test_embeddings_are_of_four_groups(trials: Mapping[str, Ran]) -> None:
    trial = trials["ours"]
    table = pq.read_table(trial.folder / "embeddings.parquet").to_pylist()
    count = trial.config.evaluation.tsne_points
    groups = [each["group"] for each in table]
    assert {name: groups.count(name) for name in figures.GROUPS} == dict.fromkeys(
        figures.GROUPS, count
    )
    assert all(len(each["embedding"]) == trial.config.extractor.dim for each in table)
    assert np.isfinite([[each["x"], each["y"]] for each in table]).all()
    assert (trial.folder / "tsne.pdf").read_bytes().startswith(b"%PDF")


def test_an_artifact_that_fails_leaves_no_result(
    root: Path, trials: Mapping[str, Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figures, "tsne_figure", fail)
    with pytest.raises(OSError, match="No space"):
        ran(tiny(), root, "full")
    assert "result.json" not in files(root / "full")


# --- What a trial moves ----------------------------------------------------------------------


def test_the_original_is_the_base_bit_for_bit(
    trials: Mapping[str, Ran], base: Mapping[str, Tensor]
) -> None:
    assert same(trials["original"].weights, base)


def test_the_retrained_is_the_model_without_forget_classes_bit_for_bit(
    trials: Mapping[str, Ran], base: Mapping[str, Tensor], root: Path
) -> None:
    [folder] = (root / "cache").glob("retrained-*/")
    own = load_file(folder / "weights.safetensors")
    assert same(trials["retrained"].weights, own)
    assert not same(own, base)


@pytest.mark.parametrize("method", TRAINED)
def test_a_method_moves_its_part_of_the_model_alone(
    method: str, trials: Mapping[str, Ran], base: Mapping[str, Tensor]
) -> None:
    found = trials[method].weights
    assert found.keys() == base.keys()
    model = build_model("mae_tiny")
    learned = {name for name, each in model.named_parameters() if each.requires_grad}
    allowed = model.encoder_names() if method in ENCODER_ONLY else learned
    moved = {name for name in base if not torch.equal(found[name], base[name])}
    assert moved == allowed
    assert any(name.startswith("decoder") for name in moved) == (method not in ENCODER_ONLY)


def test_methods_lead_to_different_models(trials: Mapping[str, Ran]) -> None:
    assert {"random_encoder", "ours"} <= set(ENCODER_ONLY)
    values = {trial.result["metrics"]["forget/fid"] for trial in trials.values()}
    assert len(values) == len(METHODS)


def test_trials_share_one_preparation(trials: Mapping[str, Ran], root: Path) -> None:
    built = [each.name.split("-")[0] for each in (root / "cache").iterdir() if each.is_dir()]
    assert sorted(built) == ["base", "data", "extractor", "real", "reference", "retrained"]


# --- Repeating -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_trial_repeats_bit_for_bit_in_another_cache(
    method: str, trials: Mapping[str, Ran], tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.getbasetemp() / "again"
    torch.manual_seed(1234)
    np.random.seed(99)  # noqa: NPY002 - whatever the global state, the trial has its own
    again = ran(tiny(method=method), other, method)
    assert again.result["metrics"] == trials[method].result["metrics"]
    assert again.history == trials[method].history
    assert same(again.weights, trials[method].weights)
    assert (again.folder / "samples.png").read_bytes() == (
        trials[method].folder / "samples.png"
    ).read_bytes()
    first, second = (
        pq.read_table(each.folder / "embeddings.parquet") for each in (trials[method], again)
    )
    assert first.equals(second)


@pytest.mark.parametrize(
    ("field", "value"), [("seed", 1), ("forget_alpha", 0.5), ("unlearn__lr", 5e-3)]
)
def test_another_seed_or_hyperparameter_is_another_model(
    field: str, value: float, trials: Mapping[str, Ran], root: Path
) -> None:
    other = ran(tiny(**{field: value}), root, f"other-{field}")
    assert not same(other.weights, trials["ours"].weights)
    assert other.result["trial_key"] != trials["ours"].result["trial_key"]


# --- What a training is given ----------------------------------------------------------------


def test_a_training_is_given_the_trials_options(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    class Enough(Exception):
        pass

    def stop(*args: Any) -> NoReturn:
        given.extend(args)
        raise Enough

    monkeypatch.setattr("trainables.trial.train", stop)
    config = tiny(
        forget_alpha=0.75,
        seed=6,
        formulation="released",
        retain_source="1:3",
        train_task__kind="left",
        unlearn__accumulate=2,
        unlearn__precision="bf16",
        loader__workers=1,
    )
    wrap: Parallelise = lambda module: module  # noqa: E731 - told from the default
    context = Context(
        folder=root / "given", cache=root / "cache", world=World(1, 1), parallelise=wrap
    )
    with pytest.raises(Enough):
        run_trial(config, context)
    student, teacher, batches, recipe, running = given
    assert recipe.method is METHODS["ours"]
    assert recipe.optimiser is config.unlearn
    assert recipe.tasks == (config.train_task,)
    assert (recipe.seed, recipe.alpha, recipe.formulation) == (6, 0.75, "released")
    assert (recipe.accumulate, recipe.prepare) == (2, None)
    assert (batches.seed, batches.world, batches.loader) == (6, context.world, config.loader)
    assert [pool.name for pool in batches.pools] == ["retain", "proxy", "forget"]
    assert (running.world, running.parallelise, running.bf16) == (context.world, wrap, True)
    # two models of the same weights: what moves the one leaves the other
    assert same(student.state_dict(), teacher.state_dict())
    own = {each.data_ptr() for each in student.parameters()}
    assert own.isdisjoint(each.data_ptr() for each in teacher.parameters())
    assert not any(each.requires_grad for each in teacher.parameters())
    assert not teacher.training


# --- What a snapshot must agree in -----------------------------------------------------------


@pytest.mark.parametrize(
    "part",
    [
        *("trial", "data", "original", "networks", "code", "torch", "device", "processes"),
        *("threads", "retrained"),
    ],
)
def test_whatever_can_change_a_figure_changes_the_identity_alone(
    part: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # shipped weights, which neither the data nor a version made
    config = TrialConfig(method="retrained")
    context = Context(cache=root / "cache")
    images = load(tiny().data, root / "cache")
    before = identity(TrialSetup(config, images, context))
    if part == "trial":
        config = from_dict({**to_dict(config), "more_tests": ["left:0.5"]})
    elif part == "data":
        images = dataclasses.replace(images, fingerprint="other")
    elif part == "torch":
        monkeypatch.setattr(torch, "__version__", "9.9")
    elif part == "device":
        context = dataclasses.replace(context, device=torch.device("meta"))
    elif part == "processes":
        context = dataclasses.replace(context, world=World(0, 2))
    elif part == "threads":
        context = dataclasses.replace(context, threads=2)
    else:
        name = {
            "original": "base_material",
            "networks": "material",
            "code": "code_version",
            "retrained": "retrained_material",
        }[part]
        monkeypatch.setattr(f"trainables.shared.identity.{name}", lambda *_: "changed")
    after = identity(TrialSetup(config, images, context))
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == {part}


# --- Where the retain rows come from ---------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(root: Path) -> Dataset:
    return load(tiny().data, root / "cache")


@pytest.mark.parametrize(
    ("source", "counts"),
    [
        ("real", {"retain": 4}),
        ("proxy", {"proxy": 4}),
        ("none", {}),
        ("0.5", {"retain": 2, "proxy": 2}),
        ("1:3", {"retain": 1, "proxy": 3}),
        ("1", {"retain": 4}),
    ],
)
def test_the_retain_source_changes_the_retain_rows_alone(
    source: str, counts: dict[str, int], dataset: Dataset
) -> None:
    pools = {
        pool.name: pool for pool in training_pools(TrialSetup(tiny(retain_source=source), dataset))
    }
    assert {name: pool.count for name, pool in pools.items()} == counts | {"forget": 4}
    for role, pool in pools.items():
        assert np.array_equal(pool.rows, dataset.rows(role, "train"))
        assert pool.forget == (role == "forget")


def test_forget_rows_are_the_same_whatever_the_retain_source(dataset: Dataset) -> None:
    drawn = []
    for source in ("real", "none", "1:3"):
        pool = training_pools(TrialSetup(tiny(retain_source=source), dataset))[-1]
        drawn.append(np.concatenate([pool.draw(0, step) for step in range(60)]))
    assert np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(drawn[0], drawn[2])
    # every forget image comes once before any comes again
    assert set(drawn[0][:192]) == set(dataset.rows("forget", "train"))


def test_without_retain_rows_there_is_no_retain_loss(root: Path, trials: Mapping[str, Ran]) -> None:
    trial = ran(tiny(retain_source="none"), root, "none")
    assert {each["loss/retain"] for each in trial.history} == {0.0}
    assert trial.history[0]["loss/forget"] > 0.0
    proxy = ran(tiny(retain_source="proxy"), root, "proxy")
    assert not same(proxy.weights, trials["ours"].weights)


def test_a_retain_source_without_images_is_refused(root: Path) -> None:
    config = tiny(retain_source="proxy", data__forget=["coffee"], data__retain=["coins"])
    with pytest.raises(ConfigError, match="no training images for the proxy rows"):
        ran(config, root, "refused")
    assert "result.json" not in files(root / "refused")


# --- What is not finite ----------------------------------------------------------------------


@pytest.mark.parametrize(("bad", "shown"), [(math.nan, "loss nan"), (math.inf, "loss inf")])
def test_a_loss_that_is_not_finite_names_its_step_and_leaves_no_result(
    bad: float,
    shown: str,
    root: Path,
    trials: Mapping[str, Ran],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = METHODS["ours"]
    calls = 0

    def combine(retain: Tensor, forget: Tensor, weight: float) -> Tensor:
        nonlocal calls
        calls += 1
        return weighted_sum(retain, forget, weight) * (bad if calls == 3 else 1.0)

    monkeypatch.setitem(METHODS, "ours", dataclasses.replace(method, combine=combine))
    name = f"broken {bad}"
    with pytest.raises(NonFiniteError) as caught:
        ran(tiny(), root, name)
    message = str(caught.value)
    assert message.startswith(f"step 3 of {STEPS}: {shown}")
    assert len(message.splitlines()) == 1
    assert files(root / name) == {SNAPSHOT}


def test_a_gradient_that_is_not_finite_is_found_where_the_loss_is(
    root: Path, trials: Mapping[str, Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    method = METHODS["ours"]

    def rows(batch: LossBatch) -> RowLoss:
        found = method.rows(batch)
        first = next(each for each in batch.model.parameters() if each.requires_grad)
        # the root of 0 is finite and its slope is not
        extra = (first - first.detach()).square().sum().sqrt()
        return dataclasses.replace(found, total=found.total + extra)

    monkeypatch.setitem(METHODS, "ours", dataclasses.replace(method, rows=rows))
    with pytest.raises(NonFiniteError, match=f"step 1 of {STEPS}: loss .* gradient norm nan"):
        ran(tiny(), root, "steep")
    assert files(root / "steep") == set()


def test_a_rate_that_explodes_is_a_non_finite_trial(root: Path, trials: Mapping[str, Ran]) -> None:
    config = tiny(method="max_loss", unlearn__lr=9.0, unlearn__clip=1e30, unlearn__steps=40)
    with pytest.raises(NonFiniteError):
        ran(config, root, "exploded")
    assert "result.json" not in files(root / "exploded")


@pytest.mark.parametrize("stage", ["base", "extractor"])
def test_shared_weights_that_were_spoilt_are_named_with_the_remedy(
    stage: str, tmp_path: Path
) -> None:
    ran(tiny(method="original"), tmp_path, "first")
    (weights,) = tmp_path.glob(f"cache/{stage}-*/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors.*; remove .*, and it is"):
        ran(tiny(method="original"), tmp_path, "second")
    shutil.rmtree(weights.parent)
    assert ran(tiny(method="original"), tmp_path, "third").result["metrics"]
