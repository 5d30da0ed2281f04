"""Names of models and methods, and what belongs to each. The words of a section are beside it."""

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
Formulation = Literal["paper", "released"]
# fields that recorded sweeps hold under an earlier name
RENAMED_FIELDS: dict[str, str] = {"variant": "formulation"}
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
# Palette's that sample by `ddim` unless told otherwise; a test holds them against the models
DDIM_MODELS: tuple[ModelName, ...] = ("palette_tiny",)
# files in a trial's folder: by the one it counts as finished, from the other a killed one goes on
RESULT = "result.json"
SNAPSHOT = "snapshot.safetensors"
