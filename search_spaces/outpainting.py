"""Does a model that unlearnt by random masks also fail to paint beyond an image?

In the paper: its figures of outpainting, 1 to 13 of 16 tokens of the border. Each model unlearns
once and is measured on every test task; training masks are the same for all.
"""

from search_spaces.paper import FULL, SEVEN, TINY
from search_spaces.study import SearchConfig, Study
from trainables.config import TrialConfig

STUDY = Study(
    name="outpainting",
    question="Is what was forgotten also lost where the border is painted?",
    cost="minutes on 2 CPU cores",
    command="python -m platform.sweep outpainting",
    base=TrialConfig(more_tests=("outpaint:0.25", "outpaint:0.5", "outpaint:0.75")),
    models={"mae_tiny": TINY["mae_tiny"]},
    others={**TINY, **FULL},
    variants=SEVEN,
    search=SearchConfig(trials=0),
)
