"""The file of a bundle: a plain tar of a few kinds of members; the same bytes for the same content.

Reading unpacks nothing onto the disk, decompresses nothing and trusts no name: a member is one of those that
this module knows, a plain file, there once, of the size and sha256 that the manifest gives.
"""

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from ledger.strict_json import loads
from trainer.bundle.errors import BundleError

FORMAT = "hallmark.bundle.v1"
MANIFEST = "manifest.json"
HEADERS, BODIES, STATE = "headers.rlp", "bodies.rlp", "state.rlp"
CONFIG, CHECKPOINTS = "run.toml", "checkpoints.json"

MEMBERS_MAX = 1 << 22
MANIFEST_MAX_BYTES = 1 << 30
SMALL_MAX_BYTES = 1 << 26
RECORD_MAX_BYTES = 1 << 26
_SMALL = re.compile(r"run\.toml|checkpoints\.json|contracts/[A-Za-z]{1,64}\.json")
_LARGE = re.compile(r"(headers|bodies|state)\.rlp|blobs/0x[0-9a-f]{64}\.[a-z]{3,8}")
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One member as the manifest gives it."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says that it is.

    Attributes:
        chain_id: The chain.
        ledger: Checksummed address of the ContributionLedger.
        run: Run id.
        first_block: Block in which the ledger was created.
        head_block: Last block.
        head_hash: Its hash, 32 bytes.
    """

    chain_id: int
    ledger: str
    run: int
    first_block: int
    head_block: int
    head_hash: bytes

    def as_json(self, members: Mapping[str, Entry]) -> bytes:
        """Give the bytes of manifest.json."""
        content = {
            "format": FORMAT,
            "chain_id": self.chain_id,
            "ledger": self.ledger,
            "run": self.run,
            "first_block": self.first_block,
            "head": {"block": self.head_block, "hash": "0x" + self.head_hash.hex()},
            "members": {name: {"size": e.size, "sha256": e.sha256} for name, e in sorted(members.items())},
        }
        return json.dumps(content, indent=1).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> tuple[Self, dict[str, Entry]]:
        """Read manifest.json.

        Raises:
            BundleError: It is none, or of another format.
        """
        try:
            content = loads(data)
            if content["format"] != FORMAT:
                raise BundleError(
                    "format", f"is {content['format']!r}, not {FORMAT!r}", hint="use the version that made it"
                )
            members = {
                str(name): Entry(_number(entry["size"]), str(entry["sha256"]))
                for name, entry in content["members"].items()
            }
            manifest = cls(
                chain_id=_number(content["chain_id"]),
                ledger=str(content["ledger"]),
                run=_number(content["run"]),
                first_block=_number(content["first_block"]),
                head_block=_number(content["head"]["block"]),
                head_hash=bytes.fromhex(content["head"]["hash"].removeprefix("0x")),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError("manifest", f"cannot be read: {error!r}") from error
        if len(manifest.head_hash) != 32 or manifest.head_block < manifest.first_block:
            raise BundleError("manifest", "its head is none")
        return manifest, members


class ArchiveWriter:
    """Writes a bundle; the file is there when all of it is, or not at all. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}")
        self._members: dict[str, Entry] = {}

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._temporary.open("wb")
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.GNU_FORMAT)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if kind is None:
            self._temporary.replace(self._path)
        else:
            self._temporary.unlink(missing_ok=True)

    def add(self, name: str, data: bytes) -> None:
        """Add a member of known bytes."""
        self.add_file(name, io.BytesIO(data), len(data), hashlib.sha256(data).hexdigest())

    def add_file(self, name: str, source: IO[bytes], size: int, sha256: str) -> None:
        """Add a member from a file that is read from where it stands."""
        self._write(name, source, size)
        self._members[name] = Entry(size, sha256)

    def finish(self, manifest: Manifest) -> None:
        """Add the manifest, last."""
        data = manifest.as_json(self._members)
        self._write(MANIFEST, io.BytesIO(data), len(data))

    def _write(self, name: str, source: IO[bytes], size: int) -> None:
        self._tar.addfile(_header(name, size), source)


