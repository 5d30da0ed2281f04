"""The model that never met the forget classes: what trains it, what ships it, where it is named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.helpers.tiny import tiny
from trainables import originals, shipped
from trainables.config import ModelName, TrialConfig, to_dict
from trainables.config.overrides import apply_overrides
from trainables.data import Dataset, load
from trainables.data.splits import PHOTOGRAPHS
from trainables.models.checkpoints import load_weights, save_weights
from trainables.shared.base_models import base_model, load_base, retrained_model
from trainables.shared.identity import identity, retrained_material
from trainables.shared.keys import shared_work_keys
from trainables.shared.prepare import prepare
from trainables.shared.pretraining import new_model, pretrain
from trainables.shipped import FOLDER, RECIPES, recipe, retraining, shipped_retrained
from trainables.training.context import Context, TrialSetup, load_setup
from trainables.utils.text import flatten

TINY: tuple[ModelName, ...] = ("mae_tiny", "mage_tiny", "palette_tiny")
MADE = sorted(path.stem for path in FOLDER.glob("*_retrained.json"))
# the same forget classes, and every other class in another role
TURNED = {
    "data.forget": tuple(n for n, role in reversed(PHOTOGRAPHS.items()) if role == "forget"),
    "data.retain": tuple(n for n, role in PHOTOGRAPHS.items() if role == "proxy"),
    "data.proxy": tuple(n for n, role in PHOTOGRAPHS.items() if role == "retain"),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def retrained(**fields: Any) -> TrialConfig:
    return tiny(method="retrained", pretrain__threads=1, **fields)


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


# --- What trains it --------------------------------------------------------------------------


@pytest.mark.parametrize("augment", [False, True])
def test_no_forget_image_is_read(
    augment: bool, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = retrained(pretrain__steps=12, pretrain__augment=augment)
    setup = load_setup(config, Context(cache=cache))
    dataset = setup.dataset
    read: set[int] = set()
    plain = Dataset.read

    def watched(
        self: Dataset, rows: NDArray[np.int64], views: NDArray[np.int64] | None = None
    ) -> Tensor:
        read.update(rows.tolist())
        return plain(self, rows, views)

    monkeypatch.setattr(Dataset, "read", watched)
    pretrain(new_model(config), setup, lambda step, terms: None, without_forget=True)
    kept = {int(row) for role in ("retain", "proxy") for row in dataset.rows(role, "train")}
    assert read <= kept
    assert len(read) == 12 * config.pretrain.batch_size  # no image twice in one epoch
    read.clear()
    pretrain(new_model(config), setup, lambda step, terms: None)
    assert read & set(dataset.rows("forget", "train").tolist())


@pytest.mark.parametrize("model", TINY)
def test_it_is_pretrained_as_an_original_of_the_other_images_alone(
    model: ModelName, cache: Path
) -> None:
    config = retrained(model=model)
    setup = load_setup(config, Context(cache=cache))
    dataset = setup.dataset
    own = load_base(setup, retrained_model(setup))
    others = np.nonzero(np.asarray(dataset.manifest.column("role")) != "forget")[0]
    without = dataclasses.replace(
        dataset, manifest=dataset.manifest.take(others), pixels=np.asarray(dataset.pixels)[others]
    )
    alone = new_model(config)
    pretrain(alone, TrialSetup(config, without), lambda step, terms: None)
    assert same(own, alone)
    original = load_base(setup, base_model(setup))
    assert not same(own, original)


def test_its_training_is_told_and_done_once(tmp_path: Path) -> None:
    config = retrained()
    told: list[tuple[str, int, int]] = []
    context = Context(
        cache=tmp_path, report_steps=lambda label, step, total: told.append((label, step, total))
    )
    setup = load_setup(config, context)
    folder = retrained_model(setup)
    assert told[-1] == ("pretraining mae_tiny without the forget classes", 5, 5)
    assert len(told) == 5
    assert retrained_model(setup) == folder
    assert len(told) == 5
    losses = json.loads((folder / "losses.json").read_text())
    assert len(losses) == 5


def test_a_trial_begins_with_it_and_is_compared_with_the_original(cache: Path) -> None:
    config, context = retrained(), Context(cache=cache)
    prepared = prepare(config, context)
    original = prepare(tiny(method="original", pretrain__threads=1), context)
    assert prepared.base == original.base
    assert prepared.reference.metrics == original.reference.metrics
    assert prepared.retrained is not None
    assert prepared.retrained.name.startswith("retrained-")
    assert original.retrained is None


# --- What names it ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"pretrain.steps": 6},
        {"pretrain.seed": 1},
        {"pretrain.tasks": ("centre:0.5",)},
        {"data.train_per_class": 16},
        {"data.forget": ("china",), "data.retain": ("coins", "coffee"), "data.proxy": ("grass",)},
    ],
    ids=str,
)
def test_what_changes_its_training_changes_its_folder_and_its_trials_identity(
    changed: dict[str, Any], cache: Path
) -> None:
    context = Context(cache=cache)
    found = []
    for config in (retrained(), apply_overrides(retrained(), changed)):
        setup = load_setup(config, context)
        found.append((retrained_material(setup), identity(setup)["retrained"]))
        assert shared_work_keys(config)["retrained"] != shared_work_keys(config)["base"]
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]
    assert shared_work_keys(retrained())["retrained"] != shared_work_keys(config)["retrained"]


def test_only_its_own_trials_need_it(cache: Path) -> None:
    config = tiny()
    assert "retrained" not in shared_work_keys(config)
    assert "retrained" not in shared_work_keys(tiny(method="original"))
    assert "retrained" not in identity(load_setup(config, Context(cache=cache)))
    base = {name: key for name, key in shared_work_keys(retrained()).items() if name != "retrained"}
    assert base == shared_work_keys(tiny(method="original", pretrain__threads=1))


# --- What is shipped -------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped weights with a retrained `mage_tiny` in it, of initial weights."""
    config = recipe("mage_tiny")
    for name in ("mage_tiny", "mage_tiny_retrained"):
        save_weights(new_model(config), tmp_path / f"{name}.safetensors")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    return tmp_path


