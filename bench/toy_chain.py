"""Runs of any length in milliseconds a round: a chain without an EVM, written with the rules' Python forms.

What an audit reads of it is what a real chain would hold: signatures, calldata, events, block hashes, records
and files follow from one another. Only the training is a toy, and views are looked up instead of executed.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from eth_abi.abi import encode
from eth_utils import keccak, to_canonical_address, to_checksum_address

from guard.gate import GateParameters, Status, WorkerEvidence
from guard.settlement import SEED_PREFIX_BYTES, Settlement, encode_settlement
from guard.signs import SeedSigns
from guard.state import Decision, GateState
from ledger import artifacts, digests
from ledger.blobs import BlobKind, BlobStore
from ledger.calldata import SignedCommitment, encode_batch
from ledger.contribution import Contribution, Domain, sign
from ledger.parties import Party, local_parties
from ledger.update import Model, UpdateFacts, UpdateView, encode_model, encode_update, model_root
from trainer.assay import assay
from trainer.audit.blocks import encode_header
from trainer.merge import Weighted, merge
from trainer.settled import settled_facts
from trainer.traces import round_traces

CHAIN_ID = 31337
WORKERS = 2

_RUN = 1
_LENGTH = 64
_EXPONENT = -14
_SHAPE = keccak(b"shape")
_WINDOW_S = 3600
_ADDRESSES = {
    name: to_checksum_address(keccak(name.encode())[12:])
    for name in ("ContributionLedger", "GateSpec", "Judge", "Reputation", "WorkerRegistry", "cohort")
}
_NO_ADDRESS = to_checksum_address(bytes(20))
_DURING_S = 10


class ToyChain:
    """The chain; a source for an audit (trainer.audit.source.Source).

    Attributes:
        folder: Where it is.
        blobs: Its files.
        ledger: Address of its ledger.
    """

    def __init__(self, folder: Path) -> None:
        """Open a chain, or begin one."""
        self.folder, self.blobs = folder, folder / "blobs"
        self.ledger = _ADDRESSES["ContributionLedger"]
        self.blobs.mkdir(parents=True, exist_ok=True)
        self._parties = local_parties(WORKERS)
        self._members = (*self._parties.workers, self._parties.guard)
        self._parameters = GateParameters()
        self._spec = digests.spec_digest(self._parameters.as_tuple())
        self._domain = Domain(CHAIN_ID, self.ledger)
        self._database = sqlite3.connect(folder / "chain.sqlite")
        self._database.executescript(
            """PRAGMA synchronous = OFF; PRAGMA cache_size = -2000;
            CREATE TABLE IF NOT EXISTS blocks (number INTEGER PRIMARY KEY, header TEXT);
            CREATE TABLE IF NOT EXISTS logs (block INTEGER, log TEXT);
            CREATE INDEX IF NOT EXISTS logs_block ON logs (block);
            CREATE TABLE IF NOT EXISTS transactions (hash TEXT PRIMARY KEY, content TEXT);
            CREATE TABLE IF NOT EXISTS rounds (round INTEGER PRIMARY KEY, record BLOB, approved TEXT);
            CREATE TABLE IF NOT EXISTS state (content TEXT);"""
        )
        zeros = np.zeros(_LENGTH, np.float32)
        self._model = Model(zeros, zeros.copy(), _SHAPE)
        self._gate = GateState.start(WORKERS)
        self._rng = np.random.default_rng(0)
        self._done = 0
        self._deadline = 0
        self._record = digests.NO_DIGEST
        self._root = model_root(self._model.parameters, self._model.momentum, _SHAPE)
        self._views = {**self._constants(), **self._read_state()}

    def play_to(self, rounds: int, on_round: Callable[[int], None]) -> None:
        """Play rounds until so many are finished; the next one is open. Only whoever began the chain can."""
        if self._done == 0:
            BlobStore(self.blobs).put(self._root, encode_model(self._model), BlobKind.MODEL)
            self._block([self._event("RunOpened", self._run_opened()), self._opened()])
        while self._done < rounds:
            self._play()
            if self._done % 100 == 0:
                on_round(self._done)
        self._write_state()
        self._database.commit()

    # What an audit asks

    def chain_id(self) -> str:
        """Give the chain id."""
        return hex(CHAIN_ID)

    def head(self) -> str:
        """Give the number of the newest block."""
        return hex(self._newest())

    def block(self, number: str) -> Any:
        """Give a header."""
        place = self._newest() if number == "latest" else int(number, 16)
        row = self._database.execute("SELECT header FROM blocks WHERE number = ?", (place,)).fetchone()
        return None if row is None else json.loads(row[0])

    def code(self, address: str) -> str:
        """Give the code at an address."""
        name = next((n for n, found in _ADDRESSES.items() if found.lower() == address.lower()), "")
        if name == "cohort":
            return "0x00" + "".join(_packed(member).hex() for member in self._members)
        return "0x" + artifacts.load(name).runtime.hex() if name else "0x"

    def logs(self, query: Mapping[str, Any]) -> list[Any]:
        """Give logs."""
        span = (int(query["fromBlock"], 16), int(query["toBlock"], 16))
        rows = self._database.execute("SELECT log FROM logs WHERE block BETWEEN ? AND ? ORDER BY rowid", span)
        return [json.loads(row[0]) for row in rows]

    def transaction(self, transaction_hash: str) -> Any:
        """Give a transaction."""
        sql = "SELECT content FROM transactions WHERE hash = ?"
        row = self._database.execute(sql, (transaction_hash,)).fetchone()
        return None if row is None else json.loads(row[0])

    def call(self, request: Mapping[str, Any]) -> str:
        """Look a view up."""
        data = bytes.fromhex((request.get("data") or request["input"])[2:])
        name, entry = _FUNCTIONS[data[:4]]
        if name == "recordOf":
            value: Any = self._row(int.from_bytes(data[4:36], "big"))[0]
        elif name == "isApproved":
            round_, index = (int.from_bytes(data[i : i + 32], "big") for i in (4, 36))
            value = int(self._row(round_)[1], 16) >> index & 1 == 1
        else:
            value = self._views.get(name)
        return (
            "0x"
            + encode([_type(item) for item in entry["outputs"]], [_shaped(entry["outputs"][0], value)]).hex()
        )

    def _row(self, round_: int) -> tuple[bytes, str]:
        sql = "SELECT record, approved FROM rounds WHERE round = ?"
        found: tuple[bytes, str] | None = self._database.execute(sql, (round_,)).fetchone()
        return found or (digests.NO_DIGEST, "0x0")

    # One round

    def _play(self) -> None:
        number = self._done + 1
        files, batch, signed = [], {}, []
        step = self._rng.integers(-100, 101, _LENGTH)
        for index, member in enumerate(self._members):
            values = np.clip(step + self._rng.integers(-20, 21, _LENGTH), -127, 127).astype(np.int8)
            worker = to_canonical_address(member.identity.address)
            facts = UpdateFacts(_RUN, number, worker, _SHAPE, _LENGTH)
            data = encode_update(facts.header(_EXPONENT), values)
            root = assay(data, facts, bytes(32)).root or b""
            (self.blobs / f"0x{root.hex()}.hmrk").write_bytes(data)
            digest = Contribution(
                run=_RUN, round=number, worker=member.identity.address, spec_digest=self._spec,
                parent_model=self._root, update_root=root, tokens=1, deadline=self._deadline,
            ).digest(self._domain)  # fmt: skip
            batch[index] = SignedCommitment(root, 1, sign(digest, bytes(member.signer.key)))
            signed.append(digest)
            files.append((facts, data))
        accumulator = digests.round_start(self._domain, _RUN, number, self._spec, self._record, self._root)
        for digest in signed:
            accumulator = digests.append(accumulator, digest)
        presence, items = encode_batch(batch)
        committed = self._calldata(
            "commitBatch", {"round": number, "deadline": self._deadline, "members": presence, "items": items}
        )
        place = self._newest() + 1
        self._block(
            [
                self._event(
                    "BatchCommitted", {"round": number, "members": presence, "accumulator": accumulator}
                ),
                self._event(
                    "RoundSealed",
                    {"round": number, "presence": presence, "accumulator": accumulator, "sealBlock": place},
                ),
            ],
            committed,
            self._parties.operator.address,
        )
        seed = digests.seed(self._domain, _RUN, number, accumulator, self._block([]))
        found = [assay(data, facts, SeedSigns(seed), with_trace=True) for facts, data in files]
        if found[-1].reading is None or any(one.status != Status.COMMITTED for one in found):
            raise ValueError("the toy's own updates are not sound")
        workers = tuple(WorkerEvidence(one.status, one.reading) for one in found[:-1])
        traces = round_traces({index: one.leaves for index, one in enumerate(found)}, len(found))
        draft = Settlement(found[-1].reading, 0, workers, traces.root, seed_prefix=seed[:SEED_PREFIX_BYTES])
        posted = replace(draft, median=self._gate.median(self._parameters, draft))
        decision = self._gate.decide(self._parameters, number, posted)
        payload = encode_settlement(posted)
        settled = digests.settled(accumulator, settled_facts(presence, seed, payload, decision))
        self._block(
            [
                self._event(
                    "RoundSettled",
                    {
                        "round": number, "approved": decision.verdict.approved, "seed": seed,
                        "record": settled, "yardstick": decision.after.yardstick,
                    },
                )
            ],
            self._calldata("settle", {"round": number, "payload": payload}),
            self._parties.guard.signer.address,
        )  # fmt: skip
        self._merge(decision, [data for _, data in files])
        weights = keccak(decision.weights.preimage(_RUN, number))
        self._record = digests.final(settled, self._root, weights)
        approved = hex(decision.verdict.approved)
        self._database.execute("INSERT INTO rounds VALUES (?, ?, ?)", (number, self._record, approved))
        self._done, self._gate = number, decision.after
        final = {"round": number, "modelRoot": self._root, "weightsDigest": weights, "record": self._record}
        self._block([self._event("RoundFinalized", final), self._opened()])

    def _merge(self, decision: Decision, files: list[bytes]) -> None:
        weights = decision.weights
        terms = [*zip(weights.indices, weights.weights, strict=True), (WORKERS, weights.anchor)]
        theta, momentum = merge(
            self._model.parameters,
            self._model.momentum,
            [Weighted(UpdateView(files[i]).values, _EXPONENT, weight) for i, weight in terms if weight],
            outer_lr_micro=self._parameters.outer_lr_micro,
            outer_momentum_micro=self._parameters.outer_momentum_micro,
        )
        self._model = Model(theta, momentum, _SHAPE)
        self._root = model_root(theta, momentum, _SHAPE)

    # Blocks

    def _block(self, events: list[dict[str, Any]], calldata: bytes = b"", sender: str = _NO_ADDRESS) -> bytes:
        """Add a block with at most one transaction; give its hash."""
        number = self._newest() + 1
        parent = self.block(hex(number - 1))
        transaction = "0x" + keccak(number.to_bytes(8, "big") + calldata).hex()
        fields: dict[str, Any] = dict.fromkeys(_WORDS, "0x" + "00" * 32) | {
            "parentHash": parent["hash"] if parent else "0x" + "00" * 32, "miner": _NO_ADDRESS,
            "logsBloom": "0x" + "00" * 256, "difficulty": 0, "number": number, "gasLimit": 30_000_000,
            "gasUsed": 0, "baseFeePerGas": 7, "blobGasUsed": 0, "excessBlobGas": 0,
            "timestamp": self._time(number), "extraData": "0x", "nonce": "0x" + "00" * 8,
        }  # fmt: skip
        block_hash = keccak(encode_header(fields) or b"")
        shown = {name: hex(value) if isinstance(value, int) else value for name, value in fields.items()}
        header = json.dumps({**shown, "hash": "0x" + block_hash.hex()})
        self._database.execute("INSERT INTO blocks VALUES (?, ?)", (number, header))
        for place, event in enumerate(events):
            log = {
                **event, "blockNumber": hex(number), "blockHash": "0x" + block_hash.hex(),
                "logIndex": hex(place),
                "transactionHash": transaction, "transactionIndex": "0x0", "removed": False,
            }  # fmt: skip
            self._database.execute("INSERT INTO logs VALUES (?, ?)", (number, json.dumps(log)))
        if calldata:
            content = {
                "hash": transaction, "blockNumber": hex(number), "from": sender, "to": self.ledger,
                "input": "0x" + calldata.hex(),
            }  # fmt: skip
            row = (transaction, json.dumps(content))
            self._database.execute("INSERT INTO transactions VALUES (?, ?)", row)
        return block_hash

    def _newest(self) -> int:
        found: int | None = self._database.execute("SELECT max(number) FROM blocks").fetchone()[0]
        return -1 if found is None else found

    def _time(self, number: int) -> int:
        return 1_700_000_000 + number * _DURING_S

    def _opened(self) -> dict[str, Any]:
        self._deadline = self._time(self._newest() + 1) + _WINDOW_S
        values = {"round": self._done + 1, "commitDeadline": self._deadline, "parentModel": self._root}
        return self._event("RoundOpened", values)

    def _event(self, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        entry = _EVENTS[name]
        topics = [keccak(text=_signature(entry))]
        topics += [encode([i["type"]], [values[i["name"]]]) for i in entry["inputs"] if i["indexed"]]
        plain = [item for item in entry["inputs"] if not item["indexed"]]
        data = encode([item["type"] for item in plain], [_shaped(i, values.get(i["name"])) for i in plain])
        return {
            "address": self.ledger,
            "topics": ["0x" + topic.hex() for topic in topics],
            "data": "0x" + data.hex(),
        }

    def _calldata(self, name: str, values: Mapping[str, Any]) -> bytes:
        selector, entry = next((key, e) for key, (n, e) in _FUNCTIONS.items() if n == name)
        inputs = entry["inputs"]
        return selector + encode([_type(i) for i in inputs], [values[i["name"].strip("_")] for i in inputs])

    # Views

    def _constants(self) -> dict[str, Any]:
        return {
            "cohort": _ADDRESSES["cohort"], "spec": _ADDRESSES["GateSpec"],
            "registry": _ADDRESSES["WorkerRegistry"], "reputation": _ADDRESSES["Reputation"],
            "judge": _ADDRESSES["Judge"],
            "aggregator": self._parties.operator.address, "run": _RUN, "specDigest": self._spec,
            "shapeDigest": _SHAPE, "length": _LENGTH, "guardSigner": self._parties.guard.signer.address,
            "parameters": self._parameters.as_tuple(), "isCohort": True,
            "members": [member.identity.address for member in self._members], "guards": 1,
            "dataRequests": _NO_ADDRESS, "challenge": _NO_ADDRESS, "vault": _NO_ADDRESS,
            "guardian": _NO_ADDRESS,
        }  # fmt: skip

    def _run_opened(self) -> dict[str, Any]:
        return {**self._constants(), "initialModel": self._root}

    def _write_state(self) -> None:
        content = {
            "lanes": [hex(word) for word in self._gate.lane_words],
            "state": {
                "round": self._done + 1, "stage": 1, "commitDeadline": self._deadline,
                "yardstick": self._gate.yardstick, "parentModel": self._root.hex(),
            },
        }  # fmt: skip
        self._database.execute("DELETE FROM state")
        self._database.execute("INSERT INTO state VALUES (?)", (json.dumps(content),))

    def _read_state(self) -> dict[str, Any]:
        row = self._database.execute("SELECT content FROM state").fetchone()
        if row is None:
            return {}
        content = json.loads(row[0])
        state = {**content["state"], "parentModel": bytes.fromhex(content["state"]["parentModel"])}
        return {"state": state, "lanes": [int(word, 16) for word in content["lanes"]]}


_WORDS = (
    "sha3Uncles", "stateRoot", "transactionsRoot", "receiptsRoot", "mixHash", "withdrawalsRoot",
    "parentBeaconBlockRoot", "requestsHash",
)  # fmt: skip


def _packed(member: Party) -> bytes:
    return to_canonical_address(member.identity.address) + to_canonical_address(member.signer.address)


def _shaped(item: Mapping[str, Any], value: Any) -> Any:
    """Give a value of an ABI type; nothing where there is none, for a whole tuple or for a part of it."""
    kind: str = item["type"]
    if kind == "tuple" and not isinstance(value, tuple):
        parts = value or {}
        return tuple(_shaped(part, parts.get(part["name"])) for part in item["components"])
    if value is not None:
        return value
    if kind.endswith("]"):
        return []
    if kind == "address":
        return _NO_ADDRESS
    return bytes(int(kind[5:] or 0)) if kind.startswith("bytes") else False if kind == "bool" else 0


def _type(item: Mapping[str, Any]) -> str:
    kind: str = item["type"]
    if kind.startswith("tuple"):
        return f"({','.join(_type(part) for part in item['components'])}){kind[5:]}"
    return kind


def _signature(entry: Mapping[str, Any]) -> str:
    return f"{entry['name']}({','.join(_type(item) for item in entry['inputs'])})"


_EVENTS = {e["name"]: e for e in artifacts.load("ContributionLedger").abi if e["type"] == "event"}
_FUNCTIONS = {
    keccak(text=_signature(entry))[:4]: (str(entry["name"]), entry)
    for contract in ("WorkerRegistry", "GateSpec", "Reputation", "ContributionLedger")
    for entry in artifacts.load(contract).abi
    if entry["type"] == "function"
}
