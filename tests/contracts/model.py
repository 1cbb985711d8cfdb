"""A small model of the gate, the sketch and the tree, written from docs/spec alone.

Slow and plain on purpose; the contracts are compared with it on the same inputs.
"""

import hashlib
from dataclasses import astuple, dataclass, fields
from fractions import Fraction

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Constants:
    """Constants of a run in the order of docs/spec/gate.md, with the defaults given there."""

    version: int = 1
    sketch_version: int = 1
    yardstick_keep: int = 7
    yardstick_gain: int = 576
    yardstick_divisor: int = 10
    yardstick_offset: int = 4
    evidence_divisor: int = 73728
    evidence_min: int = -2191
    evidence_max: int = 2560
    evidence_floor: int = -4710
    fault_evidence: int = 2560
    accept_below: int = 1024
    ban_from: int = 7168
    score_above: int = -128
    alive_factor: int = 256
    challenge_window_s: int = 0
    settle_window_s: int = 3600
    clip_low_percent: int = 75
    clip_high_percent: int = 150
    duplicate_bits: int = 16
    coalition_keep_q8: int = 218
    coalition_threshold_q16: int = 1966
    coalition_penalty: int = 6
    group_spared: int = 2
    group_penalty: int = 1_296
    vote_offset: int = 12
    anchor_share_bps: int = 1500
    outer_lr_micro: int = 700000
    outer_momentum_micro: int = 900000

    def as_tuple(self) -> tuple[int, ...]:
        """Give the constants as the contract's struct."""
        return astuple(self)


FIELD_NAMES = tuple(field.name for field in fields(Constants))

WORKER_BYTES = 41


@dataclass(frozen=True, slots=True)
class Assay:
    """What the guard posts for one update."""

    code: int = 0
    norm2: int = 0
    exponent: int = 0


@dataclass(frozen=True, slots=True)
class Posting:
    """Everything in a settle payload; `guards`: entries of the present guards, where there are several."""

    anchor: Assay
    x: int
    assays: tuple[Assay, ...]
    unavailable: int = 0
    malformed: int = 0
    trace_root: bytes = bytes(32)
    seed: bytes = bytes(32)
    poster: int = 0
    guards: tuple[Assay, ...] = ()

    def encode(self) -> bytes:
        """Give the payload's bytes, docs/spec/ledger.md, "Settle"."""
        entries = self.assays + self.guards
        return b"".join(
            [
                self.anchor.code.to_bytes(32, "big"),
                self.trace_root,
                self.unavailable.to_bytes(32, "big"),
                self.malformed.to_bytes(32, "big"),
                self.anchor.norm2.to_bytes(8, "big"),
                self.anchor.exponent.to_bytes(1, "big", signed=True),
                self.x.to_bytes(2, "big", signed=True),
                self.poster.to_bytes(1, "big"),
                self.seed[:20],
                *(assay.code.to_bytes(32, "big") for assay in entries),
                *(assay.norm2.to_bytes(8, "big") for assay in entries),
                *(assay.exponent.to_bytes(1, "big", signed=True) for assay in entries),
            ]
        )


@dataclass(frozen=True, slots=True)
class Lane:
    """One member's reputation as it is packed into 64 bits."""

    ema: int = 0
    llr: int = 0
    accepted: int = 0
    refused: int = 0
    last_round: int = 0

    def pack(self) -> int:
        """Give the 64 bits."""
        return (
            (self.ema & 0x7FFF)
            | (self.llr & 0x3FFF) << 15
            | self.accepted << 29
            | self.refused << 42
            | (self.last_round % 2048) << 53
        )

    @classmethod
    def unpack(cls, bits: int) -> "Lane":
        """Read the 64 bits."""
        ema = bits & 0x7FFF
        llr = bits >> 15 & 0x3FFF
        return cls(
            ema - (ema >> 14 << 15),
            llr - (llr >> 13 << 14),
            bits >> 29 & 0x1FFF,
            bits >> 42 & 0x7FF,
            bits >> 53,
        )


