"""Palette beyond its published numbers: noise, sampling, published names, a whole trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.tiny import tiny
from trainables.config import Formulation, SamplingConfig, TaskConfig, TrialConfig
from trainables.methods import METHODS
from trainables.models import build_model
from trainables.models.base import BatchInputs, Masking
from trainables.models.checkpoints import load_published, load_weights, save_weights
from trainables.models.diffusion import noised, schedule_buffers, spaced_steps
from trainables.training.context import Context
from trainables.trial import run_trial
from trainables.utils.distributed import ALONE
from trainables.utils.errors import CheckpointError, ConfigError
from trainables.utils.rng import RowGenerators

SMALL: dict[str, Any] = {
    "image_size": 16,
    "inner_channels": 8,
    "channel_multipliers": (1, 2),
    "attention_rates": (2,),
    "head_channels": 8,
    "res_blocks": 1,
    "norm_groups": 4,
    "train_schedule": {"steps": 20, "start": 1e-3, "end": 0.2},
    "test_schedule": {"steps": 12, "start": 1e-3, "end": 0.4},
    "patch_size": 4,
}
CENTRE = TaskConfig(kind="centre", ratio=0.5)
HYBRID = TaskConfig(kind="hybrid", ratio=0.3)
FORGET = torch.tensor([False, True, True, False])


def small(**options: Any) -> Any:
    torch.manual_seed(3)
    model = build_model("palette", **{**SMALL, **options}).eval()
    # the last layer starts as zero
    torch.nn.init.normal_(model.denoise_fn.out[2].weight, std=0.1)
    return model


def images(rows: int = 4, size: int = 16) -> Tensor:
    return torch.rand(rows, 3, size, size, generator=torch.Generator().manual_seed(1))


def source(rows: int = 4, start: int = 0) -> RowGenerators:
    return RowGenerators(range(start, start + rows), 5)


def velocity(drawn: dict[str, Tensor]) -> Tensor:
    level = drawn["gamma"].view(-1, 1, 1, 1)
    return level.sqrt() * drawn["noise"] - (1.0 - level).sqrt() * drawn["target"]


# --- What a batch holds ----------------------------------------------------------------------


def test_a_batch_is_noised_between_two_neighbouring_steps() -> None:
    model = small()
    drawn = model.prepare(images(200), Masking(HYBRID, source(200)))
    hole = drawn["mask"].bool()
    assert drawn["mask"].shape == (200, 1, 16, 16)
    assert torch.equal(drawn["target"], 2.0 * images(200) - 1.0)
    assert torch.equal(
        torch.where(hole, 0.0, drawn["condition"]), torch.where(hole, 0.0, drawn["target"])
    )
    in_hole = drawn["condition"][hole.expand(-1, 3, -1, -1)]
    assert float(in_hole.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(in_hole.std()) == pytest.approx(1.0, abs=0.02)
    gamma = drawn["gamma"]
    assert gamma.shape == (200,)
    assert float(gamma.max()) <= float(model.gammas[0])
    assert float(gamma.min()) >= float(model.gammas[-1])
    counts = torch.histc(torch.bucketize(gamma, model.gammas.flip(0)).float(), bins=19)
    assert int(counts.min()) >= 1
    wanted = noised(drawn["target"], drawn["noise"], gamma)
    assert torch.equal(drawn["y_noisy"], wanted)
    assert torch.equal(drawn["y_noisy_forget"], drawn["noise"])


@pytest.mark.parametrize("formulation", ["paper", "released"])
def test_of_a_forgotten_image_only_released_noise_images_keep_pixels(
    formulation: Formulation,
) -> None:
    model = small()
    drawn = model.prepare(images(), Masking(CENTRE, source()))
    changed = model.with_noise_images(drawn, FORGET, formulation)
    names = {"condition", "target", "y_noisy"} if formulation == "paper" else {"y_noisy"}
    for name, value in changed.items():
        assert torch.equal(value[~FORGET], drawn[name][~FORGET]), name
        wanted = drawn["noise"] if name in names else drawn[name]
        assert torch.equal(value[FORGET], wanted[FORGET]), name
    other = {**drawn, **{name: drawn[name].flip(0) for name in names}}
    again = model.encoder_features(model.with_noise_images(other, FORGET, formulation))
    for first, second in zip(model.encoder_features(changed), again, strict=True):
        assert torch.equal(first[FORGET], second[FORGET])


def test_noise_labels_noise_the_hole_and_keep_the_rest() -> None:
    model = small()
    drawn = model.prepare(images(), Masking(CENTRE, source()))
    hole = drawn["mask"].bool()
    paper = model.with_noise_labels(BatchInputs(drawn, FORGET, "paper", source(), ALONE))
    assert torch.equal(paper["noise"], drawn["noise"])
    assert torch.equal(
        torch.where(hole, 0.0, paper["target"]), torch.where(hole, 0.0, drawn["target"])
    )
    found = noised(paper["target"], paper["noise"], paper["gamma"])
    assert torch.equal(torch.where(hole, found, 0.0), torch.where(hole, paper["y_noisy"], 0.0))
    released = model.with_noise_labels(BatchInputs(drawn, FORGET, "released", source(), ALONE))
    for name in ("y_noisy", "noise"):
        assert torch.equal(released[name][FORGET], drawn["y_noisy_forget"][FORGET])
    for changed in (paper, released):
        assert all(torch.equal(changed[n][~FORGET], drawn[n][~FORGET]) for n in drawn)


@pytest.mark.parametrize("predicts", ["noise", "velocity"])
@pytest.mark.parametrize("formulation", ["paper", "released"])
def test_losses_are_means_over_holes_or_as_released_over_whole_batches(
    formulation: Formulation, predicts: str
) -> None:
    student, teacher = (
        small(predicts=predicts),
        small(predicts=predicts, channel_multipliers=(1, 1)),
    )
    drawn = student.prepare(images(), Masking(HYBRID, source()))
    drawn["mask"] = student.hole(4, HYBRID, source(start=9))
    y_t = torch.where(drawn["mask"], drawn["y_noisy"], drawn["target"])
    with torch.inference_mode():
        ours, theirs = (
            each.denoise_fn(torch.cat([drawn["condition"], y_t], dim=1), drawn["gamma"])
            for each in (student, teacher)
        )
        found = {
            name: METHODS[name].loss(student, teacher, drawn, FORGET, formulation=formulation)
            for name in ("max_loss", "retain_label")
        }
    learnt = {"noise": drawn["noise"], "velocity": velocity(drawn)}[predicts]
    # the two forget rows, in the middle, are paired with the first and the last row
    wanted = {"max_loss": learnt, "retain_label": theirs[[0, 0, 3, 3]]}
    for name, target in wanted.items():
        error = (ours - target).square()
        in_hole = error * drawn["mask"]
        whole = in_hole if name == "max_loss" else error
        for rows, term in ((FORGET, found[name].forget), (~FORGET, found[name].retain)):
            if formulation == "paper":
                mean = in_hole[rows].sum() / (3 * drawn["mask"][rows].sum())
            else:
                mean = whole[rows].sum() / error.numel()
            torch.testing.assert_close(term, mean)


def test_patches_need_not_fit_the_image() -> None:
    model = small(patch_size=6)
    hole = model.hole(4, TaskConfig(kind="random", ratio=0.5), source())
    assert hole.shape == (4, 1, 16, 16)
    assert torch.equal(hole[:, :, 12:, :].amax(dim=2), hole[:, :, 12:, :].amin(dim=2))


def test_the_embedded_noise_level_stays_with_the_decoder() -> None:
    model = small()
    moved = {name.split(".")[1] for name in model.encoder_names()}
    assert moved == {"input_blocks", "middle_block"}


# --- Schedules and sampling ------------------------------------------------------------------


def test_weights_of_the_one_prediction_are_not_read_as_those_of_the_other(tmp_path: Path) -> None:
    for predicts, other in (("noise", "velocity"), ("velocity", "noise")):
        path = tmp_path / f"{predicts}.safetensors"
        save_weights(small(predicts=predicts), path)
        load_weights(small(predicts=predicts), path)
        load_published(small(predicts=predicts), path)
        for load in (load_weights, load_published):
            with pytest.raises(CheckpointError, match="predicts_velocity"):
                load(small(predicts=other), path)
    with pytest.raises(ValueError, match="predicts image: it is one of noise, velocity"):
        small(predicts="image")


def test_steps_are_spread_over_the_schedule_from_its_end() -> None:
    assert spaced_steps(12, 12) == list(range(11, -1, -1))
    assert spaced_steps(100, 4) == [99, 74, 49, 24]
    assert spaced_steps(2000, 1) == [1999]
    for count in (0, 13):
        with pytest.raises(ValueError, match="sampling steps"):
            spaced_steps(12, count)


@pytest.mark.parametrize(
    "schedule",
    [
        {"steps": 1, "start": 0.1, "end": 0.2},
        {"steps": 5, "start": 0.0, "end": 0.2},
        {"steps": 5, "start": 0.3, "end": 0.2},
        {"steps": 5, "start": 0.3, "end": 1.0},
    ],
)
def test_a_schedule_that_is_none_is_refused(schedule: Any) -> None:
    with pytest.raises(ValueError, match="rising betas"):
        schedule_buffers(schedule)


@pytest.mark.parametrize("options", [{"image_size": 15}, {"head_channels": 7}])
def test_sizes_that_do_not_fit_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="multiple"):
        small(**options)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
def test_a_completion_keeps_known_pixels_and_its_own_draws(sampler: str) -> None:
    model = small(sampler=sampler, steps=5)
    with torch.inference_mode():
        together = model.complete(images(), HYBRID, source())
        again = model.complete(images(), HYBRID, source())
        alone = model.complete(images()[2:3], HYBRID, source(1, start=2))
        other = model.complete(images(), HYBRID, RowGenerators(range(4), 6))
    assert torch.equal(together, again)
    torch.testing.assert_close(together[2:3], alone, rtol=1e-4, atol=1e-5)
    hole = model.hole(4, HYBRID, source())
    assert torch.equal(torch.where(hole, 0.0, together), torch.where(hole, 0.0, images()))
    assert not torch.equal(together, other)


def test_the_trials_sampling_goes_before_the_models_own() -> None:
    model = small(sampler="ancestral")

    def calls(sampling: SamplingConfig) -> int:
        seen = []
        handle = model.denoise_fn.register_forward_hook(lambda *_: seen.append(1))
        model.sampling = sampling
        with torch.inference_mode():
            model.complete(images(), CENTRE, source())
        handle.remove()
        return len(seen)

    assert calls(SamplingConfig()) == 12
    assert calls(SamplingConfig(sampler="ddim", steps=3)) == 3
    model.sampler, model.steps = "ddim", 4
    assert calls(SamplingConfig()) == 4
    assert calls(SamplingConfig(steps=2)) == 2
    assert calls(SamplingConfig(sampler="ancestral")) == 12


@pytest.mark.parametrize("predicts", ["noise", "velocity"])
@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
def test_a_perfect_denoiser_restores_the_image(
    sampler: str, predicts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small(sampler=sampler, steps=6, predicts=predicts)
    truth = 2.0 * images() - 1.0

    def perfect(x: Tensor, gamma: Tensor) -> Tensor:
        level = gamma.view(-1, 1, 1, 1)
        y_t = x[:, 3:]
        drawn = {"gamma": gamma, "target": truth}
        drawn["noise"] = (y_t - level.sqrt() * truth) / (1.0 - level).sqrt()
        return drawn["noise"] if predicts == "noise" else velocity(drawn)

    monkeypatch.setattr(model.denoise_fn, "forward", perfect)
    found = model.complete(images(), CENTRE, source())
    torch.testing.assert_close(found, images(), rtol=0.0, atol=1e-3)


def test_a_ddim_step_keeps_the_noise_and_lowers_its_level(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    truth = 2.0 * images() - 1.0
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr(model.denoise_fn, "forward", lambda x, gamma: noise)
    y_t, wanted = (noised(truth, noise, model.test_gammas[[at] * 4]) for at in (7, 3))
    torch.testing.assert_close(model._ddim(truth, y_t, 7, 3), wanted, rtol=1e-4, atol=1e-4)


def test_an_ancestral_step_draws_from_the_posterior() -> None:
    model = small()
    y_t = torch.randn(60, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    steps = torch.full((60,), 6)
    with torch.inference_mode():
        mean, log_variance = model.posterior(y_t, y_t, steps, schedule="test")
        drawn = (model._ancestral(y_t, y_t, 6, source(60)) - mean) / (0.5 * log_variance).exp()
        last = model._ancestral(y_t, y_t, 0, source(60))
        final, _ = model.posterior(y_t, y_t, steps * 0, schedule="test")
    assert float(drawn.std()) == pytest.approx(1.0, abs=0.02)
    assert float(drawn.mean()) == pytest.approx(0.0, abs=0.02)
    # of betas 0.001 to 0.4 in 12 steps: beta_t (1 - gamma_(t-1)) / (1 - gamma_t)
    betas = torch.linspace(1e-3, 0.4, 12, dtype=torch.float64)
    gammas = (1.0 - betas).cumprod(dim=0)
    variance = betas[6] * (1.0 - gammas[5]) / (1.0 - gammas[6])
    assert float(log_variance[0].exp()) == pytest.approx(float(variance), rel=1e-4)
    assert torch.equal(last, final)


@pytest.mark.parametrize(("predicts", "wanted"), [("noise", 1.0), ("velocity", 0.01)])
def test_where_next_to_nothing_is_left_an_errors_size_in_the_image(
    predicts: str, wanted: float
) -> None:
    one = {"steps": 2, "start": 0.99, "end": 0.99}  # gamma 0.01, then 0.0001
    model = small(predicts=predicts, test_schedule=one)
    torch.nn.init.zeros_(model.denoise_fn.out[2].weight)
    torch.nn.init.constant_(model.denoise_fn.out[2].bias, 0.01)  # what is predicted is 0.01 off
    # of a grey image, 0, and no noise there is no y_t
    y_t = torch.zeros_like(images())
    with torch.inference_mode():
        mean, _ = model.posterior(y_t, y_t, torch.ones(4, dtype=torch.int64), schedule="test")
    image = mean / model.test_posterior_mean_coef1[1]
    assert float(image.abs().max()) == pytest.approx(wanted, rel=0.01)


def test_a_velocity_gives_the_image_where_float32_holds_none_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last of the published 2000 steps has a gamma below 1e-40."""
    published = {"steps": 2000, "start": 1e-4, "end": 0.09}
    model = small(predicts="velocity", test_schedule=published, sampler="ddim", steps=1)
    truth = 2.0 * images() - 1.0

    def perfect(x: Tensor, gamma: Tensor) -> Tensor:
        return velocity({"gamma": gamma, "noise": x[:, 3:], "target": truth})

    monkeypatch.setattr(model.denoise_fn, "forward", perfect)
    torch.testing.assert_close(model.complete(images(), CENTRE, source()), images())


