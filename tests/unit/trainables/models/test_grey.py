"""Models of grey data draw grey noise; those of coloured data, and published ones, do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trainables.config import TaskConfig
from trainables.models import MODELS, build_model
from trainables.models.base import BatchInputs, CompletionModel, Masking
from trainables.models.mage import MAGE
from trainables.models.vit import IMAGENET_MEAN
from trainables.utils.distributed import ALONE
from trainables.utils.rng import RowGenerators

MEAN = 0.22
FORGET = torch.tensor([False, True, True])


def images() -> Tensor:
    return torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(3)).expand(
        -1, 3, -1, -1
    )


def source() -> RowGenerators:
    return RowGenerators(range(3), 0, "test")


def model(name: str, grey: float | None) -> CompletionModel:
    torch.manual_seed(0)
    built = build_model(name, image_size=32).eval()
    built.grey = grey
    return built


def is_grey(pixels: Tensor) -> bool:
    return torch.allclose(pixels, pixels[:, :1].expand_as(pixels), atol=1e-6)


def drawn(model: CompletionModel) -> dict[str, Tensor]:
    return model.prepare(images(), Masking(TaskConfig(), source()))


def noisy_images(model: Any) -> Tensor:
    """What a method shows in place of forget images, in [0, 1] or standard normal."""
    found = model.with_noise_images(drawn(model), FORGET, "paper")
    if "condition" in found:
        return torch.cat([found["condition"], found["y_noisy"], found["noise"]])[1:]
    return found["images"][1:] * model.std + model.mean


def noisy_labels(model: Any) -> Tensor:
    batch = BatchInputs(drawn(model), FORGET, "paper", source(), ALONE)
    target: Tensor = model.with_noise_labels(batch)["target"][1:]
    if target.dim() == 4:
        return target
    return model.unpatchify(target) * model.std + model.mean


@pytest.mark.parametrize("name", ["mae_tiny", "palette_tiny"])
@pytest.mark.parametrize("noisy", [noisy_images, noisy_labels])
def test_noise_is_as_grey_as_the_data(name: str, noisy: Any) -> None:
    grey, coloured = noisy(model(name, MEAN)), noisy(model(name, None))
    assert is_grey(grey)
    assert not is_grey(coloured)
    assert float(grey.std()) == pytest.approx(float(coloured.std()), rel=0.1)
    assert float(grey.mean()) == pytest.approx(float(coloured.mean()), abs=0.1)


def test_a_diffusion_begins_from_grey(monkeypatch: pytest.MonkeyPatch) -> None:
    for grey in (MEAN, None):
        palette: Any = model("palette_tiny", grey)
        seen: list[Tensor] = []

        def still(condition: Tensor, y_t: Tensor, *step: Any, seen: list[Tensor] = seen) -> Tensor:
            seen += [condition, y_t]
            return y_t

        monkeypatch.setattr(palette, "_ddim", still)
        palette.complete(images(), TaskConfig(), source())
        assert {is_grey(each) for each in seen} == {grey is not None}


@pytest.mark.parametrize(
    ("grey", "fill"), [(MEAN, (MEAN,) * 3), (None, IMAGENET_MEAN)], ids=["grey", "coloured"]
)
def test_mage_fills_a_hole_with_the_mean_of_its_data(
    grey: float | None, fill: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    mage = model("mage_tiny", grey)
    assert isinstance(mage, MAGE)
    seen: list[Tensor] = []
    tokenize = mage.tokenize

    def watched(pixels: Tensor) -> Tensor:
        seen.append(pixels)
        return tokenize(pixels)

    monkeypatch.setattr(mage, "tokenize", watched)
    mage.complete(images(), TaskConfig(), source())
    assert torch.allclose(seen[0][:, :, 16, 16], torch.tensor(fill).expand(3, -1))
    seen.clear()
    drawn(mage)
    assert is_grey(seen[-1]) == (grey is not None)


@pytest.mark.parametrize("name", [name for name in MODELS if name.endswith("_tiny")])
def test_no_model_takes_its_data_for_grey_unless_told(name: str) -> None:
    assert build_model(name).grey is None
