"""MAGE's own parts: its masks, its decoding in rounds, its blending, its two-stage pretraining."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.helpers.tiny import tiny
from trainables.config import SamplingConfig, TaskConfig
from trainables.methods.original import pretraining
from trainables.models import MODELS, build_model, maskgit
from trainables.models.base import BatchInputs, Masking
from trainables.models.mage import MAGE
from trainables.models.maskgit import decode
from trainables.models.masks import blend, rim
from trainables.models.vit import IMAGENET_MEAN
from trainables.shared.prepare import prepare
from trainables.shared.pretraining import new_model
from trainables.training.context import Context
from trainables.training.optimizer import StudentLoss
from trainables.trial import run_trial
from trainables.utils.distributed import ALONE
from trainables.utils.rng import RowGenerators

RANDOM = TaskConfig(kind="random", ratio=0.5)
OPTIONS: dict[str, Any] = {
    "image_size": 32,
    "embed_dim": 16,
    "depth": 1,
    "num_heads": 2,
    "decoder_embed_dim": 16,
    "decoder_depth": 1,
    "decoder_num_heads": 2,
    "tokenizer": {
        "channels": 8,
        "channel_multipliers": (1, 2, 2),
        "res_blocks": 1,
        "latent_channels": 8,
        "codebook_size": 32,
        "groups": 2,
    },
}


@pytest.fixture(scope="module")
def model() -> MAGE:
    torch.manual_seed(0)
    built = build_model("mage", **OPTIONS)
    assert isinstance(built, MAGE)
    return built.eval()


def images(rows: int, size: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(rows, 3, 8, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=size, mode="bilinear").clamp(0, 1)


def rows(count: int, *parts: int | str) -> RowGenerators:
    return RowGenerators(range(count), 5, *parts)


# --- The tiny size ---------------------------------------------------------------------------


def test_the_tiny_size_has_a_grid_of_16_and_its_weights_fit_6_megabytes() -> None:
    tiny = build_model("mage_tiny")
    assert isinstance(tiny, MAGE)
    assert tiny.grid == 16
    assert tiny.tokenize(images(1)).shape == (1, tiny.grid**2)
    assert sum(4 * each.numel() for each in tiny.state_dict().values()) < 6_000_000


def test_an_image_size_that_the_tokenizer_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="image size 34 is not a multiple of the tokenizer's 4"):
        build_model("mage", **{**OPTIONS, "image_size": 34})


def test_large_images_get_as_many_positions_as_they_have_tokens() -> None:
    with torch.device("meta"):
        large = build_model("mage_vit_base_patch16", image_size=512)
    positions = large.state_dict()["token_emb.position_embeddings.weight"]
    assert positions.shape[0] == 32 * 32 + 1
    assert MODELS["mage_vit_base_patch16"][1]["embed_dim"] == 768


# --- Masks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_random_masks_drop_a_share_and_mask_a_drawn_one(model: MAGE, ratio: float) -> None:
    task = TaskConfig(kind="random", ratio=ratio)
    drawn = model.prepare(images(40), Masking(task, rows(40, "masks")))
    dropped, masked = drawn["drop_mask"].sum(dim=1), drawn["all_mask"].sum(dim=1)
    assert set(dropped.tolist()) == {round(ratio * 64)}
    assert bool((drawn["all_mask"] | ~drawn["drop_mask"]).all())
    assert len(set(masked.tolist())) > 3
    assert int(masked.min()) >= math.ceil(ratio * 64)


def test_masked_shares_follow_the_cut_normal_distribution(model: MAGE) -> None:
    drawn = model.prepare(images(1).expand(600, -1, -1, -1), Masking(RANDOM, rows(600)))
    share = drawn["all_mask"].double().mean(dim=1)
    normal = torch.distributions.Normal(0.55, 0.25)
    line = torch.linspace(0.5, 1.0, 10_001, dtype=torch.float64)
    weight = normal.log_prob(line).exp()
    mean = float((line * weight).sum() / weight.sum())
    # rounding up to whole tokens adds half a token
    assert float(share.mean()) == pytest.approx(mean + 0.5 / 64, abs=0.02)


def test_other_tasks_mask_the_grown_hole_and_drop_nothing(model: MAGE) -> None:
    drawn = model.prepare(images(2), Masking(TaskConfig(kind="centre", ratio=0.5), rows(2)))
    grid = drawn["all_mask"].view(2, 8, 8)
    assert not bool(drawn["drop_mask"].any())
    assert bool(grid[:, 1:7, 1:7].all())
    assert int(grid.sum()) == 2 * 36


def test_rows_that_keep_unequal_numbers_are_refused(model: MAGE) -> None:
    mask = torch.zeros(2, 64, dtype=torch.bool)
    mask[0, 0] = True
    with pytest.raises(ValueError, match="same number of tokens"):
        model.encode(torch.zeros(2, 64, dtype=torch.int64), mask, mask)


def test_the_output_is_the_codes_part_of_the_vocabularys_logits(model: MAGE) -> None:
    drawn = model.prepare(images(2), Masking(RANDOM, rows(2)))
    masks = drawn["drop_mask"], drawn["all_mask"]
    whole = model.predict(model.encode(drawn["tokens"], *masks), *masks)
    assert whole.shape[2] > model.codebook_size
    torch.testing.assert_close(model.output(drawn), whole[:, 1:, : model.codebook_size])


def test_a_masked_tokens_value_reaches_no_output(model: MAGE) -> None:
    drawn = model.prepare(images(3), Masking(RANDOM, rows(3)))
    other = {**drawn, "tokens": torch.where(drawn["all_mask"], 0, drawn["tokens"])}
    assert torch.equal(model.output(drawn), model.output(other))


def test_noise_labels_are_codes_drawn_for_forget_rows_alone(model: MAGE) -> None:
    drawn = model.prepare(images(6), Masking(RANDOM, rows(6)))
    forget = torch.arange(6) >= 3
    labelled = model.with_noise_labels(BatchInputs(drawn, forget, "paper", rows(6, "noise"), ALONE))
    target = labelled["target"]
    assert target.dtype == torch.int64
    assert torch.equal(target[:3], drawn["tokens"][:3])
    assert not torch.equal(target[3:], drawn["tokens"][3:])
    assert 0 <= int(target.min()) <= int(target.max()) < 32
    assert torch.equal(labelled["tokens"], drawn["tokens"])


# --- Decoding --------------------------------------------------------------------------------


def counting(codes: int) -> tuple[Callable[[Tensor, Tensor], Tensor], list[list[int]]]:
    """Even probabilities, and of every round how many tokens were masked in each row."""
    seen: list[list[int]] = []

    def predict(tokens: Tensor, masked: Tensor) -> Tensor:
        seen.append(masked.sum(dim=1).tolist())
        return torch.full((*tokens.shape, codes), 1.0 / codes)

    return predict, seen


def test_rounds_follow_the_cosine_and_the_last_leaves_none() -> None:
    predict, seen = counting(8)
    tokens = torch.full((1, 64), 99)
    masked = torch.ones(1, 64, dtype=torch.bool)
    filled = decode(predict, tokens, masked, rows(1), steps=20, temperature=6.0)
    left = [64]
    for step in range(1, 20):
        # a round fills one token at least
        left.append(min(int(64 * math.cos(math.pi / 2 * step / 20)), left[-1] - 1))
    assert [row[0] for row in seen] == left
    assert 0 <= int(filled.min()) <= int(filled.max()) < 8


def test_rounds_at_or_above_the_masked_share_are_skipped() -> None:
    predict, seen = counting(8)
    masked = torch.arange(64).view(1, 64) < 16
    tokens = torch.arange(64).view(1, 64)
    filled = decode(predict, tokens, masked, rows(1), steps=20, temperature=6.0)
    shares = [math.cos(math.pi / 2 * step / 20) for step in range(1, 21)]
    assert len(seen) == sum(share < 16 / 64 for share in shares)
    assert seen[0] == [16]
    assert torch.equal(filled[:, 16:], tokens[:, 16:])


def test_nothing_masked_is_left_as_it_is() -> None:
    predict, seen = counting(8)
    tokens = torch.arange(64).view(1, 64)
    filled = decode(predict, tokens, tokens < 0, rows(1), steps=5, temperature=6.0)
    assert torch.equal(filled, tokens)
    assert seen == []


def test_codes_are_drawn_by_their_probabilities() -> None:
    shares = torch.tensor([0.0, 0.5, 0.3, 0.2])

    def predict(tokens: Tensor, masked: Tensor) -> Tensor:
        return shares.expand(*tokens.shape, 4)

    masked = torch.ones(20, 64, dtype=torch.bool)
    filled = decode(predict, masked.long(), masked, rows(20), steps=1, temperature=0.0)
    found = torch.bincount(filled.flatten(), minlength=4) / filled.numel()
    torch.testing.assert_close(found, shares, atol=0.05, rtol=0.0)


def test_the_surest_are_kept_first_without_noise() -> None:
    """Odd places are certain of code 1, even ones undecided: round 1 keeps the odd ones."""
    seen: list[Tensor] = []

    def predict(tokens: Tensor, masked: Tensor) -> Tensor:
        seen.append(masked.clone())
        even = torch.full((64, 4), 0.25)
        sure = torch.tensor([0.0, 1.0, 0.0, 0.0]).expand(64, 4)
        return torch.where((torch.arange(64) % 2 == 1).unsqueeze(1), sure, even).unsqueeze(0)

    masked = torch.ones(1, 64, dtype=torch.bool)
    filled = decode(predict, masked.long(), masked, rows(1), steps=3, temperature=0.0)
    # after two thirds of the rounds 32 are left
    assert bool(seen[2][0, ::2].all())
    assert not bool(seen[2][0, 1::2].any())
    assert bool((filled[0, 1::2] == 1).all())


def test_the_noise_on_what_is_sure_fades_round_by_round(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, found = maskgit._round, []

    def spy(*args: Any, temperature: float, **options: Any) -> tuple[Tensor, Tensor]:
        found.append(temperature)
        return plain(*args, temperature=temperature, **options)

    monkeypatch.setattr(maskgit, "_round", spy)
    predict, _ = counting(8)
    masked = torch.ones(1, 64, dtype=torch.bool)
    decode(predict, masked.long(), masked, rows(1), steps=4, temperature=6.0)
    assert found == [4.5, 3.0, 1.5, 0.0]


def test_the_trials_rounds_go_before_the_models_own(
    model: MAGE, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []

    def recorded(predict: Any, tokens: Tensor, *_: Any, steps: int, **__: Any) -> Tensor:
        given.append(steps)
        return tokens

    monkeypatch.setattr("trainables.models.mage.decode", recorded)
    for sampling in (SamplingConfig(), SamplingConfig(steps=3)):
        monkeypatch.setattr(model, "sampling", sampling)
        with torch.inference_mode():
            model.complete(images(2), TaskConfig(), rows(2))
    assert given == [20, 3]


def test_what_the_label_smoothing_gave_to_every_code_can_be_left_out(model: MAGE) -> None:
    """As sure of code 3 as the training's smoothed labels let a model be."""
    codes = model.codebook_size
    tokens = torch.zeros(16, 64, dtype=torch.int64)
    masked = torch.ones_like(tokens, dtype=torch.bool)
    found = {}
    for unsmooth in (False, True):
        own = build_model("mage", **OPTIONS, unsmooth=unsmooth)
        assert isinstance(own, MAGE)
        torch.nn.init.zeros_(own.mlm_layer.ln.weight)
        torch.nn.init.constant_(own.mlm_layer.bias, math.log(0.1 / codes))
        own.mlm_layer.bias.data[..., 3] = math.log(0.9 + 0.1 / codes)
        with torch.inference_mode():
            filled = decode(own._code_shares, tokens, masked, rows(16), steps=4, temperature=6.0)
        found[unsmooth] = float((filled == 3).float().mean())
    assert found[True] == 1.0
    assert found[False] < 0.98


