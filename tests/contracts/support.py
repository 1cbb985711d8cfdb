"""Chain, deployment and message building for the contract tests."""

import ast
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from eth_abi.abi import decode, encode
from eth_keys.datatypes import PrivateKey
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed
from eth_typing import ChecksumAddress
from eth_utils import keccak, to_canonical_address, to_checksum_address
from web3 import EthereumTesterProvider, Web3
from web3.contract import Contract
from web3.contract.contract import ContractFunction
from web3.logs import DISCARD
from web3.types import TxParams, TxReceipt

from tests.contracts.model import (
    Assay,
    Constants,
    Lane,
    Posting,
    counted,
    gate,
    pack_lanes,
    present_guards,
    present_workers,
    reading,
    upper_median,
)

ARTIFACTS = Path(__file__).parents[2] / "contracts" / "artifacts"

GAS_LIMIT = 29_000_000
GENESIS_TIME = 1_800_000_000
BOND_WEI = 10**18
UNBONDING_S = 86_400
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

NOBODY = "0x" + "00" * 20

# Keys of the tester's accounts are 1, 2, 3, ...
DEPLOYER, AGGREGATOR, RELAYER, OUTSIDER = 1, 2, 3, 4
FIRST_MEMBER_KEY = 10


@dataclass(frozen=True, slots=True)
class Revert(Exception):
    """A custom error that a call ended in."""

    name: str
    arguments: tuple[Any, ...]


@cache
def artifact(name: str) -> dict[str, Any]:
    """Load a compiled contract, those of tests and of the prototype too."""
    folders = (ARTIFACTS, ARTIFACTS / "test", ARTIFACTS / "prototype")
    path = next(path for folder in folders if (path := folder / f"{name}.json").exists())
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@cache
def error_selectors() -> dict[bytes, tuple[str, list[str]]]:
    """Give name and types of every custom error of the contracts."""
    known = {keccak(text="Panic(uint256)")[:4]: ("Panic", ["uint256"])}
    for path in ARTIFACTS.rglob("*.json"):
        for entry in json.loads(path.read_text()).get("abi", []):
            if entry["type"] == "error":
                types = [item["type"] for item in entry["inputs"]]
                known[keccak(text=f"{entry['name']}({','.join(types)})")[:4]] = (entry["name"], types)
    return known


def private_key(number: int) -> PrivateKey:
    """Give the key with this number."""
    return PrivateKey(number.to_bytes(32, "big"))


@cache
def address(number: int) -> ChecksumAddress:
    """Give the address of the key with this number."""
    return to_checksum_address(private_key(number).public_key.to_canonical_address())


@dataclass(frozen=True, slots=True)
class Actor:
    """A member's two keys, as numbers."""

    identity_key: int
    signer_key: int

    @property
    def identity(self) -> ChecksumAddress:
        """The cold owner's address."""
        return address(self.identity_key)

    @property
    def signer(self) -> ChecksumAddress:
        """The hot key's address."""
        return address(self.signer_key)


def actor(number: int) -> Actor:
    """Give the member with this number; its keys have funds."""
    return Actor(FIRST_MEMBER_KEY + 2 * number, FIRST_MEMBER_KEY + 2 * number + 1)


class CachedKeysBackend(PyEVMBackend):  # type: ignore[misc]
    """A py-evm backend that does not derive all addresses again for each transaction."""

    _lookup: dict[bytes, PrivateKey] | None = None

    @property
    def _key_lookup(self) -> dict[bytes, PrivateKey]:
        if self._lookup is None or len(self._lookup) != len(self.account_keys):
            self._lookup = {key.public_key.to_canonical_address(): key for key in self.account_keys}
        return self._lookup


