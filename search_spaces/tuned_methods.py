"""Which method forgets best once every one of them was tuned by the same budget?

In the paper: what its Tables 1 and 2 leave open, since its baselines ran with options of their own
and Ours alone was tuned. Every variant has a search of its own: the same number of trials over the
same space, the first half points of one Sobol sequence, then TPE; the trial that is reported was
chosen on validation images, and runs with two more seeds. `retrained` is what true forgetting looks
like.

`--set search.asha=true` stops trials early that lie behind others of their variant.
"""

from search_spaces.paper import EIGHT, FULL, SPACE, TINY
from search_spaces.study import SearchConfig, Study

STUDY = Study(
    name="tuned_methods",
    question="Which method forgets best when each is tuned by the same budget?",
    cost="about half an hour on 2 CPU cores",
    command="python -m platform.sweep tuned_methods",
    models={"mae_tiny": TINY["mae_tiny"]},
    others={**TINY, **FULL},
    variants=EIGHT,
    space=SPACE,
    search=SearchConfig(trials=20, sobol_trials=10, generation=5, replicates=2),
)
