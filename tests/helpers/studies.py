"""A study of one family for tests of what plans have in common, whatever the product's own hold."""

from __future__ import annotations

import dataclasses

from search_spaces import STUDIES
from trainables.config import TrialConfig

# seven variants of one model, six of them searched
ONE_FAMILY = dataclasses.replace(
    STUDIES["quickstart"], base=TrialConfig(forget_alpha=0.25), models={}
)
