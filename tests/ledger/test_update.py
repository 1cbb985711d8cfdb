from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guard.spec import merge as merge_spec
from guard.spec import update as spec
from ledger.errors import InputError, ProofError
from ledger.update import (
    HEADER_BYTES,
    MalformedReason,
    Model,
    UpdateFacts,
    UpdateFormatError,
    UpdateHeader,
    UpdateInputError,
    UpdateRootError,
    UpdateView,
    check_root,
    check_update,
    decode_model,
    encode_model,
    encode_update,
    model_root,
    shape_digest,
    update_root,
    update_size,
)
from tests.vectors.generate import expand, stream
from tests.vectors.load import Case, name_of, number, raw, section

headers = st.builds(
    UpdateHeader,
    run=st.integers(0, 2**64 - 1),
    round=st.integers(0, 2**32 - 1),
    worker=st.binary(min_size=20, max_size=20),
    shape_digest=st.binary(min_size=32, max_size=32),
    length=st.integers(1, 2**40),
    exponent=st.integers(-64, 63),
)
SMALL = UpdateHeader(1, 2, bytes(20), bytes(32), 9000, -3)


def header_of(case: Case) -> UpdateHeader:
    return UpdateHeader(
        run=number(case["run"]),
        round=case["round"],
        worker=raw(case["worker"]),
        shape_digest=raw(case["shapeDigest"]),
        length=case["length"],
        exponent=case["exponent"],
    )


def literal(header: UpdateHeader) -> spec.Header:
    return spec.Header(
        header.exponent, header.run, header.round, header.worker, header.shape_digest, header.length
    )


def small() -> bytes:
    return encode_update(SMALL, np.arange(9000, dtype=np.int64).astype(np.int8).clip(-127))


@pytest.mark.parametrize("case", section("updates"), ids=name_of)
def test_update_golden(case: Case) -> None:
    header = header_of(case["header"])
    data = encode_update(header, np.array(expand(case["values"]), dtype=np.int8))
    assert data[:HEADER_BYTES] == raw(case["headerBytes"])
    assert len(data) == case["size"] == update_size(header.length)
    assert update_root(data) == raw(case["root"])
    check_root(memoryview(data), raw(case["root"]))
    assert check_update(data, header.facts) is None
    view = UpdateView(data)
    assert view.header == header
    assert view.values.tolist() == expand(case["values"])


@pytest.mark.parametrize("case", section("malformed"), ids=name_of)
def test_malformed_golden(case: Case) -> None:
    header = header_of(case["expected"])
    data = bytearray(encode_update(header, np.array(expand(case["values"]), dtype=np.int8))[: case["size"]])
    data += bytes(case["size"] - len(data))
    for patch in case["patches"]:
        data[patch["offset"] : patch["offset"] + len(raw(patch["bytes"]))] = raw(patch["bytes"])
    assert check_update(data, header.facts) == (MalformedReason(case["rule"]) if case["rule"] else None)
    assert update_root(data) == raw(case["root"])


@pytest.mark.parametrize("case", section("shapes"), ids=lambda case: case["digest"][:10])
def test_shape_digest_golden(case: Case) -> None:
    assert shape_digest([(p["name"], tuple(p["sizes"])) for p in case["parameters"]]) == raw(case["digest"])


@pytest.mark.parametrize("name", ["", "a b", "a\nb"])
def test_shape_digest_refuses_ambiguous_names(name: str) -> None:
    with pytest.raises(UpdateInputError):
        shape_digest([(name, (1,))])


@given(headers)
def test_header_round_trip_equals_spec(header: UpdateHeader) -> None:
    packed = header.pack()
    assert packed == spec.pack_header(literal(header))
    assert UpdateHeader.parse(packed) == header
    assert literal(header) == spec.parse_header(packed)
    assert header.facts.header(header.exponent) == header


@given(st.binary(max_size=120) | st.binary(min_size=87, max_size=100).map(lambda rest: b"HMRK\x01" + rest))
@example(SMALL.pack())
@example(SMALL.pack()[:95])
def test_any_bytes_are_a_header_or_a_proof_error(data: bytes) -> None:
    assert issubclass(UpdateFormatError, ProofError)
    try:
        header = UpdateHeader.parse(data)
    except UpdateFormatError:
        with pytest.raises(spec.Malformed):
            spec.parse_header(data)
        return
    assert header.pack() == data[:HEADER_BYTES]


