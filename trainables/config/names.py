"""Names that a configuration may hold, and what belongs to each. Imports no torch."""

from __future__ import annotations

from typing import Literal

ModelName = Literal[
    "mae_tiny",
    "mae_vit_base_patch16",
    "mae_vit_large_patch16",
    "mage_tiny",
    "mage_vit_base_patch16",
    "mage_vit_large_patch16",
    "palette_tiny",
    "palette_places2",
]
# what a model's name begins with
FamilyName = Literal["mae", "mage", "palette"]
MethodName = Literal[
    "original", "max_loss", "noisy_label", "retain_label", "random_encoder", "ours", "retrained"
]
# methods that take no unlearning steps: what the others are compared with
REFERENCES: tuple[MethodName, ...] = ("original", "retrained")
SourceName = Literal["photos", "folder", "imagenet", "places365"]
ProxySource = Literal["classes", "coco"]
StoreName = Literal["files", "parquet"]
Formulation = Literal["paper", "released"]
# fields that recorded sweeps hold under an earlier name
RENAMED_FIELDS: dict[str, str] = {"variant": "formulation"}
TaskKind = Literal[
    "centre", "random", "left", "right", "up", "down", "outpaint", "box", "brush", "hybrid"
]
FeaturesName = Literal["domain", "inception"]
ProbabilitiesName = Literal["domain", "inception", "places365"]
# options that name a local file in place of the library's weights
WEIGHTS_OPTIONS: dict[str, str] = {
    "inception": "networks.inception_weights",
    "places365": "networks.places_weights",
    "clip": "networks.clip_weights",
}
PrecisionName = Literal["auto", "float32", "bf16"]
SamplerName = Literal["default", "ancestral", "ddim"]
ScheduleName = Literal["cosine", "constant"]


# sides of images are whole multiples of these; a test holds them against the models
IMAGE_MULTIPLES: dict[ModelName, int] = {
    "mae_tiny": 4,
    "mae_vit_base_patch16": 16,
    "mae_vit_large_patch16": 16,
    "mage_tiny": 2,
    "mage_vit_base_patch16": 16,
    "mage_vit_large_patch16": 16,
    "palette_tiny": 8,
    "palette_places2": 8,
}
# what a killed trial goes on from, in its folder
RESULT = "result.json"
SNAPSHOT = "snapshot.safetensors"
