"""How much does the weight of the forget term decide, for the paper's method?

In the paper: Table 3. The grid is ours: it spans from a tenth of the least value that the authors'
examples take (0.1 and 0.2) to forget and retain terms of equal weight. Every value runs with three
seeds.
"""

from search_spaces.paper import ALPHAS, FULL, TINY
from search_spaces.study import SearchConfig, Study

STUDY = Study(
    name="forget_alpha",
    question="How does the weight of the forget term trade forgetting for retaining?",
    cost="about 20 minutes on 2 CPU cores, for three small models",
    command="python -m platform.sweep forget_alpha",
    models=TINY,
    others=FULL,
    variants=({"method": "original"}, {"method": "ours"}),
    axes={"forget_alpha": ALPHAS},
    search=SearchConfig(trials=0, replicates=2),
)
