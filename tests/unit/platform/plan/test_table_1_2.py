"""The plan of the paper's Tables 1 and 2: its variants, their budget, the paper's options."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest

from platform.plan.build import make_plan
from platform.plan.plan import Plan
from search_spaces import STUDIES
from tests.helpers import published
from tests.helpers.command import Captured, called, planned, refused, setting
from trainables.config import TrialConfig, to_dict
from trainables.models import MODELS
from trainables.utils.text import flatten

FULL = ("mage_vit_base_patch16", "palette_places2", "mae_vit_base_patch16")
MODEL = {name.partition("_")[0]: name for name in FULL}
VARIANTS = [
    *("original", "max_loss", "noisy_label", "retain_label", "random_encoder"),
    *("ours", "ours_proxy"),
]
# the numbers are the paper's, or those that MAE was published with
PAPER: dict[str, dict[str, Any]] = {
    "mage": {
        "forget_alpha": 0.2,
        "data.source": "imagenet",
        "data.image_size": 256,
        "data.train_per_class": 100,
        "data.test_per_class": 50,
        "unlearn.lr": 1e-4,
        "unlearn.warmup": 5 / 6,
        "unlearn.schedule": "cosine",
        "unlearn.weight_decay": 0.05,
        "unlearn.beta1": 0.9,
        "unlearn.beta2": 0.95,
        "unlearn.clip": 3.0,
        "unlearn.forget_batch": 128,
        "unlearn.retain_batch": 128,
        "train_task": {"kind": "random", "ratio": 0.5},
        "sampling.steps": 20,
        "networks.probabilities": "inception",
    },
    "palette": {
        "forget_alpha": 0.1,
        "data.source": "places365",
        "data.image_size": 256,
        "data.train_per_class": 5000,
        "data.proxy_per_class": 200,
        "data.test_per_class": 100,
        "unlearn.lr": 5e-5,
        "unlearn.warmup": 0.0,
        "unlearn.schedule": "constant",
        "unlearn.weight_decay": 0.0,
        "unlearn.beta2": 0.999,
        "unlearn.forget_batch": 48,
        "unlearn.retain_batch": 48,
        "train_task.kind": "hybrid",
        "sampling.sampler": "ancestral",
        "networks.probabilities": "places365",
    },
    "mae": {
        "forget_alpha": 0.2,
        "data.source": "imagenet",
        "data.image_size": 224,
        "data.train_per_class": 100,
        "data.test_per_class": 50,
        "unlearn.lr": 1.5e-4,
        "unlearn.warmup": 0.05,
        "unlearn.schedule": "cosine",
        "unlearn.beta2": 0.95,
        "unlearn.forget_batch": 128,
        "unlearn.retain_batch": 128,
        "train_task": {"kind": "random", "ratio": 0.75},
        "networks.probabilities": "inception",
    },
}
EVERY: dict[str, Any] = {
    "formulation": "paper",
    "test_task": {"kind": "centre", "ratio": 0.5},
    "networks.features": "inception",
    "networks.embeddings": "ViT-H-14",
    "networks.clip_pretrained": "laion2b_s32b_b79k",
    "evaluation.is_splits": 10,
    "evaluation.tsne_points": 50,
}
# epochs over the training images of all forget and retain classes, and how many those classes are
EPOCHS = {"mage": (6, 200), "palette": (2, 100), "mae": (6, 200)}


@dataclasses.dataclass(frozen=True)
class Place:
    """Small trees in the real layouts, and files in the places of the published weights."""

    folder: Path

    def settings(self, *but: str) -> list[str]:
        """All that a user has to give, without some of it."""
        given = [
            f"data.root={self.folder / 'imagenet'}",
            f"palette/data.root={self.folder / 'places'}",
            *(f"{family}/checkpoint={self.folder / family}.pth" for family in MODEL),
            *published.role_settings(),
        ]
        return [text for text in given if text.partition("=")[0] not in but]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("given")
    published.imagenet(folder / "imagenet", train=3, val=2)
    published.places(folder / "places")
    for family in MODEL:
        (folder / f"{family}.pth").touch()
    return Place(folder)


@pytest.fixture(scope="module")
def plan(place: Place) -> Plan:
    return make_plan(
        STUDIES["table_1_2"], name="a", storage=Path("runs"), overrides=place.settings()
    )


def of_family(plan: Plan, family: str) -> dict[str, TrialConfig]:
    """The configurations of a family's variants."""
    return {
        trial.group.partition("/")[2]: trial.config
        for trial in plan.trials
        if trial.config.model == MODEL[family]
    }


