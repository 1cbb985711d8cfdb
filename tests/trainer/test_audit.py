"""The audit of a sound run, of spoilt blobs, and through nodes that lie."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from eth_utils import keccak

from ledger.blobs import BlobKind, BlobStore, BlobStoreFault
from ledger.deployment import NO_ADDRESS
from ledger.errors import EnvironmentFault
from ledger.node import Node
from tests.literal_verifier import FIELDS
from tests.trainer.agreement import assert_agreement
from tests.trainer.recorded import (
    Forge,
    ForgingProvider,
    Recorded,
    block,
    call,
    calldata,
    code,
    flip,
    is_event,
    log,
    logs,
    transaction,
)
from trainer.audit import AuditReport, audit
from trainer.audit.blocks import header_hash
from trainer.audit.report import MAX_DIFFERENCES, Findings

WORKERS, GUARD = 4, 4
PAYLOAD_MEDIAN, PAYLOAD_CODES = 137, 160
STRANGER = "0x" + "ab" * 20


def places(report: AuditReport) -> set[tuple[int, str, str]]:
    return {(d.round, d.worker, d.field) for d in report.differences}


def found_at(report: AuditReport, recorded: Recorded, round_: int, index: int | None, field: str) -> None:
    """Check that a difference is named, and that it is not drowned."""
    assert not report.ok
    assert (round_, recorded.name(index), field) in places(report), report.differences
    assert len(report.differences) <= 24, report.differences


# A sound run


def test_audit_of_a_sound_run_derives_everything(recorded: Recorded) -> None:
    seen: list[int] = []
    store = BlobStore(recorded.folder.blobs)
    report = audit(Node(recorded.provider), recorded.ledger, store, on_round=seen.append)
    assert report.ok, report.differences
    assert_agreement(recorded, report)
    assert seen == [1, 2, 3]
    checked = report.checked
    assert (checked.rounds, checked.contributions, checked.signatures) == (3, 12, 15)
    assert (checked.words, checked.verdicts, checked.models) == (12, 12, 4)  # malformed ones have no word
    final = recorded.histories[-1].final
    assert final is not None
    assert report.model_root == "0x" + final.model_root.hex()
    assert (report.run, report.chain_id, report.unfinished) == (recorded.facts.run, 31337, "")


def test_report_as_json_has_the_promised_keys(recorded: Recorded) -> None:
    spoilt = recorded.audit(call("Reputation", "lanes", lambda words: [words[0] ^ 1, *words[1:]]))
    content = spoilt.as_json()
    assert {"ok", "ledger", "chain_id", "run", "model_root", "checked", "differences"} <= set(content)
    assert content["checked"] == {
        "rounds": 3, "contributions": 12, "signatures": 15, "words": 12, "verdicts": 12, "models": 4,
    }  # fmt: skip
    differences = content["differences"]
    assert isinstance(differences, list)
    assert len(differences) == 1
    assert set(differences[0]) == {"round", "worker", "field", "expected", "found", "challenge", "verdict"}


def test_header_hash_is_the_block_hash(recorded: Recorded) -> None:
    node = Node(recorded.provider)
    for number in range(node.block_number() + 1):
        content = node.block(number)
        assert header_hash(content) == bytes(content["hash"])


def test_header_hash_of_a_header_with_foreign_fields_is_unknown(recorded: Recorded) -> None:
    content = dict(Node(recorded.provider).block(1))
    assert header_hash({**content, "l1BlockNumber": 7}) is None
    del content["stateRoot"]
    assert header_hash(content) is None


# Spoilt blobs


def spoil(recorded: Recorded, blobs: Path, index: int, change: Callable[[bytes], bytes | None]) -> None:
    path = Path(BlobStore(blobs).location(recorded.root(2, index)))
    data = change(path.read_bytes())
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)


@pytest.mark.parametrize(
    ("index", "change"),
    [
        pytest.param(1, lambda data: flip(data, 4000), id="one bit off"),
        pytest.param(1, lambda data: data[:-1], id="a byte short"),
        pytest.param(1, lambda data: data[:96], id="only the header"),
        pytest.param(1, lambda _: b"", id="empty"),
        pytest.param(1, lambda data: data + bytes(8192), id="too large"),
        pytest.param(1, lambda _: None, id="missing"),
        pytest.param(1, lambda data: data[:96] + b"\x80" + data[97:], id="with a -128"),
        pytest.param(GUARD, lambda _: None, id="the anchor missing"),
        pytest.param(GUARD, lambda data: flip(data, 5000), id="the anchor one bit off"),
        pytest.param(3, lambda data: flip(data, 200), id="of a malformed update one bit off"),
        pytest.param(3, lambda _: None, id="of a malformed update missing"),
    ],
)
def test_audit_names_a_spoilt_blob(
    recorded: Recorded, tmp_path: Path, index: int, change: Callable[[bytes], bytes | None]
) -> None:
    blobs = recorded.copied_blobs(tmp_path / "blobs")
    spoil(recorded, blobs, index, change)
    report = recorded.audit(blobs=blobs)
    assert places(report) == {(2, recorded.name(index), "blob")}
    assert_agreement(recorded, report, blobs=blobs)
    assert (report.verdict, report.false_count, report.unchecked_count) == ("cannot be checked", 0, 1)
    assert report.differences[0].challenge == ("unfounded" if index == 3 else "withheld")
    expected = 4 if index == 3 else 2  # a model cannot be replayed without the bytes it was merged from
    assert report.checked.models == expected


def test_audit_names_a_blob_replaced_by_another_workers(recorded: Recorded, tmp_path: Path) -> None:
    blobs = recorded.copied_blobs(tmp_path / "blobs")
    other = Path(BlobStore(blobs).location(recorded.root(2, 0))).read_bytes()
    spoil(recorded, blobs, 1, lambda _: other)
    report = recorded.audit(blobs=blobs)
    assert places(report) == {(2, recorded.name(1), "blob")}
    (difference,) = report.differences
    assert difference.expected == "0x" + recorded.root(2, 1).hex()
    assert difference.found == "0x" + recorded.root(2, 0).hex()


def test_audit_follows_no_planted_link(recorded: Recorded, tmp_path: Path) -> None:
    blobs = recorded.copied_blobs(tmp_path / "blobs")
    path = Path(BlobStore(blobs).location(recorded.root(2, 1)))
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(BlobStoreFault):
        recorded.audit(blobs=blobs)


@pytest.mark.parametrize(
    "change", [lambda d: flip(d, 60), lambda d: d[:-8], lambda d: flip(d, 9), lambda _: None]
)
def test_audit_names_a_changed_initial_model(
    recorded: Recorded, tmp_path: Path, change: Callable[[bytes], bytes | None]
) -> None:
    blobs = recorded.copied_blobs(tmp_path / "blobs")
    root = recorded.histories[0].parent_model
    path = Path(BlobStore(blobs).location(root, BlobKind.MODEL))
    data = change(path.read_bytes())
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    report = recorded.audit(blobs=blobs)
    assert places(report) == {(0, "", "initial_model")}
    assert report.checked.models == 0
    assert report.checked.words == 12


# Nodes that lie


def _item(index: int, at: int) -> Callable[[dict[str, Any]], None]:
    """Flip a bit in a member's entry of a batch; all members are in one batch."""

    def change(arguments: dict[str, Any]) -> None:
        arguments["items"] = flip(arguments["items"], 104 * index + at)

    return change


