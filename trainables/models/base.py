"""What a method and a trial may ask of a model. Methods know models by this file alone.

An image-to-image model is a decoder over an encoder, D(E(T(x))), where T removes a part of the
image (Li et al., ICLR 2024).
`Inputs` is a mapping of tensors whose first dimension is the row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainables.config import Formulation, SamplingConfig, TaskConfig
from trainables.utils.distributed import ALONE, World
from trainables.utils.rng import RandomSource, normal_like, take_rows

Inputs = Mapping[str, Tensor]
# which rows need a noise image: all, none, or those of a mask `(B,)` bool
NoiseRows = bool | Tensor
Prepare = Callable[[Tensor, TaskConfig, RandomSource, World, NoiseRows], dict[str, Tensor]]


@dataclass(frozen=True)
class RowLoss:
    """A loss of each row, not yet averaged.

    Attributes:
        total: `(B,)`, summed over the row's places.
        places: `(B,)`, how many places that sum covers.
        released: `(B,)`, how many the released code divides by, where that differs.
    """

    total: Tensor
    places: Tensor
    released: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class PretrainingStage:
    """A part of a model's pretraining.

    Attributes:
        name: what is trained, told with the progress.
        moves: names of the parameters that it trains.
        prepare: draws the inputs, as `CompletionModel.prepare`.
        loss: of each row of those inputs.
        begin: sets up what is trained by what was trained before it, with draws of its own.
        share: of the pretraining's steps, against the other stages' shares.
    """

    name: str
    moves: frozenset[str]
    prepare: Prepare
    loss: Callable[[Inputs], RowLoss]
    begin: Callable[[torch.Generator], None] = lambda source: None
    share: int = 1


@dataclass(frozen=True, kw_only=True)
class PublishedForm:
    """What a published file of a model holds, the whole model or a part.

    Attributes:
        what: told where a file is refused.
        names: the model's own state-dict names that the file must hold.
        own_name: a name in the file -> the model's own, or None for what is left out.
        optional: own names that the file may hold too, which otherwise stay as they are.
    """

    what: str
    names: frozenset[str]
    own_name: Callable[[str], str | None] = lambda name: name
    optional: frozenset[str] = frozenset()


def full(value: Tensor) -> Tensor:
    """At least float32: what autocast left in half the width is compared in the whole."""
    return value.to(torch.promote_types(value.dtype, torch.float32))


def noise_images(images: Tensor, rows: NoiseRows, source: RandomSource, world: World) -> Tensor:
    """clamp(N(mean, std of the images of all processes), 0, 1) for some rows.

    Args:
        images: `(B, 3, H, W)` in [0, 1].
        rows: which of them get noise; the others stay.
        source: a generator a row, or one.
        world: the processes that share the batch.
    """
    mean, std = world.mean_and_std(images)
    if isinstance(rows, bool):
        rows = torch.full((len(images),), rows)
    places = rows.nonzero().flatten().tolist()
    if not places:
        return images
    noise = normal_like(images[places], take_rows(source, places))
    return images.index_copy(
        0,
        torch.tensor(places, device=images.device),
        (mean + std * noise).clamp(0.0, 1.0),
    )


class CompletionModel(nn.Module, ABC):
    """A model that completes images, as unlearning sees it.

    Attributes:
        released_feature_weight: what the released code multiplies each term of a distance between
            encoder features by.
        sampling: how `complete` samples, where the model does.
    """

    released_feature_weight: float = 1.0
    sampling = SamplingConfig()

    @property
    def rim(self) -> int:
        """Pixels around a hole that a completion may change too: none, unless a family blends."""
        return 0

    @abstractmethod
    def encoder_names(self) -> frozenset[str]:
        """Names of the parameters of the encoder E that unlearning may move."""

    @abstractmethod
    def prepare(
        self,
        images: Tensor,
        task: TaskConfig,
        source: RandomSource,
        world: World = ALONE,
        noise: NoiseRows = True,
    ) -> dict[str, Tensor]:
        """Draws the masks and noise of a batch.

        Args:
            images: `(B, 3, H, W)` in [0, 1], or what the family's `tokenize` made of them.
            task: what is removed.
            source: random draws.
            world: over which processes the images' mean and standard deviation are taken.
            noise: the rows whose noise image will be asked for; False leaves it out.
        """

    def heavy_blocks(self) -> list[nn.Module]:
        """The modules that hold nearly all activations, each of them called once a pass.

        They are what is recomputed for the gradient, and compiled.
        """
        return []

    @abstractmethod
    def with_noise_images(self, inputs: Inputs, forget: Tensor, formulation: Formulation) -> Inputs:
        """The inputs with each forget row's image replaced by its noise image n, masks kept."""

    @abstractmethod
    def with_noise_labels(
        self,
        inputs: Inputs,
        forget: Tensor,
        source: RandomSource,
        world: World,
        formulation: Formulation,
    ) -> Inputs:
        """The inputs with each forget row's training target replaced by noise."""

    @abstractmethod
    def encoder_features(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """E(T(x)): one or several tensors `(B, ...)`, float32 under autocast too."""

    @abstractmethod
    def output(self, inputs: Inputs) -> Tensor:
        """D(E(T(x))) in the space of the training loss, `(B, L, ...)`, float32 as above."""

    @abstractmethod
    def output_places(self, inputs: Inputs) -> Tensor:
        """`(B, L)`: 1 where `output` is the completion of a removed place, else 0."""

    def released_places(self, inputs: Inputs) -> Tensor:
        """`(B, L)`: 1 where the released code compares outputs."""
        return self.output_places(inputs)

    @abstractmethod
    def task_loss(self, inputs: Inputs) -> RowLoss:
        """The loss that the model is trained with, over its removed places."""

    @abstractmethod
    def complete(self, images: Tensor, task: TaskConfig, source: RandomSource) -> Tensor:
        """Completions `(B, 3, H, W)` in [0, 1]; what the task keeps is the image's own.

        Of the kept pixels those within `rim` of the hole may be mixed with the completion.

        Args:
            images: `(B, 3, H, W)` in [0, 1]; pixels of the hole do not reach the result.
            task: what is removed.
            source: random draws, a generator a row.
        """

    @abstractmethod
    def hole(self, rows: int, task: TaskConfig, source: RandomSource) -> Tensor:
        """Removed pixels `(B, 1, H, W)` bool, drawn as `complete` draws them."""

    def encoder_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The encoder's parameters with their names."""
        names = self.encoder_names()
        return ((name, each) for name, each in self.named_parameters() if name in names)

    def pretraining_stages(self) -> tuple[PretrainingStage, ...]:
        """What a fresh model is trained by, in order, before there is anything to unlearn."""
        moves = frozenset(name for name, each in self.named_parameters() if each.requires_grad)
        return (
            PretrainingStage(name="model", moves=moves, prepare=self.prepare, loss=self.task_loss),
        )

    def published_forms(self) -> tuple[PublishedForm, ...]:
        """The files that `load_published` reads into this model; the first is the whole model."""
        return (PublishedForm(what="the whole model", names=frozenset(self.state_dict())),)
