"""The paper's networks by files of their real formats: what they compute, and what is refused."""

from __future__ import annotations

import dataclasses
import io
import pickle
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from pytorch_fid import inception as reference
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import inception as inception_blocks
from torchvision.models import resnet50

from tests.helpers.weights_files import (
    CLIP,
    inception_state,
    places_state,
    write_clip,
    write_inception,
    write_places,
)
from trainables.config import NetworksConfig, TrialConfig
from trainables.evaluation.extractors import DomainCNN
from trainables.evaluation.networks import Networks, to_bytes
from trainables.evaluation.pretrained_weights import (
    PUBLISHED,
    extractor_labels,
    find_weights,
    load_networks,
)
from trainables.utils.errors import CheckpointError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    return {
        "inception": write_inception(folder / "pt_inception-2015-12-05.pth"),
        "places365": write_places(folder / "resnet50_places365.pth.tar"),
        "clip": write_clip(folder / "clip"),
    }


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.hub's cache is empty, and the internet is absent."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    monkeypatch.setattr(open_clip, "download_pretrained", unreachable)
    return tmp_path / "hub" / "hub" / "checkpoints"


def unreachable(*args: Any, **options: Any) -> NoReturn:
    raise urllib.error.URLError("Name or service\nnot known")


def pictures(count: int, side: int, seed: int = 0) -> Tensor:
    """Whole bytes, so that rounding changes nothing."""
    chance = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), generator=chance) / 255.0


def loaded(config: NetworksConfig, cache: Path) -> dict[str, nn.Module]:
    return load_networks(config, find_weights(config, cache))


def inception(path: Path) -> NetworksConfig:
    return NetworksConfig(features="inception", inception_weights=str(path))


def places(path: Path) -> NetworksConfig:
    return NetworksConfig(probabilities="places365", places_weights=str(path))


def clip(folder: Path, **more: str) -> NetworksConfig:
    return NetworksConfig(embeddings=f"local-dir:{folder}", **more)  # type: ignore[arg-type]


# --- What they compute -----------------------------------------------------------------------


