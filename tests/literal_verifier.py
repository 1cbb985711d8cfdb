"""A second verifier of whole runs: the pages of docs/spec read aloud, slowly.

It shares with the audit the specification alone: guard.spec, and hash functions. Logs and calldata are read
as raw JSON and taken apart by hand here; there is no client, no history, no fast path. Where it and the audit
disagree about a run, one of the two readings of the pages is wrong.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature, ValidationError
from eth_utils import keccak

from guard.spec.committee import merged_guard, next_lanes, quorum, reading, voters
from guard.spec.gate import (
    GateSpec,
    Lane,
    Posted,
    decode_payload,
    gate,
    lane_words,
    spec_preimage,
)
from guard.spec.merge import Pairs, coalition, model_root, weights, weights_preimage
from guard.spec.sketch import code
from guard.spec.trace import leaf, round_root, states
from guard.spec.update import Header, malformed_rule, parse_header, tree, update_root

Ask = Callable[..., Any]
"""JSON-RPC: method and parameters in, result out."""

Place = tuple[int, int | None, str]
"""Round (0: the run), cohort index or None, and what is false there, in the words of the audit."""

EVENTS = {
    keccak(text=text): text.partition("(")[0]
    for text in (
        "BatchCommitted(uint32,uint256,bytes32)",
        "ContributionCommitted(uint32,uint256,address,bytes32,uint64,uint64)",
        "RoundFinalized(uint32,bytes32,bytes32,bytes32)",
        "RoundOpened(uint32,uint64,bytes32)",
        "RoundSealed(uint32,uint256,bytes32,uint64)",
        "RoundSettled(uint32,uint256,uint32,bytes32,bytes32)",
        "RoundVoided(uint32,uint8,bytes32)",
        "RunOpened(uint64,address,address,address,address,address,address,address,address,address,"
        "bytes32,bytes32,bytes32,uint64)",
    )
}
CONTRIBUTION = keccak(
    text="Contribution(uint64 run,uint32 round,address worker,bytes32 specDigest,bytes32 parentModel,"
    "bytes32 updateRoot,uint64 tokens,uint64 deadline)"
)
DOMAIN = keccak(text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")

FIELDS = {
    "accumulator", "approved", "blob", "block_hash", "commit_time", "exponent", "initial_model", "median",
    "model_root", "norm2", "parent_model", "payload", "presence", "record", "reputation", "seal_block",
    "seed", "sender", "signature", "status", "trace_root", "void_reason", "votes", "weights_digest", "word",
    "yardstick",
}  # fmt: skip
"""What this verifier looks at."""


def word(value: int | bytes) -> bytes:
    """Give 32 bytes: a number, or bytes filled up on the left."""
    if isinstance(value, int):
        return value.to_bytes(32, "big", signed=value < 0)
    return value.rjust(32, b"\0")


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


class Round:
    """Everything read of one round."""

    def __init__(self, number: int, deadline: int, parent: bytes) -> None:
        self.number, self.deadline, self.parent = number, deadline, parent
        self.commitments: list[dict[str, Any]] = []
        self.seal: dict[str, Any] | None = None
        self.settled: dict[str, Any] | None = None
        self.final: dict[str, Any] | None = None
        self.void: dict[str, Any] | None = None


class LiteralVerifier:
    """Reads a run; `verify` gives every place where it is false or cannot be checked."""

    def __init__(self, ask: Ask, ledger: str, blobs: Path) -> None:
        self.ask, self.ledger, self.blobs = ask, ledger, blobs
        self.false: set[Place] = set()
        self.chain_id = int(ask("eth_chainId"), 16)
        self.run = self.number("run()")
        self.spec_digest = self.view("specDigest()")
        self.shape, self.length = self.view("shapeDigest()"), self.number("length()")
        parameters = self.view("parameters()", self.view("spec()")[12:])
        self.spec = GateSpec(
            *(
                int.from_bytes(parameters[32 * i : 32 * i + 32], "big", signed=True)
                for i in range(len(GateSpec._fields))
            )
        )
        cohort = unhex(ask("eth_getCode", "0x" + self.view("cohort()")[12:].hex(), "latest"))[1:]
        self.members = [(cohort[i : i + 20], cohort[i + 20 : i + 40]) for i in range(0, len(cohort), 40)]
        self.guards = self.number("guards()")
        self.workers = len(self.members) - self.guards
        self.entries = self.workers if self.guards == 1 else len(self.members)
        self.requests = self.view("dataRequests()")[12:]

    def view(self, signature: str, to: bytes | None = None, argument: bytes = b"") -> bytes:
        address = self.ledger if to is None else "0x" + to.hex()
        data = keccak(text=signature)[:4] + argument
        return unhex(self.ask("eth_call", {"to": address, "data": "0x" + data.hex()}, "latest"))

    def number(self, signature: str) -> int:
        return int.from_bytes(self.view(signature), "big")

    def note(self, round_: int, index: int | None, field: str, holds: bool) -> bool:
        if not holds:
            self.false.add((round_, index, field))
        return holds

    def verify(self) -> set[Place]:
        assert keccak(spec_preimage(self.spec)) == self.spec_digest
        rounds = self.read()
        initial = rounds[1].parent if rounds else b""
        parameters, momentum = self.first_model(initial)
        lanes = [Lane()] * len(self.members)
        yardstick, pairs, record, root = 0, Pairs(), bytes(32), initial
        for number in sorted(rounds):
            r = rounds[number]
            self.note(number, None, "parent_model", r.parent == root)
            acc, presence, roots = self.commitments(r, record)
            if r.void is not None:
                record = self.record_of(number)
                found = {
                    keccak(keccak(text="hallmark.void.v1") + a + word(reason)): reason
                    for a in acc
                    for reason in (1, 2, 3)
                }
                self.note(number, None, "record", record in found and r.void["record"] in found)
                self.note(number, None, "void_reason", found.get(record) == r.void["reason"])
                continue
            if r.settled is None:
                expected = acc if r.commitments else [bytes(32)]
                self.note(number, None, "record", self.record_of(number) in expected)
                continue
            s = r.settled
            presence = presence if r.seal is None else r.seal["presence"]
            payload = s["payload"]
            is_readable = self.is_payload(payload, presence)
            senders = [
                i for i, (_, key) in enumerate(self.members) if key == s["sender"] and i >= self.workers
            ]
            poster = self.workers + payload[139] if is_readable else [*senders, self.workers][0]
            self.note(number, poster, "sender", s["sender"] == self.members[poster][1])
            if not self.note(number, poster, "payload", is_readable):
                break  # what follows rests on what cannot be read
            anchor, x, everybody, trace_root = decode_payload(payload, presence, self.entries)
            posted, guards = everybody[: self.workers], everybody[self.workers :]
            self.votes(number, everybody)
            verdict = gate(self.spec, number, anchor, posted, lanes[: self.workers], yardstick)
            self.note(number, None, "median", x == verdict.median)
            for i in range(self.workers):
                same = (verdict.approved ^ s["approved"]) >> i & 1 == 0
                self.note(number, i, "approved", same)
            self.note(number, None, "approved", s["approved"] >> self.workers == 0)
            self.note(number, None, "yardstick", verdict.yardstick == s["yardstick"])
            seed, seeds = self.seed(r, acc)
            if payload[140:160] not in [sd[:20] for sd in seeds]:
                self.note(number, poster, "seed", False)
            of_guards = lanes[self.workers :]
            if guards:
                of_guards = next_lanes(of_guards, guards, anchor.code, number)
            after = [*verdict.lanes, *of_guards]
            words_before, words_after = lane_words(lanes), lane_words(after)
            banned = [lane.llr >= self.spec.banFrom for lane in lanes[: self.workers]]
            pairs = coalition(self.spec, pairs, anchor, posted, banned)
            # With one guard what is posted of it is the header.
            chosen = merged_guard(guards, of_guards) if guards else 0
            claims = everybody if guards else [*posted, anchor]
            merged = claims[self.workers + chosen]
            w = weights(self.spec, pairs, anchor, posted, verdict.lanes, verdict.approved, merged)
            settled = {
                keccak(
                    keccak(text="hallmark.settled.v1") + a + word(presence) + sd + keccak(payload)
                    + word(verdict.approved) + word(yardstick) + word(verdict.yardstick)
                    + keccak(b"".join(map(word, words_before))) + keccak(b"".join(map(word, words_after)))
                ): sd
                for a in acc
                for sd in seeds
            }  # fmt: skip
            seed = settled.get(s["record"], seed)
            files, traces = self.files(number, roots, claims, seed)
            with_word = [i for i, claim in enumerate(claims) if claim.status == 1]
            if set(with_word) <= set(traces):
                of_members = [traces[i] if i in with_word else bytes(32) for i in range(len(claims))]
                self.note(number, poster, "trace_root", round_root(of_members) == trace_root)
            lanes, yardstick = after, verdict.yardstick
            kept = self.record_of(number)
            if r.final is None:
                self.note(number, None, "record", {kept, s["record"]} <= set(settled))
                record = kept
                continue
            digest = keccak(weights_preimage(self.run, number, w))
            self.note(number, None, "weights_digest", digest == r.final["weights"])
            terms = [(i, posted[i].exponent, q) for i, q in zip(w.indices, w.weights, strict=True)]
            if w.anchor:
                terms.append((self.workers + chosen, merged.exponent, w.anchor))
            model = self.merged(terms, files, parameters, momentum)
            made = None
            if model is not None:
                made = model_root(*model, self.shape)
                self.note(number, None, "model_root", made == r.final["model"])
            tag = keccak(text="hallmark.final.v1")
            finals = {
                keccak(tag + d + m + wd): m
                for d in (*settled, s["record"])
                for m in {r.final["model"], made or r.final["model"]}
                for wd in {digest, r.final["weights"]}
            }
            self.note(
                number, None, "record", s["record"] in settled and {kept, r.final["record"]} <= set(finals)
            )
            record = kept if kept in finals else r.final["record"] if r.final["record"] in finals else kept
            root = finals.get(record, r.final["model"])
            parameters, momentum = model if model is not None and made == root else self.stored_model(root)
        newest, ours = max(rounds, default=0), lane_words(lanes)
        raw = self.view("lanes()", self.view("reputation()")[12:])[64:]
        if self.note(newest, None, "reputation", len(raw) == 32 * len(ours)):
            for i in range(len(self.members)):
                theirs = int.from_bytes(raw[32 * (i // 4) :][:32], "big")
                same = (ours[i // 4] ^ theirs) >> 64 * (i % 4) & (2**64 - 1) == 0
                self.note(newest, i, "reputation", same)
        return self.false

    def is_payload(self, payload: bytes, presence: int) -> bool:
        """Length, bitmaps, poster; of several guards the header, which is what they read together."""
        here = presence & ((1 << self.entries) - 1)
        if len(payload) != 160 + 41 * here.bit_count() or payload[139] >= self.guards:
            return False
        bad = int.from_bytes(payload[64:96], "big") | int.from_bytes(payload[96:128], "big")
        if bad & ~here or self.guards == 1:
            return not bad & ~here
        anchor, _, everybody, _ = decode_payload(payload, presence, self.entries)
        guards = everybody[self.workers :]
        return len(voters(guards)) >= quorum(self.guards) and reading(guards) == anchor

    def votes(self, number: int, everybody: list[Posted]) -> None:
        """Of several guards, most have voted for every status 2 and 3, where the run asks for votes."""
        for i, claim in enumerate(everybody):
            if claim.status < 2 or self.guards == 1 or not any(self.requests):
                continue
            try:
                answer = self.view(
                    "votesOf(address,uint32,uint256)",
                    self.requests,
                    word(unhex(self.ledger)) + word(number) + word(i),
                )
            except RuntimeError:
                return  # a contract for requests, which knows no votes
            count = int.from_bytes(answer, "big").bit_count()
            self.note(number, i, "votes", count >= quorum(self.guards))

    # Reading

    def read(self) -> dict[int, Round]:
        head = self.ask("eth_blockNumber")
        rounds: dict[int, Round] = {}
        for log in self.ask("eth_getLogs", {"address": self.ledger, "fromBlock": "0x0", "toBlock": head}):
            name = EVENTS.get(unhex(log["topics"][0]))
            if name is None or name == "RunOpened" or log["address"].lower() != self.ledger.lower():
                continue
            number, data = int(log["topics"][1], 16), unhex(log["data"])
            w = [data[i : i + 32] for i in range(0, len(data), 32)]
            n = [int.from_bytes(item, "big") for item in w]
            block, transaction = int(log["blockNumber"], 16), log["transactionHash"]
            if name == "RoundOpened":
                rounds[number] = Round(number, n[0], w[1])
                continue
            r = rounds[number]
            if name == "ContributionCommitted":
                index = int(log["topics"][2], 16)
                r.commitments.append(
                    {"index": index, "root": w[1], "tokens": n[2], "deadline": n[3], "block": block}
                    | self.own(transaction)
                )
            elif name == "BatchCommitted":
                r.commitments += self.batch(transaction, block)
            elif name == "RoundSealed":
                r.seal = {"presence": n[0], "accumulator": w[1], "seal_block": n[2], "block": block}
            elif name == "RoundSettled":
                call = self.ask("eth_getTransactionByHash", transaction)
                data = unhex(call["input"])[4:]
                size = int.from_bytes(data[64:96], "big")
                r.settled = {
                    "approved": n[0], "yardstick": n[1], "seed": w[2], "record": w[3], "block": block,
                    "payload": data[96 : 96 + size], "sender": unhex(call["from"]),
                }  # fmt: skip
            elif name == "RoundFinalized":
                r.final = {"model": w[0], "weights": w[1], "record": w[2]}
            elif name == "RoundVoided":
                r.void = {"reason": n[0], "record": w[1], "block": block}
        return rounds

    def own(self, transaction: str) -> dict[str, Any]:
        """A commitment outside of a batch: whoever sent it, or its signature."""
        call = self.ask("eth_getTransactionByHash", transaction)
        data = unhex(call["input"])
        if data[:4] == keccak(text="commit(uint32,uint256,bytes32,bytes32,uint64,uint64)")[:4]:
            return {"sender": unhex(call["from"]), "signature": None}
        return {"sender": None, "signature": data[4 + 7 * 32 : 4 + 7 * 32 + 65]}

    def batch(self, transaction: str, block: int) -> list[dict[str, Any]]:
        call = self.ask("eth_getTransactionByHash", transaction)
        data = unhex(call["input"])[4:]
        deadline, members = (int.from_bytes(data[i : i + 32], "big") for i in (32, 64))
        size = int.from_bytes(data[128:160], "big")
        items, found = data[160 : 160 + size], []
        for place, index in enumerate(i for i in range(256) if members >> i & 1):
            item = items[104 * place : 104 * place + 104]
            r, vs = item[40:72], int.from_bytes(item[72:104], "big")
            s, v = vs & (2**255 - 1), vs >> 255
            found.append(
                {
                    "index": index, "root": item[:32], "tokens": int.from_bytes(item[32:40], "big"),
                    "deadline": deadline, "block": block, "sender": None,
                    "signature": r + s.to_bytes(32, "big") + bytes([27 + v]),
                }
            )  # fmt: skip
        return found

    def record_of(self, number: int) -> bytes:
        return self.view("recordOf(uint32)", None, word(number))

    def block(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("eth_getBlockByNumber", hex(number), False)
        return found

    # Rules

    def commitments(self, r: Round, previous: bytes) -> tuple[list[bytes], int, dict[int, bytes]]:
        domain = keccak(
            DOMAIN
            + keccak(text="Hallmark")
            + keccak(text="1")
            + word(self.chain_id)
            + word(unhex(self.ledger))
        )
        acc = keccak(
            keccak(text="hallmark.round.v1") + word(self.chain_id) + word(unhex(self.ledger)) + word(self.run)
            + word(r.number) + self.spec_digest + previous + r.parent
        )  # fmt: skip
        roots: dict[int, bytes] = {}
        for c in r.commitments:
            identity, signer = self.members[c["index"]]
            message = keccak(
                CONTRIBUTION + word(self.run) + word(r.number) + word(identity) + self.spec_digest + r.parent
                + c["root"] + word(c["tokens"]) + word(c["deadline"])
            )  # fmt: skip
            digest = keccak(b"\x19\x01" + domain + message)
            acc = keccak(acc + digest)
            roots.setdefault(c["index"], c["root"])
            if c["signature"] is not None:
                self.note(r.number, c["index"], "signature", recovered(digest, c["signature"]) == signer)
            else:
                self.note(r.number, c["index"], "sender", c["sender"] in (identity, signer))
            mined = int(self.block(c["block"])["timestamp"], 16)
            self.note(r.number, c["index"], "commit_time", mined <= min(r.deadline, c["deadline"]))
        presence = sum(1 << index for index in roots)
        if r.seal is None:
            return [acc], presence, roots
        for i in range(len(self.members)):
            self.note(r.number, i, "presence", (presence ^ r.seal["presence"]) >> i & 1 == 0)
        self.note(r.number, None, "accumulator", acc == r.seal["accumulator"])
        self.note(r.number, None, "seal_block", r.seal["seal_block"] == r.seal["block"])
        return [acc, r.seal["accumulator"]], presence, roots

    def seed(self, r: Round, accumulators: list[bytes]) -> tuple[bytes, list[bytes]]:
        assert r.settled is not None
        number = (r.settled["block"] - 2 if r.seal is None else r.seal["block"]) + 1
        block = self.block(number)
        computed, stated = header_hash(block), unhex(block["hash"])
        self.note(r.number, None, "block_hash", computed == stated)
        prefix = (
            keccak(text="hallmark.seed.v1") + word(self.chain_id) + word(unhex(self.ledger)) + word(self.run)
        )
        derived = [keccak(prefix + word(r.number) + a + h) for a in accumulators for h in (computed, stated)]
        self.note(r.number, None, "seed", r.settled["seed"] in derived)
        return derived[0], [*derived, r.settled["seed"]]

    def files(
        self, number: int, roots: dict[int, bytes], claims: list[Posted], seed: bytes
    ) -> tuple[dict[int, bytes], dict[int, bytes]]:
        """Read every file and compare; give the sound ones and the roots of their traces."""
        sound, traces = {}, {}
        for index, root in roots.items():
            claim = claims[index]
            path = self.blobs / f"0x{root.hex()}.hmrk"
            data = path.read_bytes() if path.is_file() else b""
            size = len(data) - 96
            is_file = size > 0 and size % 8192 == 0 and update_root(data) == root
            if not is_file or size > 8192 << (-(-self.length // 8192) - 1).bit_length():
                self.note(number, index, "blob", claim.status == 2)
                continue
            expected = Header(0, self.run, number, self.members[index][0], self.shape, self.length)
            if claim.status == 2 and any(self.requests):
                continue  # that contract has seen that the bytes did not come in time
            if malformed_rule(data, expected):
                self.note(number, index, "status", claim.status == 3)
                continue
            sound[index] = data
            after = states(seed, data[96:])[1:]
            traces[index] = tree([leaf(state) for state in after])
            sums = [int.from_bytes(after[-1][6 * j : 6 * j + 6], "big", signed=True) for j in range(256)]
            squares = int.from_bytes(after[-1][-8:], "big")
            if self.note(number, index, "status", claim.status == 1):
                self.note(number, index, "word", code(sums) == claim.code)
                self.note(number, index, "norm2", squares == claim.norm2)
                self.note(number, index, "exponent", parse_header(data).exponent == claim.exponent)
        return sound, traces

    def merged(
        self,
        terms: list[tuple[int, int, int]],
        files: dict[int, bytes],
        parameters: bytes,
        momentum: bytes,
    ) -> tuple[bytes, bytes] | None:
        """Compute the next model, value after value; None if something is missing."""
        if not parameters or any(index not in files for index, _, _ in terms):
            return None
        if not terms:
            return parameters, momentum
        lr = np.float32(self.spec.outerLrMicro / 1e6)
        mu = np.float32(self.spec.outerMomentumMicro / 1e6)
        factors = [(files[index][96:], float(q) * 2.0 ** (e - 32)) for index, e, q in terms]
        theta = struct.unpack(f"<{self.length}f", parameters)
        v = struct.unpack(f"<{self.length}f", momentum)
        new_theta, new_v = [], []
        for k in range(self.length):
            acc = 0.0
            for payload, factor in factors:
                value = payload[k] - 256 if payload[k] > 127 else payload[k]
                acc += factor * value
            delta = np.float32(acc)
            moved = mu * np.float32(v[k]) + delta
            new_v.append(moved)
            new_theta.append(np.float32(theta[k]) - lr * (delta + mu * moved))
        pack = struct.Struct(f"<{self.length}f").pack
        return pack(*new_theta), pack(*new_v)

    def first_model(self, root: bytes) -> tuple[bytes, bytes]:
        found = self.stored_model(root)
        self.note(0, None, "initial_model", bool(found[0]))
        return found

    def stored_model(self, root: bytes) -> tuple[bytes, bytes]:
        path = self.blobs / f"0x{root.hex()}.hmmd"
        data = path.read_bytes() if path.is_file() else b""
        half = 4 * self.length
        if len(data) != 48 + 2 * half or data[:8] != b"HMMD\x01\0\0\0" or data[16:48] != self.shape:
            return b"", b""
        if int.from_bytes(data[8:16], "little") != self.length:
            return b"", b""
        parameters, momentum = data[48 : 48 + half], data[48 + half :]
        return (parameters, momentum) if model_root(parameters, momentum, self.shape) == root else (b"", b"")


def recovered(digest: bytes, signature: bytes) -> bytes | None:
    """Give the address that signed, 20 bytes; None for no signature, and for one with a high s."""
    if len(signature) != 65 or signature[64] not in (27, 28):
        return None
    r, s = (int.from_bytes(signature[i : i + 32], "big") for i in (0, 32))
    if s > 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0:
        return None
    try:
        key = Signature(vrs=(signature[64] - 27, r, s)).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError):
        return None
    return keccak(key.to_bytes())[12:]


def header_hash(block: dict[str, Any]) -> bytes:
    """Hash a Prague header: RLP by hand."""
    numbers = {
        "difficulty",
        "number",
        "gasLimit",
        "gasUsed",
        "timestamp",
        "baseFeePerGas",
        "blobGasUsed",
        "excessBlobGas",
    }
    order = (
        "parentHash sha3Uncles miner stateRoot transactionsRoot receiptsRoot logsBloom difficulty number "
        "gasLimit gasUsed timestamp extraData mixHash nonce baseFeePerGas withdrawalsRoot blobGasUsed "
        "excessBlobGas parentBeaconBlockRoot requestsHash"
    )
    body = b""
    for name in order.split():
        value = unhex(block[name]) if name not in numbers else b""
        if name in numbers:
            n = int(block[name], 16)
            value = n.to_bytes((n.bit_length() + 7) // 8, "big")
        body += value if len(value) == 1 and value[0] < 0x80 else length_prefix(len(value), 0x80) + value
    return keccak(length_prefix(len(body), 0xC0) + body)


def length_prefix(size: int, base: int) -> bytes:
    if size < 56:
        return bytes([base + size])
    encoded = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([base + 55 + len(encoded)]) + encoded


def asking(make_request: Callable[..., Any]) -> Ask:
    """Turn a provider's make_request into something that gives results or raises."""

    def ask(method: str, *parameters: Any) -> Any:
        response = make_request(method, list(parameters))
        if "error" in response:
            raise RuntimeError(str(response["error"]))
        return response["result"]

    return ask
