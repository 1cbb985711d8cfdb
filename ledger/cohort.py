"""Who makes a cohort: workers first, then an odd number of guards; and the cohorts of a registry.

docs/spec/ledger.md, "Cohort".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eth_utils import to_checksum_address

from ledger.errors import InputError
from ledger.history import HistoryError, decode_log
from ledger.node import Node

MEMBERS_MAX = 256
GUARDS_MAX = 15


@dataclass(frozen=True, slots=True)
class SealedCohort:
    """A cohort that a registry wrote: CohortSealed.

    Attributes:
        address: Checksummed address of its data contract.
        workers: Number of workers, which come first.
        guards: Number of guards, which come last.
        members_digest: Digest of the members' entries, 32 bytes.
        transaction: Hash of the transaction, 32 bytes.
        block: Block number.
    """

    address: str
    workers: int
    guards: int
    members_digest: bytes
    transaction: bytes
    block: int


def check_size(workers: int, guards: int) -> None:
    """Refuse a cohort that no ledger takes.

    Args:
        workers: Number of workers, at least 1.
        guards: Number of guards, odd, 1..15; with the workers at most 256.

    Raises:
        InputError: It is another one; fault of the caller.
    """
    if not 1 <= guards <= GUARDS_MAX or guards % 2 == 0:
        raise InputError(f"a cohort has an odd number of guards up to {GUARDS_MAX}, not {guards}")
    if not 1 <= workers <= MEMBERS_MAX - guards:
        raise InputError(
            f"a cohort with {guards} guards has 1 to {MEMBERS_MAX - guards} workers, not {workers}"
        )


def read_cohorts(node: Node, registry: str) -> list[SealedCohort]:
    """Read all cohorts that a registry has written, first to last.

    Raises:
        HistoryError: A log of the registry does not decode.
        EnvironmentFault: The node failed.
    """
    found = []
    for log in node.logs(registry):
        event = decode_log(log, "WorkerRegistry")
        if event is not None and event.name == "CohortSealed":
            found.append(_sealed(event.arguments, event.transaction, event.block))
    return found


def _sealed(arguments: Mapping[str, Any], transaction: bytes, block: int) -> SealedCohort:
    workers, guards = int(arguments["workers"]), int(arguments["guards"])
    if workers < 1 or guards < 1 or workers + guards > MEMBERS_MAX:
        raise HistoryError(0, "CohortSealed", f"{workers} workers and {guards} guards are no cohort")
    return SealedCohort(
        address=to_checksum_address(arguments["cohort"]),
        workers=workers,
        guards=guards,
        members_digest=bytes(arguments["members"]),
        transaction=transaction,
        block=block,
    )
