"""Reads and decodes the images of coming steps in processes of their own.

What a step gets is a function of the step alone, so their number changes nothing but the time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from trainables.config import LoaderConfig
from trainables.utils.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class _Failed:
    """A user's mistake met in a worker: torch would wrap it into a traceback of many lines."""

    error: UserError


class _Steps(Dataset[T | _Failed], Generic[T]):
    def __init__(self, fetch: Callable[[int], T], start: int, stop: int) -> None:
        self._fetch = fetch
        self._start = start
        self._count = stop - start

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> T | _Failed:
        try:
            return self._fetch(self._start + index)
        except UserError as error:
            return _Failed(error)


def fetched(
    fetch: Callable[[int], T], start: int, stop: int, config: LoaderConfig
) -> Generator[T, None, None]:
    """Yields what `fetch` returns for each step from `start` to before `stop`, in order.

    Closing the iterator ends the workers; so does a fault.

    Args:
        fetch: called with a step, here or in a worker, ahead of its use.
        start: the first step.
        stop: behind the last step.
        config: how many workers, how far ahead.

    Raises:
        UserError: what `fetch` raised, in a worker too.
    """
    if not config.workers or stop <= start:
        yield from map(fetch, range(start, stop))
        return
    loader = DataLoader(
        _Steps(fetch, start, stop),
        batch_size=None,
        num_workers=min(config.workers, stop - start),
        prefetch_factor=config.prefetch,
        collate_fn=_as_it_is,
        worker_init_fn=_one_thread,
        generator=torch.Generator(),  # else the workers' seed is drawn from torch's global one
    )
    items = iter(loader)
    try:
        for item in items:
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        del items  # the only reference: its workers end now


def _as_it_is(item: Any) -> Any:
    return item


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
