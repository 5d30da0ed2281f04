"""Which rows unlearning may train on, and which of them a step takes.

A step's rows are a function of (seed, step), so that a run goes on from any step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.config import LoaderConfig, TrialConfig
from trainables.data.dataset import Dataset
from trainables.data.loader import fetched
from trainables.utils.distributed import ALONE, World
from trainables.utils.errors import ConfigError
from trainables.utils.rng import mix_seed


@dataclass(frozen=True)
class Batch:
    """One process's rows of a global batch.

    Attributes:
        content: images `(B, 3, H, W)` in [0, 1], or their tokens `(B, L)` int64.
        forget: `(B,)` bool.
        places: each row's place in the global batch, which keys its draws.
    """

    content: Tensor
    forget: Tensor
    places: Sequence[int]


@dataclass(frozen=True)
class Pool:
    """Rows of which each global batch holds a fixed number, in a new seeded order every epoch."""

    rows: np.ndarray
    count: int
    forget: bool
    name: str

    def draw(self, seed: int, step: int) -> np.ndarray:
        """Draws the `count` rows of a step, `(count,)` int64."""
        return self.draw_views(seed, step)[0]

    def draw_views(self, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws a step's rows; returns them and how often each came before, `(count,)` int64."""
        places = np.arange(step * self.count, (step + 1) * self.count)
        epochs = places // len(self.rows)
        chosen = np.empty(self.count, dtype=np.int64)
        for epoch in np.unique(epochs):
            generator = np.random.default_rng(mix_seed(seed, "order", self.name, int(epoch)))
            order = generator.permutation(len(self.rows))
            inside = epochs == epoch
            chosen[inside] = self.rows[order[places[inside] % len(self.rows)]]
        return chosen, epochs


class RowReader(Protocol):
    """Reads the images of rows, or what stands for them, in two steps.

    The first may run in a worker, so what it returns is small.
    """

    def read(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> Tensor:
        """Returns the compact content of rows `(B,)`, in views counted from 0 `(B,)`."""

    def expand(self, compact: Tensor) -> Tensor:
        """Turns what `read` gave into a `Batch.content`."""


@dataclass(frozen=True)
class Batches:
    """Stratified batches: a fixed number of rows of each pool in every global batch.

    Raises:
        ConfigError: a pool is empty, or its rows cannot be shared evenly by the processes.
    """

    reader: RowReader
    pools: tuple[Pool, ...]
    seed: int
    world: World = ALONE
    loader: LoaderConfig = field(default_factory=LoaderConfig)

    def __post_init__(self) -> None:
        problems = [
            f"no training images for the {pool.name} rows"
            for pool in self.pools
            if not len(pool.rows)
        ] + [
            f"{pool.count} {pool.name} rows a step cannot be shared by {self.world.size} workers"
            for pool in self.pools
            if pool.count % self.world.size
        ]
        if problems:
            raise ConfigError(problems)

    def at(self, step: int) -> Batch:
        """Returns this process's rows of the global batch of a step."""
        return self._batch(self._read(step))

    def steps(self, start: int, stop: int) -> Generator[Batch, None, None]:
        """Yields the batch of each step from `start` to before `stop`, read ahead as `loader` says.

        Closing it ends the loader's workers.
        """
        with contextlib.closing(fetched(self._read, start, stop, self.loader)) as compact:
            yield from map(self._batch, compact)

    def _read(self, step: int) -> Tensor:
        """Reads the rows of a step, compact, since they may have to cross from a worker."""
        rows, views = [], []
        for pool, mine in self._shares():
            drawn, seen = pool.draw_views(self.seed, step)
            rows.append(drawn[mine])
            views.append(seen[mine])
        return self.reader.read(np.concatenate(rows), np.concatenate(views))

    def _batch(self, compact: Tensor) -> Batch:
        forget: list[bool] = []
        places: list[int] = []
        start = 0
        for pool, mine in self._shares():
            forget += [pool.forget] * (mine.stop - mine.start)
            places += range(start + mine.start, start + mine.stop)
            start += pool.count
        return Batch(self.reader.expand(compact), torch.tensor(forget), places)

    def _shares(self) -> Iterator[tuple[Pool, slice]]:
        """Yields each pool with this process's part of its rows."""
        for pool in self.pools:
            share = pool.count // self.world.size
            yield pool, slice(self.world.rank * share, (self.world.rank + 1) * share)


def training_rows(config: TrialConfig, dataset: Dataset) -> dict[str, NDArray[np.int64]]:
    """Returns the manifest rows of the training images of each role that a batch holds.

    The images of a smaller ratio are among those of a larger one.

    Raises:
        ConfigError: the ratios ask for more images than there are, or for none.
    """
    options = config.unlearn
    rows = {role: dataset.rows(role, "train") for role in config.batch_rows()}
    forget = len(rows.get("forget", ()))
    real = len(dataset.rows("retain", "train"))
    problems = []
    if options.retainset_ratio:
        real = round(options.retainset_ratio * forget)
        problems += _take(
            rows, "retain", real, config, f"retainset_ratio={options.retainset_ratio}"
        )
    if options.opendata_to_forget_ratio:
        every = f"opendata_to_forget_ratio={options.opendata_to_forget_ratio}"
        count = round(options.opendata_to_forget_ratio * forget)
        used = real if "retain" in rows else 0
        proxy = "proxy" in rows
        role, count = ("proxy", count - used) if proxy else ("retain", min(count, real))
        problems += _take(rows, role, count, config, every)
    if problems:
        raise ConfigError(problems)
    return rows


def _take(
    rows: dict[str, NDArray[np.int64]], role: str, count: int, config: TrialConfig, asked: str
) -> list[str]:
    """Cuts the rows of a role down; returns why they cannot be."""
    if role not in rows:
        return []
    there = rows[role]
    if not 0 < count <= len(there):
        return [
            f"unlearn.{asked} asks for {count} {role} training images of the {len(there)} there are"
        ]
    order = np.random.default_rng(mix_seed(config.data.seed, "available", role)).permutation(
        len(there)
    )
    rows[role] = np.sort(there[order[:count]])
    return []
