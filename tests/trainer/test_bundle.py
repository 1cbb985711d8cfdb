"""Making bundles: what they hold, from nodes of all sorts, and refusing what cannot be proven."""

from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.datastructures import SignedTransaction
from eth_utils import keccak
from web3.types import RPCEndpoint, RPCResponse

from ledger.asking import NodeAnswerError
from ledger.blobs import BlobStore
from ledger.node import Node
from tests.trainer.bundled import audit_bundle, bundle, members
from tests.trainer.eventful import ROUNDS
from tests.trainer.recorded import Forge, ForgingProvider, Recorded
from trainer.audit import AuditOptions, audit
from trainer.bundle import BundleError, export_bundle, open_bundle
from trainer.bundle.bodies import encode_transaction, list_root, transaction_view
from trainer.reporting import RoundReport

KEY = "0x" + "11" * 32
TO = "0x" + "22" * 20


def test_a_bundle_says_what_the_chain_says(recorded: Recorded, tmp_path: Path) -> None:
    summary = bundle(recorded, tmp_path / "a.bundle")
    found, here = audit_bundle(tmp_path / "a.bundle", summary.manifest.head_hash), recorded.audit()
    assert found.ok
    assert (found.checked, found.model_root, found.run) == (here.checked, here.model_root, here.run)
    assert (found.head_hash, found.ledger) == (here.head_hash, here.ledger)
    assert set(members(tmp_path / "a.bundle")) >= {
        "manifest.json", "headers.rlp", "bodies.rlp", "state.rlp", "run.toml", "checkpoints.json",
        "contracts/ContributionLedger.json",
    }  # fmt: skip