def test_sampling_is_checked_and_counts_only_where_a_model_samples() -> None:
    with pytest.raises(ConfigError, match=r"sampling\.steps=3 is of ddim"):
        SamplingConfig(sampler="ancestral", steps=3)
    with pytest.raises(ConfigError, match=r"sampling\.steps=-1 is below 0"):
        SamplingConfig(steps=-1)
    few, ddim = SamplingConfig(steps=3), SamplingConfig(sampler="ddim")
    for model, counted in (("mae_tiny", ()), ("mage_tiny", (few,)), ("palette_tiny", (few, ddim))):
        own = TrialConfig(model=model).key()
        for sampling in (few, ddim):
            other = TrialConfig(model=model, sampling=sampling).key()
            assert (other != own) == (sampling in counted), (model, sampling)


# --- A trial ---------------------------------------------------------------------------------


def test_the_tiny_model_is_small() -> None:
    model = build_model("palette_tiny")
    assert sum(each.numel() for each in model.parameters()) <= 1_500_000
    assert sum(4 * each.numel() for each in model.state_dict().values()) <= 6_000_000


def test_a_whole_trial_runs_from_nothing(tmp_path: Path) -> None:
    config = tiny(
        model="palette_tiny",
        sampling__steps=2,
        train_task__kind="hybrid",
        pretrain__steps=2,
        pretrain__threads=1,
        data__train_per_class=8,
        data__val_per_class=4,
        data__test_per_class=4,
        unlearn__steps=1,
        unlearn__eval_every=1,
    )
    result = run_trial(config, Context(folder=tmp_path / "trial", cache=tmp_path / "cache"))
    assert result["trial_key"] == config.key()
    assert {"retain/fid", "forget/fid", "val/objective"} <= result["metrics"].keys()