def test_rows_of_unequal_holes_decode_as_they_do_alone(model: MAGE) -> None:
    tokens = model.tokenize(images(3))
    masked = torch.arange(64).expand(3, 64) < torch.tensor([[60], [20], [40]])
    options: dict[str, Any] = {"steps": 10, "temperature": 6.0}
    with torch.inference_mode():
        together = decode(model._code_shares, tokens, masked, rows(3), **options)
        for row in range(3):
            alone = decode(
                model._code_shares,
                tokens[row : row + 1],
                masked[row : row + 1],
                RowGenerators([row], 5),
                **options,
            )
            assert torch.equal(together[row : row + 1], alone)


# --- Completion ------------------------------------------------------------------------------


def test_the_hole_is_filled_with_the_mean_before_the_image_becomes_tokens(
    model: MAGE, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Tensor] = []

    def tokenize(seen: Tensor) -> Tensor:
        given.append(seen)
        return torch.zeros(len(seen), 64, dtype=torch.int64)

    monkeypatch.setattr(model, "tokenize", tokenize)
    truth, task = images(2), TaskConfig(kind="left", ratio=0.5)
    with torch.inference_mode():
        model.complete(truth, task, rows(2))
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1).expand(2, 3, 32, 16)
    assert torch.equal(given[0][..., :16], mean)
    assert torch.equal(given[0][..., 16:], truth[..., 16:])


