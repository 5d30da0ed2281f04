"""Weights on disk: safetensors, which cannot carry code, and published files, read as hostile.

A published file is a pickle inside a zip archive. It is read by torch's weights-only reader, which
makes tensors and plain containers and refuses every other name.
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from trainables.models.base import CompletionModel, PublishedForm
from trainables.utils.errors import CheckpointError
from trainables.utils.files import replacing

# under which a training checkpoint holds its state-dict
_KEYS = ("model", "state_dict")


def save_weights(model: nn.Module, path: Path) -> None:
    """Writes a model's state-dict, renamed into place so that a reader never sees half a file."""
    state = {name: each.detach().cpu().contiguous() for name, each in model.state_dict().items()}
    with replacing(path) as beside:
        safetensors.torch.save_file(state, beside)


def load_weights(model: nn.Module, path: Path) -> None:
    """Reads what `save_weights` wrote; a refusal leaves the model unchanged.

    Raises:
        CheckpointError: a missing, truncated or foreign file, or the names, shapes or types of
            another model.
    """
    state = _read_safetensors(path)
    wanted = {name: _form(each) for name, each in model.state_dict().items()}
    found = {name: _describe(each) for name, each in state.items()}
    wrong = sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    if wrong:
        told = {name: (found.get(name, "absent"), wanted.get(name, "none")) for name in wrong}
        raise CheckpointError(f"{path}: {_differences(told, 'names, shapes or types')}")
    model.load_state_dict(state)


def load_original(model: CompletionModel, paths: Sequence[str | Path]) -> None:
    """Reads the published files that together hold a whole model; see `load_published`.

    Raises:
        CheckpointError: a file that is refused, or weights that none of the files holds.
    """
    found: set[str] = set()
    for path in paths:
        found |= load_published(model, path)
    absent = model.published_forms()[0].names - found
    if absent:
        parts = " and ".join(form.what for form in model.published_forms()[1:])
        raise CheckpointError(
            f"{', '.join(map(str, paths))}: {len(absent)} weights of the model are in none of "
            f"the files ({', '.join(sorted(absent)[:3])}); give the whole, or {parts}"
        )


def load_published(model: CompletionModel, path: str | Path) -> frozenset[str]:
    """Reads a published checkpoint, whole or a part; a refusal leaves the model unchanged.

    The state-dict is the file itself or lies under `model` or `state_dict`, beside whatever else.
    Floating-point weights of any width are taken; they must be finite.

    Args:
        model: tells by `published_forms` what its files hold; other weights than those of the
            form that fits are left as they are.
        path: as downloaded.

    Returns:
        The model's own names of the weights that it read.

    Raises:
        CheckpointError: a missing, truncated, foreign or hostile file, in one line.
    """
    path = Path(path)
    state = read_state(path)
    own = model.state_dict()
    fits = [_compare(form, state, own) for form in model.published_forms()]
    # a foreign file is held against the whole model, any other against what it comes nearest to
    best = max(fits, key=lambda each: (len(each.tensors), -len(each.wrong) * bool(each.tensors)))
    _fill(own, best, path)
    return frozenset(best.tensors)


def load_network(network: nn.Module, path: Path, what: str) -> None:
    """Reads the published state-dict of a whole network; a refusal leaves it unchanged.

    Batch counters, which nothing reads, may be absent; names may begin with `module.`.

    Args:
        network: of the file's own names.
        path: a torch file as downloaded, or safetensors.
        what: told where the file is refused, such as `the FID Inception`.

    Raises:
        CheckpointError: a missing, truncated, foreign or hostile file, in one line.
    """
    own = network.state_dict()
    counters = frozenset(name for name in own if name.endswith("num_batches_tracked"))
    form = PublishedForm(
        what=what,
        names=frozenset(own) - counters,
        own_name=lambda name: name.removeprefix("module."),
        optional=counters,
    )
    _fill(own, _compare(form, read_state(path), own), path)


def read_state(path: Path) -> Mapping[str, object]:
    """Reads the state-dict of any network from a torch file or a safetensors file.

    Raises:
        CheckpointError: a missing, truncated or hostile file, or one without a state-dict.
    """
    return _state_dict(_read(path), path)


@dataclass(frozen=True)
class _Fit:
    """How a file compares with one form: what fits, and of what does not (found, expected)."""

    what: str
    tensors: dict[str, Tensor]
    wrong: dict[str, tuple[str, str]]


