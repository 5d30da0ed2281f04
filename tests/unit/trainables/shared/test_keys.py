"""One rule says which trials share work, before any of it is done and when it is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.tiny import tiny
from trainables.config import TrialConfig
from trainables.config.overrides import apply_overrides
from trainables.data.splits import PHOTOGRAPHS
from trainables.shared.identity import base_material, retrained_material
from trainables.shared.keys import shared_work, shared_work_keys
from trainables.training.context import Context, load_setup
from trainables.utils.hashing import content_key


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("published")
    for name in ("a.pth", "b.pth"):
        (folder / name).write_text(name)
    return str(folder / "a.pth"), str(folder / "b.pth")


def configs(files: tuple[str, str]) -> dict[str, TrialConfig]:
    """Trials of the same images, whose originals differ where their names' first words do."""
    first, second = files
    given: dict[str, dict[str, Any]] = {
        "pretrained": {},
        "pretrained with another method": {"method": "max_loss", "unlearn__steps": 2},
        "pretrained though shipped were refused": {"pretrain__shipped": False},
        "pretrained and measured otherwise": {"test_task__ratio": 0.25, "evaluation__seed": 3},
        "longer": {"pretrain__steps": 6},
        "seeded": {"pretrain__seed": 1},
        "broader": {"pretrain__tasks": ("left:0.5",)},
        "family": {"model": "palette_tiny"},
        "published": {"checkpoint": (first,)},
        "published, whatever pretraining is asked": {"checkpoint": (first,), "pretrain__steps": 9},
        "other": {"checkpoint": (second,)},
        "both": {"checkpoint": files},
    }
    return {name: tiny(**fields) for name, fields in given.items()}


def test_originals_are_equal_by_their_keys_where_the_cache_names_them_alike(
    files: tuple[str, str], tmp_path: Path
) -> None:
    found = configs(files)
    context = Context(cache=tmp_path)
    setups = {name: load_setup(config, context) for name, config in found.items()}
    for one, first in found.items():
        for other, second in found.items():
            wanted = one.partition(" ")[0].rstrip(",") == other.partition(" ")[0].rstrip(",")
            keys = [shared_work_keys(each)["base"] for each in (first, second)]
            names = [content_key(base_material(setups[each])) for each in (one, other)]
            assert (keys[0] == keys[1]) == (names[0] == names[1]) == wanted, (one, other)


def test_a_retrained_model_is_neither_the_original_nor_that_of_another_recipe(
    tmp_path: Path,
) -> None:
    usual, longer = (tiny(method="retrained", pretrain__steps=steps) for steps in (5, 6))
    keys = [shared_work_keys(each) for each in (usual, longer)]
    assert len({key for each in keys for key in (each["base"], each["retrained"])}) == 4
    setups = [load_setup(each, Context(cache=tmp_path)) for each in (usual, longer)]
    assert len({content_key(retrained_material(each)) for each in setups}) == 2


def test_one_configuration_stands_for_each_piece_of_work(files: tuple[str, str]) -> None:
    found = configs(files)
    work = shared_work(found.values())
    names = {id(config): name for name, config in found.items()}
    assert [names[id(config)] for config in work["base"]] == [
        *("pretrained", "longer", "seeded", "broader", "family", "published", "other", "both")
    ]
    assert [names[id(config)] for config in work["data"]] == ["pretrained"]
    assert len(work["extractor"]) == 1
    assert len(work["reference"]) == len(work["base"]) + 1
    assert work["networks"] == work["retrained"] == work["tokens"] == []


def test_a_shipped_original_is_one_whichever_roles_its_classes_have() -> None:
    classes = {
        role: [name for name, own in PHOTOGRAPHS.items() if own == role]
        for role in ("forget", "retain", "proxy")
    }
    turned = {
        "data.forget": classes["proxy"],
        "data.retain": classes["forget"],
        "data.proxy": classes["retain"],
    }
    usual, other, own = (
        shared_work_keys(apply_overrides(TrialConfig(), changed))
        for changed in ({}, turned, {"pretrain.shipped": False})
    )
    assert usual["base"] == other["base"] != own["base"]
    assert usual["data"] == own["data"] != other["data"]
    assert len({each["reference"] for each in (usual, other, own)}) == 3


def test_a_plan_is_told_its_shared_work_without_torch() -> None:
    code = "import sys, trainables.shared.keys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
