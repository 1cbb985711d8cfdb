"""What a blob store has under a committed root, or why it has nothing."""

from ledger.blobs import BlobCorruptError, BlobMissingError, BlobStore, BlobTooLargeError


def fetch_committed(store: BlobStore, root: bytes, max_bytes: int) -> tuple[bytes | None, str]:
    """Fetch the bytes under a committed update root.

    Whether they have that root is left to the assay, which computes it in its own pass over the bytes.

    Args:
        store: Where update files are.
        root: Committed update root, 32 bytes.
        max_bytes: Longer files are not read.

    Returns:
        The bytes and "", or None and what is wrong.

    Raises:
        BlobStoreFault: Disk or network failed.
    """
    try:
        return store.get(root, max_bytes=max_bytes, root_of=lambda _: root), ""
    except BlobMissingError:
        return None, "missing"
    except BlobTooLargeError:
        return None, f"more than {max_bytes} bytes"
    except BlobCorruptError as error:
        return None, str(error)