class TestChain:
    """An in-process chain on py-evm's newest fork."""

    __test__ = False

    def __init__(self, members: int = 16, code: dict[int, bytes] | None = None) -> None:
        genesis = dict(PyEVMBackend.generate_genesis_state(num_accounts=FIRST_MEMBER_KEY + 2 * members))
        for number, content in (code or {}).items():
            account = canonical(address(number))
            genesis[account] = {**genesis[account], "code": content}
        # A fixed start: deadlines and so signatures, whose zero bytes cost less gas, never change.
        parameters = PyEVMBackend.generate_genesis_params({"timestamp": GENESIS_TIME})
        self.tester = EthereumTester(CachedKeysBackend(parameters, genesis))
        self.web3 = Web3(EthereumTesterProvider(self.tester))
        # Calls see the block to come, as a transaction would.
        self.web3.eth.default_block = "pending"
        self.chain_id = self.web3.eth.chain_id

    @property
    def now(self) -> int:
        """Timestamp of the block that a call sees."""
        timestamp: int = self.tester.get_block_by_number("pending")["timestamp"]
        return timestamp

    def deploy(self, name: str, *arguments: Any, value: int = 0) -> Contract:
        """Deploy a compiled contract."""
        content = artifact(name)
        factory = self.web3.eth.contract(abi=content["abi"], bytecode=content["bytecode"])
        receipt = self._wait(factory.constructor(*arguments).transact(self._fields(DEPLOYER, value)))
        if receipt["status"] != 1:
            raise Revert("constructor", ())
        return self.at(name, receipt["contractAddress"] or "")

    def deploy_error(self, name: str, *arguments: Any) -> Revert:
        """Give the error in which a deployment ends."""
        content = artifact(name)
        factory = self.web3.eth.contract(abi=content["abi"], bytecode=content["bytecode"])
        return self._error({"data": factory.constructor(*arguments).data_in_transaction}, DEPLOYER, 0)

    def at(self, name: str, where: str) -> Contract:
        """Give a contract by its address."""
        return self.web3.eth.contract(address=to_checksum_address(where), abi=artifact(name)["abi"])

    def send(self, function: ContractFunction, sender: int, value: int = 0) -> TxReceipt:
        """Send a transaction that must succeed; otherwise raise its revert."""
        receipt = self._wait(function.transact(self._fields(sender, value)))
        if receipt["status"] != 1:
            raise AssertionError(f"{function.fn_name} reverted in its transaction")
        return receipt

    def error(self, function: ContractFunction, sender: int = OUTSIDER, value: int = 0) -> Revert:
        """Give the custom error in which a call ends."""
        data = function._encode_transaction_data()
        return self._error({"to": function.address, "data": data}, sender, value)

    def _error(self, fields: dict[str, Any], sender: int, value: int) -> Revert:
        # Not through web3: its provider for this chain turns revert data into text.
        call = {"from": address(sender), "value": value, "gas": GAS_LIMIT, **fields}
        try:
            self.tester.call(call, "pending")
        except TransactionFailed as error:
            return decode_error(error)
        raise AssertionError("the call did not revert")

    def mine(self, blocks: int) -> None:
        """Mine empty blocks."""
        self.tester.mine_blocks(blocks)

    def travel(self, seconds: int) -> None:
        """Let time pass; mines a block."""
        self.tester.time_travel(self.now + seconds)

    def block_hash(self, number: int) -> bytes:
        """Give a block's hash."""
        return bytes(self.web3.eth.get_block(number)["hash"])

    def _fields(self, sender: int, value: int) -> TxParams:
        # All fields given: filling them in costs more than the transaction.
        return {
            "from": address(sender),
            "value": Web3.to_wei(value, "wei"),
            "gas": GAS_LIMIT,
            "maxFeePerGas": Web3.to_wei(10, "gwei"),
            "maxPriorityFeePerGas": Web3.to_wei(1, "wei"),
            "chainId": self.chain_id,
        }

    def _wait(self, transaction: Any) -> TxReceipt:
        return self.web3.eth.get_transaction_receipt(transaction)


def decode_error(error: TransactionFailed) -> Revert:
    """Decode revert data to a custom error."""
    # The chain gives revert data as the text of a bytes literal.
    data: bytes = ast.literal_eval(str(error))
    name, types = error_selectors()[data[:4]]
    return Revert(name, decode(types, data[4:]))


def typed_digest(domain: bytes, struct_hash: bytes) -> bytes:
    """Give an EIP-712 digest."""
    return keccak(b"\x19\x01" + domain + struct_hash)


