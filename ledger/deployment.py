"""Contracts of a run, deployed step by step so that a crash at any point is taken up again.

Each step writes the nonce it will use before it sends: after a crash the
address follows from the nonce, and what was mined is found instead of being
deployed twice.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rlp
from eth_account.signers.local import LocalAccount
from eth_utils import is_address, keccak, to_canonical_address, to_checksum_address

from ledger import artifacts, digests
from ledger.cohort import check_size, read_cohorts
from ledger.disk import sync
from ledger.errors import EnvironmentFault, InputError
from ledger.node import Node
from ledger.parties import Parties, Party, joining_proof
from ledger.stakes import VaultClient
from ledger.strict_json import loads

FORMAT = 1
MINIMUM_BOND_WEI = 10**16
FUNDS_WEI = 10**18
_JOIN_GAS = 500_000
UNBONDING_S = 7 * 24 * 3600
MINIMUM_STAKE_WEI = 10**17
REQUEST_BOND_WEI = 10**15
"""Bond of a data request; it pays for the gas of an answer."""
ANSWER_WINDOW_S = 600
"""Seconds for an answer to a data request; shorter than a run's settle window."""
NO_ADDRESS = "0x" + "00" * 20


class DeploymentError(InputError):
    """A deployment file cannot be used here."""

    code = "deployment"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run's ledger is told at its creation.

    Attributes:
        run: Run id, 0 <= run < 2**64.
        initial_model: Root of the model before round 1, 32 bytes.
        shape_digest: 32 bytes.
        length: Number of parameters.
        commit_window_s: Seconds for the commitments of round 1.
        data_requests: Address of the data-request contract; zero: the run has none.
        challenge: Address of the contract that may overturn; zero: the run has none, and no vault either.
        guardian: Who may pause; zero: nobody.
    """

    run: int
    initial_model: bytes
    shape_digest: bytes
    length: int
    commit_window_s: int
    data_requests: str = NO_ADDRESS
    challenge: str = NO_ADDRESS
    guardian: str = NO_ADDRESS


class MemoryJournal:
    """The steps of a deployment on a chain that is gone when the process is."""

    def __init__(self) -> None:
        self._steps: dict[str, Any] = {}

    def get(self, step: str) -> Any:
        """Give what is known of a step, None if nothing is."""
        return self._steps.get(step)

    def put(self, step: str, value: Any) -> None:
        """Remember a step."""
        self._steps[step] = value


class Journal(MemoryJournal):
    """The steps of a deployment, kept in a JSON file.

    The file is at the same time what other commands read to find the contracts.
    """

    def __init__(self, path: Path, chain_id: int) -> None:
        """Open or begin a journal.

        Raises:
            DeploymentError: The file is no journal, or is for another chain.
        """
        super().__init__()
        self._path = path
        self._chain_id = chain_id
        if path.exists():
            self._steps = _read_steps(path, chain_id)

    def put(self, step: str, value: Any) -> None:
        """Store a step durably."""
        super().put(step, value)
        text = json.dumps(
            {"format": FORMAT, "chain_id": self._chain_id, **self._steps}, indent=2, sort_keys=True
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with temporary.open("w") as handle:
            handle.write(text + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(self._path)
        sync(self._path.parent)  # what is sent after this is found again

    def adopt_shared(self, other: "Journal") -> None:
        """Take the contracts that runs share from another journal, unless there are some here.

        Raises:
            DeploymentError: The other journal does not have them.
        """
        if not other._path.exists():
            raise DeploymentError(f"there is no {other._path}", hint="`hallmark deploy` writes such a file")
        for step in ("registry", "spec"):
            known = other.get(step)
            if not isinstance(known, dict) or "address" not in known:
                raise DeploymentError(
                    f"{other._path} names no deployed {step}", hint="`hallmark deploy` writes such a file"
                )
            if self.get(step) is None:
                self.put(step, known)
        for step in ("vault", "challenge", "data_requests", "guard_votes"):
            known = other.get(step)
            if isinstance(known, dict) and "address" in known and self.get(step) is None:
                self.put(step, known)


class Deployer:
    """Deploys the contracts of one run, or finds them deployed."""

    def __init__(self, node: Node, operator: LocalAccount, journal: MemoryJournal) -> None:
        self._node = node
        self._operator = operator
        self._journal = journal

    def shared(self, parameters: Sequence[int]) -> tuple[str, str]:
        """Deploy what runs share: registry and gate constants.

        Args:
            parameters: The gate's constants in the order of docs/spec/gate.md.

        Returns:
            Addresses of WorkerRegistry and GateSpec.

        Raises:
            DeploymentError: What is deployed there is not ours, or has other constants.
        """
        registry = self._contract("registry", "WorkerRegistry", MINIMUM_BOND_WEI, UNBONDING_S)
        spec = self._contract("spec", "GateSpec", tuple(parameters))
        found = bytes(self._node.call(self._bound(spec, "GateSpec").functions.specDigest()))
        if found != digests.spec_digest(parameters):
            raise DeploymentError(
                f"the GateSpec at {spec} has other constants than this run",
                hint="leave out --deployment, and the run deploys its own",
            )
        return registry, spec

    def vault(self) -> str:
        """Deploy what runs with a challenge contract share: the StakeVault.

        Returns:
            Its address.
        """
        return self._contract("vault", "StakeVault", MINIMUM_STAKE_WEI, UNBONDING_S)

    def challenge(self) -> str:
        """Deploy the contract that may overturn what was posted; runs share it.

        Returns:
            Its address, for `RunFacts.challenge`.
        """
        return self._contract("challenge", "Challenge")

    def data_requests(self) -> str:
        """Deploy the contract that is asked for withheld data; runs share it.

        Returns:
            Its address, for `RunFacts.data_requests`.
        """
        return self._contract("data_requests", "DataRequests", REQUEST_BOND_WEI, ANSWER_WINDOW_S)

    def guard_votes(self) -> str:
        """Deploy the contract in which several guards say what did not arrive; runs share it.

        Returns:
            Its address, for `RunFacts.data_requests`.
        """
        return self._contract("guard_votes", "GuardVotes")

    @property
    def has_ledger(self) -> bool:
        """Whether the journal has the run's ledger; what it names was decided then."""
        known = self._journal.get("ledger")
        return isinstance(known, dict) and "address" in known

    def run(self, parameters: Sequence[int], parties: Parties, facts: RunFacts) -> str:
        """Deploy everything that a run needs.

        Args:
            parameters: The gate's constants in the order of docs/spec/gate.md.
            parties: Everybody's keys; members join with the smallest bond. In a run with a challenge contract
                every guard's stake is filled up to the smallest one, also if it was slashed before.
            facts: What the ledger is told.

        Returns:
            Address of the ContributionLedger.

        Raises:
            InputError: No ledger takes so many workers and guards; fault of the caller.
            DeploymentError: The journal is of a run with another number of guards.
            RevertedError: A contract refused, for instance constants out of range.
            EnvironmentFault: The node failed.
        """
        check_size(len(parties.workers), len(parties.guards))
        registry, spec = self.shared(parameters)
        for guard in parties.guards:
            self._fund(guard.signer.address)
        for party in parties.members:
            self._fund(party.identity.address)
            self._join(registry, party)
        cohort = self._cohort(registry, parties)
        vault = NO_ADDRESS if facts.challenge == NO_ADDRESS else self.vault()
        # The last thing before the ledger: a deployment that was killed in between must not get another one.
        deadline = self._node.next_timestamp() + facts.commit_window_s
        ledger = self._contract(
            "ledger",
            "ContributionLedger",
            (
                registry,
                cohort,
                spec,
                facts.data_requests,
                facts.challenge,
                vault,
                facts.guardian,
                self._operator.address,
                facts.run,
                facts.initial_model,
                facts.shape_digest,
                facts.length,
                deadline,
                len(parties.guards),
            ),
        )
        # An old folder's ledger names what it was deployed with, whatever is asked for now.
        vault = self._node.call(self._bound(ledger, "ContributionLedger").functions.vault())
        if vault != NO_ADDRESS:
            client = VaultClient(self._node, vault)
            for guard in parties.guards:
                self._stake(client, ledger, guard)
        return ledger

    def _stake(self, vault: VaultClient, ledger: str, guard: Party) -> None:
        """Fill a guard's stake up; one that is being withdrawn is its owner's will and stays as it is."""
        stake = vault.stake_of(ledger, guard.identity.address)
        missing = vault.min_stake_wei - stake.amount_wei
        if missing > 0 and not stake.withdrawable_at:
            vault.deposit(guard.identity, ledger, guard.identity.address, missing)

    def _contract(self, step: str, name: str, *arguments: object) -> str:
        artifact = artifacts.load(name)
        known = self._journal.get(step)
        if known is not None:
            address = known.get("address") or _created(self._operator.address, known["nonce"])
            code = self._node.code(address)
            if artifact.matches(code):
                check_seen(self._node, step, known)
                if "address" not in known:
                    self._journal.put(step, {**known, "address": address, "seen": _buried(self._node)})
                return str(address)
            if "address" in known:
                raise DeploymentError(
                    f"{address} does not hold our {name}",
                    hint="is this the chain it was deployed to, and the same version of Hallmark?",
                )
        nonce = self._node.nonce(self._operator.address)
        intent = {"nonce": nonce, "block": self._node.block_number()}
        self._journal.put(step, intent)
        address, sent = self._node.deploy(self._operator, artifact.abi, artifact.bytecode, *arguments)
        seen = {"block": sent.block, "hash": "0x" + sent.block_hash.hex()}
        self._journal.put(step, {**intent, "address": address, "seen": seen})
        return address

    def _fund(self, address: str) -> None:
        """Give an account what it needs to take part, if it has less."""
        if self._node.balance_wei(address) < FUNDS_WEI:
            self._node.transfer(self._operator, address, FUNDS_WEI)

    def _join(self, registry: str, party: Party) -> None:
        contract = self._bound(registry, "WorkerRegistry")
        identity = party.identity.address
        if self._node.call(contract.functions.isActive(identity)):
            return
        proof = joining_proof(party, registry, self._node.chain_id)
        join = contract.functions.join(party.signer.address, proof)
        self._node.send(party.identity, join, value_wei=MINIMUM_BOND_WEI, local_gas=_JOIN_GAS)

    def _cohort(self, registry: str, parties: Parties) -> str:
        wanted = cohort_code(parties.members)
        known = self._journal.get("cohort")
        if known is not None:
            # Files of before there could be several do not say it: one.
            guards = known.get("guards", 1)
            if guards != len(parties.guards):
                raise DeploymentError(
                    f"the deployment is of a run with {guards} guards, not {len(parties.guards)}",
                    hint="go on with as many as it was begun with, or choose another --out",
                )
            return str(known["address"])
        found = self._sealed(registry, wanted)
        if found is None:
            workers = [party.identity.address for party in parties.workers]
            guards = [party.identity.address for party in parties.guards]
            functions = self._bound(registry, "WorkerRegistry").functions
            self._node.send(self._operator, functions.sealCohort(workers, guards))
            found = self._sealed(registry, wanted)
        if found is None:
            raise EnvironmentFault(f"the registry sealed no cohort of these {len(parties.members)} members")
        self._journal.put("cohort", {"address": found, "guards": len(parties.guards)})
        return found

    def _sealed(self, registry: str, code: bytes) -> str | None:
        for cohort in reversed(read_cohorts(self._node, registry)):
            # Who of the members is a guard is said by the ledger, not by the cohort.
            if self._node.code(cohort.address) == code:
                return cohort.address
        return None

    def _bound(self, address: str, name: str) -> Any:
        return self._node.web3.eth.contract(
            address=to_checksum_address(address), abi=artifacts.load(name).abi
        )


