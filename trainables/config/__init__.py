"""The configuration of one trial: frozen, keyword-only, checked, without torch."""

from trainables.config.data import (
    COCO,
    EMBEDDED,
    LABELLED,
    PAPER_SIZES,
    PUBLISHED,
    TORCHVISION,
    DataConfig,
    LoaderConfig,
    SourceName,
    TaskConfig,
    TaskKind,
)
from trainables.config.evaluation import (
    EvaluationConfig,
    ExtractorConfig,
    NetworksConfig,
    SamplingConfig,
)
from trainables.config.names import (
    IMAGE_MULTIPLES,
    REFERENCES,
    FamilyName,
    Formulation,
    MethodName,
    ModelName,
)
from trainables.config.training import OptimiserConfig, PretrainConfig, UnlearnConfig
from trainables.config.trial import DEFAULT_ALPHA, TrialConfig, retain_share, to_dict

__all__ = [
    "COCO",
    "DEFAULT_ALPHA",
    "EMBEDDED",
    "IMAGE_MULTIPLES",
    "LABELLED",
    "PAPER_SIZES",
    "PUBLISHED",
    "REFERENCES",
    "TORCHVISION",
    "DataConfig",
    "EvaluationConfig",
    "ExtractorConfig",
    "FamilyName",
    "Formulation",
    "LoaderConfig",
    "MethodName",
    "ModelName",
    "NetworksConfig",
    "OptimiserConfig",
    "PretrainConfig",
    "SamplingConfig",
    "SourceName",
    "TaskConfig",
    "TaskKind",
    "TrialConfig",
    "UnlearnConfig",
    "retain_share",
    "to_dict",
]
