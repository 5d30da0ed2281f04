"""Does the paper's method need the real retain images, or will images of other classes do?

In the paper: its claim that proxy retain data suffice, and its appendix on their availability. The
released configuration of the proxy variant also cut the forget images from 5000 to 200 a class;
here every mix trains on the same forget images, the same rows a step and the same steps, so that
only the source of the retain rows differs. `none` leaves the retain term out.
"""

from search_spaces.paper import FULL, TINY
from search_spaces.study import SearchConfig, Study

STUDY = Study(
    name="retain_availability",
    question="How much real retain data does the paper's method need?",
    cost="minutes on 2 CPU cores",
    command="python -m platform.sweep retain_availability",
    models={"mae_tiny": TINY["mae_tiny"]},
    others={**TINY, **FULL},
    variants=(
        {"method": "original"},
        {"method": "ours"},
        {"method": "ours", "retain_source": "3:1"},
        {"method": "ours", "retain_source": "1:1"},
        {"method": "ours", "retain_source": "1:3"},
        {"method": "ours", "retain_source": "proxy"},
        {"method": "ours", "retain_source": "none"},
    ),
    search=SearchConfig(trials=0, replicates=2),
)
