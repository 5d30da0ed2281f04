"""Which of the seven models forgets best while it keeps what it should, on real photographs?

In the paper: Tables 1 and 2 (seven models side by side, for MAE, VQ-GAN and diffusion) and Table 3
(the effect of alpha), here on the photographs that come with the installed packages and on small
models that come with the product. Only MAE's variants are searched, as it is the quickest.
"""

from search_spaces.paper import SEVEN, SPACE, TINY
from search_spaces.study import Study
from trainables.config import TrialConfig, UnlearnConfig

STUDY = Study(
    name="quickstart",
    question="Which of seven models forgets photographs best while it still completes the others?",
    cost="minutes on 2 CPU cores",
    command="python -m platform.sweep quickstart",
    base=TrialConfig(
        unlearn=UnlearnConfig(steps=60, forget_batch=16, retain_batch=16, eval_every=30)
    ),
    models={
        "mae_tiny": {**TINY["mae_tiny"], "search.trials": 2},
        "mage_tiny": {**TINY["mage_tiny"], "search.trials": 0},
        "palette_tiny": {**TINY["palette_tiny"], "search.trials": 0},
    },
    variants=SEVEN,
    space=SPACE,
)