def cohort_code(members: Sequence[Party]) -> bytes:
    """Give the code of a cohort's data contract: 0x00, then identity and signer of each member."""
    return b"\x00" + b"".join(
        to_canonical_address(party.identity.address) + to_canonical_address(party.signer.address)
        for party in members
    )


def ledger_address(path: Path, chain_id: int) -> str:
    """Read where a run's ledger is.

    Args:
        path: A run's deployment.json.
        chain_id: Chain that the caller is connected to.

    Returns:
        Address of the ContributionLedger.

    Raises:
        DeploymentError: No such file, not a deployment, another chain, or the
            run was never deployed completely.
    """
    if not path.exists():
        raise DeploymentError(f"no deployment at {path}", hint="is this the folder of a run?")
    step = _read_steps(path, chain_id).get("ledger")
    if not isinstance(step, dict) or "address" not in step:
        raise DeploymentError(
            f"{path}: the run's ledger was never deployed", hint="run the same `hallmark run` again"
        )
    return str(step["address"])


def find_ledger(path: Path, node: Node) -> str:
    """Read where a run's ledger is, and check that this is the chain that it was deployed to.

    Two local chains give the same addresses to the same contracts, so an address alone proves nothing.

    Args:
        path: A run's deployment.json.
        node: The chain that the caller is connected to.

    Returns:
        Address of the ContributionLedger.

    Raises:
        DeploymentError: As for `ledger_address`, or this is another chain with the same id.
        EnvironmentFault: The node failed.
    """
    address = ledger_address(path, node.chain_id)
    check_seen(node, "ledger", _read_steps(path, node.chain_id)["ledger"])
    return address