def test_two_bundles_of_one_run_are_equal(recorded: Recorded, tmp_path: Path) -> None:
    for name in "ab":
        bundle(recorded, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_bundle_of_an_eventful_run_agrees(
    eventful: tuple[Recorded, list[RoundReport]], tmp_path: Path
) -> None:
    recorded, _ = eventful
    bundle(recorded, tmp_path / "a.bundle")
    report = audit_bundle(tmp_path / "a.bundle")
    assert report.ok, report.differences
    assert report.checked.rounds == ROUNDS


def test_a_bundle_of_a_run_with_missing_files_is_made_and_says_so(recorded: Recorded, tmp_path: Path) -> None:
    blobs = recorded.copied_blobs(tmp_path / "blobs")
    Path(BlobStore(blobs).location(recorded.root(2, 1))).unlink()
    summary = export_bundle(Node(recorded.provider), recorded.ledger, BlobStore(blobs), tmp_path / "a.bundle")
    assert summary.report.verdict == "cannot be checked"
    report = audit_bundle(tmp_path / "a.bundle", replay=False)
    assert report.differences == summary.report.differences


def test_a_cursor_goes_on_in_a_bundle_where_it_stopped_at_the_node(
    recorded: Recorded, tmp_path: Path
) -> None:
    bundle(recorded, tmp_path / "a.bundle")
    options = AuditOptions(replay=False, cursor=tmp_path / "cursor.json")
    audit(Node(recorded.provider), recorded.ledger, BlobStore(recorded.folder.blobs), options)
    with open_bundle(tmp_path / "a.bundle") as opened:
        report = audit(opened.node(), recorded.ledger, opened.store, options)
    assert (report.resumed_after, report.ok) == (3, True)


# Nodes


class Without(ForgingProvider):
    """A node that lacks a method."""

    def __init__(self, inner: Any, *methods: str) -> None:
        super().__init__(inner)
        self._methods = methods

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        if method in self._methods:
            error = {"code": -32601, "message": f"the method {method} does not exist"}
            return {"jsonrpc": "2.0", "id": 1, "error": error}  # type: ignore[typeddict-item]
        return super().make_request(method, params)


def export(recorded: Recorded, provider: ForgingProvider, target: Path) -> None:
    store = BlobStore(recorded.folder.blobs)
    export_bundle(Node(provider), recorded.ledger, store, target, folder=recorded.folder)


def test_an_old_node_without_block_receipts_gives_the_same_bundle(recorded: Recorded, tmp_path: Path) -> None:
    bundle(recorded, tmp_path / "a")
    old = Without(recorded.provider, "eth_getBlockReceipts", "eth_getRawTransactionByHash")
    export(recorded, old, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_node_without_proofs_is_named(recorded: Recorded, tmp_path: Path) -> None:
    with pytest.raises(NodeAnswerError, match="eth_getProof"):
        export(recorded, Without(recorded.provider, "eth_getProof"), tmp_path / "a")
    assert not list(tmp_path.iterdir())


def _on(method: str, change: Any) -> Forge:
    return lambda asked, _, result: change(result) if asked == method else result


def _first(found: list[Any], **changes: Any) -> list[Any]:
    return [{**found[0], **changes}, *found[1:]] if found else found


LIARS: dict[str, tuple[Forge, str]] = {
    "a header with a field of its own": (
        _on("eth_getBlockByNumber", lambda b: {**b, "l1BlockNumber": "0x7"}),
        "headers",
    ),
    "a false header": (_on("eth_getBlockByNumber", lambda b: {**b, "extraData": "0x77"}), "headers"),
    "a false receipt": (
        _on("eth_getBlockReceipts", lambda found: _first(found, cumulativeGasUsed="0x1")),
        "receipts_root",
    ),
    "a receipt dropped": (_on("eth_getBlockReceipts", lambda found: found[1:]), "receipts_root"),
    "a false proof": (
        _on("eth_getProof", lambda p: {**p, "accountProof": [n[:-2] + "00" for n in p["accountProof"]]}),
        "state",
    ),
    "no logs": (_on("eth_getLogs", lambda _: []), "ledger"),
}


@pytest.mark.parametrize(("forge", "field"), LIARS.values(), ids=LIARS)
def test_what_a_node_cannot_prove_is_not_bundled(
    recorded: Recorded, tmp_path: Path, forge: Forge, field: str
) -> None:
    with pytest.raises(BundleError) as caught:
        export(recorded, ForgingProvider(recorded.provider, forge), tmp_path / "a")
    assert caught.value.field == field
    assert not list(tmp_path.iterdir())


def test_a_ledger_that_is_none_is_not_bundled(recorded: Recorded, tmp_path: Path) -> None:
    store = BlobStore(recorded.folder.blobs)
    with pytest.raises(BundleError, match="no ledger"):
        export_bundle(Node(recorded.provider), TO, store, tmp_path / "a")


# Transactions of every type

COMMON = {"nonce": 3, "gas": 50_000, "to": TO, "value": 5, "data": "0xabcdef", "chainId": 7}
FEES = {"maxFeePerGas": 9, "maxPriorityFeePerGas": 2}
ACCESS = [{"address": TO, "storageKeys": ["0x" + "00" * 31 + "07"]}]
AUTHORISED = Account.sign_authorization({"chainId": 7, "address": TO, "nonce": 4}, KEY)


def _signed(**fields: Any) -> SignedTransaction:
    signed: SignedTransaction = Account.sign_transaction(fields, KEY)
    return signed


SIGNED = {
    "legacy": _signed(**COMMON, gasPrice=9),
    "access list": _signed(**COMMON, gasPrice=9, type=1, accessList=ACCESS),
    "fees": _signed(**COMMON, **FEES, type=2, accessList=ACCESS),
    "creation": _signed(**{**COMMON, "to": ""}, **FEES, type=2),
    "code": _signed(**COMMON, **FEES, type=4, authorizationList=[AUTHORISED]),
}


def _view(signed: SignedTransaction, kind: int, **changes: Any) -> dict[str, Any]:
    to = "" if changes.get("is_creation") else TO
    view: dict[str, Any] = {
        "type": hex(kind), "hash": "0x" + signed.hash.hex(), "nonce": "0x3", "gas": hex(50_000),
        "value": "0x5",
        "to": to or None, "input": "0xabcdef", "chainId": "0x7", "r": hex(signed.r), "s": hex(signed.s),
        "v": hex(signed.v), "gasPrice": "0x9", "maxFeePerGas": "0x9", "maxPriorityFeePerGas": "0x2",
    }  # fmt: skip
    if kind:
        view["yParity"] = hex(signed.v)
    if changes.get("has_access"):
        view["accessList"] = ACCESS
    if kind == 4:
        view["authorizationList"] = [
            {
                "chainId": "0x7", "address": TO, "nonce": "0x4", "yParity": hex(AUTHORISED.y_parity),
                "r": hex(AUTHORISED.r), "s": hex(AUTHORISED.s),
            }
        ]  # fmt: skip
    return view


@pytest.mark.parametrize(
    ("name", "kind", "changes"),
    [
        ("legacy", 0, {}),
        ("access list", 1, {"has_access": True}),
        ("fees", 2, {"has_access": True}),
        ("creation", 2, {"is_creation": True}),
        ("code", 4, {}),
    ],
)
def test_a_transaction_of_every_type_goes_there_and_back(
    name: str, kind: int, changes: dict[str, Any]
) -> None:
    signed = SIGNED[name]
    encoded = encode_transaction(_view(signed, kind, **changes))
    assert encoded == bytes(signed.raw_transaction)
    view = transaction_view(encoded, 5, 0)
    assert view["from"] == Account.from_key(KEY).address
    assert (view["input"], view["chainId"]) == ("0xabcdef", "0x7")
    assert view["to"] == (None if changes.get("is_creation") else "0x" + "22" * 20)
    assert view["hash"] == "0x" + keccak(encoded).hex()


def test_a_transaction_of_a_foreign_type_is_not_guessed() -> None:
    assert encode_transaction({**_view(SIGNED["fees"], 2, has_access=True), "type": "0x7e"}) is None
    assert encode_transaction({**_view(SIGNED["fees"], 2, has_access=True), "value": "0x6"}) is None


def test_the_root_of_an_empty_list_is_that_of_the_empty_trie() -> None:
    assert list_root([]).hex() == "56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"
