"""How far do the variants differ beyond the chance of one seed?

In the paper: what its tables leave out: each of their numbers is of one run. Every variant at its
defaults, with five seeds of unlearning; the report gives means with 95 % intervals, and paired
differences against Ours. `--set pretrain.seed=0,1,2 --set pretrain.shipped=false` also trains an
original of each seed, and `--set evaluation.seed=0,1,2` draws the completions anew.
"""

from search_spaces.paper import EIGHT, FULL, TINY
from search_spaces.study import SearchConfig, Study

STUDY = Study(
    name="seeds",
    question="Which differences between the variants are larger than those between seeds?",
    cost="minutes on 2 CPU cores",
    command="python -m platform.sweep seeds",
    models={"mae_tiny": TINY["mae_tiny"]},
    others={**TINY, **FULL},
    variants=EIGHT,
    search=SearchConfig(trials=0, replicates=4),
)
