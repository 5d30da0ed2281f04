"""Which of the seven models forgets best while it keeps what it should, on real photographs?

In the paper: Tables 1 and 2 (seven models side by side, for MAE, VQ-GAN and diffusion) and Table 3
(the effect of alpha), here on the photographs that come with the installed packages and on small
models that come with the product. Only MAE's variants are searched, as it is the quickest.

Cost: minutes on two CPU cores.
Command: `python -m platform.sweep quickstart`
"""

from optuna.distributions import FloatDistribution

from search_spaces.study import Study
from trainables.config import TrialConfig, UnlearnConfig

STUDY = Study(
    name="quickstart",
    question="Which of seven models forgets photographs best while it still completes the others?",
    cost="minutes on 2 CPU cores",
    command="python -m platform.sweep quickstart",
    base=TrialConfig(
        forget_alpha=0.25,
        unlearn=UnlearnConfig(steps=60, forget_batch=16, retain_batch=16, eval_every=30),
    ),
    models={
        "mae_tiny": {"search.trials": 2},
        # those that sample take their time to complete images: fewer rounds, and one look
        "mage_tiny": {
            "search.trials": 0,
            "sampling.steps": 5,
            "unlearn.eval_every": 60,
            "unlearn.noise_bank": 256,
            "unlearn.token_cache": True,
        },
        "palette_tiny": {
            "search.trials": 0,
            "sampling.steps": 4,
            "train_task.kind": "hybrid",  # as published
            "train_task.ratio": 0.3,
            "unlearn.lr": 3e-4,
            "unlearn.steps": 30,
            "unlearn.eval_every": 30,
        },
    },
    variants=(
        {"method": "original"},
        {"method": "max_loss"},
        {"method": "noisy_label"},
        {"method": "retain_label"},
        {"method": "random_encoder"},
        {"method": "ours"},
        {"method": "ours", "retain_source": "proxy"},
    ),
    space={
        "forget_alpha": FloatDistribution(0.05, 1.0, log=True),
        "unlearn.lr": FloatDistribution(3e-4, 3e-3, log=True),
    },
)
