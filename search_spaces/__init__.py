"""The studies: one small file each, named in one table."""

from search_spaces.quickstart import STUDY as QUICKSTART
from search_spaces.study import SearchConfig, Study
from search_spaces.table_1_2 import STUDY as TABLE_1_2

__all__ = ["STUDIES", "SearchConfig", "Study"]

STUDIES: dict[str, Study] = {study.name: study for study in (QUICKSTART, TABLE_1_2)}
