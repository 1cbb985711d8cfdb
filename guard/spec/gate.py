"""docs/spec/gate.md, and the payload of docs/spec/ledger.md: scores, yardstick, evidence, verdicts, lanes."""

# ruff: noqa: N815 - the constants are named as on the page
from collections.abc import Sequence
from typing import NamedTuple

# The keccak256 of "hallmark.spec.v1".
SPEC_TAG = bytes.fromhex("acd3706e05309cfdac1e4b33ded92d746787a54f8ad2c6c3285cb4398fda523f")
SIGNED = {
    "evidenceMin",
    "evidenceMax",
    "evidenceFloor",
    "faultEvidence",
    "acceptBelow",
    "banFrom",
    "scoreAbove",
}


class GateSpec(NamedTuple):
    """The constants of a run, in the order and under the names of the page."""

    version: int = 1
    sketchVersion: int = 1
    yardstickKeep: int = 7
    yardstickGain: int = 576
    yardstickDivisor: int = 10
    yardstickOffset: int = 4
    evidenceDivisor: int = 73728
    evidenceMin: int = -2191
    evidenceMax: int = 2560
    evidenceFloor: int = -4710
    faultEvidence: int = 2560
    acceptBelow: int = 1024
    banFrom: int = 7168
    scoreAbove: int = -128
    aliveFactor: int = 256
    challengeWindowS: int = 0
    settleWindowS: int = 3600
    clipLowPercent: int = 75
    clipHighPercent: int = 150
    duplicateBits: int = 16
    coalitionKeepQ8: int = 218
    coalitionThresholdQ16: int = 1966
    coalitionPenalty: int = 6
    groupSpared: int = 2
    groupPenalty: int = 1296
    voteOffset: int = 12
    anchorShareBps: int = 1500
    outerLrMicro: int = 700000
    outerMomentumMicro: int = 900000


class Lane(NamedTuple):
    """What a member's 64 bits say."""

    ema: int = 0
    llr: int = 0
    accepted: int = 0
    refused: int = 0
    last_round: int = 0


class Posted(NamedTuple):
    """What settle posts for one member: status 0..3; word, norm and exponent are 0 unless it is 1."""

    status: int
    code: int = 0
    norm2: int = 0
    exponent: int = 0


class Verdict(NamedTuple):
    """What one round leaves: approved bitmap, yardstick word, lanes, median, scores (None: not status 1)."""

    approved: int
    yardstick: int
    lanes: list[Lane]
    median: int
    scores: list[int | None]


def spec_preimage(spec: GateSpec) -> bytes:
    """Give the bytes whose keccak is the specDigest."""
    return SPEC_TAG + b"".join(value.to_bytes(32, "big", signed=True) for value in spec)


def is_accepted_spec(g: GateSpec) -> bool:
    """Tell whether the constants keep the rules of the page."""
    for name, value in zip(g._fields, g, strict=True):
        low, high = (-(2**31), 2**31 - 1) if name in SIGNED else (0, 2**32 - 1)
        if not low <= value <= high:
            return False
    return (
        g.version == 1
        and g.sketchVersion == 1
        and 0 < g.yardstickDivisor <= 2**16
        and g.yardstickKeep < g.yardstickDivisor
        and g.yardstickGain <= 2**16
        and g.yardstickOffset <= 256
        and 0 < g.evidenceDivisor <= 2**31
        and 0 < g.aliveFactor <= 2**16
        and -8192 <= g.evidenceFloor <= 0 < g.acceptBelow <= g.banFrom <= 8191
        and g.evidenceMin <= 0 <= g.evidenceMax
        and g.faultEvidence >= 0
        and g.clipLowPercent <= 100 <= g.clipHighPercent <= 1000
        and g.coalitionKeepQ8 <= 256
        and g.duplicateBits <= 256
        and g.groupSpared <= 256
        and g.voteOffset <= 256
        and g.anchorShareBps <= 10000
    )