def test_a_trial_begins_with_shipped_weights(folder: Path, cache: Path) -> None:
    config, context = TrialConfig(model="mage_tiny", method="retrained"), Context(cache=cache)
    path = folder / "mage_tiny_retrained.safetensors"
    assert shipped_retrained(config) == path
    setup = load_setup(config, context)
    own = load_base(setup, retrained_model(setup))
    wanted = new_model(config)
    load_weights(wanted, path)
    assert same(own, wanted)


def test_the_forget_classes_decide_and_the_roles_of_the_others_do_not(folder: Path) -> None:
    config = TrialConfig(model="mage_tiny", method="retrained")
    turned = apply_overrides(config, TURNED)
    assert shipped_retrained(turned) == folder / "mage_tiny_retrained.safetensors"
    one, *rest = TURNED["data.forget"]
    fewer = {**TURNED, "data.forget": tuple(rest), "data.retain": (*TURNED["data.retain"], one)}
    assert shipped_retrained(apply_overrides(config, fewer)) is None
    # with a class less, neither this nor the original is the shipped one
    lacking = {**TURNED, "data.retain": TURNED["data.retain"][1:]}
    assert shipped_retrained(apply_overrides(config, lacking)) is None


@pytest.mark.parametrize(
    "changed", [{"pretrain.steps": 10}, {"pretrain.shipped": False}, {"data.seed": 1}], ids=str
)
def test_what_is_trained_here_is_retrained_as_long(folder: Path, changed: dict[str, Any]) -> None:
    config = apply_overrides(TrialConfig(model="mage_tiny", method="retrained"), changed)
    assert shipped_retrained(config) is None
    assert retraining(config) == config


