"""Which class plays which role, and which image falls into which split. Needs no torch."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from pathlib import Path

from trainables.config import COCO, PUBLISHED, DataConfig
from trainables.data import layouts
from trainables.utils.errors import DataError
from trainables.utils.text import close_names

ROLES = ("forget", "retain", "proxy")
SPLITS = ("train", "val", "test")
_TRAIN, _VAL = 0.70, 0.85

# the embedded photographs and the role each plays unless the user says otherwise: what is forgotten
# is colourful; what has no colour of its own is toned and goes to the proxy first
PHOTOGRAPHS: dict[str, str] = {
    **dict.fromkeys(("astronaut", "chelsea", "coffee", "china", "retina", "ihc"), "forget"),
    **dict.fromkeys(("flower", "rocket", "hubble", "motorcycle", "coins", "grass"), "retain"),
    **dict.fromkeys(("brick", "gravel", "camera", "moon", "page", "cell"), "proxy"),
}


def data_faults(config: DataConfig) -> list[str]:
    """Returns what is wrong with a data configuration, a line each; decodes no image."""
    try:
        if config.source == "photos":
            return _role_problems(_named(config), PHOTOGRAPHS) if _chosen(config) else []
        if config.source == "folder":
            return _folder_problems(config)
        return _published_problems(config)
    except DataError as error:
        return [str(error)]


def class_roles(config: DataConfig) -> dict[str, str]:
    """Returns the role of each class that a configuration uses.

    Raises:
        DataError: a missing root, an unknown class, one in two roles, a faulty split file.
    """
    if config.source in PUBLISHED:
        return published_roles(config, layouts.open_tree(config.source, Path(config.root)))
    if config.source == "photos" and not _chosen(config):
        return dict(PHOTOGRAPHS)
    named = _named(config)
    photos = config.source == "photos"
    wrong = _role_problems(named, PHOTOGRAPHS if photos else class_folders(Path(config.root)))
    if wrong:
        raise DataError("; ".join(wrong))
    return dict(named)


def measured_classes(config: DataConfig) -> int:
    """Counts the forget and retain classes that are asked for, whether or not they exist.

    Raises:
        DataError: a faulty split file.
    """
    if _chosen(config):
        return sum(role != "proxy" for _, role in _named(config))
    usual = layouts.paper_split(config.source) if config.source in PUBLISHED else PHOTOGRAPHS
    return sum(role != "proxy" for role in usual.values())


def published_roles(config: DataConfig, tree: layouts.Tree) -> dict[str, str]:
    """Returns the role of each class of a published data set, the paper's by default.

    COCO in the proxy's place is one class.

    Raises:
        DataError: a class that is not there, unknown, or in two roles; a faulty split file.
    """
    wrong = [] if not _chosen(config) else _role_problems(_named(config), _known(config, tree))
    roles = _published(config, tree)
    wrong = wrong or layouts.missing_classes(config.source, tree, roles)
    if wrong:
        raise DataError("; ".join(wrong))
    return roles | ({COCO: "proxy"} if config.proxy_source == "coco" else {})


def class_folders(root: Path) -> list[str]:
    """Lists the class sub-folders of a data root, sorted.

    Raises:
        DataError: no such directory, or none with sub-folders.
    """
    layouts.require_directory(root, "data.root")
    names = sorted(each.name for each in root.iterdir() if each.is_dir())
    if not names:
        raise DataError(f"data.root={root}: no class sub-folders in it")
    return names


def split_of(path: str, seed: int) -> tuple[str, str]:
    """Returns the split of an image, and its place in the order by which classes are capped.

    Args:
        path: relative to the data root, with `/`; the other images play no part.
        seed: another seed, another split.
    """
    digest = hashlib.sha256(f"{seed}:{path}".encode()).hexdigest()
    share = int(digest[:12], 16) / 16**12
    split = "train" if share < _TRAIN else "val" if share < _VAL else "test"
    return split, digest[12:]


def _chosen(config: DataConfig) -> bool:
    return bool(config.split_file or config.forget or config.retain or config.proxy)


def _named(config: DataConfig) -> list[tuple[str, str]]:
    """Returns pairs (class, role) as the user gave them."""
    if config.split_file:
        pairs = _read_split_file(Path(config.split_file))
    else:
        pairs = [(name, role) for role in ROLES for name in getattr(config, role)]
    places = config.source == "places365"
    return [(layouts.place_name(name) if places else name, role) for name, role in pairs]


def _role_problems(named: list[tuple[str, str]], known: Iterable[str]) -> list[str]:
    names = list(known)
    roles: dict[str, str] = {}
    wrong = []
    for name, role in named:
        if name not in names:
            hint = close_names(name, names) or f" (there are: {', '.join(names[:8])})"
            wrong.append(f"data.{role}: unknown class {name!r}{hint}")
        elif roles.setdefault(name, role) != role:
            wrong.append(f"class {name!r} is in data.{roles[name]} and data.{role}")
    given = {role for _, role in named}
    wrong += [f"data.{role}: no class named" for role in ("forget", "retain") if role not in given]
    return wrong


def _folder_problems(config: DataConfig) -> list[str]:
    folders = class_folders(Path(config.root))
    if not _chosen(config):
        return [
            "data.source=folder needs data.forget and data.retain (and data.proxy), or "
            f"data.split_file; classes there: {', '.join(folders[:8])}"
        ]
    return _role_problems(_named(config), folders)


def _published_problems(config: DataConfig) -> list[str]:
    lines = []
    try:
        tree = layouts.open_tree(config.source, Path(config.root))
        if _chosen(config):
            lines += _role_problems(_named(config), _known(config, tree))
        lines = lines or layouts.missing_classes(config.source, tree, _published(config, tree))
    except DataError as error:
        lines.append(str(error))
    if config.proxy_source == "coco":
        try:
            layouts.coco_images(Path(config.proxy_root))
        except DataError as error:
            lines.append(str(error))
    return lines


def _published(config: DataConfig, tree: layouts.Tree) -> dict[str, str]:
    if _chosen(config):
        return dict(_named(config))
    paper = dict(layouts.paper_split(config.source))
    # the paper's proxy classes of ImageNet are all the others
    roles = paper | {name: "proxy" for name in tree.train if name not in paper}
    coco = config.proxy_source == "coco"
    return {name: role for name, role in roles.items() if not (coco and role == "proxy")}


def _known(config: DataConfig, tree: layouts.Tree) -> list[str]:
    return list(dict.fromkeys([*tree.train, *layouts.paper_split(config.source)]))


def _read_split_file(path: Path) -> list[tuple[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"data.split_file={path}: {error}") from None
    if not lines or [cell.strip() for cell in lines[0]] != ["class", "role"]:
        raise DataError(f"data.split_file={path}: the first line must be class,role")
    pairs = []
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cells):
            continue
        if len(cells) != 2 or cells[1].strip() not in ROLES:
            raise DataError(
                f"data.split_file={path} line {number}: expected CLASS,forget|retain|proxy"
            )
        pairs.append((cells[0].strip(), cells[1].strip()))
    return pairs
