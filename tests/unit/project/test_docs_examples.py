"""The method and the model of the pages on one's own pass the suite that every other passes."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch

from tests.conformance import test_methods as suite
from tests.helpers import pages
from tests.helpers.pages import ROOT
from trainables.config import REFERENCES, TaskKind
from trainables.methods import METHODS
from trainables.models import FAMILIES, MODELS


@pytest.fixture
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.usefixtures("one_thread")
def test_the_method_of_the_page_passes_the_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = pages.loaded(pages.saved("docs/own-method.md", tmp_path, "zero_encoder.py"))
    monkeypatch.setitem(METHODS, "zero_encoder", module.METHOD)
    assert module.METHOD.name == "zero_encoder"
    given = ("mae_tiny", "zero_encoder")
    suite.test_loss_is_finite_and_its_terms_are_not_negative(*given, "paper")
    suite.test_only_a_method_that_asks_for_noise_images_needs_them(*given)
    suite.test_total_is_retain_plus_signed_alpha_forget(*given)
    suite.test_gradients_reach_what_the_method_moves_and_nothing_else(*given)
    suite.test_steps_move_the_forget_term_the_right_way(*given)
    suite.test_with_no_retain_rows_the_loss_is_the_forget_term(*given)


@pytest.mark.usefixtures("one_thread")
def test_the_model_of_the_page_passes_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pages.loaded(ROOT / "docs/examples/conv.py")
    monkeypatch.setitem(FAMILIES, "conv", module.Conv)
    monkeypatch.setitem(MODELS, "conv_tiny", ("conv", {"width": 64}))
    for kind in get_args(TaskKind):
        suite.test_no_pixel_of_the_hole_reaches_a_completion("conv_tiny", kind)
    suite.test_a_completion_does_not_depend_on_its_batch("conv_tiny")
    for method in METHODS:
        suite.test_loss_is_finite_and_its_terms_are_not_negative("conv_tiny", method, "paper")
        if method not in REFERENCES:
            suite.test_gradients_reach_what_the_method_moves_and_nothing_else("conv_tiny", method)
    with pytest.raises(ValueError, match="multiple"):
        module.Conv(image_size=30)
