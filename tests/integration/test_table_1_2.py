"""The paper's Tables 1 and 2 from end to end: small trees, tiny models, the paper's networks."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from analysis import tables
from platform.plan.serialization import read_plan
from tests.helpers import published
from tests.helpers.sweeps import Ended, ledger_states, run
from tests.helpers.weights_files import (
    CLIP,
    inception_state,
    places_state,
    write_clip,
    write_inception,
    write_places,
)
from trainables.config import TrialConfig
from trainables.evaluation.evaluate import complete_rows
from trainables.evaluation.networks import InceptionNetwork, PlacesNetwork
from trainables.metrics import frechet_distance, inception_score
from trainables.models.checkpoints import load_weights
from trainables.shared.pretraining import new_model
from trainables.shipped import FOLDER as SHIPPED
from trainables.training.context import Context, load_setup
from trainables.utils.cache import file_hash
from trainables.utils.rng import mix_seed

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

FAMILIES = ("mage", "palette", "mae")
TRIALS = [f"{family}_tiny-original" for family in FAMILIES] + [
    f"{family}_tiny-{variant}" for family in FAMILIES for variant in ("ours", "ours_proxy")
]
METRICS = [
    f"{split}{role}/{name}"
    for split in ("", "val/")
    for role in ("retain", "forget")
    for name in ("fid", "kid_mean", "kid_std", "is_mean", "is_std", "clip")
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the real formats with random weights."""
    folder = tmp_path_factory.mktemp("weights")
    write_inception(folder / "inception.pth")
    write_places(folder / "places.pth.tar")
    write_clip(folder / "clip")
    return folder


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("table") / "runs"