def test_beside_a_shipped_original_it_is_trained_by_that_ones_recipe(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = apply_overrides(TrialConfig(model="mage_tiny", method="retrained"), TURNED)
    assert retraining(config).pretrain == RECIPES["mage_tiny"]
    (folder / "mage_tiny_retrained.safetensors").unlink()
    short = dataclasses.replace(RECIPES["mage_tiny"], steps=3)
    monkeypatch.setitem(RECIPES, "mage_tiny", short)
    told: list[tuple[str, int, int]] = []
    context = Context(cache=cache, report_steps=lambda *step: told.append(step))
    retrained_model(load_setup(config, context))
    assert told[-1] == ("pretraining mage_tiny without the forget classes", 3, 3)


def test_every_original_that_is_shipped_has_the_recipe() -> None:
    for model in RECIPES:
        assert retraining(TrialConfig(model=model)).pretrain == RECIPES[model]
        assert retraining(TrialConfig(model=model)).data == TrialConfig().data


def test_the_command_makes_its_three_files(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = tiny(method="original", pretrain__steps=4, pretrain__threads=1)
    monkeypatch.setattr(originals, "recipe", lambda model: short)
    monkeypatch.setattr(originals, "_SNAPSHOT_EVERY", 2)
    arguments = ["mae_tiny", "--without-forget", "--out", str(tmp_path), "--cache", str(cache)]
    assert originals.main(arguments) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        f"mae_tiny_retrained.{ending}" for ending in ("json", "png", "safetensors")
    }
    told = json.loads((tmp_path / "mae_tiny_retrained.json").read_text())
    assert told["command"] == "python -m trainables.originals mae_tiny --without-forget"
    own, wanted = new_model(short), new_model(short)
    load_weights(own, tmp_path / "mae_tiny_retrained.safetensors")
    setup = load_setup(short, Context(cache=cache))
    pretrain(wanted, setup, lambda step, terms: None, without_forget=True)
    assert same(own, wanted)


@pytest.mark.parametrize("name", MADE)
def test_what_is_shipped_is_as_its_record_says(name: str, cache: Path) -> None:
    told, original = (
        json.loads((FOLDER / f"{each}.json").read_text())
        for each in (name, name.removesuffix("_retrained"))
    )
    made, now = flatten(told["recipe"]), flatten(to_dict(recipe(told["recipe"]["model"])))
    assert made.pop("tasks") == original["recipe"]["tasks"]
    assert made == {field: now[field] for field in made}
    assert told["data"] == original["data"] == load(TrialConfig().data, cache).fingerprint
    measured, before = told["metrics"], original["metrics"]
    # it may well complete what it never met; what it did meet it completes as the original does
    assert measured["retain/fid"] < 1.2 * before["retain/fid"]
    assert measured["grey/forget/fid"] == pytest.approx(before["grey/forget/fid"], rel=0.05)
    config = TrialConfig(model=told["recipe"]["model"], method="retrained")
    assert shipped_retrained(config) == FOLDER / f"{name}.safetensors"
    own = new_model(config)
    load_weights(own, FOLDER / f"{name}.safetensors")
    assert (FOLDER / f"{name}.safetensors").stat().st_size < 6 * 10**6


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_the_recorded_figures_are_met(name: str, cache: Path, tmp_path: Path) -> None:
    for each in FOLDER.glob(f"{name}.*"):
        (tmp_path / each.name).write_bytes(each.read_bytes())
    recorded = json.loads((FOLDER / f"{name}.json").read_text())
    config = recipe(recorded["recipe"]["model"])
    originals.make(config, tmp_path, cache, train=False, without_forget=True)
    again = json.loads((tmp_path / f"{name}.json").read_text())
    assert again["training"] == recorded["training"]
    assert again["metrics"] == pytest.approx(recorded["metrics"], rel=0.05)


def test_the_photographs_come_with_one_for_the_usual_trial() -> None:
    path = shipped_retrained(TrialConfig(method="retrained"))
    assert path == FOLDER / "mae_tiny_retrained.safetensors"


@pytest.mark.parametrize("name", MADE)
def test_a_retraining_meets_the_shipped_ones_first_losses(name: str, cache: Path) -> None:
    told = json.loads((FOLDER / f"{name}.json").read_text())
    config = recipe(told["recipe"]["model"])
    losses: list[float] = []

    class Enough(Exception):
        """Ends the training."""

    def on_step(step: int, terms: Any) -> None:
        losses.append(float(terms.total.detach()))
        if step == 3:
            raise Enough

    setup = load_setup(config, Context(cache=cache))
    with pytest.raises(Enough):
        pretrain(new_model(config), setup, on_step, without_forget=True)
    assert losses == pytest.approx(told["training"]["first_losses"][0][:3], rel=1e-4)