class Archive:
    """A bundle's file, checked: every member is known, there once, and has its sha256. Close it after use."""

    def __init__(self, path: Path) -> None:
        """Open and check a file; all of it is read once.

        Raises:
            BundleError: It is no bundle, or is damaged.
            OSError: The disk did not do its part.
        """
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._places = self._scan()
            self.manifest = self._check()
        except BaseException:
            os.close(self._descriptor)
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def names(self) -> list[str]:
        """Give all members' names, sorted, without the manifest."""
        return sorted(self._places)

    def size(self, name: str) -> int | None:
        """Give a member's size, None if there is no such member."""
        return self._places[name][1] if name in self._places else None

    def read(self, name: str) -> bytes:
        """Read a whole member.

        Raises:
            BundleError: There is no such member.
        """
        if name not in self._places:
            raise BundleError("member", f"there is no {name}")
        start, size = self._places[name]
        return self._read_at(start, size)

    def records(self, name: str) -> Iterator[tuple[int, bytes]]:
        """Give a member's records, each with its place for record().

        Raises:
            BundleError: There is no such member, or it is not made of records.
        """
        if name not in self._places:
            raise BundleError("member", f"there is no {name}")
        size = self._places[name][1]
        at = 0
        while at < size:
            data = self.record(name, at)
            yield at, data
            at += 4 + len(data)

    def record(self, name: str, at: int) -> bytes:
        """Read the record that begins at a place in a member."""
        start, size = self._places[name]
        if at + 4 > size:
            raise BundleError(name.partition(".")[0], "a record is cut short")
        length = int.from_bytes(self._read_at(start + at, 4), "big")
        if length > min(RECORD_MAX_BYTES, size - at - 4):
            raise BundleError(name.partition(".")[0], "a record is longer than what is left, or than allowed")
        return self._read_at(start + at + 4, length)

    def _scan(self) -> dict[str, tuple[int, int]]:
        """Find the members. A header must be the very bytes that the writer makes for its name and size."""
        file_size = os.fstat(self._descriptor).st_size
        places: dict[str, tuple[int, int]] = {}
        at = 0
        while any(block := self._read_at(at, tarfile.BLOCKSIZE)):
            name, size = _name_and_size(block)
            if name in places:
                raise BundleError("member", f"{name} is there twice")
            if len(places) >= MEMBERS_MAX:
                raise BundleError("member", f"there are more than {MEMBERS_MAX}")
            at += tarfile.BLOCKSIZE
            if at + size > file_size:
                raise BundleError("archive", f"{name} is cut short")
            places[name] = (at, size)
            at += -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        if file_size != -(-(at + 2 * tarfile.BLOCKSIZE) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE:
            raise BundleError("archive", "it does not end where it says")
        if any(self._read_at(at, file_size - at)):
            raise BundleError("archive", "something follows after its end")
        return places

    def _check(self) -> Manifest:
        if MANIFEST not in self._places:
            raise BundleError("manifest", "there is none: the file is cut short, or is no bundle")
        start, size = self._places.pop(MANIFEST)
        manifest, members = Manifest.from_json(self._read_at(start, size))
        if set(members) != set(self._places):
            odd = min(set(members) ^ set(self._places))
            raise BundleError("manifest", f"{odd[:120]} is in the manifest or in the archive, not in both")
        for name, (start, size) in self._places.items():
            digest = hashlib.sha256()
            for at in range(start, start + size, _PIECE):
                digest.update(self._read_at(at, min(_PIECE, start + size - at)))
            if (size, digest.hexdigest()) != (members[name].size, members[name].sha256):
                raise BundleError("sha256", f"{name} is not what the manifest says")
        return manifest

    def _read_at(self, start: int, size: int) -> bytes:
        data = os.pread(self._descriptor, size, start)
        while len(data) < size:
            more = os.pread(self._descriptor, size - len(data), start + len(data))
            if not more:
                raise BundleError("archive", "it is cut short")
            data += more
        return data


def write_record(file: IO[bytes], data: bytes) -> bytes:
    """Write a record, u32be length first; give what was written."""
    record = len(data).to_bytes(4, "big") + data
    file.write(record)
    return record


def _header(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = 0o644
    return entry


def _name_and_size(block: bytes) -> tuple[str, int]:
    """Read a member's header."""
    try:
        name = block[:100].rstrip(b"\0").decode("ascii")
        size = tarfile.nti(block[124:136])  # type: ignore[attr-defined]
        is_plain = size >= 0 and _header(name, size).tobuf(tarfile.GNU_FORMAT) == block
    except (ValueError, tarfile.TarError, OverflowError) as error:
        raise BundleError("archive", f"no header of a member where one is due: {error}") from error
    limit = _limit(name)
    if limit is None:
        raise BundleError("member", f"a bundle holds no {name!r}")
    if not is_plain:
        raise BundleError("member", f"{name} is no plain file")
    if size > limit:
        raise BundleError("member", f"{name} has {size} bytes, more than {limit}")
    return name, size


def _limit(name: str) -> int | None:
    if name == MANIFEST:
        return MANIFEST_MAX_BYTES
    if _SMALL.fullmatch(name):
        return SMALL_MAX_BYTES
    return 1 << 50 if _LARGE.fullmatch(name) else None


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 256:
        raise ValueError(f"{value!r} is no number")
    return value