def check_seen(node: Node, step: str, known: Mapping[str, Any]) -> None:
    """Check that a chain has the block that was its newest when a step was done.

    Args:
        node: The chain.
        step: Name of the step, for the message.
        known: What a journal has of the step; steps of before this check was made have no such block.

    Raises:
        DeploymentError: It has not: it is another chain with the same id.
        EnvironmentFault: The node failed.
    """
    seen = known.get("seen")
    if seen is None:
        return
    try:
        number, expected = int(seen["block"]), str(seen["hash"])
    except (KeyError, TypeError, ValueError) as error:
        raise DeploymentError(f"the deployment's block of step {step!r} cannot be read: {seen!r}") from error
    found = "none" if number > node.block_number() else "0x" + bytes(node.block(number)["hash"]).hex()
    if found != expected:
        raise DeploymentError(
            f"this is not the chain of the deployment: its block {number} is {found}, not {expected}",
            hint="another local chain, with the same addresses? check --rpc-url, or choose another --out",
        )


def _buried(node: Node) -> dict[str, Any]:
    """Give number and hash of the newest block that is confirmed; a chain is told by them."""
    block = node.block(max(0, node.block_number() - node.confirmations))
    return {"block": int(block["number"]), "hash": "0x" + bytes(block["hash"]).hex()}