def domain_separator(name: str, chain_id: int, contract: str) -> bytes:
    """Give an EIP-712 domain separator, version 1."""
    type_hash = keccak(
        text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    )
    return keccak(
        encode(
            ["bytes32", "bytes32", "bytes32", "uint256", "address"],
            [type_hash, keccak(text=name), keccak(text="1"), chain_id, contract],
        )
    )


def word(value: int) -> bytes:
    """Give 32 bytes."""
    return value.to_bytes(32, "big")


def sign_compact(digest: bytes, key: int) -> bytes:
    """Sign as EIP-2098."""
    signature = private_key(key).sign_msg_hash(digest)
    return word(signature.r) + word(signature.v << 255 | signature.s)


def sign_full(digest: bytes, key: int) -> bytes:
    """Sign as r || s || v, 65 bytes."""
    signature = private_key(key).sign_msg_hash(digest)
    return word(signature.r) + word(signature.s) + bytes([27 + signature.v])


@dataclass(frozen=True, slots=True)
class Registry:
    """A deployed WorkerRegistry."""

    chain: TestChain
    contract: Contract

    @classmethod
    def deploy(cls, chain: TestChain, bond_wei: int = BOND_WEI, unbonding_s: int = UNBONDING_S) -> "Registry":
        """Deploy one."""
        return cls(chain, chain.deploy("WorkerRegistry", bond_wei, unbonding_s))

    def proof(self, identity: str, signer: str, key: int) -> bytes:
        """Give a hot key's proof of possession."""
        type_hash = keccak(text="Join(address identity,address signer)")
        struct = keccak(encode(["bytes32", "address", "address"], [type_hash, identity, signer]))
        separator = domain_separator("Hallmark WorkerRegistry", self.chain.chain_id, self.contract.address)
        return sign_full(typed_digest(separator, struct), key)

    def join(self, member: Actor) -> None:
        """Register a member."""
        proof = self.proof(member.identity, member.signer, member.signer_key)
        self.chain.send(self.contract.functions.join(member.signer, proof), member.identity_key, BOND_WEI)

    def seal_cohort(self, members: Sequence[Actor], guards: int = 1) -> str:
        """Seal a cohort, the last members being the guards."""
        identities = [member.identity for member in members]
        receipt = self.chain.send(
            self.contract.functions.sealCohort(identities[:-guards], identities[-guards:]), DEPLOYER
        )
        [event] = self.contract.events.CohortSealed().process_receipt(receipt, errors=DISCARD)
        return str(event["args"]["cohort"])


@dataclass(frozen=True, slots=True)
class Commitment:
    """One contribution as it is committed."""

    index: int
    update_root: bytes
    tokens: int = 4096


