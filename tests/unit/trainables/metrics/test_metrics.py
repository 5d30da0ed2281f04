"""The metrics against their definitions, and at their limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from tests.helpers.resize import resize_for_inception
from trainables.config import TaskConfig, TrialConfig
from trainables.config.overrides import apply_overrides
from trainables.evaluation import evaluate
from trainables.evaluation.evaluate import Evaluator
from trainables.evaluation.extractors import Arrays, Extracted, jitter_colours
from trainables.evaluation.networks import resize_batch_for_inception
from trainables.metrics import cosine_similarity, frechet_distance, inception_score, kernel_distance
from trainables.metrics.fid import Gaussian, gaussian, gaussian_distance
from trainables.training.context import TrialSetup
from trainables.utils.errors import NonFiniteError


def normal(seed: int, *shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=shape)


def correlated(seed: int, count: int, width: int) -> NDArray[np.float64]:
    return normal(seed, count, width) @ normal(seed + 1, width, width) + normal(seed + 2, width)


def defined_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The distance as written, with a matrix root of the product."""
    apart = first.mean(axis=0) - second.mean(axis=0)
    one, two = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    mixed = sqrtm(one @ two)
    return float(apart @ apart + np.trace(one + two - 2.0 * np.real(mixed)))


# --- Frechet distance ------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "width"), [(500, 16), (40, 40), (20, 64), (2, 8)])
def test_a_set_is_at_no_distance_from_itself(count: int, width: int) -> None:
    features = correlated(1, count, width)
    scale = float(np.trace(np.cov(features, rowvar=False)))
    assert 0.0 <= frechet_distance(features, features) < 1e-6 * scale
    shuffled = np.random.default_rng(2).permutation(features)
    assert 0.0 <= frechet_distance(features, shuffled) < 1e-6 * scale


def test_gaussians_in_one_dimension() -> None:
    # (m1 - m2)^2 + (s1 - s2)^2
    first = Gaussian(np.array([1.0]), np.array([[4.0]]))
    second = Gaussian(np.array([4.0]), np.array([[9.0]]))
    assert gaussian_distance(first, second) == pytest.approx(9.0 + 1.0)


def test_gaussians_in_two_dimensions() -> None:
    # commuting covariances: the spread term is the sum of (s1 - s2)^2 along the shared axes
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    first = Gaussian(np.zeros(2), turn @ np.diag([4.0, 1.0]) @ turn.T)
    second = Gaussian(np.array([3.0, 4.0]), turn @ np.diag([9.0, 25.0]) @ turn.T)
    assert gaussian_distance(first, second) == pytest.approx(25.0 + 1.0 + 16.0)


def test_gaussians_whose_covariances_do_not_commute() -> None:
    # tr (AB)^(1/2) of a 2x2 product is (tr AB + 2 sqrt(det AB))^(1/2)
    one, two = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[5.0, -2.0], [-2.0, 1.0]])
    root = np.sqrt(np.trace(one @ two) + 2.0 * np.sqrt(np.linalg.det(one @ two)))
    found = gaussian_distance(Gaussian(np.zeros(2), one), Gaussian(np.zeros(2), two))
    assert found == pytest.approx(np.trace(one + two) - 2.0 * root)


@pytest.mark.parametrize(
    ("count", "other", "width"),
    [(300, 250, 12), (64, 80, 64), (20, 30, 48), (5, 200, 32), (20, 32, 64), (9, 4, 100)],
)
def test_it_is_the_definition_also_with_fewer_images_than_dimensions(
    count: int, other: int, width: int
) -> None:
    first, second = correlated(3, count, width), correlated(7, other, width)
    wanted = defined_distance(first, second)
    # the root of a singular product loses digits in the definition, not here
    assert frechet_distance(first, second) == pytest.approx(wanted, rel=1e-5)