def options(config: TrialConfig, names: dict[str, Any]) -> dict[str, Any]:
    values = to_dict(config)
    return {name: {**values, **flatten(values)}[name] for name in names}


# --- What it plans ---------------------------------------------------------------------------


def test_it_plans_seven_variants_of_each_family_and_no_search(plan: Plan) -> None:
    assert [group.label for group in plan.groups] == [
        f"{model}/{variant}" for model in MODEL.values() for variant in VARIANTS
    ]
    assert {trial.kind for trial in plan.trials} == {"default"}
    assert plan.total == len(plan.trials) == 21


@pytest.mark.parametrize("family", MODEL)
def test_every_variant_has_the_papers_options(plan: Plan, family: str) -> None:
    variants = of_family(plan, family)
    assert list(variants) == VARIANTS
    wanted = EVERY | PAPER[family]
    for config in variants.values():
        assert options(config, wanted) == wanted


@pytest.mark.parametrize("family", MODEL)
def test_every_variant_has_the_same_budget(plan: Plan, family: str) -> None:
    variants = of_family(plan, family)
    assert len({config.unlearn for config in variants.values()}) == 1
    assert len({config.data for config in variants.values()}) == 1
    for variant, config in variants.items():
        rows = config.batch_rows()
        if variant == "original":
            assert rows == {}
            continue
        retained = "proxy" if variant == "ours_proxy" else "retain"
        unlearn = config.unlearn
        assert rows == {retained: unlearn.retain_batch, "forget": unlearn.forget_batch}


@pytest.mark.parametrize("family", MODEL)
def test_the_steps_are_the_papers_epochs(plan: Plan, family: str) -> None:
    config = of_family(plan, family)["ours"]
    epochs, classes = EPOCHS[family]
    batch = config.unlearn.forget_batch + config.unlearn.retain_batch
    images = classes * config.data.train_per_class
    assert config.unlearn.steps * batch / images == pytest.approx(epochs, abs=batch / images)
    assert config.unlearn.eval_every == config.unlearn.steps
    assert 0 < config.unlearn.save_every < config.unlearn.steps / 10


def test_the_samplers_that_are_left_to_a_model_are_the_papers() -> None:
    """Rounds of MAGE and steps of Palette, which a change of a default would move unseen."""
    study = STUDIES["table_1_2"]
    assert set(study.models) == set(MODEL.values()) <= set(MODELS)
    assert study.families["mage"]["sampling.steps"] == 20
    assert study.families["palette"]["sampling.sampler"] == "ancestral"


@pytest.mark.parametrize(
    ("given", "family"),
    [("mage_vit_large_patch16", "mage"), ("mae_tiny", "mae"), ("palette_tiny", "palette")],
)
def test_another_size_has_its_familys_options(place: Place, given: str, family: str) -> None:
    plan = make_plan(
        STUDIES["table_1_2"],
        name="a",
        storage=Path("runs"),
        overrides=[*place.settings(), f"model={given}"],
    )
    assert [trial.name for trial in plan.trials] == VARIANTS
    wanted = EVERY | PAPER[family]
    assert all(options(trial.config, wanted) == wanted for trial in plan.trials)


# --- What a dry run tells and refuses --------------------------------------------------------


