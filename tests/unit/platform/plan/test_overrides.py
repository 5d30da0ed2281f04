"""The user's `--set key=value`: typed, sorted by what it does, all its faults told at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from platform.plan.overrides import Overrides, known_fields, parse_overrides


def parsed(*texts: str) -> Overrides:
    """The settings of texts that are all right."""
    settings, faults = parse_overrides(texts)
    assert faults == []
    return settings


def refused(*texts: str) -> list[str]:
    """The faults of texts of which nothing may be taken."""
    settings, faults = parse_overrides(texts)
    assert settings == Overrides()
    return faults


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("forget_alpha=0.5", 0.5),
        ("forget_alpha=1", 1.0),
        ("unlearn.lr=3e-4", 3e-4),
        ("unlearn.steps=80", 80),
        ("data.strict=True", True),
        ("model=mae_tiny", "mae_tiny"),
        ("retain_source=1:3", "1:3"),
        (" data.image_size = 64 ", 64),
        ("data.root=/a folder/of=images", "/a folder/of=images"),
    ],
)
def test_one_value_is_pinned_with_its_fields_type(text: str, value: Any) -> None:
    settings = parsed(text)
    (pinned,) = settings.pinned.values()
    assert (pinned, type(pinned)) == (value, type(value))
    assert settings.axes == settings.search == {}


def test_several_values_are_enumerated_once_each_in_their_order() -> None:
    settings = parsed("forget_alpha=0.5, 0.1,0.5", "seed=2,1", "retain_source=real,1:1")
    assert settings.axes == {
        "forget_alpha": (0.5, 0.1),
        "seed": (2, 1),
        "retain_source": ("real", "1:1"),
    }
    assert settings.pinned == {}


def test_commas_in_a_field_of_several_items_separate_its_items() -> None:
    settings = parsed("data.forget=coffee, chelsea", "data.retain=rocket", "data.proxy=")
    assert settings.axes == {}
    assert settings.pinned == {
        "data.forget": ("coffee", "chelsea"),
        "data.retain": ("rocket",),
        "data.proxy": (),
    }


def test_methods_choose_the_variants_even_where_there_is_one() -> None:
    assert parsed("method=ours").axes == {"method": ("ours",)}
    assert parsed("method=ours,original").axes == {"method": ("ours", "original")}


def test_the_size_of_the_search_is_no_field_of_a_trial() -> None:
    settings = parsed("search.trials=0", "search.generation=2", "search.sobol_trials=5")
    assert settings.search == {"trials": 0, "generation": 2, "sobol_trials": 5}
    assert settings.pinned == settings.axes == {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("forget_alpha", "--set 'forget_alpha' is not key=value"),
        ("=0.5", "--set '=0.5' is not key=value"),
        ("", "--set '' is not key=value"),
        ("forget_alpha=", "forget_alpha has an empty value"),
        ("forget_alpha=0.1,,0.5", "forget_alpha has an empty value"),
        ("method=", "method has an empty value"),
        ("forget_alpha=big", "forget_alpha='big' is not a number"),
        ("unlearn.steps=1.5", "unlearn.steps='1.5' is not a whole number"),
        ("data.strict=yes", "data.strict='yes' is not true or false"),
        ("search.trials=1,2", "search.trials='1,2' is not a whole number"),
        ("search.trials=-1", "search.trials=-1 is below 0"),
        ("search.sobol_trials=-1", "search.sobol_trials=-1 is below 0"),
        ("search.generation=0", "search.generation=0 is below 1"),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(text: str, fault: str) -> None:
    assert refused(text) == [fault]


@pytest.mark.parametrize(
    ("text", "close"),
    [
        ("forget_alhpa=1", "forget_alpha"),
        ("alpha=1", "forget_alpha"),
        ("lr=1", "unlearn.lr"),
        ("trials=1", "search.trials"),
        ("search.trails=1", "search.trials"),
        ("method=our", "ours"),
    ],
)
def test_an_unknown_name_lists_the_close_ones(text: str, close: str) -> None:
    (fault,) = refused(text)
    assert close in fault.partition("close: ")[2]


def test_a_name_that_is_close_to_nothing_has_no_list() -> None:
    assert refused("zzzz=1") == ["unknown field 'zzzz'; --fields lists them"]
    assert refused("variant=released") == ["unknown field 'variant' (renamed: formulation)"]
    (line,) = refused("mage_tiny/unlearn.stepz=1")
    assert line.startswith("unknown field 'mage_tiny/unlearn.stepz' (close: unlearn.steps")


def test_every_fault_is_found_and_what_is_right_is_kept() -> None:
    settings, faults = parse_overrides(
        ["seed=3", "lr_=1", "seed=4", "nothing", "unlearn.steps=a,b", "search.trials=2"]
    )
    assert [fault.partition(" ")[0] for fault in faults] == [
        "unknown",
        "seed",
        "--set",
        "unlearn.steps='a'",
        "unlearn.steps='b'",
    ]
    assert faults[1] == "seed is set twice"
    assert (settings.pinned, settings.axes) == ({"seed": 3}, {})
    assert settings.search == {"trials": 2}


def test_the_documented_names_are_all_known() -> None:
    names = """model method retain_source forget_alpha data.source data.root data.forget data.retain
        data.proxy data.image_size pretrain.steps unlearn.steps unlearn.lr search.trials"""
    assert set(names.split()) <= set(known_fields())


@pytest.mark.parametrize("name", ["data.root", "data.split_file"])
def test_a_path_may_hold_a_comma(name: str) -> None:
    settings, faults = parse_overrides([f"{name}=photos, old/a,b.csv"])
    assert not faults
    assert settings.pinned == {name: str(Path.cwd() / "photos, old/a,b.csv")}
    assert not settings.axes


# --- One model -------------------------------------------------------------------------------


def test_a_setting_of_one_model_goes_before_the_others() -> None:
    settings = parsed(
        "unlearn.steps=80",
        "mage_tiny/unlearn.steps=40",
        "forget_alpha=0.1,0.5",
        "mage_tiny/forget_alpha=0.2",
        "palette_tiny/unlearn.steps=10,20",
        "search.trials=3",
        "mage_tiny/search.trials=0",
    )
    mage, palette, mae = map(settings.of_model, ("mage_tiny", "palette_tiny", "mae_tiny"))
    assert mage.pinned == {"unlearn.steps": 40, "forget_alpha": 0.2}
    assert (mage.axes, mage.search) == ({}, {"trials": 0})
    assert palette.axes == {"forget_alpha": (0.1, 0.5), "unlearn.steps": (10, 20)}
    assert palette.pinned == {}
    assert mae.pinned == {"unlearn.steps": 80}
    assert mae.search == {"trials": 3}


def test_a_setting_of_a_family_is_under_a_models_and_over_every_models() -> None:
    settings = parsed(
        "unlearn.steps=80",
        "seed=1",
        "mage/unlearn.steps=40,50",
        "mage/seed=2",
        "mage_tiny/unlearn.steps=7",
        "mage/search.trials=1",
        "mae/data.root=/photos",
    )
    tiny, large, mae = map(settings.of_model, ("mage_tiny", "mage_vit_large_patch16", "mae_tiny"))
    assert (tiny.pinned, tiny.axes) == ({"unlearn.steps": 7, "seed": 2}, {})
    assert (large.pinned, large.axes) == ({"seed": 2}, {"unlearn.steps": (40, 50)})
    assert (tiny.search, large.search, mae.search) == ({"trials": 1}, {"trials": 1}, {})
    assert mae.pinned == {"unlearn.steps": 80, "seed": 1, "data.root": "/photos"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("vae/seed=1", "vae/seed: unknown model 'vae' (close: mae"),
        ("mage/model=mage_tiny", "mage/model: --set of one model cannot name another"),
        ("mag_tiny/seed=1", "mag_tiny/seed: unknown model 'mag_tiny' (close: mage_tiny, mae_tiny"),
        ("mae_tiny/model=mage_tiny", "mae_tiny/model: --set of one model cannot name another"),
        ("mae_tiny/sed=1", "unknown field 'mae_tiny/sed' (close: seed"),
        ("mae_tiny/seed=x", "mae_tiny/seed='x' is not a whole number"),
    ],
)
def test_a_wrong_setting_of_one_model_names_it(text: str, fault: str) -> None:
    _, faults = parse_overrides([text])
    assert len(faults) == 1
    assert faults[0].startswith(fault)


def test_paths_of_checkpoints_are_made_absolute() -> None:
    settings = parsed("mage_tiny/checkpoint=a.pth, /b.pth")
    pinned = settings.of_model("mage_tiny").pinned["checkpoint"]
    assert pinned == (str(Path("a.pth").absolute()), "/b.pth")