def test_wide_features_are_measured_without_their_covariance() -> None:
    """The two ways of one distance agree, and the cheap one takes over at twice the images."""
    first, second = correlated(3, 24, 60), correlated(7, 30, 60)
    whole = gaussian_distance(gaussian(first), gaussian(second))
    assert frechet_distance(first, second) == pytest.approx(whole, rel=1e-6)
    assert frechet_distance(first, first[::-1]) == pytest.approx(0.0, abs=1e-6)


def test_it_is_symmetric_and_scales_with_the_square() -> None:
    first, second = correlated(3, 200, 24), correlated(7, 150, 24)
    found = frechet_distance(first, second)
    assert frechet_distance(second, first) == pytest.approx(found, rel=1e-9)
    assert frechet_distance(3 * first, 3 * second) == pytest.approx(9 * found, rel=1e-9)
    assert frechet_distance(first + 5.0, second + 5.0) == pytest.approx(found, rel=1e-9)


def test_features_are_summed_in_double_precision() -> None:
    exact = correlated(3, 400, 8)
    far = 1e4  # a mean far above the deviation, where float32 sums lose the covariance
    first, second = (exact + far).astype(np.float32), (2 * exact + far).astype(np.float32)
    wanted = defined_distance(first.astype(np.float64), second.astype(np.float64))
    assert frechet_distance(first, second) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_feature_that_is_not_finite_is_named(bad: float) -> None:
    features = normal(1, 20, 4)
    broken = features.copy()
    broken[3, 2] = bad
    for pair in ((broken, features), (features, broken)):
        with pytest.raises(NonFiniteError, match="feature"):
            frechet_distance(*pair)


@pytest.mark.parametrize("shape", [(1, 4), (0, 4), (4,), (2, 3, 4)])
def test_features_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        gaussian(np.zeros(shape))


# --- Inception Score -------------------------------------------------------------------------


def one_hot(classes: int, each: int) -> NDArray[np.float64]:
    """Rows that are sure, classes in turn: 0 1 2 0 1 2 ..."""
    return np.tile(np.eye(classes), (each, 1))


def test_unsure_images_score_one() -> None:
    mean, std = inception_score(np.full((40, 8), 1 / 8))
    assert (mean, std) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-12))


def test_sure_and_balanced_images_score_the_number_of_classes() -> None:
    mean, std = inception_score(one_hot(6, 20), splits=10)
    assert (mean, std) == (pytest.approx(6.0), pytest.approx(0.0, abs=1e-12))


def test_sure_images_of_one_class_score_one() -> None:
    mean, _ = inception_score(np.eye(5)[np.full(30, 2)], splits=3)
    assert mean == pytest.approx(1.0)


