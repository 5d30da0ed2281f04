"""Addresses of storages, such as `s3://bucket/runs`: what they may hold and how they are opened."""

from __future__ import annotations

import functools
import re
from typing import Any

from trainables.utils.errors import UserError
from trainables.utils.text import one_line

_PASSWORD = re.compile(r"://[^?@]*:[^?@]*@")
# what an address may ask for; anything else may be a secret, which takes many names
_OPTIONS = frozenset(
    (
        *("scheme", "endpoint_override", "region", "force_virtual_addressing"),
        *("tls_ca_file_path", "tls_verify_certificates", "allow_bucket_creation"),
        *("project_id", "retry_limit_seconds", "default_bucket_location", "enable_tls"),
        *("blob_storage_authority", "blob_storage_scheme", "dfs_storage_authority"),
        *("dfs_storage_scheme", "user", "replication", "buffer_size"),
    )
)


class StorageError(UserError):
    """An address that is malformed, that cannot be reached, or that refuses."""


def is_address(text: str) -> bool:
    """Tells whether a storage is named by an address instead of a path."""
    return "://" in text


def refuse_secret(address: str) -> None:
    """Refuses an address that may hold a secret, since addresses are recorded and shown.

    Raises:
        StorageError: it has a password, or an option that is not known to be harmless.
    """
    scheme, _, rest = address.partition("://")
    options = {part.partition("=")[0] for part in rest.partition("?")[2].split("&")} - {""}
    if _PASSWORD.search(address):
        raise StorageError(
            f"--storage {scheme}://... holds a secret, and a sweep records its storage: leave "
            "it to the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if unknown := options - _OPTIONS:
        raise StorageError(
            f"--storage {scheme}://... has {', '.join(sorted(unknown))}, which may hold a secret, "
            "and a sweep records its storage: leave it to the environment; an address may have "
            f"{', '.join(sorted(_OPTIONS))}"
        )


def canonical(address: str) -> str:
    """Returns the one spelling of an address; two spellings would get two working copies."""
    folder, question, query = address.partition("?")
    scheme, mark, rest = folder.partition("://")
    return f"{scheme}{mark}{rest.rstrip('/') or rest}{question}{query}"


def below(address: str, name: str) -> str:
    """Returns the address of a folder inside another one.

    Args:
        address: the outer folder's.
        name: the inner folder's, with slashes between its parts.
    """
    folder, question, query = address.partition("?")
    return f"{folder.rstrip('/')}/{name}{question}{query}"


@functools.cache
def open_address(address: str) -> tuple[Any, str]:
    """Opens an address by pyarrow, which knows `s3://`, `gs://`, `abfs://`, `hdfs://`, `file://`.

    Returns:
        The file system, and the folder's path in it without a slash at its end.

    Raises:
        StorageError: it cannot be reached, or pyarrow has nothing for such an address.
    """
    from pyarrow.fs import FileSystem

    try:
        filesystem, root = FileSystem.from_uri(address)
    except OSError as error:  # a bucket's region is asked for where the address does not say it
        raise unreachable(address, error) from error
    except (ValueError, NotImplementedError) as error:
        raise StorageError(
            f"--storage {address} is no address that pyarrow knows: {one_line(error)}"
        ) from None
    return filesystem, root.rstrip("/")


def unreachable(address: str, error: Exception) -> StorageError:
    """Returns the error that an address cannot be used, in one line with the remedy."""
    remedy = "it must be there, and this user may write to it"
    if address.startswith("s3:"):
        remedy = (
            "the bucket must exist, and the environment say who asks: AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY, AWS_REGION"
        )
    return StorageError(f"--storage {address} cannot be used ({one_line(error, 240)}): {remedy}")
