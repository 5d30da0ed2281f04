"""Names every study of the product in one table; each has a small file of its own."""

from search_spaces import (
    crop_direction,
    crop_ratio,
    forget_alpha,
    outpainting,
    quickstart,
    retain_availability,
    seeds,
    table_1_2,
    tuned_methods,
)
from search_spaces.study import SearchConfig, Study

__all__ = ["STUDIES", "SearchConfig", "Study"]

STUDIES: dict[str, Study] = {
    each.STUDY.name: each.STUDY
    for each in (
        quickstart,
        table_1_2,
        forget_alpha,
        retain_availability,
        crop_ratio,
        crop_direction,
        outpainting,
        tuned_methods,
        seeds,
    )
}