def pack_lanes(lanes: list[Lane]) -> list[int]:
    """Give the lane words of a cohort."""
    words = [0] * ((len(lanes) + 3) // 4)
    for index, lane in enumerate(lanes):
        words[index // 4] |= lane.pack() << (64 * (index % 4))
    return words


def unpack_lanes(words: list[int], members: int) -> list[Lane]:
    """Read the lane words of a cohort."""
    return [Lane.unpack(words[i // 4] >> (64 * (i % 4)) & (2**64 - 1)) for i in range(members)]


def score(code: int, anchor_code: int) -> int:
    """Give the semantic consistency score."""
    return 256 - 2 * (code ^ anchor_code).bit_count()


def present_workers(presence: int, members: int, guards: int = 1) -> list[int]:
    """Give the cohort indices of the present workers; the guards are last and no workers."""
    return [i for i in range(members - guards) if presence >> i & 1]


def present_guards(presence: int, members: int, guards: int) -> list[int]:
    """Give the cohort indices of the present guards."""
    return [i for i in range(members - guards, members) if presence >> i & 1]


def reading(voices: list[Assay]) -> Assay:
    """Read several guards' anchors together, bit by bit: docs/spec/gate.md, "Several guards"."""
    code = 0
    for j in range(256):
        ones = sum(voice.code >> j & 1 for voice in voices)
        code |= (2 * ones >= len(voices)) << j
    order = sorted(range(len(voices)), key=lambda k: (size(voices[k]), k))
    median = voices[order[(len(voices) - 1) // 2]]
    return Assay(code, median.norm2, median.exponent)


def size(assay: Assay) -> Fraction:
    """Give norm2 * 4^e, exactly."""
    return assay.norm2 * Fraction(4) ** assay.exponent


def quorum(guards: int) -> int:
    """Give how many guards decide."""
    return guards // 2 + 1


def delivered_guards(presence: int, members: int, guards: int, posting: Posting) -> dict[int, Assay]:
    """Give the entries of the guards whose anchors arrived, by cohort index."""
    faulty = posting.unavailable | posting.malformed
    present = present_guards(presence, members, guards)
    return {i: a for i, a in zip(present, posting.guards, strict=True) if not faulty >> i & 1}


def move_guards(round_: int, lanes: list[Lane], presence: int, posting: Posting, guards: int) -> list[Lane]:
    """Give the lanes with those of several guards moved."""
    after = list(lanes)
    delivered = delivered_guards(presence, len(lanes), guards, posting)
    for i in present_guards(presence, len(lanes), guards):
        lane = lanes[i]
        s = score(delivered[i].code, posting.anchor.code) if i in delivered else 0
        ema = lane.ema + ((64 * s - lane.ema) >> 2) if i in delivered else lane.ema
        after[i] = Lane(
            ema,
            lane.llr,
            min(lane.accepted + (s > 0), 8191),
            min(lane.refused + (s <= 0), 2047),
            round_ % 2048,
        )
    return after


def judged(
    constants: Constants, lanes: list[Lane], presence: int, posting: Posting, guards: int = 1
) -> dict[int, int]:
    """Give the scores of J, by cohort index."""
    workers = present_workers(presence, len(lanes), guards)
    faulty = posting.unavailable | posting.malformed
    return {
        i: score(assay.code, posting.anchor.code)
        for i, assay in zip(workers, posting.assays, strict=True)
        if not faulty >> i & 1 and lanes[i].llr < constants.ban_from
    }


def counted(
    constants: Constants, lanes: list[Lane], presence: int, posting: Posting, guards: int = 1
) -> dict[int, int]:
    """Give the scores of J', those of J without the copies, by cohort index."""
    scores = judged(constants, lanes, presence, posting, guards)
    code = dict(zip(present_workers(presence, len(lanes), guards), posting.assays, strict=True))
    return {
        i: s
        for i, s in scores.items()
        if all((code[i].code ^ code[j].code).bit_count() > constants.duplicate_bits for j in scores if j < i)
    }


def upper_median(scores: list[int]) -> int:
    """Give the upper median, 0 of nothing."""
    return sorted(scores)[len(scores) // 2] if scores else 0


def gate(
    constants: Constants,
    round_: int,
    lanes: list[Lane],
    presence: int,
    posting: Posting,
    yardstick: int,
    guards: int = 1,
) -> tuple[int, int, list[Lane]]:
    """Judge one round: (approved, yardstick word after, lanes after), docs/spec/gate.md."""
    scores = judged(constants, lanes, presence, posting, guards)
    if scores:
        gained = constants.yardstick_gain * (posting.x - constants.yardstick_offset)
        target = gained // (constants.yardstick_divisor - constants.yardstick_keep)
        if yardstick:
            target = min(
                target, (constants.yardstick_keep * (yardstick - 1) + gained) // constants.yardstick_divisor
            )
        yardstick = max(0, target) + 1
    m = max(0, yardstick - 1)
    after = list(lanes) if guards == 1 else move_guards(round_, lanes, presence, posting, guards)
    approved = 0
    workers = present_workers(presence, len(lanes), guards)
    for i, assay in zip(workers, posting.assays, strict=True):
        lane = lanes[i]
        if lane.llr >= constants.ban_from:
            continue
        ema, evidence, accepted = lane.ema, constants.fault_evidence, False
        if i in scores:
            s = scores[i]
            evidence = (m - 512 * s) * m // constants.evidence_divisor
            evidence = min(max(evidence, constants.evidence_min), constants.evidence_max)
            ema += (64 * s - ema) >> 2
        llr = min(max(lane.llr + evidence, constants.evidence_floor), 8191)
        if i in scores:
            accepted = (
                is_alive(constants, assay, posting.anchor)
                and llr < constants.accept_below
                and scores[i] > constants.score_above
            )
        approved |= accepted << i
        after[i] = Lane(
            ema,
            llr,
            min(lane.accepted + accepted, 8191),
            min(lane.refused + (not accepted), 2047),
            round_ % 2048,
        )
    return approved, yardstick, after


def is_alive(constants: Constants, assay: Assay, anchor: Assay) -> bool:
    """Compare the norms, exactly."""
    own = constants.alive_factor * assay.norm2 * 4 ** (assay.exponent + 64)
    return assay.norm2 > 0 and own >= anchor.norm2 * 4 ** (anchor.exponent + 64)


def project(seed: bytes, segment_index: int, segment: bytes) -> tuple[list[int], int]:
    """Give one segment's 256 sums and sum of squares, docs/spec/sketch.md."""
    rows = np.frombuffer(segment, dtype=np.int8).astype(np.int64).reshape(8, 1024)
    index = np.arange(256)
    bits = np.array([[int(j & k).bit_count() for k in index] for j in index])
    hadamard = 1 - 2 * (bits & 1)
    total: npt.NDArray[np.int64] = np.zeros(256, dtype=np.int64)
    for number, row in enumerate(rows, start=8 * segment_index):
        fold = (column_signs(seed, number % 16) * row).reshape(4, 256).sum(axis=0)
        total += row_signs(seed, number) * (hadamard @ fold)
    return [int(value) for value in total], int((rows * rows).sum())


def column_signs(seed: bytes, vector: int) -> npt.NDArray[np.int64]:
    """Give D_i as 1,024 numbers +1 or -1."""
    signs = np.empty(1024, dtype=np.int64)
    for t in range(4):
        digest = hashlib.sha256(bytes([0x10]) + seed + bytes([vector, t])).digest()
        for s in range(8):
            for d in range(32):
                signs[256 * t + 32 * s + d] = 1 - 2 * (digest[d] >> s & 1)
    return signs


def row_signs(seed: bytes, row: int) -> npt.NDArray[np.int64]:
    """Give rho(b) as 256 numbers +1 or -1."""
    word = int.from_bytes(hashlib.sha256(b"\x11" + seed + row.to_bytes(8, "big")).digest(), "big")
    return np.array([1 - 2 * (word >> j & 1) for j in range(256)], dtype=np.int64)


def node(left: bytes, right: bytes) -> bytes:
    """Give an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree(header: bytes, segments: list[bytes]) -> tuple[bytes, list[list[bytes]]]:
    """Give the update root and, for each segment, its siblings from the leaves up."""
    level = [hashlib.sha256(b"\x00" + segment).digest() for segment in segments]
    empty = bytes(32)
    siblings: list[list[bytes]] = [[] for _ in segments]
    depth = 0
    while 2**depth < len(segments):
        if len(level) % 2:
            level.append(empty)
        for i, path in enumerate(siblings):
            path.append(level[(i >> depth) ^ 1])
        level = [node(level[i], level[i + 1]) for i in range(0, len(level), 2)]
        empty = node(empty, empty)
        depth += 1
    return hashlib.sha256(b"\x02" + header + level[0]).digest(), siblings
