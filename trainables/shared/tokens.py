"""Keeps the tokens of images that many steps see, made once for all trials.

MAGE's tokenizer is frozen, so the tokens of an image, or of a noise image, are the same at every
step. They lie in Arrow files, which all trials of a machine map into their memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.data.batches import training_rows
from trainables.models.base import normal_images
from trainables.models.mage import MAGE
from trainables.shared.base_models import load_base
from trainables.training.context import TrialSetup
from trainables.utils.cache import build_once
from trainables.utils.errors import CheckpointError
from trainables.utils.hashing import code_version, content_key
from trainables.utils.rng import RowGenerators, mix_seed
from trainables.utils.text import one_line
from trainables.utils.threads import torch_threads

_AT_ONCE = 64  # images
_MEASURED = 1024  # images that give the noise its mean and deviation

Images = Callable[[], Iterator[Tensor]]


@dataclass(frozen=True)
class RoleTokens:
    """Tokens of the training images of a role.

    Attributes:
        rows: of the manifest, sorted, `(N,)`.
        views: tokens of these rows in each view, `(V, N, L)`, memory-mapped.
    """

    rows: NDArray[np.int64]
    views: NDArray[np.uint16]


@dataclass(frozen=True)
class CachedTokens:
    """Tokens in place of images: a `trainables.data.batches.RowReader`.

    Attributes:
        roles: the tokens of each role that a batch may hold.
    """

    roles: tuple[RoleTokens, ...]

    def read(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> Tensor:
        """Returns tokens `(B, L)` int32 of rows in views, which begin anew after the last."""
        found = np.empty((len(rows), self.roles[0].views.shape[2]), dtype=np.int32)
        for role in self.roles:
            mine = np.isin(rows, role.rows)
            places = np.searchsorted(role.rows, rows[mine])
            found[mine] = role.views[views[mine] % len(role.views), places]
        return torch.from_numpy(found)

    def expand(self, compact: Tensor) -> Tensor:
        """Returns tokens `(B, L)` int64."""
        return compact.long()


def kept_tokens(setup: TrialSetup, base: Path) -> tuple[CachedTokens | None, Mapping[str, Tensor]]:
    """Builds or finds the tokens of training and noise images that the trial asks for."""
    if not setup.config.unlearns:
        return None, {}
    return cached_tokens(setup, base), noise_bank(setup, base)


def cached_tokens(setup: TrialSetup, base: Path) -> CachedTokens | None:
    """Builds or finds the tokens of every image a trial trains on; None where it reads images.

    Raises:
        CheckpointError: the cache was altered.
    """
    config, dataset = setup.config, setup.dataset
    if not config.canonical().unlearn.token_cache:
        return None
    views = config.data.views if config.data.augment else 1
    roles = []
    for role, rows in training_rows(config, dataset).items():

        def images(rows: NDArray[np.int64] = rows) -> Iterator[Tensor]:
            for view in range(views):
                for start in range(0, len(rows), _AT_ONCE):
                    chosen = rows[start : start + _AT_ONCE]
                    yield dataset.expand(dataset.read(chosen, np.full(len(chosen), view)))

        named = {"role": role, "rows": content_key(rows.tolist()), "views": views}
        label = f"tokens of {role} images"
        found = _kept(setup, base, label, images, views * len(rows), named)
        roles.append(RoleTokens(rows, found.reshape(views, len(rows), -1)))
    return CachedTokens(tuple(roles))


def noise_bank(setup: TrialSetup, base: Path) -> dict[str, Tensor]:
    """Builds or finds the tokens of noise images, clamp(N(mean, std of training images), 0, 1).

    Returns:
        `noise_tokens` `(N, L)`; empty where the trial keeps none.

    Raises:
        CheckpointError: the cache was altered.
    """
    config, dataset = setup.config, setup.dataset
    count = config.canonical().unlearn.noise_bank
    if not count:
        return {}

    def images() -> Iterator[Tensor]:
        chance = np.random.default_rng(mix_seed(config.data.seed, "noise bank"))
        some = chance.permutation(dataset.rows("all", "train"))[:_MEASURED]
        measured = dataset.images(np.sort(some))
        for start in range(0, count, _AT_ONCE):
            places = range(start, min(start + _AT_ONCE, count))
            drawn = RowGenerators(places, config.data.seed, "noise bank")
            like = measured[:1].expand(len(places), -1, -1, -1)
            normal = normal_images(like, drawn, grey=setup.grey is not None)
            yield (measured.mean() + measured.std() * normal).clamp(0.0, 1.0)

    named = {"noise": count, "seed": config.data.seed}
    tokens = _kept(setup, base, "tokens of noise", images, count, named)
    return {"noise_tokens": torch.from_numpy(tokens.astype(np.int64)).to(setup.context.device)}


def _kept(
    setup: TrialSetup, base: Path, label: str, images: Images, count: int, named: dict[str, Any]
) -> NDArray[np.uint16]:
    """Returns tokens `(count, L)`, memory-mapped; made unless the cache holds them.

    Args:
        setup: the trial.
        base: folder of the original.
        label: names the images while their tokens are made.
        images: gives them in batches, in order.
        count: how many there are.
        named: what tells them from others of the same data.
    """
    context = setup.context
    material = named | {
        "base": base.name,
        "data": setup.dataset.fingerprint,
        "code": code_version(
            "trainables.shared.tokens",
            "trainables.models",
            "trainables.data",
            "trainables.utils.rng",
        ),
        "device": context.device.type,
        "torch": str(torch.__version__),
    }

    def build(folder: Path) -> None:
        model = load_base(setup, base)
        if not isinstance(model, MAGE):
            raise TypeError(f"{setup.config.model} has no tokenizer")
        made: list[NDArray[np.uint16]] = []
        done = 0
        for batch in images():
            codes = model.tokenize(batch.to(context.device))
            made.append(codes.cpu().numpy().astype(np.uint16))
            done += len(batch)
            context.report_steps(label, done, count)
        _write(folder / "tokens.arrow", np.concatenate(made))

    # one thread: whoever builds them, they are the same
    with torch_threads(1):
        folder = build_once(context.cache, "tokens", material, build)
    return _map(folder / "tokens.arrow", count)


def _write(path: Path, tokens: NDArray[np.uint16]) -> None:
    column = pa.FixedSizeListArray.from_arrays(pa.array(tokens.reshape(-1)), tokens.shape[1])
    # one record batch, so that a reader maps one array
    table = pa.Table.from_arrays([column], names=["tokens"])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _map(path: Path, count: int) -> NDArray[np.uint16]:
    try:
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_file(file).read_all()
        (column,) = table.column("tokens").chunks
        tokens: NDArray[np.uint16] = column.flatten().to_numpy(zero_copy_only=True)
        if len(column) != count or tokens.dtype != np.uint16:
            raise ValueError(f"{len(column)} images of {count}")
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise CheckpointError(
            f"{path}: not the tokens that were kept ({one_line(error, 120)}); remove "
            f"{path.parent}, and it is built anew"
        ) from None
    return tokens.reshape(count, -1)