def ledger_created_after(path: Path, chain_id: int) -> int:
    """Read which block was the newest when a run's ledger was created, so that nobody reads logs before it.

    Args:
        path: A run's deployment.json.
        chain_id: Chain that the caller is connected to.

    Returns:
        A block number; 0 if the file does not tell.

    Raises:
        DeploymentError: The file is no deployment, or is for another chain.
    """
    step = _read_steps(path, chain_id).get("ledger")
    block = step.get("block") if isinstance(step, dict) else None
    return block if isinstance(block, int) and not isinstance(block, bool) and block >= 0 else 0


def _read_steps(path: Path, chain_id: int) -> dict[str, Any]:
    try:
        content = loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DeploymentError(f"cannot read deployment {path}: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DeploymentError(f"{path} is no deployment of format {FORMAT}")
    if content.get("chain_id") != chain_id:
        raise DeploymentError(
            f"{path} is for chain id {content.get('chain_id')}, the node serves {chain_id}",
            hint="check --rpc-url",
        )
    steps = {key: value for key, value in content.items() if key not in ("format", "chain_id")}
    for step, known in steps.items():
        if not _is_step(known):
            raise DeploymentError(
                f"{path}: step {step!r} has neither an address nor the nonce of its transaction",
                hint="take it from a copy, or deploy anew into another file",
            )
    return steps


def _is_step(known: object) -> bool:
    """Tell whether something is what a journal keeps of a step."""
    if not isinstance(known, dict):
        return False
    if "address" in known:
        return is_address(known["address"])
    return type(known.get("nonce")) is int and known["nonce"] >= 0


def _created(sender: str, nonce: int) -> str:
    return to_checksum_address(keccak(rlp.encode([to_canonical_address(sender), nonce]))[12:])