@pytest.fixture(scope="module")
def ended(weights: Path, storage: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    trees = tmp_path_factory.mktemp("trees")
    settings = [
        f"model={','.join(f'{family}_tiny' for family in FAMILIES)}",
        *(f"{name}/checkpoint={SHIPPED / name}_tiny.safetensors" for name in FAMILIES),
        f"data.root={published.imagenet(trees / 'imagenet')}",
        f"palette/data.root={published.places(trees / 'places')}",
        *published.role_settings(),
        *("data.image_size=32", "data.test_per_class=2", "method=original,ours"),
        *("unlearn.steps=2", "unlearn.forget_batch=2", "unlearn.retain_batch=2"),
        *("palette/sampling.sampler=ddim", "palette/sampling.steps=3"),
        f"networks.inception_weights={weights / 'inception.pth'}",
        f"networks.places_weights={weights / 'places.pth.tar'}",
        f"networks.embeddings=local-dir:{weights / 'clip'}",
        *("evaluation.is_splits=2", "evaluation.kid_subsets=3", "evaluation.kid_subset_size=2"),
        *("evaluation.tsne_points=4", "evaluation.grid_images=2"),
    ]
    command = [sys.executable, "-m", "platform.sweep", "table_1_2", "--storage", str(storage)]
    return run([*command, *(part for text in settings for part in ("--set", text))])


@pytest.fixture(scope="module")
def folder(storage: Path, ended: Ended) -> Path:
    assert (ended.status, ended.err) == (0, ""), ended
    return storage / "table_1_2"


@pytest.fixture(scope="module")
def rows(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in pq.read_table(folder / "results.parquet").to_pylist()}


def test_it_runs_to_the_end_and_shows_every_variant_of_every_family(
    ended: Ended, folder: Path
) -> None:
    assert "[9/9] " in ended.out
    lines = ended.out.splitlines()
    assert any(line.startswith("FID of the test images") for line in lines)
    for family in FAMILIES:
        for label in ("Original", "Ours", "Ours, proxy"):
            named = f"{family}_tiny: {label}  "
            (line,) = [each for each in lines if each.replace("*", " ").startswith(named)]
            assert (folder / line.split()[-1]).is_file()
    assert ledger_states(folder) == {"COMPLETE"}


def test_every_figure_says_which_network_made_it(
    rows: dict[str, dict[str, Any]], weights: Path, tmp_path: Path
) -> None:
    assert list(rows) == TRIALS
    digits = {
        name: file_hash(weights / name, tmp_path)[:8]
        for name in ("inception.pth", "places.pth.tar")
    }
    inception = f"Inception-v3 2015-12-05, weights {digits['inception.pth']}"
    places = f"Places365 ResNet-50, weights {digits['places.pth.tar']}"
    for name, row in rows.items():
        assert row["state"] == "finished"
        assert row["fid_extractor"] == inception
        assert row["is_extractor"] == (places if name.startswith("palette") else inception)
        assert row["clip_model"] == f"CLIP local-dir:{weights / 'clip'}"
        assert np.isfinite([row[each] for each in METRICS]).all()


@pytest.fixture(scope="module")
def inceptions() -> list[InceptionNetwork]:
    """The Inception of the given file, and one of other weights."""
    found = []
    for seed in (1, 9):
        network = InceptionNetwork().eval()
        network.network.load_state_dict(inception_state(seed))
        found.append(network)
    return found


@pytest.mark.parametrize("name", ["mae_tiny-ours", "palette_tiny-ours"])
def test_the_figures_are_those_of_the_given_networks(
    name: str,
    folder: Path,
    rows: dict[str, dict[str, Any]],
    inceptions: list[InceptionNetwork],
) -> None:
    """Made anew from the trial's weights, by networks that no part of the sweep has loaded."""
    plan = read_plan(folder)
    (trial,) = [each for each in plan.trials if each.name == name]
    made, truth = completed(trial.config, plan.trial_folder(trial), plan.cache)
    with torch.inference_mode():
        fid, otherwise = (
            frechet_distance(*(each(images)["features"].numpy() for images in (truth, made)))
            for each in inceptions
        )
        scorer: torch.nn.Module = inceptions[0]
        if name.startswith("palette"):
            scorer = PlacesNetwork().eval()
            scorer.get_submodule("network").load_state_dict(places_state())
        shares = scorer(made)["probabilities"].numpy()
    assert rows[name]["retain/fid"] == pytest.approx(fid, rel=1e-3)
    assert rows[name]["retain/fid"] != pytest.approx(otherwise, rel=1e-2)
    order = np.random.default_rng(mix_seed(0, "splits")).permutation(len(shares))
    mean, std = inception_score(shares[order], splits=2)
    assert rows[name]["retain/is_mean"] == pytest.approx(mean, rel=1e-5)
    assert rows[name]["retain/is_std"] == pytest.approx(std, rel=1e-2, abs=1e-6)


def completed(config: TrialConfig, folder: Path, cache: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """A trial's completions of the retain test images, and those images."""
    setup = load_setup(config, Context(cache=cache))
    model = new_model(config)
    load_weights(model, folder / "weights.safetensors")
    chosen = setup.dataset.rows("retain", "test")
    return complete_rows(model.eval(), setup, chosen), setup.dataset.images(chosen)


def test_widths_are_those_of_inception_and_of_the_given_clip(folder: Path) -> None:
    for name in TRIALS:
        place = folder / "trials" / name
        assert json.loads((place / "result.json").read_text())["fid"]["width"] == 2048
        vectors = pq.read_table(place / "embeddings.parquet")["embedding"].to_pylist()
        assert {len(each) for each in vectors} == {CLIP["embed_dim"]}


def test_the_papers_files_hold_a_row_a_trial(
    storage: Path, folder: Path, rows: dict[str, dict[str, Any]]
) -> None:
    assert tables.main(["table_1_2", "--storage", str(storage)]) == 0
    for name, columns in (
        ("fid_is_eval", {"FID retain": "retain/fid", "mean IS forget": "forget/is_mean"}),
        ("clip_cosine", {"CLIP retain": "retain/clip", "CLIP forget": "forget/clip"}),
    ):
        with (folder / "analysis" / f"{name}_inpaint.csv").open() as file:
            found = list(csv.DictReader(file))
        assert [line["CKPT+Config"] for line in found] == [f"{each}/centre_0.5" for each in TRIALS]
        for line, row in zip(found, rows.values(), strict=True):
            assert {each: float(line[each]) for each in columns} == {
                each: row[column] for each, column in columns.items()
            }