def test_inception_is_the_one_of_pytorch_fid(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features, logits and the range of the input, on images that need no resize."""
    state = inception_state()
    monkeypatch.setattr(reference, "load_state_dict_from_url", lambda *args, **options: state)
    network = reference.InceptionV3(resize_input=False, normalize_input=False).eval()
    images = pictures(2, 299)
    with torch.inference_mode():
        (wanted,) = network((to_bytes(images).float() - 128.0) / 128.0)
        wanted = wanted[:, :, 0, 0]
        logits = wanted @ state["fc.weight"].T
        found = loaded(inception(files["inception"]), tmp_path)["inception"](images)
    assert wanted.std(dim=0).max() > 0.01
    torch.testing.assert_close(found["features"], wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["probabilities"], logits.softmax(dim=1), rtol=1e-3, atol=1e-6)
    assert found["probabilities"].shape == (2, 1008)


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "InceptionA": lambda: inception_blocks.InceptionA(4, 3),
    "InceptionC": lambda: inception_blocks.InceptionC(4, 8),
    "InceptionE": lambda: inception_blocks.InceptionE(4),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_torchvisions_blocks_are_those_whose_pooling_is_changed(name: str) -> None:
    block: Any = BLOCKS[name]().eval()
    told = (
        f"torchvision's {name} has another `_forward` than `_PoolsInside` of "
        "trainables/evaluation/networks.py replaces: adapt that class"
    )
    images = torch.rand(2, 4, 6, 6)
    branches = getattr(block, "_forward", lambda images: [images])(images)
    pooled = block.branch_pool(functional.avg_pool2d(images, 3, stride=1, padding=1))
    assert torch.equal(branches[-1], pooled), told
    assert torch.equal(torch.cat(branches, dim=1), block(images)), told


def test_places_is_torchvisions_network_after_the_authors_transform(
    files: dict[str, Path], tmp_path: Path
) -> None:
    network = resnet50(weights=None, num_classes=365)
    network.load_state_dict(places_state())
    network.eval()
    images = pictures(2, 40)
    arrays = []
    for each in to_bytes(images).permute(0, 2, 3, 1).numpy():
        small = Image.fromarray(each).resize((256, 256), Image.Resampling.BILINEAR)
        cut = np.asarray(small)[16:240, 16:240] / 255.0
        arrays.append((cut - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225])
    batch = torch.as_tensor(np.stack(arrays)).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        wanted = network(batch).softmax(dim=1)
        found = loaded(places(files["places365"]), tmp_path)["places365"](images)
    assert found.keys() == {"probabilities"}
    torch.testing.assert_close(found["probabilities"], wanted, rtol=1e-3, atol=1e-6)
    assert not torch.allclose(wanted[0], wanted[1], rtol=1e-2)


def test_clip_is_open_clips_model_after_its_own_transform(
    files: dict[str, Path], tmp_path: Path
) -> None:
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{files['clip']}")
    images = pictures(3, 50)
    batch = torch.stack(
        [transform(Image.fromarray(i)) for i in to_bytes(images).permute(0, 2, 3, 1).numpy()]
    )
    assert batch.shape == (3, 3, 32, 32)
    with torch.inference_mode():
        wanted = model.eval().encode_image(batch, normalize=True)
        found = loaded(clip(files["clip"]), tmp_path)["clip"](images)
    torch.testing.assert_close(found["embeddings"], wanted)


def test_a_model_by_its_name_takes_a_file(
    files: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {"tiny": CLIP})
    state = torch.load(files["clip"] / "open_clip_pytorch_model.bin", weights_only=True)
    save_file(state, tmp_path / "w.safetensors")
    torch.save({"state_dict": {f"module.{n}": e for n, e in state.items()}}, tmp_path / "w.pt")
    found = []
    for name in ("w.safetensors", "w.pt"):
        config = NetworksConfig(embeddings="tiny", clip_weights=str(tmp_path / name))
        with torch.inference_mode():
            found.append(loaded(config, tmp_path)["clip"](pictures(2, 32))["embeddings"])
    assert found[0].shape == (2, 12)
    assert torch.equal(*found)
    # such as that the model has no weights, while it gets them
    assert not [each for each in caplog.records if each.levelname == "WARNING"]


def test_each_part_is_one_networks_and_batches_change_nothing(
    files: dict[str, Path], tmp_path: Path
) -> None:
    config = NetworksConfig(
        features="domain", probabilities="domain", embeddings=f"local-dir:{files['clip']}"
    )
    torch.manual_seed(0)
    domain = DomainCNN(5, 8).eval()
    networks = {**loaded(config, tmp_path), "domain": domain}
    images = pictures(5, 32)
    found = Networks(networks, config.parts(), 2).extract(images)
    alone = domain.extract(images)
    torch.testing.assert_close(found.features, alone.features)
    torch.testing.assert_close(found.probabilities, alone.probabilities)
    torch.testing.assert_close(
        found.embeddings, networks["clip"](images)["embeddings"], rtol=1e-4, atol=1e-5
    )


def test_networks_are_frozen(files: dict[str, Path], tmp_path: Path) -> None:
    network = loaded(clip(files["clip"]), tmp_path)["clip"]
    assert not network.training
    assert not any(each.requires_grad for each in network.parameters())


def test_completions_are_rounded_as_if_stored() -> None:
    levels = torch.tensor([-0.1, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 1.3]).view(1, 1, 1, 6)
    assert to_bytes(levels).flatten().tolist() == [0, 0, 0, 1, 255, 255]


# --- Names ---------------------------------------------------------------------------------


def test_figures_are_named_by_their_networks(files: dict[str, Path], tmp_path: Path) -> None:
    networks = NetworksConfig(
        features="inception",
        probabilities="places365",
        embeddings=f"local-dir:{files['clip']}",
        inception_weights=str(files["inception"]),
        places_weights=str(files["places365"]),
    )
    weights = find_weights(networks, tmp_path)
    labels = extractor_labels(TrialConfig(networks=networks), weights, 10)
    # other weights than the published ones are told by their hash
    assert labels["fid_extractor"] == (
        f"Inception-v3 2015-12-05, weights {weights['inception'].sha256[:8]}"
    )
    assert labels["is_extractor"].startswith("Places365 ResNet-50, weights ")
    assert labels["clip_model"] == f"CLIP local-dir:{files['clip']}"
    assert set(extractor_labels(TrialConfig(), {}, 18).values()) == {"photos CNN"}


def test_the_published_bytes_are_known_whatever_the_file_is_called(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = find_weights(inception(files["inception"]), tmp_path)["inception"].sha256
    published = dataclasses.replace(PUBLISHED["inception"], sha256=digest)
    monkeypatch.setitem(PUBLISHED, "inception", published)
    found = find_weights(inception(files["inception"]), tmp_path)
    assert found["inception"].label == "Inception-v3 2015-12-05"


def test_only_what_measures_is_part_of_a_trials_key() -> None:
    plain = TrialConfig()
    unused = NetworksConfig(inception_weights="a", clip_pretrained="openai", batch_size=3)
    assert TrialConfig(networks=unused).key() == plain.key()
    used = NetworksConfig(features="inception", inception_weights="a")
    assert TrialConfig(networks=used).key() != plain.key()
    assert (
        NetworksConfig(features="inception", inception_weights="a", places_weights="b").canonical()
        == used
    )


# --- Where weights come from -----------------------------------------------------------------


def refusal(config: NetworksConfig, cache: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        loaded(config, cache)
    message = str(caught.value)
    assert message.isprintable(), message
    return message


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        (
            NetworksConfig(features="inception"),
            (
                "pt_inception-2015-12-05-6726825d.pth",
                "https://github.com/mseitzer/pytorch-fid/releases/",
                "--set networks.inception_weights=FILE",
            ),
        ),
        (
            NetworksConfig(probabilities="places365"),
            (
                "resnet50_places365.pth.tar",
                "http://places2.csail.mit.edu/models_places365/",
                "--set networks.places_weights=FILE",
            ),
        ),
        (
            NetworksConfig(embeddings="ViT-H-14"),
            (
                "CLIP ViT-H-14 laion2b_s32b_b79k",
                "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
                "--set networks.clip_weights=FILE",
            ),
        ),
    ],
)
def test_absent_weights_are_told_in_one_line(
    config: NetworksConfig, parts: tuple[str, ...], tmp_path: Path
) -> None:
    message = refusal(config, tmp_path)
    assert all(part in message for part in (*parts, "Name or service not known")), message


@pytest.mark.parametrize("name", ["pt_inception", "weights-inception"])
def test_the_cache_of_torch_hub_is_used(name: str, hub: Path, files: dict[str, Path]) -> None:
    hub.mkdir(parents=True)
    (hub / f"{name}-2015-12-05-6726825d.pth").symlink_to(files["inception"])
    found = find_weights(NetworksConfig(features="inception"), hub)
    assert found["inception"].path.name.startswith(name)


def test_a_download_lands_in_the_cache_with_its_hash_checked(
    hub: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def download(url: str, path: str, **options: Any) -> None:
        asked.update(url=url, **options)
        Path(path).write_bytes(files["inception"].read_bytes())

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    found = find_weights(NetworksConfig(features="inception"), hub)
    assert found["inception"].path == hub / "pt_inception-2015-12-05-6726825d.pth"
    assert asked["hash_prefix"] == "6726825d"


def test_models_and_weights_that_open_clip_does_not_know_are_told(tmp_path: Path) -> None:
    message = refusal(NetworksConfig(embeddings="ViT-H-15"), tmp_path)
    assert "nor a model of open_clip (close: ViT-H-16, ViT-H-14" in message
    message = refusal(NetworksConfig(embeddings="ViT-H-14", clip_pretrained="openai"), tmp_path)
    assert "no weights of ViT-H-14, which has laion2b_s32b_b79k" in message
    message = refusal(clip(tmp_path), tmp_path)
    assert "open_clip_pytorch_model.bin is there" in message
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"")
    assert "no open_clip_config.json that can be read" in refusal(clip(tmp_path), tmp_path)


def test_weights_of_another_activation_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"")
    config = NetworksConfig(
        embeddings="ViT-B-32", clip_pretrained="openai", clip_weights=str(tmp_path / "w.pt")
    )
    assert "networks.embeddings=ViT-B-32-quickgelu" in refusal(config, tmp_path)


# --- What is refused -------------------------------------------------------------------------


class Hostile:
    """Unpickled, it would leave a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.mark,)


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def given(network: str, path: Path, folder: Path) -> NetworksConfig:
    if network == "clip":
        return clip(folder, clip_weights=str(path))
    return inception(path) if network == "inception" else places(path)