def test_it_is_the_definition_in_each_split() -> None:
    weights = np.exp(2.0 * normal(4, 103, 7))
    rows = weights / weights.sum(axis=1, keepdims=True)
    scores = []
    for part in range(5):
        chunk = rows[part * 103 // 5 : (part + 1) * 103 // 5]
        divergence = (chunk * np.log(chunk / chunk.mean(axis=0))).sum(axis=1)
        scores.append(np.exp(divergence.mean()))
    mean, std = inception_score(rows, splits=5)
    assert mean == pytest.approx(np.mean(scores))
    assert std == pytest.approx(np.std(scores))
    assert std > 0.01


def test_the_order_of_the_images_matters() -> None:
    balanced = one_hot(4, 10)
    by_class = np.repeat(np.eye(4), 10, axis=0)
    assert inception_score(balanced, splits=4)[0] > 3.5
    assert inception_score(by_class, splits=4)[0] == pytest.approx(1.0)
    assert inception_score(by_class, splits=1)[0] == pytest.approx(4.0)


def test_fewer_images_than_splits_are_refused() -> None:
    with pytest.raises(ValueError, match="9 images for 10 splits"):
        inception_score(one_hot(3, 3), splits=10)
    inception_score(one_hot(3, 3), splits=9)


def test_a_probability_that_is_not_finite_is_named() -> None:
    rows = one_hot(3, 4)
    rows[2, 1] = np.nan
    with pytest.raises(NonFiniteError, match="probability"):
        inception_score(rows, splits=2)


# --- Cosine ----------------------------------------------------------------------------------


def test_cosine_at_its_bounds() -> None:
    vectors = normal(1, 500, 33)
    assert cosine_similarity(vectors, 7.0 * vectors) == pytest.approx(1.0)
    assert cosine_similarity(vectors, -vectors) == pytest.approx(-1.0)
    assert cosine_similarity([[1.0, 0.0]], [[0.0, 1.0]]) == 0.0
    for seed in range(50):
        alike = normal(seed, 1, 3)
        assert -1.0 <= cosine_similarity(alike, -alike) <= cosine_similarity(alike, alike) <= 1.0


def test_cosine_is_of_rows_in_their_order() -> None:
    first, second = np.eye(3), np.eye(3)[[0, 2, 1]]
    assert cosine_similarity(first, second) == pytest.approx(1 / 3)


def test_cosine_with_a_vector_of_zeros_is_zero() -> None:
    assert cosine_similarity([[0.0, 0.0]], [[1.0, 1.0]]) == 0.0


# --- Resize ----------------------------------------------------------------------------------


def test_a_constant_image_stays_constant_and_is_not_rounded() -> None:
    flat = np.full((20, 31, 3), 77, dtype=np.uint8)
    np.testing.assert_allclose(resize_for_inception(flat), 77.0, rtol=1e-6)
    steps = np.zeros((8, 8, 3), dtype=np.uint8)
    steps[:, 4:] = 255
    resized = resize_for_inception(steps)
    assert resized.min() >= 0.0
    assert resized.max() <= 255.0
    assert not np.array_equal(resized, resized.round())


def test_a_smaller_image_is_antialiased() -> None:
    board = (np.indices((1196, 1196)).sum(axis=0) % 2 * 255).astype(np.uint8)
    resized = resize_for_inception(np.stack([board] * 3, axis=-1))
    np.testing.assert_allclose(resized, 127.5, atol=2.0)


def test_channels_keep_their_places() -> None:
    red = np.zeros((10, 10, 3), dtype=np.uint8)
    red[..., 0] = 200
    resized = resize_for_inception(red)
    assert resized[..., 0].min() > 199.9
    assert resized[..., 1:].max() == 0.0


@pytest.mark.parametrize("shape", [(32, 32), (256, 256), (299, 299), (300, 411), (640, 480)])
def test_a_batch_is_resized_as_each_image_is(shape: tuple[int, int]) -> None:
    images = np.random.default_rng(5).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    found = resize_batch_for_inception(torch.as_tensor(images).permute(0, 3, 1, 2))
    wanted = np.stack([resize_for_inception(each) for each in images])
    # of 255; Pillow sums in double precision, torch in single
    np.testing.assert_allclose(found.permute(0, 2, 3, 1).numpy(), wanted, rtol=0.0, atol=0.02)
    assert np.abs(found.permute(0, 2, 3, 1).numpy() - wanted).mean() < 1e-3


# --- Kernel distance -------------------------------------------------------------------------


def defined_discrepancy(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """As written: pair by pair."""

    def kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        return float((x @ y / len(x) + 1.0) ** 3)

    within = [
        np.mean([kernel(a, b) for i, a in enumerate(side) for j, b in enumerate(side) if i != j])
        for side in (first, second)
    ]
    return float(sum(within) - 2.0 * np.mean([kernel(a, b) for a in first for b in second]))


def test_kernel_distance_of_all_images_is_the_definition() -> None:
    first, second = normal(1, 30, 6), normal(2, 30, 6) + 0.5
    mean, std = kernel_distance(first, second)
    assert mean == pytest.approx(defined_discrepancy(first, second))
    assert (mean > 0.1, std) == (True, 0.0)


def test_kernel_distance_averages_seeded_subsets() -> None:
    first, second = normal(1, 40, 5), normal(2, 25, 5) + 0.3
    chance = np.random.default_rng(9)
    wanted = []
    for _ in range(7):
        one = first[chance.choice(40, 12, replace=False)]
        wanted.append(defined_discrepancy(one, second[chance.choice(25, 12, replace=False)]))
    found = kernel_distance(first, second, subsets=7, size=12, seed=9)
    assert found == (pytest.approx(np.mean(wanted)), pytest.approx(np.std(wanted)))
    assert kernel_distance(first, second, subsets=7, size=12, seed=9) == found
    assert kernel_distance(first, second, subsets=7, size=12, seed=8) != found


def test_kernel_distance_is_unbiased() -> None:
    """Of two sets of one distribution it is 0 on average, and so below 0 about half the time."""
    found = [kernel_distance(normal(i, 12, 4), normal(500 + i, 12, 4))[0] for i in range(400)]
    assert abs(np.mean(found)) < 3.0 * np.std(found) / np.sqrt(len(found))
    assert 0.3 < np.mean(np.array(found) < 0.0) < 0.8


def test_kernel_distance_refuses_what_it_cannot_measure() -> None:
    broken = normal(1, 5, 3)
    broken[2, 1] = np.inf
    with pytest.raises(NonFiniteError, match="feature"):
        kernel_distance(broken, normal(2, 5, 3))
    with pytest.raises(ValueError, match="expected 2 or more"):
        kernel_distance(normal(1, 1, 3), normal(2, 5, 3))
    with pytest.raises(ValueError, match="shapes"):
        kernel_distance(normal(1, 5, 3), normal(2, 5, 4))


# --- Extractor -------------------------------------------------------------------------------


def test_jitter_changes_colours_as_far_as_it_says_and_repeats() -> None:
    images = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    chance = torch.Generator().manual_seed(1)
    changed = jitter_colours(images, 1.0, chance)
    again = jitter_colours(images, 1.0, torch.Generator().manual_seed(1))
    assert torch.equal(changed, again)
    assert not torch.equal(changed, jitter_colours(images, 1.0, chance))
    torch.testing.assert_close(jitter_colours(images, 0.0, chance), images)
    assert changed.min() >= 0.0
    assert changed.max() <= 1.0
    saturation = (changed.amax(dim=1) - changed.amin(dim=1)).mean(dim=(1, 2))
    assert saturation.max() / saturation.min() > 1.5


# --- By hand ---------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 4, 9])
def test_frechet_distance_of_four_numbers(width: int) -> None:
    """Means 1 and 3, unbiased variances 2 and 18: 2^2 + (2^(1/2) - 18^(1/2))^2, along one axis."""
    first, second = (np.array([[0.0], [end]]) * np.eye(1, width) for end in (2.0, 6.0))
    assert frechet_distance(first, second) == pytest.approx(12.0)


def test_inception_score_of_four_images() -> None:
    # divergence of (0.9, 0.1) from (0.5, 0.5): 0.9 ln 1.8 + 0.1 ln 0.2 = 0.36806
    rows = [[0.9, 0.1], [0.1, 0.9], [0.8, 0.2], [0.8, 0.2]]
    assert inception_score(rows[:2], splits=1) == (pytest.approx(1.444935, rel=1e-6), 0.0)
    # the second split's images are alike and score 1
    found = inception_score(rows, splits=2)
    assert found == (pytest.approx(1.222467, rel=1e-6), pytest.approx(0.222467, rel=1e-5))


def test_the_last_split_is_among_those_of_one_image_more() -> None:
    """Parts of 1 and 2 images score 1 and 2: of 5 images in 3 parts the first alone has one."""
    rows = np.eye(5)
    assert inception_score(rows, splits=3)[0] == pytest.approx((1.0 + 2.0 + 2.0) / 3)
    assert inception_score(rows[[0, 1, 2, 3, 3]], splits=3)[0] == pytest.approx(4.0 / 3)


def test_cosine_of_three_rows() -> None:
    first, second = [[3.0, 4.0], [2.0, 0.0], [1.0, 2.0]], [[4.0, 3.0], [3.0, 3.0], [-2.0, 1.0]]
    assert cosine_similarity(first, second) == pytest.approx((0.96 + 0.5**0.5 + 0.0) / 3)


def test_kernel_distance_of_four_features() -> None:
    # kernels: within 27 and 1, across 1, 64, 1 and 343
    first, second = np.array([[1.0], [2.0]]), np.array([[0.0], [3.0]])
    wanted = 27.0 + 1.0 - 2.0 * (1.0 + 64.0 + 1.0 + 343.0) / 4.0
    assert kernel_distance(first, second)[0] == pytest.approx(wanted)
    # of more dimensions products are averaged
    wide = kernel_distance(np.repeat(first, 3, axis=1), np.repeat(second, 3, axis=1))
    assert wide[0] == pytest.approx(wanted)


# --- What is measured of what ----------------------------------------------------------------

# of each set in turn: eight images whose number tells split, role and place
SETS = {"val/retain": 100, "val/forget": 200, "retain": 300, "forget": 400}


class Rows:
    """A data set whose images are their row numbers."""

    def rows(self, role: str, split: str) -> NDArray[np.int64]:
        name = f"{split}/{role}".removeprefix("test/")
        return SETS[name] + np.arange(8)

    def images(self, rows: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(rows / 1000.0).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)


class Shift(torch.nn.Module):
    """A model that adds a half, and measures the mean of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def complete(self, images: torch.Tensor, task: TaskConfig, source: Any) -> torch.Tensor:
        assert task == MEASURING.test_task
        self.drawn = source.uniform(1)
        return images + 0.5

    def hole(self, rows: int, task: TaskConfig, source: Any) -> torch.Tensor:
        assert task == MEASURING.test_task
        self.drawn = source.uniform(1)
        return torch.tensor([[True, False], [False, False]]).expand(rows, 1, 2, 2)

    def extract(self, images: torch.Tensor) -> Extracted[torch.Tensor]:
        mean = images.mean(dim=(2, 3))
        return Extracted(mean, mean.softmax(dim=1), mean)


MEASURING: Any = apply_overrides(
    TrialConfig(), {"evaluation.is_splits": 4, "evaluation.batch_size": 3}
)


def rows_of(config: TrialConfig) -> TrialSetup:
    dataset: Any = Rows()
    return TrialSetup(config, dataset)


def test_every_figure_is_of_the_images_that_its_name_says(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = rows_of(MEASURING)
    real = evaluate.extract_real(Shift(), setup)

    def told(generated: Arrays, of: Arrays, *_: Any) -> dict[str, float]:
        return {"generated": generated.features[:, 0].sum(), "real": of.features[:, 0].sum()}

    monkeypatch.setattr(evaluate, "measure", told)
    model: Any = Shift()
    metrics, extracted = evaluate.evaluate(model, Evaluator(setup, Shift(), real))
    for name, first in SETS.items():
        rows = (first + np.arange(8)) / 1000.0
        np.testing.assert_allclose(real[name].features[:, 1], rows, rtol=1e-6)
        np.testing.assert_allclose(extracted[name].features[:, 1], rows + 0.5, rtol=1e-6)
        assert metrics[f"{name}/real"] == pytest.approx(rows.sum(), rel=1e-6)
        assert metrics[f"{name}/generated"] == pytest.approx((rows + 0.5).sum(), rel=1e-6)
    assert len(metrics) == 8


def test_an_images_draws_are_keyed_by_its_row_whatever_its_batch() -> None:
    model: Any = Shift()
    seen = []
    for size, seed in ((3, 0), (8, 0), (8, 1)):
        config = apply_overrides(
            MEASURING, {"evaluation.batch_size": size, "evaluation.seed": seed}
        )
        setup = rows_of(config)
        evaluate.complete_rows(model, setup, setup.dataset.rows("forget", "test"))
        # the last batch of three holds the last two rows
        seen.append(model.drawn[-2:].flatten().tolist())
    assert seen[0] == seen[1]
    assert seen[1] != seen[2]
    assert len(set(seen[1])) == 2


def measured(side: int) -> Arrays:
    """Features, probabilities and embeddings with classes one after the other."""
    sure = np.repeat(np.eye(4), 10, axis=0)
    return Arrays(normal(side, 40, 3) + side, sure, np.roll(np.eye(40), side - 1, axis=0))


@pytest.mark.parametrize("network", ["inception", "domain"])
def test_measures_hold_the_completions_against_the_real_images(network: str) -> None:
    config = apply_overrides(MEASURING, {"networks.features": network})
    generated, real = measured(2), measured(1)
    cpu = torch.device("cpu")
    found = evaluate.measure(generated, real, config, cpu)
    assert found["fid"] == pytest.approx(defined_distance(generated.features, real.features))
    assert found["clip"] == 0.0
    assert evaluate.measure(generated, generated, config, cpu)["clip"] == 1.0
    # in the given order each of the 4 splits would hold one class, and score 1
    assert 2.5 < found["is_mean"] < 4.0
    assert 0.0 < found["is_std"] < 1.0
    assert found.keys() >= {"fid", "is_mean", "is_std", "clip"}
    assert ("kid_mean" in found) == ("kid_std" in found) == (network == "inception")
    if network == "inception":
        wanted = defined_discrepancy(real.features, generated.features)
        assert found["kid_mean"] == pytest.approx(wanted)
        assert found["kid_std"] == 0.0


def test_kernel_distances_subsets_are_the_configurations() -> None:
    generated, real = measured(2), measured(1)
    given = {"networks.features": "inception", "evaluation.kid_subset_size": 12}
    few, more, other = (
        evaluate.measure(
            generated, real, apply_overrides(MEASURING, {**given, **each}), torch.device("cpu")
        )
        for each in (
            {"evaluation.kid_subsets": 2},
            {"evaluation.kid_subsets": 9},
            {"evaluation.kid_subsets": 2, "evaluation.seed": 1},
        )
    )
    assert len({each["kid_mean"] for each in (few, more, other)}) == 3
    assert few["kid_std"] > 0.0
    assert other["is_mean"] != few["is_mean"]


def test_objective_and_violation_are_logarithms_on_validation() -> None:
    config = apply_overrides(TrialConfig(), {"evaluation.retain_tolerance": 0.25})
    sets = ("val/retain/fid", "val/forget/fid", "retain/fid", "forget/fid")
    original = dict(zip(sets, (4.0, 2.0, 7.0, 7.0), strict=True))
    metrics = dict(zip(sets, (10.0, 6.0, 9.0, 9.0), strict=True))
    assert evaluate.objective(metrics, original, config) == {
        "val/objective": pytest.approx(np.log(3.0)),
        "val/violation": pytest.approx(np.log(2.0)),
    }
    for name in sets[:2]:
        with pytest.raises(NonFiniteError, match=f"^{name} is 0"):
            evaluate.objective({**metrics, name: 0.0}, original, config)


def test_grey_completions_are_grey_in_the_hole_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = rows_of(MEASURING)
    model: Any = Shift()
    real = evaluate.extract_real(Shift(), setup)
    monkeypatch.setattr(
        evaluate,
        "measure",
        lambda grey, of, *_: {"sum": grey.features[:, 2].sum(), "real": of.features[:, 2].sum()},
    )
    found = evaluate.measure_grey(model, Evaluator(setup, Shift(), real))
    in_hole = model.drawn
    for name, first in SETS.items():
        rows = (first + np.arange(8)) / 1000.0
        assert found[f"grey/{name}/sum"] == pytest.approx((0.75 * rows + 0.125).sum(), rel=1e-5)
        assert found[f"grey/{name}/real"] == pytest.approx(rows.sum(), rel=1e-5)
    monkeypatch.setattr(evaluate, "measure", lambda *_: {"fid": float("nan")})
    with pytest.raises(NonFiniteError, match=r"grey/val/retain/fid.* is not finite"):
        evaluate.measure_grey(model, Evaluator(setup, Shift(), real))
    # the hole is the completion's
    evaluate.complete_rows(model, setup, setup.dataset.rows("forget", "test"))
    assert torch.equal(model.drawn, in_hole)
