"""Addresses of storages: what they may hold, and how one that cannot be used is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainables.utils.addresses import StorageError
from trainables.utils.object_store import Mirror


@pytest.mark.parametrize(
    "text",
    [
        "s3://AKIA:abc/def@runs",
        "s3://runs/x?secret_key=abc",
        "abfs://container:abc@account.dfs.core.windows.net/x",
        "abfs://account.blob.core.windows.net/c/x?sv=1&sig=abc",
    ],
)
def test_a_secret_is_refused_and_not_shown(text: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"hold(s)? a secret.*environment") as refused:
        Mirror(tmp_path, text)
    assert "abc" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nope://runs", "is no address that pyarrow knows"),
        ("s3:///x", "Missing bucket name"),
        ("s3://runs/x?bogus=1", "bogus"),
    ],
)
def test_what_is_no_address_is_refused(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=told):
        Mirror(tmp_path, text)
