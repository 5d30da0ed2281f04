"""Does unlearning show more where more of the image is hidden?

In the paper: its figures of crops of 4 and of 8 of 16 tokens a side. Each model unlearns once and
is measured on every test task; training masks are the same for all.
"""

from search_spaces.paper import FULL, SEVEN, TINY
from search_spaces.study import SearchConfig, Study
from trainables.config import TrialConfig

STUDY = Study(
    name="crop_ratio",
    question="How does what is forgotten depend on how much is hidden?",
    cost="minutes on 2 CPU cores",
    command="python -m platform.sweep crop_ratio",
    base=TrialConfig(more_tests=("centre:0.25", "centre:0.75")),
    models={"mae_tiny": TINY["mae_tiny"]},
    others={**TINY, **FULL},
    variants=SEVEN,
    search=SearchConfig(trials=0),
)