@dataclass(slots=True)
class Run:
    """A deployed run with its members' keys, and a model of what it should hold."""

    chain: TestChain
    registry: Registry
    members: tuple[Actor, ...]
    cohort: str
    spec: Contract
    ledger: Contract
    reputation: Contract
    constants: Constants
    lanes: list[Lane] = field(default_factory=list)
    yardstick: int = 0
    guards: int = 1

    @classmethod
    def deploy(
        cls,
        chain: TestChain,
        workers: int,
        constants: Constants | None = None,
        data_requests: str = NOBODY,
        challenge: str = NOBODY,
        vault: str = NOBODY,
        guardian: str = NOBODY,
        registry: Registry | None = None,
        members: Sequence[Actor] | None = None,
        run: int = 7,
        guards: int = 1,
    ) -> "Run":
        """Deploy everything for `workers` workers and the guards."""
        constants = constants or Constants()
        if registry is None:
            registry = Registry.deploy(chain)
        if members is None:
            members = [actor(number) for number in range(workers + guards)]
            for member in members:
                registry.join(member)
        cohort = registry.seal_cohort(members, guards)
        spec = chain.deploy("GateSpec", constants.as_tuple())
        ledger = chain.deploy(
            "ContributionLedger",
            (
                registry.contract.address,
                cohort,
                spec.address,
                data_requests,
                challenge,
                vault,
                guardian,
                address(AGGREGATOR),
                run,
                keccak(text="model 0"),
                keccak(text="shape"),
                1_000_000,
                chain.now + 1000,
                guards,
            ),
        )
        reputation = chain.at("Reputation", ledger.functions.reputation().call())
        return cls(
            chain,
            registry,
            tuple(members),
            cohort,
            spec,
            ledger,
            reputation,
            constants,
            [Lane() for _ in members],
            guards=guards,
        )

    @property
    def guard(self) -> Actor:
        """Keys of guard number 0."""
        return self.members[-self.guards]

    def guard_number(self, number: int) -> Actor:
        """Keys of a guard by its number."""
        return self.members[len(self.members) - self.guards + number]

    @property
    def full(self) -> int:
        """All members' bits."""
        return (1 << len(self.members)) - 1

    @property
    def run_id(self) -> int:
        """The run's id."""
        identifier: int = self.ledger.functions.run().call()
        return identifier

    def state(self) -> dict[str, Any]:
        """Give the ledger's state by field name."""
        outputs = self.ledger.get_function_by_name("state").abi["outputs"]
        names = [item["name"] for item in outputs[0]["components"]]
        return dict(zip(names, self.ledger.functions.state().call(), strict=True))

    def digest(
        self,
        round_: int,
        commitment: Commitment,
        deadline: int,
        parent: bytes | None = None,
        ledger: str | None = None,
        chain_id: int | None = None,
    ) -> bytes:
        """Give a contribution's digest, computed without the contract."""
        type_hash = keccak(
            text="Contribution(uint64 run,uint32 round,address worker,bytes32 specDigest,"
            "bytes32 parentModel,bytes32 updateRoot,uint64 tokens,uint64 deadline)"
        )
        if parent is None:
            parent = self.ledger.functions.parentModel().call()
        struct = keccak(
            encode(
                ["bytes32", "uint64", "uint32", "address", *["bytes32"] * 3, "uint64", "uint64"],
                [
                    type_hash,
                    self.run_id,
                    round_,
                    self.members[commitment.index].identity,
                    spec_digest(self.constants),
                    parent,
                    commitment.update_root,
                    commitment.tokens,
                    deadline,
                ],
            )
        )
        separator = domain_separator(
            "Hallmark", chain_id or self.chain.chain_id, ledger or self.ledger.address
        )
        return typed_digest(separator, struct)

    def items(self, round_: int, commitments: Sequence[Commitment], deadline: int) -> bytes:
        """Give the items of a batch, signed."""
        parent = self.ledger.functions.parentModel().call()
        return b"".join(
            c.update_root
            + c.tokens.to_bytes(8, "big")
            + sign_compact(self.digest(round_, c, deadline, parent), self.members[c.index].signer_key)
            for c in sorted(commitments, key=lambda c: c.index)
        )

    def batch(self, round_: int, commitments: Sequence[Commitment], deadline: int) -> ContractFunction:
        """Give the call that commits a batch."""
        members = sum(1 << c.index for c in commitments)
        items = self.items(round_, commitments, deadline)
        function: ContractFunction = self.ledger.functions.commitBatch(round_, deadline, members, items)
        return function

    def commit_all(self, round_: int, absent: Sequence[int] = ()) -> TxReceipt:
        """Commit every member but the absent in one batch."""
        present = [i for i in range(len(self.members)) if i not in absent]
        commitments = [Commitment(i, update_root(round_, i)) for i in present]
        return self.chain.send(self.batch(round_, commitments, self.chain.now + 10_000), RELAYER)

    def seal_if_open(self, round_: int) -> None:
        """Seal after the deadline unless the last commitment did."""
        state = self.state()
        if state["stage"] == 1:
            self.chain.travel(state["commitDeadline"] - self.chain.now + 1)
            self.chain.send(self.ledger.functions.seal(round_), OUTSIDER)

    def posting(self, rng: random.Random, presence: int | None = None, flip: float = 0.42) -> Posting:
        """Give a well-formed posting: codes that differ from the anchor's in about `flip` of the bits."""
        state = self.state()
        presence = state["presence"] if presence is None else presence
        posting = random_posting(rng, self.constants, self.lanes, presence, flip, self.guards)
        return replace(posting, seed=self.seed(state["round"])) if state["stage"] == 2 else posting

    def seed(self, round_: int) -> bytes:
        """Give a sealed round's seed, computed without the contract; the block after the seal is mined."""
        words = ["bytes32", "uint256", "address", "uint64", "uint256", "bytes32", "bytes32"]
        block = self.chain.web3.eth.get_block(self.state()["sealBlock"] + 1)
        tag, accumulator = keccak(text="hallmark.seed.v1"), self.ledger.functions.recordOf(round_).call()
        place = [self.chain.chain_id, self.ledger.address, self.run_id, round_]
        return keccak(encode(words, [tag, *place, accumulator, bytes(block["hash"])]))

    def settle(self, round_: int, posting: Posting, presence: int | None = None) -> TxReceipt:
        """Settle by the guard that the posting names, under the round's seed, and move the model."""
        presence = self.state()["presence"] if presence is None else presence
        posting = replace(posting, seed=self.seed(round_))
        receipt = self.chain.send(
            self.ledger.functions.settle(round_, posting.encode()),
            self.guard_number(posting.poster).signer_key,
        )
        _, self.yardstick, self.lanes = gate(
            self.constants, round_, self.lanes, presence, posting, self.yardstick, self.guards
        )
        return receipt

    def finalize(self, round_: int, *, reopen: bool = True, model: bytes | None = None) -> TxReceipt:
        """Finalize; opens the next round unless told not to."""
        model = keccak(text=f"model {round_}") if model is None else model
        deadline = self.chain.now + 1000 if reopen else 0
        return self.chain.send(
            self.ledger.functions.finalize(round_, model, keccak(text=f"weights {round_}"), deadline),
            AGGREGATOR,
        )

    def reach_settled(self, round_: int, rng: random.Random, absent: Sequence[int] = ()) -> Posting:
        """Go from open to settled."""
        self.reach_sealed(round_, absent)
        posting = self.posting(rng)
        self.settle(round_, posting)
        return posting

    def reach_sealed(self, round_: int, absent: Sequence[int] = ()) -> None:
        """Go from open to sealed, with the block for the seed mined."""
        self.commit_all(round_, absent)
        self.seal_if_open(round_)
        self.chain.mine(1)

    def lane_words(self) -> list[int]:
        """Give the lane words on the chain."""
        return list(self.reputation.functions.lanes().call())

    def model_lane_words(self) -> list[int]:
        """Give the lane words that the model expects."""
        return pack_lanes(self.lanes)


