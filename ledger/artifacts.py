"""Compiled contracts: ABI and bytecode as committed under contracts/artifacts."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from eth_utils import keccak

from ledger.errors import InputError


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract.

    Attributes:
        name: Contract name.
        abi: Its ABI, as the compiler wrote it.
        bytecode: Init code.
        runtime: Deployed code; immutables are zero in it.
        immutable_ranges: (start, length) of the immutables in `runtime`, bytes.
    """

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes
    runtime: bytes
    immutable_ranges: tuple[tuple[int, int], ...]

    def matches(self, deployed: bytes) -> bool:
        """Tell whether deployed code is this contract, whatever its immutables.

        Args:
            deployed: Code at an address.

        Returns:
            True if every byte outside the immutables is equal.
        """
        if len(deployed) != len(self.runtime):
            return False
        masked = bytearray(deployed)
        for start, length in self.immutable_ranges:
            masked[start : start + length] = bytes(length)
        return bytes(masked) == self.runtime

    @property
    def runtime_digest(self) -> bytes:
        """Keccak of the deployed code with zero immutables, 32 bytes."""
        return keccak(self.runtime)


@cache
def load(name: str) -> Artifact:
    """Load a committed artifact.

    Args:
        name: Contract name, for instance "ContributionLedger".

    Returns:
        The artifact.

    Raises:
        InputError: There is no such artifact; fault of the caller.
    """
    path = files("contracts") / "artifacts" / f"{name}.json"
    if not path.is_file():
        raise InputError(f"no compiled contract named {name}", hint="run `make artifacts`")
    content = json.loads(path.read_text())
    references = content.get("immutableReferences", {})
    ranges = tuple((r["start"], r["length"]) for items in references.values() for r in items)
    return Artifact(
        name=name,
        abi=content["abi"],
        bytecode=_code(content["bytecode"]),
        runtime=_code(content["deployedBytecode"]),
        immutable_ranges=ranges,
    )


def _code(value: str | dict[str, Any]) -> bytes:
    text = value if isinstance(value, str) else value["object"]
    return bytes.fromhex(text.removeprefix("0x"))
