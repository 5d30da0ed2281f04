"""What a method and a trial may ask of a model. Methods know models by this file alone.

An image-to-image model is a decoder over an encoder, D(E(T(x))), where T removes a part of the
image (Li et al., ICLR 2024). `Inputs` is a mapping of tensors whose first dimension is the row.
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


@dataclass(frozen=True)
class Masking:
    """What is removed from the images of a batch, and what their inputs are drawn by.

    Attributes:
        task: what is removed.
        source: random draws.
        world: over which processes the images' mean and standard deviation are taken.
        noise: the rows whose noise image will be asked for; False leaves it out.
    """

    task: TaskConfig
    source: RandomSource
    world: World = ALONE
    noise: NoiseRows = True


@dataclass(frozen=True)
class BatchInputs:
    """The inputs of a batch, and what their loss may depend on besides a model.

    Attributes:
        inputs: the tensors that `CompletionModel.prepare` drew, a row each.
        forget: `(B,)` bool, True on forget rows.
        formulation: `paper`, or `released` for the released code's constants.
        generator: draws that are made anew at each step.
        world: the processes that share the batch.
    """

    inputs: Inputs
    forget: Tensor
    formulation: Formulation
    generator: RandomSource
    world: World


Prepare = Callable[[Tensor, Masking], dict[str, Tensor]]


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
    """A part of a model's pretraining, with a share of its steps.

    Attributes:
        name: of the part that is trained, shown with the progress.
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
    """The content of a published file of a model: the whole model or a part.

    Attributes:
        what: its name where a file is refused.
        names: the model's own state-dict names that the file must hold.
        own_name: a name in the file -> the model's own, or None for what is left out.
        optional: own names that the file may hold too, which otherwise stay as they are.
    """

    what: str
    names: frozenset[str]
    own_name: Callable[[str], str | None] = lambda name: name
    optional: frozenset[str] = frozenset()


def full(value: Tensor) -> Tensor:
    """Returns a value in float32 at least, as autocast leaves some in half the width."""
    return value.to(torch.promote_types(value.dtype, torch.float32))


def normal_images(like: Tensor, source: RandomSource, *, grey: bool) -> Tensor:
    """Draws standard normal values `(B, 3, H, W)`, one for all channels of a pixel if grey."""
    return normal_like(like[:, :1], source).expand_as(like) if grey else normal_like(like, source)


def noise_images(
    images: Tensor, rows: NoiseRows, source: RandomSource, world: World, *, grey: bool = False
) -> Tensor:
    """Draws clamp(N(mean, std of the images of all processes), 0, 1) for some rows.

    Args:
        images: `(B, 3, H, W)` in [0, 1].
        rows: which of them get noise; the others stay.
        source: a generator a row, or one.
        world: the processes that share the batch.
        grey: the channels of the noise are equal.
    """
    mean, std = world.mean_and_std(images)
    if isinstance(rows, bool):
        rows = torch.full((len(images),), rows)
    places = rows.nonzero().flatten().tolist()
    if not places:
        return images
    noise = normal_images(images[places], take_rows(source, places), grey=grey)
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
        grey: mean of the images that it was trained on, in [0, 1], if these are grey: its noise is
            grey then too. None for colour, and for published weights.
    """

    released_feature_weight: float = 1.0
    sampling = SamplingConfig()
    grey: float | None = None

    @property
    def rim(self) -> int:
        """Counts the pixels around a hole that a completion may change: 0, unless it is blended."""
        return 0

    @abstractmethod
    def encoder_names(self) -> frozenset[str]:
        """Names the parameters of the encoder E that unlearning may move."""

    @abstractmethod
    def prepare(self, images: Tensor, masking: Masking) -> dict[str, Tensor]:
        """Draws the masks and noise of a batch.

        Args:
            images: `(B, 3, H, W)` in [0, 1], or what the family's `tokenize` made of them.
            masking: the task, the draws, and the rows whose noise image will be asked for.
        """

    def heavy_blocks(self) -> list[nn.Module]:
        """Returns the modules that hold nearly all activations, each called once a pass.

        They are what is recomputed for the gradient, and compiled.
        """
        return []

    @abstractmethod
    def with_noise_images(self, inputs: Inputs, forget: Tensor, formulation: Formulation) -> Inputs:
        """Replaces each forget row's image by its noise image n; masks are kept."""

    @abstractmethod
    def with_noise_labels(self, batch: BatchInputs) -> Inputs:
        """Replaces each forget row's training target by noise."""

    @abstractmethod
    def encoder_features(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """Computes E(T(x)): one or several tensors `(B, ...)`, float32 under autocast too."""

    @abstractmethod
    def output(self, inputs: Inputs) -> Tensor:
        """Computes D(E(T(x))) in the space of the training loss, `(B, L, ...)` float32."""

    @abstractmethod
    def output_places(self, inputs: Inputs) -> Tensor:
        """Returns `(B, L)`: 1 where `output` is the completion of a removed place, else 0."""

    def released_places(self, inputs: Inputs) -> Tensor:
        """Returns `(B, L)`: 1 where the released code compares outputs, else 0."""
        return self.output_places(inputs)

    @abstractmethod
    def task_loss(self, inputs: Inputs) -> RowLoss:
        """Computes the loss that the model is trained with, over its removed places."""

    @abstractmethod
    def complete(self, images: Tensor, task: TaskConfig, source: RandomSource) -> Tensor:
        """Completes images, `(B, 3, H, W)` in [0, 1]; what the task keeps is the image's own.

        Of the kept pixels those within `rim` of the hole may be mixed with the completion.

        Args:
            images: `(B, 3, H, W)` in [0, 1]; pixels of the hole do not reach the result.
            task: what is removed.
            source: random draws, a generator a row.
        """

    @abstractmethod
    def hole(self, rows: int, task: TaskConfig, source: RandomSource) -> Tensor:
        """Draws the removed pixels `(B, 1, H, W)` bool, as `complete` draws them."""

    def encoder_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yields the encoder's parameters with their names."""
        names = self.encoder_names()
        return ((name, each) for name, each in self.named_parameters() if name in names)

    def pretraining_stages(self) -> tuple[PretrainingStage, ...]:
        """Returns the parts of the training of a fresh model, in order."""
        moves = frozenset(name for name, each in self.named_parameters() if each.requires_grad)
        return (
            PretrainingStage(name="model", moves=moves, prepare=self.prepare, loss=self.task_loss),
        )

    def published_forms(self) -> tuple[PublishedForm, ...]:
        """Describes the files that `load_published` reads; the first is the whole model."""
        return (PublishedForm(what="the whole model", names=frozenset(self.state_dict())),)