def update_root(round_: int, index: int) -> bytes:
    """Give a made-up update root."""
    return keccak(text=f"update {round_} {index}")


def spec_digest(constants: Constants) -> bytes:
    """Give the digest of a run's constants, computed without the contract."""
    values = constants.as_tuple()
    return keccak(encode(["bytes32"] + ["int256"] * len(values), [keccak(text="hallmark.spec.v1"), *values]))


def random_posting(
    rng: random.Random,
    constants: Constants,
    lanes: list[Lane],
    presence: int,
    flip: float,
    guards: int = 1,
) -> Posting:
    """Give a posting with everything delivered and the right median."""
    anchor = Assay(rng.getrandbits(256), rng.randrange(1, 2**40), rng.randrange(-20, -10))
    voices: tuple[Assay, ...] = ()
    if guards > 1:
        voices = tuple(near(rng, anchor, 0.2) for _ in present_guards(presence, len(lanes), guards))
        anchor = reading(list(voices))
    assays = tuple(near(rng, anchor, flip) for _ in present_workers(presence, len(lanes), guards))
    posting = Posting(anchor, 0, assays, trace_root=rng.randbytes(32), guards=voices)
    return with_median(constants, lanes, presence, posting, guards)


def near(rng: random.Random, anchor: Assay, flip: float) -> Assay:
    """Give a living update whose code differs from the anchor's in about `flip` of the bits."""
    code = anchor.code ^ sum((rng.random() < flip) << bit for bit in range(256))
    return Assay(code, rng.randrange(2**30, 2**40), anchor.exponent)


def with_median(
    constants: Constants, lanes: list[Lane], presence: int, posting: Posting, guards: int = 1
) -> Posting:
    """Give the same posting with the right median."""
    scores = counted(constants, lanes, presence, posting, guards)
    return replace(posting, x=upper_median(list(scores.values())))


def canonical(value: str) -> bytes:
    """Give an address as 20 bytes."""
    return bytes(to_canonical_address(value))
