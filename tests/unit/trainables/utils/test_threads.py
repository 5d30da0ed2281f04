"""Work beside the main thread, and torch's threads."""

import threading

import pytest
import torch

from trainables.utils.threads import every, torch_threads


def test_work_is_done_again_until_the_block_ends() -> None:
    done: list[str] = []
    twice = threading.Event()

    def work() -> None:
        done.append(threading.current_thread().name)
        if len(done) > 1:
            twice.set()

    with every(0.001, work):
        assert twice.wait(30)
    count = len(done)
    assert set(done) == {"work"}
    assert "work" not in {thread.name for thread in threading.enumerate()}
    assert len(done) == count


def test_the_number_of_threads_is_as_before_even_after_a_fault() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), torch_threads(before + 1):
        1 / (torch.get_num_threads() - before - 1)
    assert torch.get_num_threads() == before
