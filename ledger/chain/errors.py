"""What can go wrong on the embedded chain, split by whose fault it is."""

from pathlib import Path
from typing import ClassVar

from ledger.errors import EnvironmentFault, InputError, LedgerError


class ChainError(LedgerError):
    """Base of every error of the embedded chain."""

    code: ClassVar[str] = "chain"


class ChainInputError(ChainError, InputError):
    """The caller asked the chain for something that cannot be done."""

    code: ClassVar[str] = "chain_input"


class ChainFault(ChainError, EnvironmentFault):
    """The disk, a port or another process stands in the way."""

    code: ClassVar[str] = "chain_fault"


class TransactionRefusedError(ChainInputError):
    """A transaction was refused at the door; the chain is as it was before.

    Attributes:
        reason: What is wrong, in the words other clients use.
        index: Position in the batch it came with.
        transaction_hash: Its hash, or None where the bytes do not decode.
    """

    code: ClassVar[str] = "transaction_refused"

    def __init__(
        self, reason: str, *, index: int = 0, transaction_hash: bytes | None = None, hint: str = ""
    ) -> None:
        super().__init__(reason, hint=hint)
        self.reason = reason
        self.index = index
        self.transaction_hash = transaction_hash


class CallRefusedError(ChainInputError):
    """A call cannot even be started: no funds for its value, too little gas."""

    code: ClassVar[str] = "call_refused"


class CallRevertedError(ChainInputError):
    """A simulated call ended in a revert or in another EVM error.

    Attributes:
        data: What the contract returned; empty unless it reverted with data.
        is_revert: False for out of gas, invalid opcode and the like.
    """

    code: ClassVar[str] = "call_reverted"

    def __init__(self, message: str, *, data: bytes, is_revert: bool) -> None:
        super().__init__(message)
        self.data = data
        self.is_revert = is_revert


class TimeRefusedError(ChainInputError):
    """A timestamp was asked for that does not come after the head's.

    Attributes:
        requested_s: The timestamp asked for.
        head_s: Timestamp of the head.
    """

    code: ClassVar[str] = "time_refused"

    def __init__(self, message: str, *, requested_s: int, head_s: int) -> None:
        super().__init__(message, hint="ask for a later second; a block's time must exceed its parent's")
        self.requested_s = requested_s
        self.head_s = head_s


class BlockUnknownError(ChainInputError):
    """No block has the number or hash asked for.

    Attributes:
        wanted: The number or hash.
    """

    code: ClassVar[str] = "block_unknown"

    def __init__(self, wanted: int | bytes) -> None:
        text = f"0x{wanted.hex()}" if isinstance(wanted, bytes) else str(wanted)
        super().__init__(f"header not found: block {text}")
        self.wanted = wanted


class TooManyLogsError(ChainInputError):
    """A log query matches more than may be returned at once.

    Attributes:
        limit: The most logs that one query returns.
    """

    code: ClassVar[str] = "too_many_logs"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"query returned more than {limit} results", hint="ask for a smaller block range or fewer topics"
        )
        self.limit = limit


class ChainLockedError(ChainFault):
    """Another process has the data directory open.

    Attributes:
        path: The data directory.
        pid: Process that holds it, or None if it could not be read.
    """

    code: ClassVar[str] = "chain_locked"

    def __init__(self, path: Path, pid: int | None) -> None:
        owner = f"process {pid}" if pid is not None else "another process"
        super().__init__(
            f"chain data in {path} is in use by {owner}",
            hint="stop that process, connect to its RPC port, or choose another directory",
        )
        self.path = path
        self.pid = pid


class ChainFormatError(ChainFault):
    """The data directory holds a chain that this version or genesis does not fit.

    Attributes:
        path: The database file.
        field: Which property differs.
        found: What the file says.
        expected: What was asked for.
    """

    code: ClassVar[str] = "chain_format"

    def __init__(self, path: Path | None, field: str, *, found: str, expected: str) -> None:
        super().__init__(
            f"chain data in {path}: {field} is {found}, expected {expected}",
            hint="open it with the settings it was made with, or choose another directory",
        )
        self.path = path
        self.field = field
        self.found = found
        self.expected = expected


class StorageError(ChainFault):
    """The database could not be read or written; nothing was acknowledged."""

    code: ClassVar[str] = "chain_storage"


class ChainClosedError(ChainFault):
    """The chain was closed and cannot be used any more."""

    code: ClassVar[str] = "chain_closed"

    def __init__(self) -> None:
        super().__init__("the chain is closed", hint="open it again")


class PortInUseError(ChainFault):
    """The port to listen on is taken.

    Attributes:
        host: Address that was to be bound.
        port: Port that was to be bound.
    """

    code: ClassVar[str] = "port_in_use"

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"port {port} on {host} is already in use",
            hint="stop the process that listens there, or choose another port (0 picks a free one)",
        )
        self.host = host
        self.port = port


class BindError(ChainFault):
    """The address to listen on cannot be bound for another reason.

    Attributes:
        host: Address that was to be bound.
        port: Port that was to be bound.
    """

    code: ClassVar[str] = "bind_failed"

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"cannot listen on {host}:{port}: {reason}",
            hint="use 127.0.0.1 or an address of this machine, and a port above 1023",
        )
        self.host = host
        self.port = port


class PublicAddressError(ChainInputError):
    """The server was asked to listen on a public address without permission.

    Attributes:
        host: The address.
    """

    code: ClassVar[str] = "public_address"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host} is not a loopback address; anyone who reaches it could spend the local accounts",
            hint="listen on 127.0.0.1, or allow public access explicitly (--public)",
        )
        self.host = host