@pytest.mark.parametrize("size", [32, 64, 256])
def test_blending_is_whole_in_the_hole_soft_around_it_and_nothing_far_away(size: int) -> None:
    hole = torch.zeros(1, 1, size, size, dtype=torch.bool)
    hole[..., 3 * size // 8 : 5 * size // 8, 3 * size // 8 : 5 * size // 8] = True
    truth, completed = torch.zeros(1, 3, size, size), torch.ones(1, 3, size, size)
    mixed = blend(completed, truth, hole)[0, 0, size // 2]
    assert float(mixed.min()) == 0.0
    assert bool((mixed[3 * size // 8 : 5 * size // 8] == 1.0).all())
    assert bool((mixed[: 3 * size // 8 - rim(size)] == 0.0).all())
    # half is reached where the hole, grown by 14 of 256 pixels, ends
    edge = 3 * size // 8 - round(14 * size / 256)
    assert float(mixed[edge - 1]) < 0.5 < float(mixed[edge])
    assert bool((mixed[: size // 2].diff() >= 0).all())


def test_a_blend_at_the_images_border_is_whole_there() -> None:
    hole = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    hole[..., :16] = True
    mixed = blend(torch.ones(1, 3, 64, 64), torch.zeros(1, 3, 64, 64), hole)
    assert bool((mixed[..., :16] == 1.0).all())
    torch.testing.assert_close(mixed[..., 0, :], mixed[..., 32, :])


# --- Pretraining -----------------------------------------------------------------------------


def test_the_tokenizer_is_trained_first_and_then_left(model: MAGE) -> None:
    torch.manual_seed(0)
    fresh = build_model("mage", **OPTIONS)
    tokenizer, transformer = fresh.pretraining_stages()
    assert (tokenizer.name, transformer.name) == ("tokenizer", "model")
    assert not tokenizer.moves & transformer.moves
    assert {name for name in tokenizer.moves if not name.startswith("vqgan.")} == set()
    for stage in (tokenizer, transformer):
        student_loss = StudentLoss(fresh, pretraining(stage))
        fresh.zero_grad(set_to_none=True)
        inputs = stage.prepare(images(4), Masking(RANDOM, rows(4)))
        student_loss(fresh, inputs, torch.zeros(4, dtype=torch.bool)).total.backward()
        reached = {name for name, p in fresh.named_parameters() if p.grad is not None}
        assert reached == stage.moves
        assert all(float(fresh.get_parameter(name).grad.abs().max()) > 0 for name in stage.moves)


def test_training_the_tokenizer_rebuilds_images() -> None:
    torch.manual_seed(0)
    vqgan = build_model("mage", **OPTIONS).requires_grad_(True).vqgan
    optimiser = torch.optim.AdamW(vqgan.parameters(), lr=3e-3)
    truth = images(16)

    def error() -> float:
        with torch.inference_mode():
            return float((vqgan.detokenize(vqgan.tokenize(truth)) - truth).square().mean())

    before = error()
    for _ in range(30):
        optimiser.zero_grad()
        vqgan.loss(truth).mean().backward()
        optimiser.step()
    assert error() < 0.3 * before


@pytest.mark.parametrize(("groups", "reaches"), [(2, True), (None, False)])
def test_normalised_by_place_a_code_knows_nothing_of_what_is_far(
    groups: int | None, reaches: bool
) -> None:
    torch.manual_seed(0)
    vqgan = build_model(
        "mage",
        **{**OPTIONS, "image_size": 128, "tokenizer": {**OPTIONS["tokenizer"], "groups": groups}},
    ).vqgan
    with torch.inference_mode():
        truth = images(2, 128)
        changed = truth.clone()
        changed[..., :8] = 0.0
        far = (vqgan.encoder(truth) - vqgan.encoder(changed))[..., -8:]
    assert bool((far.abs() > 1e-6).any()) == reaches


def test_a_lone_code_is_held_against_its_own_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    vqgan = build_model("mage", **OPTIONS).vqgan
    truth = images(2)
    patches = [
        truth[row, :, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
        for row in range(2)
        for y in range(0, 8, 2)
        for x in range(0, 8, 2)
    ]
    given: list[torch.Size] = []

    def decoder(latents: Tensor) -> Tensor:
        given.append(latents.shape)
        # the second image's patches come out 0.5 too bright
        return torch.stack(patches) + 0.5 * (torch.arange(32) >= 16).view(-1, 1, 1, 1)

    monkeypatch.setattr(vqgan.decoder, "forward", decoder)
    error = vqgan._lone_error(vqgan.encoder(truth), truth)
    assert given == [(32, 8, 1, 1)]
    torch.testing.assert_close(error, torch.tensor([0.0, 0.75]))


def test_the_weight_of_lone_codes_is_in_the_loss() -> None:
    options = {**OPTIONS, "tokenizer": {**OPTIONS["tokenizer"], "lone_weight": 2.0}}
    torch.manual_seed(0)
    plain = build_model("mage", **OPTIONS).vqgan
    torch.manual_seed(0)
    weighed = build_model("mage", **options).vqgan
    truth = images(3)
    latents = plain.encoder(truth)
    nearest = plain.quantize.embedding(plain.tokenize(truth)).movedim(-1, 1).view(latents.shape)
    with torch.inference_mode():
        lone = plain._lone_error(nearest, truth)
        torch.testing.assert_close(weighed.loss(truth), plain.loss(truth) + 2.0 * lone)


def test_a_trial_runs_from_nothing_and_trains_both_stages(tmp_path: Path) -> None:
    config = tiny(
        model="mage_tiny",
        sampling__steps=2,
        pretrain__threads=1,
        data__train_per_class=8,
        data__val_per_class=4,
        data__test_per_class=4,
        unlearn__steps=1,
        unlearn__eval_every=1,
    )
    told: list[tuple[str, int, int]] = []
    context = Context(
        folder=tmp_path / "trial",
        cache=tmp_path / "cache",
        report_steps=lambda *each: told.append(each),
    )
    result = run_trial(config, context)
    assert all(math.isfinite(value) for value in result["metrics"].values())
    label = "pretraining mage_tiny"
    assert [each for each in told if each[0] == label] == [(label, n, 5) for n in range(1, 6)]
    fresh = new_model(config).state_dict()
    base = prepare(config, context).base
    trained = load_file(base / "weights.safetensors")
    assert len(json.loads((base / "losses.json").read_text())) == 5
    for name in ("vqgan.encoder.conv_in.weight", "blocks.0.attn.qkv.weight"):
        assert not torch.equal(trained[name], fresh[name])
    unlearned = load_file(tmp_path / "trial" / "weights.safetensors")
    assert all(
        torch.equal(unlearned[name], trained[name]) for name in trained if name.startswith("vqgan.")
    )