@pytest.mark.parametrize("network", ["inception", "places365", "clip"])
def test_missing_truncated_hostile_and_foreign_files_are_refused(
    network: str, files: dict[str, Path], tmp_path: Path
) -> None:
    whole = files[network]
    if network == "clip":
        whole = whole / "open_clip_pytorch_model.bin"
    mark = tmp_path / "ran"
    state = torch.load(whole, weights_only=True)
    contents = {
        "truncated.pth": (whole.read_bytes()[:-2000], "not a whole torch file of weights"),
        "page.pth": (b"<html>404</html>", "not a whole torch file of weights"),
        "code.pth": (saved({"state_dict": state, "code": Hostile(mark)}), "which was not run"),
        "pickle.pth": (pickle.dumps({"state_dict": Hostile(mark)}), "not a whole torch file"),
        "other.pth": (saved({"conv1.weight": torch.zeros(3)}), "not the "),
        "list.pth": (saved([1, 2]), "no state-dict in it"),
        "page.safetensors": (b"<html>404</html>", "not a whole safetensors file"),
    }
    for name, (content, shown) in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        message = refusal(given(network, path, files["clip"]), tmp_path)
        assert message.startswith(f"{path}: "), message
        assert shown in message
        assert len(message) < 700 + len(str(path))
    assert "absent.pth is not a file" in refusal(
        given(network, tmp_path / "absent.pth", files["clip"]), tmp_path
    )
    assert not mark.exists()


def test_weights_that_are_not_finite_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    state = torch.load(files["clip"] / "open_clip_pytorch_model.bin", weights_only=True)
    state["visual.proj"][0, 0] = float("nan")
    torch.save(state, tmp_path / "w.pt")
    message = refusal(clip(files["clip"], clip_weights=str(tmp_path / "w.pt")), tmp_path)
    assert "proj holds NaN or infinity" in message
    state = inception_state()
    state["fc.weight"][3, 2] = float("inf")
    torch.save(state, tmp_path / "w.pt")
    assert "fc.weight holds NaN or infinity" in refusal(inception(tmp_path / "w.pt"), tmp_path)
