"""Which class plays which role, and which image falls into which split. Needs no torch."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from trainables.config import COCO, LABELLED, PUBLISHED, DataConfig, SourceName
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
# the classes of Fashion-MNIST: what is forgotten is far from the rest, and what is retained has its
# like among the proxies, as measured in docs/fashion.md
FASHION: dict[str, str] = {
    **dict.fromkeys(("sandal", "sneaker", "ankle-boot"), "forget"),
    **dict.fromkeys(("t-shirt", "pullover", "coat", "dress"), "retain"),
    **dict.fromkeys(("shirt", "trouser", "bag"), "proxy"),
}
# the roles in data that come with the product, unless the user says otherwise
_USUAL: dict[SourceName, dict[str, str]] = {"photos": PHOTOGRAPHS, "fashion": FASHION}


def data_faults(config: DataConfig) -> list[str]:
    """Returns what is wrong with a data configuration, a line each; decodes no image."""
    try:
        if config.source in PUBLISHED:
            return _published_problems(config)
        if _chosen(config):
            return _role_problems(_named(config), known_classes(config))
        return [] if config.source in _USUAL else [_no_roles(config)]
    except DataError as error:
        return [str(error)]


def class_roles(config: DataConfig) -> dict[str, str]:
    """Returns the role of each class that a configuration uses.

    Raises:
        DataError: a missing root, an unknown class, one in two roles, a faulty split file.
    """
    if config.source in PUBLISHED:
        return published_roles(config, layouts.open_tree(config.source, Path(config.root)))
    if config.source in _USUAL and not _chosen(config):
        return dict(_USUAL[config.source])
    named = _named(config)
    wrong = _role_problems(named, known_classes(config))
    if wrong:
        raise DataError("; ".join(wrong))
    return dict(named)


def measured_classes(config: DataConfig) -> int:
    """Counts the forget and retain classes that are asked for, whether or not they exist.

    Raises:
        DataError: a faulty split file.
    """
    if _chosen(config):
        return sum(role != "proxy" for _, role in _given(config))
    paper = config.source in PUBLISHED
    usual = layouts.paper_split(config.source) if paper else _USUAL.get(config.source, {})
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


def known_classes(config: DataConfig) -> list[str]:
    """Returns the names of the classes that a data set has, published ones apart."""
    if config.source == "photos":
        return list(PHOTOGRAPHS)
    if config.source == "folder":
        return class_folders(Path(config.root))
    return list(_own_names(config))


def _own_names(config: DataConfig) -> Mapping[str, str]:
    """Returns what a labelled data set itself calls its classes, by their names here."""
    # reads the data set, for which planning else imports nothing
    from trainables.data import labelled

    return labelled.class_names(config)


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


def _given(config: DataConfig) -> list[tuple[str, str]]:
    """Returns pairs (class, role) as the user gave them."""
    if config.split_file:
        return _read_split_file(Path(config.split_file))
    return [(name, role) for role in ROLES for name in getattr(config, role)]


def _named(config: DataConfig) -> list[tuple[str, str]]:
    """Returns pairs (class, role), each class by its name here."""
    pairs = _given(config)
    if config.source == "places365":
        return [(layouts.place_name(name), role) for name, role in pairs]
    if config.source in LABELLED:
        names = _own_names(config)
        used = Counter(names.values())
        slugs = {own: slug for slug, own in names.items() if used[own] == 1}
        return [(slugs.get(name, name), role) for name, role in pairs]
    return pairs


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


def _no_roles(config: DataConfig) -> str:
    return (
        f"data.source={config.source} needs data.forget and data.retain (and data.proxy), or "
        f"data.split_file; classes there: {', '.join(known_classes(config)[:8])}"
    )


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
