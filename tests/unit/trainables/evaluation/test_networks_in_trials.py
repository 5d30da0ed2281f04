"""Trials that the paper's networks measure, by files of random weights through the real loading."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from platform.storage.variants import metric_labels
from tests.helpers.tiny import tiny
from tests.helpers.weights_files import write_clip, write_inception, write_places
from trainables.config import TrialConfig
from trainables.shared import references
from trainables.shared.keys import shared_work_keys
from trainables.shared.prepare import prepare
from trainables.training.context import Context
from trainables.trial import run_trial
from trainables.utils.errors import CheckpointError

PER_CLASS = 3  # of one class a role: 12 images
NAMES = ("fid", "kid_mean", "kid_std", "is_mean", "is_std", "clip")


def few(**more: Any) -> TrialConfig:
    """Each image costs Inception a tenth of a second."""
    return tiny(
        data__forget=["coffee"],
        data__retain=["coins"],
        data__val_per_class=PER_CLASS,
        data__test_per_class=PER_CLASS,
        unlearn__steps=2,
        evaluation__is_splits=2,
        evaluation__kid_subsets=3,
        evaluation__kid_subset_size=2,
        evaluation__tsne_points=4,
        networks__batch_size=8,
        **more,
    )


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("weights")
    return {
        "networks__features": "inception",
        "networks__probabilities": "places365",
        "networks__embeddings": f"local-dir:{write_clip(folder / 'clip')}",
        "networks__inception_weights": str(write_inception(folder / "inception.pth")),
        "networks__places_weights": str(write_places(folder / "places.pth.tar")),
    }


@pytest.mark.slow
def test_a_trial_is_measured_by_the_papers_networks(paper: dict[str, str], tmp_path: Path) -> None:
    context = Context(folder=tmp_path / "trial", cache=tmp_path / "cache")
    result = run_trial(few(**paper), context, planned=True)
    metrics = result["metrics"]
    (told,) = tmp_path.glob("cache/reference-*/metrics.json")
    original = json.loads(told.read_text())
    wanted = {
        f"{split}{role}/{name}"
        for split in ("", "val/", "grey/")
        for role in ("retain", "forget")
        for name in NAMES
    }
    wanted |= {f"grey/val/{role}/{name}" for role in ("retain", "forget") for name in NAMES}
    assert original.keys() == wanted
    assert {name for name in wanted if not name.startswith("grey/")} <= metrics.keys()
    assert original["forget/fid"] != metrics["forget/fid"]
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["forget/fid"] > 0.0
    assert metrics["forget/kid_std"] > 0.0
    assert 0.0 < metrics["forget/clip"] < 1.0
    assert result["fid"]["width"] == 2048
    assert result["extractors"]["fid_extractor"].startswith("Inception-v3 2015-12-05")
    row = {"state": "finished", **result["extractors"]}
    assert metric_labels([row]) == {
        "fid": "FID",
        "is": f"IS ({result['extractors']['is_extractor']})",
        "clip": "CLIP",
    }
    built = sorted(each.name.split("-")[0] for each in (tmp_path / "cache").iterdir())
    kinds = {each for each in built if not each.endswith(".lock")}
    assert kinds == {"base", "data", "file", "real", "reference"}


def test_features_of_real_images_are_shared_by_the_content_of_the_weights(
    paper: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another test task compares with the same real images; other weights do not."""
    clip = {"networks__embeddings": paper["networks__embeddings"]}
    seen: list[str] = []
    measured = references.extract_real
    monkeypatch.setattr(
        references, "extract_real", lambda *args: (seen.append("real"), measured(*args))[1]
    )

    def real(config: TrialConfig) -> np.ndarray:
        prepared = prepare(config, Context(cache=tmp_path / "cache"))
        return prepared.reference.real["retain"].embeddings

    first = real(few(**clip))
    assert np.array_equal(real(few(test_task__kind="left", **clip)), first)
    assert len(seen) == 1
    other = write_clip(tmp_path / "other", seed=9)
    assert not np.array_equal(real(few(networks__embeddings=f"local-dir:{other}")), first)
    assert len(seen) == 2


def test_faults_of_weights_are_told_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(b"<html>404</html>")
    config = few(networks__features="inception", networks__inception_weights=str(path))
    context = Context(folder=tmp_path / "trial", cache=tmp_path / "cache")
    with pytest.raises(CheckpointError, match="not a whole torch file"):
        run_trial(config, context)
    kinds = {each.name.split("-")[0] for each in (tmp_path / "cache").iterdir()}
    assert kinds == {"file"}


def test_shared_work_is_named_by_the_networks_that_are_used() -> None:
    plain = shared_work_keys(tiny())
    assert plain.keys() == {"data", "extractor", "base", "reference"}
    inception = shared_work_keys(tiny(networks__features="inception"))
    assert inception.keys() == {*plain, "networks"}
    assert inception["extractor"] == plain["extractor"]
    assert inception["reference"] != plain["reference"]
    every = {"networks__probabilities": "inception", "networks__embeddings": "ViT-H-14"}
    whole = shared_work_keys(tiny(networks__features="inception", **every))
    assert whole.keys() == {"data", "base", "reference", "networks"}
    assert shared_work_keys(tiny(networks__batch_size=3)) == plain