def _payload(at: int, mask: int = 1) -> Callable[[dict[str, Any]], None]:
    def change(arguments: dict[str, Any]) -> None:
        arguments["payload"] = flip(arguments["payload"], at, mask)

    return change


def _blame(bitmap_at: int, index: int) -> Callable[[dict[str, Any]], None]:
    """Call a sound update unavailable or malformed."""

    def change(arguments: dict[str, Any]) -> None:
        payload = bytearray(arguments["payload"])
        payload[bitmap_at + 31] |= 1 << index
        payload[PAYLOAD_CODES + 32 * index : PAYLOAD_CODES + 32 * (index + 1)] = bytes(32)
        norms = PAYLOAD_CODES + 32 * WORKERS
        payload[norms + 8 * index : norms + 8 * (index + 1)] = bytes(8)
        payload[norms + 8 * WORKERS + index] = 0
        arguments["payload"] = bytes(payload)

    return change


def _acquit(index: int) -> Callable[[dict[str, Any]], None]:
    """Call a malformed update sound."""

    def change(arguments: dict[str, Any]) -> None:
        payload = bytearray(arguments["payload"])
        payload[96 + 31] &= ~(1 << index)
        arguments["payload"] = bytes(payload)

    return change


def _with(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    def apply(values: dict[str, Any]) -> None:
        values[name] = change(values[name])

    return apply


def _bit(value: bytes) -> bytes:
    return flip(value, 31)


LIES: dict[str, tuple[Forge, int, int | None, str]] = {
    "signature": (calldata("commitBatch", 2, _item(1, 40)), 2, 1, "signature"),
    "signature of the anchor": (calldata("commitBatch", 2, _item(GUARD, 80)), 2, GUARD, "signature"),
    "update root": (calldata("commitBatch", 2, _item(1, 0)), 2, 1, "signature"),
    "tokens": (calldata("commitBatch", 2, _item(1, 39)), 2, 1, "signature"),
    "deadline": (calldata("commitBatch", 2, _with("deadline", lambda d: d + 1)), 2, 0, "signature"),
    "deadline passed": (calldata("commitBatch", 2, _with("deadline", lambda _: 7)), 2, 0, "commit_time"),
    "batch without a member": (
        calldata(
            "commitBatch",
            2,
            lambda a: a.update(members=a["members"] & ~2, items=a["items"][:104] + a["items"][208:]),
        ),
        2,
        1,
        "presence",
    ),
    "batch of the wrong length": (
        calldata("commitBatch", 2, _with("items", lambda items: items[:-1])),
        2,
        None,
        "commitBatch",
    ),
    "word": (calldata("settle", 2, _payload(PAYLOAD_CODES + 5)), 2, 0, "word"),
    "word of the anchor": (calldata("settle", 2, _payload(5)), 2, GUARD, "word"),
    "norm": (calldata("settle", 2, _payload(PAYLOAD_CODES + 32 * WORKERS + 8 + 7)), 2, 1, "norm2"),
    "norm of the anchor": (calldata("settle", 2, _payload(128 + 7)), 2, GUARD, "norm2"),
    "exponent": (calldata("settle", 2, _payload(PAYLOAD_CODES + 40 * WORKERS + 2)), 2, 2, "exponent"),
    "median": (calldata("settle", 2, _payload(PAYLOAD_MEDIAN + 1, 2)), 2, None, "median"),
    "called malformed": (calldata("settle", 2, _blame(96, 1)), 2, 1, "status"),
    "called unavailable": (calldata("settle", 2, _blame(64, 1)), 2, 1, "status"),
    "called sound": (calldata("settle", 2, _acquit(3)), 2, 3, "status"),
    "an absent one called malformed": (calldata("settle", 2, _payload(96, 4)), 2, GUARD, "payload"),
    "payload too short": (calldata("settle", 2, _with("payload", lambda p: p[:-1])), 2, GUARD, "payload"),
    "approved": (log("RoundSettled", 2, _with("approved", lambda bits: bits ^ 1)), 2, 0, "approved"),
    "approved beyond the cohort": (
        log("RoundSettled", 2, _with("approved", lambda b: b | 1 << 200)),
        2,
        None,
        "approved",
    ),
    "yardstick": (log("RoundSettled", 2, _with("yardstick", lambda y: y + 1)), 2, None, "yardstick"),
    "seed": (log("RoundSettled", 2, _with("seed", _bit)), 2, None, "seed"),
    "record of the verdicts": (log("RoundSettled", 2, _with("record", _bit)), 2, None, "record"),
    "model root": (log("RoundFinalized", 2, _with("modelRoot", _bit)), 2, None, "model_root"),
    "weights digest": (log("RoundFinalized", 2, _with("weightsDigest", _bit)), 2, None, "weights_digest"),
    "record of the merge": (log("RoundFinalized", 2, _with("record", _bit)), 2, None, "record"),
    "record kept": (call("ContributionLedger", "recordOf", _bit, 2), 2, None, "record"),
    "last record kept": (call("ContributionLedger", "recordOf", _bit, 3), 3, None, "record"),
    "presence": (log("RoundSealed", 2, _with("presence", lambda bits: bits & ~1)), 2, 0, "presence"),
    "accumulator": (log("RoundSealed", 2, _with("accumulator", _bit)), 2, None, "accumulator"),
    "seal block": (log("RoundSealed", 2, _with("sealBlock", lambda n: n + 1)), 2, None, "seal_block"),
    "parent model": (log("RoundOpened", 2, _with("parentModel", _bit)), 2, None, "parent_model"),
    "commit deadline": (log("RoundOpened", 2, _with("commitDeadline", lambda _: 9)), 2, 1, "commit_time"),
    "last commit deadline": (
        log("RoundOpened", 3, _with("commitDeadline", lambda d: d + 1)),
        3,
        None,
        "state.commit_deadline",
    ),
    "reputation": (
        call("Reputation", "lanes", lambda words: [words[0] ^ 1 << 64, *words[1:]]),
        3,
        1,
        "reputation",
    ),
    "reputation of the guard": (
        call("Reputation", "lanes", lambda words: [words[0], 1]),
        3,
        GUARD,
        "reputation",
    ),
    "lanes missing": (call("Reputation", "lanes", lambda words: list(words[:1])), 3, None, "reputation"),
    "isApproved": (call("ContributionLedger", "isApproved", lambda _: False), 1, 0, "isApproved"),
    "stage": (call("ContributionLedger", "state", lambda s: (s[0], 1, *s[2:])), 3, None, "state.stage"),
    "state's model": (
        call("ContributionLedger", "state", lambda s: (*s[:10], _bit(s[10]), *s[11:])),
        3,
        None,
        "state.parent_model",
    ),
    "state's yardstick": (
        call("ContributionLedger", "state", lambda s: (*s[:8], s[8] + 1, *s[9:])),
        3,
        None,
        "state.yardstick",
    ),
    "state's round": (
        call("ContributionLedger", "state", lambda s: (s[0] + 1, *s[1:])),
        3,
        None,
        "state.round",
    ),
    "spec parameters": (
        call("GateSpec", "parameters", lambda p: (*p[:-1], p[-1] + 1)),
        0,
        None,
        "spec_digest",
    ),
    "spec digest": (call("ContributionLedger", "specDigest", _bit), 0, None, "spec_digest"),
    "run id": (call("ContributionLedger", "run", lambda run: run ^ 1), 0, None, "RunOpened.run"),
    "length": (call("ContributionLedger", "length", lambda n: n + 1), 0, None, "RunOpened.length"),
    "length of zero": (call("ContributionLedger", "length", lambda _: 0), 0, None, "length"),
    "shape": (call("ContributionLedger", "shapeDigest", _bit), 0, None, "RunOpened.shapeDigest"),
    "guard's key": (call("ContributionLedger", "guardSigner", lambda _: STRANGER), 0, GUARD, "guard_signer"),
    "cohort not sealed": (call("WorkerRegistry", "isCohort", lambda _: False), 0, None, "cohort_sealed"),
}


UNREADABLE = {
    "batch of the wrong length",
    "payload too short",
    "an absent one called malformed",
    "presence",
}
"""The literal verifier reads what has the form of the pages; it stops where something has not."""


def id_of(forge: Forge) -> str:
    return next(name for name, entry in LIES.items() if entry[0] is forge)


@pytest.mark.parametrize(("forge", "round_", "index", "field"), LIES.values(), ids=LIES)
def test_audit_names_a_lie(
    recorded: Recorded, forge: Forge, round_: int, index: int | None, field: str
) -> None:
    report = recorded.audit(forge)
    found_at(report, recorded, round_, index, field)
    if field in FIELDS and id_of(forge) not in UNREADABLE:
        assert_agreement(recorded, report, forge)


@pytest.mark.parametrize(
    "name", ["RoundOpened", "BatchCommitted", "RoundSealed", "RoundSettled", "RoundFinalized"]
)
@pytest.mark.parametrize("round_", [1, 2, 3])
def test_audit_names_an_event_left_out(recorded: Recorded, name: str, round_: int) -> None:
    report = recorded.audit(logs(lambda found: [one for one in found if not is_event(one, name, round_)]))
    assert not report.ok
    expected = {(round_, "presence") if name == "BatchCommitted" else (round_, name)}
    if (name, round_) == ("RoundFinalized", 3):
        expected = {(3, "state.stage")}  # nothing follows that it could be missed by
    assert expected <= {(d.round, d.field) for d in report.differences}, report.differences


def test_audit_names_an_event_that_comes_twice(recorded: Recorded) -> None:
    report = recorded.audit(
        logs(lambda found: [*found, *[o for o in found if is_event(o, "RoundFinalized", 2)]])
    )
    assert places(report) == {(2, "", "RoundFinalized")}


def test_audit_leaves_out_events_of_other_contracts(recorded: Recorded) -> None:
    def slip(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [*found, *({**one, "address": STRANGER} for one in found)]

    assert recorded.audit(logs(slip)).ok


def test_audit_names_an_event_that_does_not_decode(recorded: Recorded) -> None:
    def cut(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**one, "data": "0x12"} if is_event(one, "RoundSettled", 2) else one for one in found]

    assert (0, "", "RoundSettled") in places(recorded.audit(logs(cut)))


def test_audit_names_a_settlement_of_a_stranger(recorded: Recorded) -> None:
    verdicts = recorded.histories[1].verdicts
    assert verdicts is not None
    forge = transaction(verdicts.transaction, **{"from": STRANGER})
    assert places(recorded.audit(forge)) == {(2, recorded.name(GUARD), "sender")}


def test_audit_names_a_settlement_to_another_contract(recorded: Recorded) -> None:
    verdicts = recorded.histories[1].verdicts
    assert verdicts is not None
    assert (2, "", "settle") in places(recorded.audit(transaction(verdicts.transaction, to=STRANGER)))


def _seed_block(recorded: Recorded) -> int:
    seal = recorded.histories[1].seal
    assert seal is not None
    return seal.seal_block + 1


def test_audit_names_a_false_block_hash(recorded: Recorded) -> None:
    forge = block(_seed_block(recorded), lambda content: content.update(hash="0x" + "12" * 32))
    assert places(recorded.audit(forge)) == {(2, "", "block_hash")}


def test_audit_names_a_false_block_whose_hash_fits(recorded: Recorded) -> None:
    number = _seed_block(recorded)

    def lie(content: dict[str, Any]) -> None:
        content["extraData"] = "0x99"

    node = Node(ForgingProvider(recorded.provider, block(number, lie)))
    false_hash = header_hash(node.block(number)) or b""

    def lie_well(content: dict[str, Any]) -> None:
        lie(content)
        content["hash"] = "0x" + false_hash.hex()

    forge = block(number, lie_well)
    assert places(recorded.audit(forge)) == {(2, "", "seed")}


def test_audit_names_commitments_in_a_late_block(recorded: Recorded) -> None:
    history = recorded.histories[1]
    forge = block(
        history.commitments[0].block,
        lambda content: content.update(timestamp=hex(history.commit_deadline + 1)),
    )
    report = recorded.audit(forge)
    assert {(2, recorded.name(index), "commit_time") for index in range(5)} <= places(report)


def _cohort(recorded: Recorded) -> str:
    node = Node(recorded.provider)
    address = Node(recorded.provider).logs(recorded.ledger)[0]["topics"][2]
    assert node.chain_id == 31337
    return "0x" + bytes(address)[12:].hex()


def test_audit_names_a_false_signer_in_the_cohort(recorded: Recorded) -> None:
    report = recorded.audit(code(_cohort(recorded), lambda data: flip(data, 1 + 40 + 20)))
    assert places(report) == {(round_, recorded.name(1), "signature") for round_ in (1, 2, 3)}


def test_audit_names_a_false_identity_in_the_cohort(recorded: Recorded) -> None:
    report = recorded.audit(code(_cohort(recorded), lambda data: flip(data, 1 + 40)))
    assert not report.ok
    assert report.differences[0].field == "identity"
    assert report.differences[0].expected == recorded.name(1)


def test_audit_names_a_cohort_with_a_false_first_byte(recorded: Recorded) -> None:
    assert (0, "", "cohort") in places(
        recorded.audit(code(_cohort(recorded), lambda data: b"\x01" + data[1:]))
    )


@pytest.mark.parametrize("change", [lambda _: b"", lambda data: flip(data, 100), lambda data: data + b"\x00"])
def test_audit_of_another_contract_says_so(recorded: Recorded, change: Callable[[bytes], bytes]) -> None:
    for address in (recorded.ledger, recorded.facts.reputation, recorded.facts.registry):
        assert places(recorded.audit(code(address, change))) == {(0, "", "code")}


def test_audit_of_an_address_without_code_says_so(recorded: Recorded) -> None:
    report = audit(Node(recorded.provider), NO_ADDRESS, BlobStore(recorded.folder.blobs))
    assert places(report) == {(0, "", "code")}
    assert report.model_root == ""


def test_audit_without_run_opened_says_so(recorded: Recorded) -> None:
    topic = (
        "0x"
        + keccak(
            text="RunOpened(uint64,address,address,address,address,address,address,address,address,address,"
            "bytes32,bytes32,bytes32,uint64)"
        ).hex()
    )
    report = recorded.audit(logs(lambda found: [one for one in found if one["topics"][0] != topic]))
    assert places(report) == {(0, "", "RunOpened")}
    assert report.checked.models == 4


def test_findings_keep_a_bounded_number_and_count_all() -> None:
    findings = Findings()
    for number in range(MAX_DIFFERENCES + 5):
        findings.differ(number, "word", 1, "x" * 1000)
    report = findings.report(ledger="", chain_id=1, run=0, model=None, unfinished="")
    assert len(report.differences) == MAX_DIFFERENCES
    assert report.difference_count == MAX_DIFFERENCES + 5
    assert len(str(report.differences[0].found)) == 300


# Nodes that answer anything at all


def _garble(rng: random.Random, share: float) -> Forge:
    """Change one hex digit in some of a node's answers, anywhere in them."""

    def change(value: Any) -> Any:
        if isinstance(value, dict) and value:
            key = rng.choice(sorted(value))
            return {**value, key: change(value[key])}
        if isinstance(value, list) and value:
            place = rng.randrange(len(value))
            return [*value[:place], change(value[place]), *value[place + 1 :]]
        if isinstance(value, str) and len(value) > 2:
            place = rng.randrange(2, len(value))
            return value[:place] + rng.choice("0123456789abcdef") + value[place + 1 :]
        return rng.choice([None, "0x", [], {}, 7, value])

    def forge(method: str, _: Sequence[Any], result: Any) -> Any:
        return change(result) if method != "eth_chainId" and rng.random() < share else result

    return forge


@pytest.mark.parametrize("seed", range(25))
def test_audit_of_garbled_answers_reports_or_blames_the_environment(recorded: Recorded, seed: int) -> None:
    rng = random.Random(seed)
    try:
        report = recorded.audit(_garble(rng, rng.choice([0.01, 0.03, 0.2])))
    except EnvironmentFault:
        return
    assert report.ok == (not report.differences)
    assert report.as_json()["ok"] == report.ok
