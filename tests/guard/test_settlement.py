import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.errors import EvidenceShapeError, PayloadError, RangeError
from guard.gate import ABSENT, MALFORMED, Reading, WorkerEvidence
from guard.settlement import Settlement, decode_settlement, encode_settlement
from guard.spec import gate as spec
from tests.guard import strategies
from tests.vectors.load import Case, evidence_of, name_of, number, raw, section

settlements = st.builds(
    Settlement,
    anchor=strategies.readings,
    median=st.integers(-256, 256),
    workers=st.lists(strategies.workers(strategies.readings), max_size=9).map(tuple),
    trace_root=st.binary(min_size=32, max_size=32),
    seed_prefix=st.binary(min_size=20, max_size=20),
)


@pytest.mark.parametrize("case", section("gates"), ids=name_of)
def test_settlement_golden(case: Case) -> None:
    evidence = evidence_of(case)
    settlement = Settlement(
        evidence.anchor,
        case["median"],
        evidence.workers,
        raw(case["traceRoot"]),
        seed_prefix=raw(case["seed"])[:20],
    )
    assert encode_settlement(settlement) == raw(case["payload"])
    # The guard's own bit, above the workers', is ignored.
    assert (
        decode_settlement(raw(case["payload"]), number(case["presence"]), len(evidence.workers)) == settlement
    )


@given(settlements)
def test_settlement_round_trip_equals_spec(settlement: Settlement) -> None:
    payload = encode_settlement(settlement)
    members = [strategies.posted(worker) for worker in settlement.workers]
    anchor = strategies.posted(settlement.anchor)
    assert payload == spec.encode_payload(
        anchor, settlement.median, members, settlement.trace_root, seed=settlement.seed_prefix
    )
    assert payload[140:160] == settlement.seed_prefix
    assert decode_settlement(payload, settlement.presence, len(members)) == settlement
    assert spec.decode_payload(payload, settlement.presence, len(members)) == (
        anchor,
        settlement.median,
        members,
        settlement.trace_root,
    )


@given(settlements, st.data())
def test_settlement_with_other_bytes_is_another_or_refused(
    settlement: Settlement, data: st.DataObject
) -> None:
    payload = bytearray(encode_settlement(settlement))
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] ^= data.draw(st.integers(1, 255))
    try:
        other = decode_settlement(bytes(payload), settlement.presence, len(settlement.workers))
    except PayloadError:
        return
    assert other != settlement
    assert encode_settlement(other) == bytes(payload)


@given(st.binary(max_size=400), st.integers(0, 2**9 - 1))
def test_any_bytes_are_a_settlement_or_refused(payload: bytes, presence: int) -> None:
    try:
        settlement = decode_settlement(payload, presence, 8)
    except PayloadError:
        return
    assert encode_settlement(settlement) == payload


def test_reading_for_a_malformed_worker_is_refused() -> None:
    payload = bytearray(encode_settlement(Settlement(Reading(1, 2, 3), 0, (MALFORMED,))))
    payload[160] = 1
    with pytest.raises(PayloadError, match="member 0"):
        decode_settlement(bytes(payload), 1, 1)


def test_absent_worker_named_unavailable_is_refused() -> None:
    payload = bytearray(encode_settlement(Settlement(Reading(1, 2, 3), 0, (ABSENT, ABSENT))))
    payload[95] = 2
    with pytest.raises(PayloadError, match="absent"):
        decode_settlement(bytes(payload), 0, 2)


def test_encode_refuses_impossible_input() -> None:
    with pytest.raises(RangeError):
        encode_settlement(Settlement(Reading(0, 0, 0), 257, ()))
    for size in (0, 31, 33):
        with pytest.raises(RangeError):
            encode_settlement(Settlement(Reading(0, 0, 0), 0, (), bytes(size)))
    for size in (0, 19, 21, 32):
        with pytest.raises(RangeError, match="seed"):
            encode_settlement(Settlement(Reading(0, 0, 0), 0, (), seed_prefix=bytes(size)))
    with pytest.raises(EvidenceShapeError):
        encode_settlement(Settlement(Reading(0, 0, 0), 0, (WorkerEvidence(ABSENT.status),) * 256))