def score(code: int, anchor_code: int) -> int:
    """Give s, even, -256..256."""
    return 256 - 2 * (code ^ anchor_code).bit_count()


def lower_median(scores: Sequence[int]) -> int:
    """Give the lower median, 0 of nothing."""
    return sorted(scores)[(len(scores) - 1) // 2] if scores else 0


def upper_median(scores: Sequence[int]) -> int:
    """Give the upper median, 0 of nothing."""
    return sorted(scores)[len(scores) // 2] if scores else 0


def is_median(x: int, scores: Sequence[int]) -> bool:
    """Check a posted median by counting, as the contract does."""
    n = len(scores)
    if n == 0:
        return x == 0
    below = sum(s < x for s in scores)
    up_to = sum(s <= x for s in scores)
    return x in scores and below <= n // 2 < up_to


def is_copy(g: GateSpec, code: int, before: Sequence[int]) -> bool:
    """Tell whether a word is near one of those before it, whether that one is a copy or not."""
    return any((code ^ other).bit_count() <= g.duplicateBits for other in before)


def clip(value: int, low: int, high: int) -> int:
    """Give the nearest value in [low, high]."""
    return max(low, min(high, value))


def next_yardstick(g: GateSpec, word: int, n: int, x: int) -> int:
    """Give the yardstick word after a round with n judged scores and median x."""
    if n == 0:
        return word
    gained = g.yardstickGain * (x - g.yardstickOffset)
    t = gained // (g.yardstickDivisor - g.yardstickKeep)
    if word == 0:
        return max(0, t) + 1
    return max(0, min(t, (g.yardstickKeep * (word - 1) + gained) // g.yardstickDivisor)) + 1


def increment(g: GateSpec, word: int, s: int) -> int:
    """Give the evidence that score s adds under the new yardstick."""
    m = max(0, word - 1)
    return clip((m - 512 * s) * m // g.evidenceDivisor, g.evidenceMin, g.evidenceMax)


def is_alive(g: GateSpec, norm2: int, exponent: int, anchor_norm2: int, anchor_exponent: int) -> bool:
    """Tell whether an update is not tiny beside the anchor; both sides times 4^64 to stay in integers."""
    return norm2 > 0 and g.aliveFactor * norm2 * 4 ** (exponent + 64) >= anchor_norm2 * 4 ** (
        anchor_exponent + 64
    )


def gate(
    g: GateSpec,
    round_number: int,
    anchor: Posted,
    members: Sequence[Posted],
    lanes: Sequence[Lane],
    yardstick: int,
) -> Verdict:
    """Judge one round: all members but the guards, in cohort order; lanes and yardstick word as they were."""
    banned = [lane.llr >= g.banFrom for lane in lanes]
    scores = [score(p.code, anchor.code) if p.status == 1 else None for p in members]
    codes: list[int] = []
    counted = []
    for p, s, is_banned in zip(members, scores, banned, strict=True):
        if s is not None and not is_banned:
            if not is_copy(g, p.code, codes):
                counted.append(s)
            codes.append(p.code)
    x = upper_median(counted)
    yardstick = next_yardstick(g, yardstick, len(counted), x)
    approved = 0
    after = []
    for i, (p, s, lane) in enumerate(zip(members, scores, lanes, strict=True)):
        if p.status == 0 or banned[i]:
            after.append(lane)
            continue
        inc = g.faultEvidence if s is None else increment(g, yardstick, s)
        llr = clip(lane.llr + inc, g.evidenceFloor, 8191)
        ema = lane.ema if s is None else lane.ema + ((64 * s - lane.ema) >> 2)
        is_approved = (
            s is not None
            and is_alive(g, p.norm2, p.exponent, anchor.norm2, anchor.exponent)
            and llr < g.acceptBelow
            and s > g.scoreAbove
        )
        if is_approved:
            approved |= 1 << i
        accepted = min(8191, lane.accepted + is_approved)
        refused = min(2047, lane.refused + (not is_approved))
        after.append(Lane(ema, llr, accepted, refused, round_number % 2048))
    return Verdict(approved, yardstick, after, x, scores)


def pack_lane(lane: Lane) -> int:
    """Give the 64 bits of a lane."""
    return (
        lane.ema % 2**15
        | lane.llr % 2**14 << 15
        | lane.accepted << 29
        | lane.refused << 42
        | lane.last_round << 53
    )


def unpack_lane(value: int) -> Lane:
    """Read the 64 bits of a lane."""
    ema, llr = value % 2**15, (value >> 15) % 2**14
    return Lane(
        ema=ema - 2**15 if ema >= 2**14 else ema,
        llr=llr - 2**14 if llr >= 2**13 else llr,
        accepted=(value >> 29) % 2**13,
        refused=(value >> 42) % 2**11,
        last_round=(value >> 53) % 2**11,
    )


def lane_words(lanes: Sequence[Lane]) -> list[int]:
    """Give the ceil(members / 4) words of all members' lanes, the guards' included."""
    words = [0] * -(-len(lanes) // 4)
    for i, lane in enumerate(lanes):
        words[i // 4] |= pack_lane(lane) << 64 * (i % 4)
    return words


def encode_payload(
    anchor: Posted,
    x: int,
    members: Sequence[Posted],
    trace_root: bytes = bytes(32),
    poster: int = 0,
    seed: bytes = bytes(32),
) -> bytes:
    """Give the bytes that settle takes (ledger.md, Settle).

    ``members`` are all but the guard, or all of a cohort with several guards, in cohort order.
    """
    present = [p for p in members if p.status]
    unavailable = sum(1 << i for i, p in enumerate(members) if p.status == 2)
    malformed = sum(1 << i for i, p in enumerate(members) if p.status == 3)
    return (
        anchor.code.to_bytes(32, "big")
        + trace_root
        + unavailable.to_bytes(32, "big")
        + malformed.to_bytes(32, "big")
        + anchor.norm2.to_bytes(8, "big")
        + anchor.exponent.to_bytes(1, "big", signed=True)
        + x.to_bytes(2, "big", signed=True)
        + poster.to_bytes(1, "big")
        + seed[:20]
        + b"".join(p.code.to_bytes(32, "big") for p in present)
        + b"".join(p.norm2.to_bytes(8, "big") for p in present)
        + b"".join(p.exponent.to_bytes(1, "big", signed=True) for p in present)
    )


def decode_payload(payload: bytes, presence: int, entries: int) -> tuple[Posted, int, list[Posted], bytes]:
    """Read a valid payload: anchor, x, the first ``entries`` members, trace root.

    Byte 139 is the poster, the 20 from there on are the seed's first.

    ``entries`` is the number of workers, or of all members if there are several guards; ``presence`` has the
    committed members.
    """
    n = sum(presence >> i & 1 for i in range(entries))
    unavailable = int.from_bytes(payload[64:96], "big")
    malformed = int.from_bytes(payload[96:128], "big")
    anchor = Posted(
        1,
        int.from_bytes(payload[0:32], "big"),
        int.from_bytes(payload[128:136], "big"),
        int.from_bytes(payload[136:137], "big", signed=True),
    )
    x = int.from_bytes(payload[137:139], "big", signed=True)
    members = []
    k = 0
    for i in range(entries):
        if not presence >> i & 1:
            members.append(Posted(0))
            continue
        status = 2 if unavailable >> i & 1 else 3 if malformed >> i & 1 else 1
        codes, norms, exponents = 160 + 32 * k, 160 + 32 * n + 8 * k, 160 + 40 * n + k
        members.append(
            Posted(
                status,
                int.from_bytes(payload[codes : codes + 32], "big"),
                int.from_bytes(payload[norms : norms + 8], "big"),
                int.from_bytes(payload[exponents : exponents + 1], "big", signed=True),
            )
        )
        k += 1
    return anchor, x, members, payload[32:64]