def _fill(own: Mapping[str, Tensor], fit: _Fit, path: Path) -> None:
    """Copies what fits into a model's own tensors, if all of it fits and is finite."""
    if fit.wrong:
        differences = _differences(fit.wrong, "names or shapes")
        raise CheckpointError(f"{path}: not {fit.what}: {differences}")
    for name, value in fit.tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{path}: {name} holds NaN or infinity, expected finite weights")
    with torch.no_grad():
        for name, value in fit.tensors.items():
            own[name].copy_(value)


def _compare(form: PublishedForm, state: Mapping[str, object], own: Mapping[str, Tensor]) -> _Fit:
    tensors: dict[str, Tensor] = {}
    wrong: dict[str, tuple[str, str]] = {}
    for name, value in state.items():
        target = form.own_name(name)
        if target is None:
            continue
        wanted = own[target] if target in form.names | form.optional else None
        expected = "none" if wanted is None else _form(wanted)
        if target in tensors:
            wrong[name] = ("a second one", "one")
        elif wanted is not None and isinstance(value, Tensor) and _fills(value, wanted):
            tensors[target] = value
        else:
            wrong[target if wanted is not None else name] = (_describe(value), expected)
    absent = form.names - tensors.keys() - wrong.keys()
    wrong |= {name: ("absent", _form(own[name])) for name in absent}
    return _Fit(form.what, tensors, wrong)


def _fills(value: Tensor, wanted: Tensor) -> bool:
    """Tells whether a tensor of a file can be copied into one of a model."""
    alike = value.dtype == wanted.dtype
    floating = value.is_floating_point() and wanted.is_floating_point()
    return _is_plain(value) and value.shape == wanted.shape and (alike or floating)


def _is_plain(value: Tensor) -> bool:
    known = type(value) in (Tensor, nn.Parameter) and not (value.is_nested or value.is_quantized)
    return known and value.layout == torch.strided and value.device.type == "cpu"


def _read(path: Path) -> object:
    """Reads tensors in plain containers from a torch file, or from one named `.safetensors`."""
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    try:
        with path.open("rb") as file:
            # older files are no archives, and are read whole
            archive = file.read(4) == b"PK\x03\x04"
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")
            # training checkpoints hold their command line beside the weights, as a Namespace
            content: object = torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except Exception as error:  # what a hostile file raises is its own choice
        raise CheckpointError(f"{path}: {_reason(error)}") from None
    return content


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such weights file")
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        # the reason may quote the file
        raise CheckpointError(f"{path}: not a whole safetensors file ({error!r:.200})") from None


def _reason(error: Exception) -> str:
    code, text = torch_refusal(error)
    if code:
        return f"not weights alone: it names {code!r:.80}, which was not run; expected tensors"
    return f"not a whole torch file of weights ({type(error).__name__}: {text!r:.120})"


def torch_refusal(error: Exception) -> tuple[str, str]:
    """Reads an error of torch's weights-only reader, whose wording is no interface of torch.

    Returns:
        The dotted name of the code that the file names, empty where it names none, and the first
        line of the reason.
    """
    text = str(error)
    code = re.search(r"Unsupported \w+: GLOBAL ([A-Za-z_][\w.]*)(?!\S)", text)
    line = text.rpartition("WeightsUnpickler error: ")[2].strip().partition("\n")[0]
    return code[1] if code else "", line


def _state_dict(content: object, path: Path) -> Mapping[str, object]:
    """Finds the state-dict in the content of a file."""
    if isinstance(content, Mapping):
        inside = [content[key] for key in _KEYS if isinstance(content.get(key), Mapping)]
        state = inside[0] if inside else content
        if state and all(isinstance(name, str) for name in state):
            return state
    kind = type(content).__name__
    raise CheckpointError(f"{path}: no state-dict in it, a {kind}; expected names and tensors")


def _differences(wrong: Mapping[str, tuple[str, str]], what: str) -> str:
    """Says how many names differ, and of the first three what was found and expected."""
    # a foreign file's names may be long or hold line ends
    first = "; ".join(
        f"{name!r:.80}: {wrong[name][0]}, expected {wrong[name][1]}" for name in sorted(wrong)[:3]
    )
    return f"{len(wrong)} {what} differ ({first})"


def _describe(value: object) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    if not _is_plain(value):
        return "not a plain tensor"
    return _form(value)


def _form(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