def test_a_dry_run_shows_the_whole_table_with_its_cost_in_seconds(
    capsys: Captured, place: Place, tmp_path: Path
) -> None:
    start = time.monotonic()
    out = planned(capsys, "table_1_2", "--storage", tmp_path / "runs", *setting(*place.settings()))
    assert time.monotonic() - start < 30.0  # it takes one; this machine may be busy
    lines = out.splitlines()
    for family, model in MODEL.items():
        for variant in VARIANTS:
            (line,) = [each for each in lines if each.startswith(f"{model}-{variant} ")]
            assert model in line.split()[2:]
        assert f"original: {model} from {place.folder / family}.pth" in lines
    assert "21 trials: 21 at their defaults" in lines
    assert any(line.startswith("time: about ") and " days " in line for line in lines)
    assert any(line.startswith("disk: about ") for line in lines)
    assert not (tmp_path / "runs").exists()


def test_what_is_missing_is_told_in_a_line_each(capsys: Captured) -> None:
    lines = refused(capsys, "table_1_2", "--dry-run")
    told = "; ".join(lines)
    for part in (
        "data.source=imagenet needs data.root",
        "data.source=places365 needs data.root",
        *(f"{model} needs the published weights: --set {model}/" for model in MODEL.values()),
    ):
        assert told.count(part) == 1


@pytest.mark.parametrize(
    ("left_out", "fault"),
    [
        (
            "data.root",
            "data.source=imagenet needs data.root, the folder of its images; one model's or "
            "family's alone is --set MODEL/data.root=FOLDER",
        ),
        (
            "mae/checkpoint",
            "mae_vit_base_patch16 needs the published weights: --set "
            "mae_vit_base_patch16/checkpoint=FILE, or an option of pretrain. to train an original "
            "here",
        ),
    ],
)
def test_one_thing_that_is_missing_is_one_line(
    capsys: Captured, place: Place, left_out: str, fault: str
) -> None:
    given = setting(*place.settings(left_out))
    assert refused(capsys, "table_1_2", "--dry-run", *given) == [fault]
    assert refused(capsys, "table_1_2", *given) == [fault]


def test_a_root_and_a_file_that_are_not_there_are_one_line_each(
    capsys: Captured, place: Place
) -> None:
    wrong = ["palette/data.root=/no/places", "mage/checkpoint=/no/mage.pth"]
    given = place.settings("palette/data.root", "mage/checkpoint") + wrong
    assert refused(capsys, "table_1_2", "--dry-run", *setting(*given)) == [
        "data.root=/no/places: no such directory",
        "checkpoint: /no/mage.pth is not a file",
    ]


def test_a_tree_without_the_papers_classes_is_refused(capsys: Captured, place: Place) -> None:
    own = place.settings("data.forget", "data.retain", "data.proxy")
    lines = refused(capsys, "table_1_2", "--dry-run", *setting(*own))
    root = place.folder / "imagenet"
    assert lines[0].startswith(f"data.root={root}: no folder of 98 of the 100 forget classes")


def test_an_original_is_trained_here_where_that_is_asked_for(
    capsys: Captured, place: Place
) -> None:
    given = [*place.settings("mae/checkpoint"), "mae/pretrain.steps=5000"]
    out = planned(capsys, "table_1_2", *setting(*given))
    assert "original: mae_vit_base_patch16 pretrained here on imagenet, 5000 steps" in out


def test_a_tiny_model_of_the_photographs_needs_no_weights(capsys: Captured) -> None:
    photographs = ["model=mae_tiny", "data.source=photos", "data.image_size=32"]
    sizes = [f"data.{name}_per_class={count}" for name, count in (("train", 512), ("val", 64))]
    given = setting(*photographs, *sizes, "data.test_per_class=64")
    status, out, _ = called(capsys, "table_1_2", "--dry-run", *given)
    assert status == 0
    assert "original: mae_tiny as it comes with the product" in out
