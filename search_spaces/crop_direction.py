"""Does unlearning show on every side of an image alike?

In the paper: its appendix on the direction of the crop. Each model unlearns once and is measured
on every test task; training masks are the same for all.
"""

from search_spaces.paper import FULL, SEVEN, TINY
from search_spaces.study import SearchConfig, Study
from trainables.config import TrialConfig

STUDY = Study(
    name="crop_direction",
    question="Does what is forgotten depend on which side is hidden?",
    cost="minutes on 2 CPU cores",
    command="python -m platform.sweep crop_direction",
    base=TrialConfig(more_tests=("left:0.5", "right:0.5", "up:0.5", "down:0.5")),
    models={"mae_tiny": TINY["mae_tiny"]},
    others={**TINY, **FULL},
    variants=SEVEN,
    search=SearchConfig(trials=0),
)
