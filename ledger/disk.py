"""What a disk keeps, also when the power fails."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Make the disk keep what was written to a file, or which files a folder has."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