@given(st.data())
def test_check_update_equals_spec_on_damaged_bytes(data: st.DataObject) -> None:
    damaged = bytearray(small())
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, HEADER_BYTES - 1) | st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.sampled_from([0, 1, 0x80, 0xFF]))
    if data.draw(st.booleans()):
        damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    rule = spec.malformed_rule(bytes(damaged), literal(SMALL))
    assert (check_update(damaged, SMALL.facts) or 0) == rule


@pytest.mark.parametrize(
    "change",
    [
        {"run": 2**64},
        {"round": -1},
        {"length": 0},
        {"length": 2**40 + 1},
        {"worker": bytes(19)},
        {"shape_digest": bytes(33)},
        {"exponent": 64},
        {"exponent": -65},
    ],
)
def test_header_refuses_what_does_not_fit(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        replace(SMALL, **change)  # type: ignore[arg-type]


def test_encode_refuses_wrong_values() -> None:
    for values in (np.zeros(8999, np.int8), np.zeros(9000, np.int16), np.zeros((9000, 1), np.int8)):
        with pytest.raises(UpdateInputError):
            encode_update(SMALL, values)  # type: ignore[arg-type]
    forbidden = np.zeros(9000, np.int8)
    forbidden[-1] = -128
    with pytest.raises(UpdateInputError, match="-128"):
        encode_update(SMALL, forbidden)


def test_copied_bytes_do_not_pass_for_another_round() -> None:
    data = small()
    assert check_update(data, replace(SMALL.facts, round=3)) == MalformedReason.FOREIGN


def test_wrong_root_is_another_error_than_malformed() -> None:
    data = bytearray(small())
    root = update_root(data)
    data[-9000] ^= 1
    with pytest.raises(UpdateRootError) as caught:
        check_root(data, root)
    assert caught.value.expected_root == root
    assert check_update(data, SMALL.facts) is None


@pytest.mark.parametrize("size", [0, 95, 96, 97, 8287, 8289])
def test_bytes_of_no_possible_size_have_no_root(size: int) -> None:
    with pytest.raises(UpdateFormatError):
        update_root(bytes(size))


def test_view_does_not_copy() -> None:
    data = bytearray(small())
    view = UpdateView(data)
    data[HEADER_BYTES] = 77
    assert view.values[0] == 77
    assert view.rows.shape == (16, 1024)
    assert not UpdateView(bytes(data)).rows.flags.writeable
    with pytest.raises(UpdateFormatError):
        UpdateView(bytes(data[:-1]))


@pytest.mark.parametrize("case", section("models"), ids=lambda case: str(case["length"]))
def test_model_golden(case: Case) -> None:
    length = case["length"]
    parameters, momentum = (
        np.frombuffer(stream(raw(case[name]), 4 * length), dtype="<f4").astype(np.float32, copy=False)
        for name in ("parametersSeed", "momentumSeed")
    )
    digest = raw(case["shapeDigest"])
    assert model_root(parameters, momentum, digest) == raw(case["modelRoot"])
    data = encode_model(Model(parameters, momentum, digest))
    assert sha256(data).digest() == raw(case["fileSha256"])
    model = decode_model(data)
    assert model_root(model.parameters, model.momentum, model.shape_digest) == raw(case["modelRoot"])
    assert model.parameters.tobytes() == parameters.tobytes()
    assert merge_spec.model_file(parameters.tobytes(), momentum.tobytes(), digest) == data


@given(
    st.binary(max_size=80)
    | st.binary(min_size=40, max_size=60).map(lambda b: b"HMMD\x01\0\0\0\1" + bytes(7) + b)
)
def test_any_bytes_are_a_model_or_a_proof_error(data: bytes) -> None:
    try:
        model = decode_model(data)
    except UpdateFormatError:
        return
    assert encode_model(model) == data


def test_model_refuses_what_does_not_fit() -> None:
    one = np.zeros(1, np.float32)
    for parameters, momentum, digest in (
        (one, np.zeros(2, np.float32), bytes(32)),
        (one, one.astype(np.float64), bytes(32)),
        (one[:0], one[:0], bytes(32)),
        (one, one, bytes(31)),
        (one.reshape(1, 1), one.reshape(1, 1), bytes(32)),
    ):
        with pytest.raises(UpdateInputError):
            model_root(parameters, momentum, digest)  # type: ignore[arg-type]


def test_facts_compare_with_facts_of_header() -> None:
    assert SMALL.facts == UpdateFacts(1, 2, bytes(20), bytes(32), 9000)
    assert SMALL.size_bytes == 96 + 2 * 8192
