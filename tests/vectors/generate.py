"""Writes hallmark_v1.json from the literal spec: python -m tests.vectors.generate.

Integers that may not fit in 53 bits, and all bytes, are 0x-prefixed hex. Values of updates are written as
recipes (see :func:`expand`), so that every language can rebuild them. A test regenerates the file and
compares the text.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from eth_hash.auto import keccak

from guard.spec import committee, gate, merge, sketch, trace, update

PATH = Path(__file__).with_name("hallmark_v1.json")
SEEDS = [sha256(b"seed %d" % i).digest() for i in range(3)]
Json = Any
Recipe = dict[str, Any]


def stream(seed: bytes, size: int) -> bytes:
    """Give sha256(seed || u64be(0)) || sha256(seed || u64be(1)) || ..., cut to size."""
    return b"".join(sha256(seed + i.to_bytes(8, "big")).digest() for i in range(-(-size // 32)))[:size]


def expand(recipe: Recipe) -> list[int]:
    """Give the int8 values that a recipe stands for."""
    n = recipe["n"]
    if recipe["kind"] == "sha256-counter":
        return [byte % 255 - 127 for byte in stream(bytes.fromhex(recipe["seed"][2:]), n)]
    cycle = recipe["values"]
    return [cycle[i % len(cycle)] for i in range(n)]


def drawn(name: str, n: int) -> Recipe:
    return {"kind": "sha256-counter", "seed": h(sha256(name.encode()).digest()), "n": n}


def cycle(values: list[int], n: int) -> Recipe:
    return {"kind": "cycle", "values": values, "n": n}


def h(data: bytes) -> str:
    return "0x" + data.hex()


def word(value: int) -> str:
    return f"0x{value:064x}"


class Draw:
    """Integers from a hash: the same in every run."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._count = 0

    def bits(self, n: int) -> int:
        self._count += 1
        return int.from_bytes(sha256(self._name + b"/%d" % self._count).digest(), "big") >> (256 - n)

    def between(self, low: int, high: int) -> int:
        return low + self.bits(64) % (high - low + 1)

    def near(self, code: int, flips: int) -> int:
        for _ in range(flips):
            code ^= 1 << self.between(0, 255)
        return code


# ---- update.md


def header_of(length: int, exponent: int = -7, **other: Any) -> update.Header:
    facts: dict[str, Any] = {
        "run": 7,
        "round": 3,
        "worker": sha256(b"worker").digest()[:20],
        "shape_digest": sha256(b"shape").digest(),
    }
    return update.Header(exponent=exponent, length=length, **(facts | other))


def header_json(header: update.Header) -> Json:
    return {
        "exponent": header.exponent,
        "run": hex(header.run),
        "round": header.round,
        "worker": h(header.worker),
        "shapeDigest": h(header.shape_digest),
        "length": header.length,
    }


def updates() -> list[Json]:
    cases = [
        ("one value", header_of(1), cycle([-127], 1)),
        ("one segment, filled", header_of(8192, 63), drawn("full", 8192)),
        ("two segments, one value in the second", header_of(8193, -64), drawn("two", 8193)),
        ("three segments", header_of(20000), drawn("three", 20000)),
        (
            "five segments, largest run and round",
            header_of(40960, run=2**64 - 1, round=2**32 - 1),
            drawn("5", 40960),
        ),
        ("all zero", header_of(9000, 0), cycle([0], 9000)),
    ]
    out = []
    for name, header, recipe in cases:
        data = update.encode_update(header, expand(recipe))
        payload = data[update.HEADER_BYTES :]
        out.append(
            {
                "name": name,
                "header": header_json(header),
                "values": recipe,
                "headerBytes": h(data[: update.HEADER_BYTES]),
                "size": len(data),
                "leaves": [h(update.leaf(payload[at : at + 8192])) for at in range(0, len(payload), 8192)],
                "payloadRoot": h(update.tree_of_blocks(payload)),
                "root": h(update.update_root(data)),
            }
        )
    return out


def malformed() -> list[Json]:
    """Each case: an update file, cut to ``size``, then bytes replaced; and the rule it breaks, or 0."""
    header = header_of(10000)
    recipe = drawn("malformed", 10000)
    size = update.HEADER_BYTES + 2 * 8192
    payload = update.HEADER_BYTES
    cases: list[tuple[str, int, dict[int, bytes]]] = [
        ("sound", size, {}),
        ("another exponent is sound", size, {5: b"\x3f"}),
        ("magic", size, {0: b"HMRX"}),
        ("version 0", size, {4: b"\0"}),
        ("version 2", size, {4: b"\2"}),
        ("exponent 64", size, {5: b"\x40"}),
        ("exponent -65", size, {5: b"\xbf"}),
        ("first zero field", size, {7: b"\1"}),
        ("second zero field", size, {95: b"\1"}),
        ("length 0", size, {72: bytes(8)}),
        ("length over 2^40", size, {72: (2**40 + 1).to_bytes(8, "little")}),
        ("a segment is missing", size - 8192, {}),
        ("length says one segment", size, {72: (8192).to_bytes(8, "little")}),
        ("run", size, {8: b"\x08"}),
        ("round", size, {16: b"\x04"}),
        ("worker", size, {20: b"\xff"}),
        ("shape digest", size, {71: b"\xff"}),
        ("length of another update", size, {72: (9999).to_bytes(8, "little")}),
        ("-128 first", size, {payload: b"\x80"}),
        ("-128 last", size, {payload + 9999: b"\x80"}),
        ("-128 in the padding counts before padding", size, {payload + 10000: b"\x01\x80"}),
        ("padding first", size, {payload + 10000: b"\x01"}),
        ("padding last", size, {size - 1: b"\xff"}),
        ("foreign and -128", size, {8: b"\x08", payload: b"\x80"}),
        ("magic and foreign", size, {0: b"\0", 8: b"\x08"}),
    ]
    out = []
    sound = update.encode_update(header, expand(recipe))
    # Three segments make a tree of depth 2, which holds a fourth.
    longer = header_of(3 * 8192 - 5)
    more = drawn("malformed, longer", 3 * 8192 - 5)
    larger = update.HEADER_BYTES + 4 * 8192
    every = [(header, recipe, sound, *case) for case in cases]
    content = update.encode_update(longer, expand(more))
    every += [
        (longer, more, content, "a segment too many in a tree of the same depth", larger, {}),
        (
            longer,
            more,
            content,
            "a segment too many, and its own length",
            larger,
            {72: (4 * 8192).to_bytes(8, "little")},
        ),
    ]
    for header, recipe, sound, name, new_size, patches in every:
        data = bytearray(sound[:new_size].ljust(new_size, b"\0"))
        for at, patch in patches.items():
            data[at : at + len(patch)] = patch
        out.append(
            {
                "name": name,
                "expected": header_json(header),
                "values": recipe,
                "size": new_size,
                "patches": [{"offset": at, "bytes": h(patch)} for at, patch in patches.items()],
                "rule": update.malformed_rule(bytes(data), header),
                "root": h(update.update_root(bytes(data))),
            }
        )
    return out


def shapes() -> list[Json]:
    cases: list[list[tuple[str, tuple[int, ...]]]] = [
        [],
        [("weight", (3, 4)), ("bias", (3,))],
        [("scale", ()), ("größe.0", (1, 2, 3, 4)), ("empty", (0,))],
    ]
    return [
        {
            "parameters": [{"name": name, "sizes": list(sizes)} for name, sizes in case],
            "digest": h(update.shape_digest(case)),
        }
        for case in cases
    ]


# ---- sketch.md


def packed_signs(signs: Sequence[int]) -> str:
    """Bit c of the big-endian number is 1 iff sign c is -1."""
    value = sum(1 << c for c, sign in enumerate(signs) if sign < 0)
    return h(value.to_bytes(len(signs) // 8, "big"))


def signs() -> list[Json]:
    return [
        {
            "seed": h(seed),
            "columns": [{"i": i, "minus": packed_signs(sketch.column_signs(seed, i))} for i in (0, 9, 15)],
            "rows": [
                {"b": hex(b), "minus": packed_signs(sketch.row_signs(seed, b))} for b in (0, 1, 257, 2**40)
            ],
        }
        for seed in (bytes(32), SEEDS[0])
    ]


def segments() -> list[Json]:
    contents = {
        "random": drawn("segment", 8192),
        "all 127": cycle([127], 8192),
        "all -127": cycle([-127], 8192),
        "alternating": cycle([127, -127], 8192),
        "zero": cycle([0], 8192),
        "one value": cycle([1] + [0] * 8191, 8192),
    }
    cases = [(0, 0), (1, 1), (1, 2), (2, 12207), (0, 2**27)]
    out = []
    for name, recipe in contents.items():
        payload = bytes(value % 256 for value in expand(recipe))
        for which, segment in cases if name == "random" else cases[1:2]:
            out.append(
                {
                    "name": name,
                    "seed": h(SEEDS[which]),
                    "segment": segment,
                    "values": recipe,
                    "sums": sketch.project(SEEDS[which], payload, 8 * segment),
                    "norm2": sketch.norm2(payload),
                }
            )
    return out


def aligned(seed: bytes, rows: int, output: int) -> list[int]:
    """Give the +-127 update with the largest possible sum at one output."""
    values = []
    for b in range(rows):
        columns = sketch.column_signs(seed, b % 16)
        rho = sketch.row_signs(seed, b)[output]
        values += [127 * rho * columns[c] * sketch.hadamard(output, c % 256) for c in range(1024)]
    return values


def values_of(recipe: Recipe) -> list[int]:
    """Give the values of any recipe; those that are aligned need the sketch."""
    if recipe["kind"] != "aligned":
        return expand(recipe)
    values = aligned(bytes.fromhex(recipe["seed"][2:]), recipe["n"] // 1024, recipe["output"])
    return [-value for value in values] if recipe.get("negated") else values


def sketches() -> list[Json]:
    cases = [
        ("random", SEEDS[0], drawn("a", 5 * 8192)),
        ("random, another seed", SEEDS[1], drawn("a", 5 * 8192)),
        ("all 127", SEEDS[2], cycle([127], 3 * 8192)),
        ("all -127", SEEDS[2], cycle([-127], 3 * 8192)),
        ("alternating", SEEDS[1], cycle([127, -127], 2 * 8192)),
        ("zero", SEEDS[0], cycle([0], 8192)),
        (
            "largest sum at output 200",
            SEEDS[0],
            {"kind": "aligned", "seed": h(SEEDS[0]), "output": 200, "n": 16384},
        ),
    ]
    out = []
    for name, seed, recipe in cases:
        payload = bytes(value % 256 for value in values_of(recipe))
        sums = sketch.project(seed, payload)
        out.append(
            {
                "name": name,
                "seed": h(seed),
                "values": recipe,
                "sums": sums,
                "norm2": sketch.norm2(payload),
                "code": word(sketch.code(sums)),
            }
        )
    return out


# ---- trace.md


def traces() -> list[Json]:
    """The states are rebuilt from the values; one of them is written out, the others are in their leaves."""
    cases = [
        ("one value", SEEDS[0], drawn("trace 1", 1)),
        ("one segment", SEEDS[0], drawn("trace 8192", 8192)),
        ("two segments, one value in the second", SEEDS[1], drawn("trace 8193", 8193)),
        ("five segments", SEEDS[1], drawn("trace 40960", 40960)),
        ("all 127", SEEDS[2], cycle([127], 3 * 8192)),
        ("all -127", SEEDS[2], cycle([-127], 3 * 8192)),
        ("alternating", SEEDS[1], cycle([127, -127], 2 * 8192)),
        ("zero", SEEDS[0], cycle([0], 2 * 8192)),
        (
            "most negative sum at output 200",
            SEEDS[0],
            {"kind": "aligned", "seed": h(SEEDS[0]), "output": 200, "n": 16384, "negated": True},
        ),
    ]
    out = []
    for name, seed, recipe in cases:
        values = values_of(recipe)
        padding = -len(values) % 8192
        payload = bytes(value % 256 for value in values) + bytes(padding)
        states = trace.states(seed, payload)
        out.append(
            {
                "name": name,
                "seed": h(seed),
                "values": recipe,
                "lastState": h(states[-1]),
                "leaves": [h(leaf) for leaf in trace.leaves(seed, payload)],
                "root": h(trace.member_root(seed, payload)),
            }
        )
    return out


def round_traces() -> list[Json]:
    """Rounds of members' roots: with and without those who have no word, and none but the anchor's."""
    roots = [sha256(b"trace root %d" % i).digest() for i in range(11)]
    nobody = bytes(32)
    cases = [
        ("one worker and the guard", roots[:2]),
        ("three workers, one without a word", [roots[0], nobody, roots[2], roots[3]]),
        ("ten workers", roots),
        ("nobody but the anchor", [nobody] * 4 + [roots[4]]),
    ]
    return [
        {"name": name, "roots": [h(root) for root in case], "root": h(trace.round_root(case))}
        for name, case in cases
    ]


# ---- gate.md


def posted_json(posted: gate.Posted) -> Json:
    return {
        "status": posted.status,
        "code": word(posted.code),
        "norm2": hex(posted.norm2),
        "exponent": posted.exponent,
    }


def spec_json(spec: gate.GateSpec) -> Json:
    return dict(zip(spec._fields, spec, strict=True))


def specs() -> list[Json]:
    cases = [
        gate.GateSpec(),
        gate.GateSpec(
            evidenceMin=-(2**31), evidenceMax=2**31 - 1, scoreAbove=-(2**31), settleWindowS=2**32 - 1
        ),
        gate.GateSpec(evidenceFloor=-8193),
        gate.GateSpec(yardstickKeep=10),
        gate.GateSpec(acceptBelow=0),
        gate.GateSpec(aliveFactor=0),
        gate.GateSpec(clipLowPercent=101),
        gate.GateSpec(groupSpared=257),
        gate.GateSpec(voteOffset=257),
        gate.GateSpec(version=2),
    ]
    return [
        {
            "spec": spec_json(spec),
            "accepted": gate.is_accepted_spec(spec),
            "preimage": h(gate.spec_preimage(spec)),
            "digest": h(keccak(gate.spec_preimage(spec))),
        }
        for spec in cases
    ]


def lanes() -> list[Json]:
    draw = Draw("lanes")
    cases = [
        gate.Lane(),
        gate.Lane(-16384, -8192, 0, 0, 0),
        gate.Lane(16383, 8191, 8191, 2047, 2047),
        gate.Lane(-1, -1, 1, 1, 1),
    ]
    cases += [gate.unpack_lane(draw.bits(64)) for _ in range(12)]
    return [
        {"lane": dict(zip(c._fields, c, strict=True)), "packed": f"0x{gate.pack_lane(c):016x}"} for c in cases
    ]


class Rounds:
    """Consecutive rounds of one cohort."""

    def __init__(self, name: str, workers: int, spec: gate.GateSpec | None = None) -> None:
        self.name = name
        self.spec = spec or gate.GateSpec()
        self.lanes = [gate.Lane()] * workers
        self.yardstick = 0
        self.pairs: merge.Pairs = {}
        self.cases: list[Json] = []
        self.weights: list[Json] = []

    def play(self, round_number: int, anchor: gate.Posted, members: list[gate.Posted]) -> gate.Verdict:
        banned = [lane.llr >= self.spec.banFrom for lane in self.lanes]
        verdict = gate.gate(self.spec, round_number, anchor, members, self.lanes, self.yardstick)
        presence = sum(1 << i for i, p in enumerate(members) if p.status) | 1 << len(members)
        # Of some rounds zero: a ledger takes any trace root.
        trace_root = (
            sha256(f"{self.name} {round_number}".encode()).digest() if round_number != 2 else bytes(32)
        )
        seed = sha256(f"seed of {self.name} {round_number}".encode()).digest()
        payload = gate.encode_payload(anchor, verdict.median, members, trace_root, seed=seed)
        self.cases.append(
            {
                "name": f"{self.name}, round {round_number}",
                "spec": spec_json(self.spec),
                "round": round_number,
                "anchor": posted_json(anchor),
                "workers": [posted_json(p) for p in members],
                "presence": word(presence),
                "laneWordsBefore": [word(w) for w in gate.lane_words([*self.lanes, gate.Lane()])],
                "yardstickBefore": self.yardstick,
                "median": verdict.median,
                "traceRoot": h(trace_root),
                "seed": h(seed),
                "payload": h(payload),
                "payloadHash": h(keccak(payload)),
                "scores": verdict.scores,
                "approved": word(verdict.approved),
                "yardstickAfter": verdict.yardstick,
                "laneWordsAfter": [word(w) for w in gate.lane_words([*verdict.lanes, gate.Lane()])],
            }
        )
        self.pairs = merge.coalition(self.spec, self.pairs, anchor, members, banned)
        given = merge.weights(self.spec, self.pairs, anchor, members, verdict.lanes, verdict.approved)
        preimage = merge.weights_preimage(7, round_number, given)
        self.weights.append(
            {
                "gate": f"{self.name}, round {round_number}",
                "run": "0x7",
                "pairs": [[i, j, value] for (i, j), value in sorted(self.pairs.items())],
                "indices": given.indices,
                "weights": given.weights,
                "anchorWeight": given.anchor,
                "preimage": h(preimage),
                "digest": h(keccak(preimage)),
            }
        )
        self.lanes, self.yardstick = verdict.lanes, verdict.yardstick
        return verdict


def committed(code: int, norm2: int = 10**9, exponent: int = -10) -> gate.Posted:
    return gate.Posted(1, code, norm2, exponent)


def rounds() -> tuple[list[Json], list[Json]]:
    full = 2**256 - 1
    games: list[Rounds] = []

    # Honest ones near the anchor, one that flips every sign, a pair of copies, faults and absences.
    draw = Draw("mixed")
    game = Rounds("mixed", 12)
    for round_number in (1, 2, 3, 4, 5):
        anchor = committed(draw.bits(256))
        members = [committed(draw.near(anchor.code, 90), 10**9 + draw.bits(28)) for _ in range(12)]
        members[3] = committed(members[0].code ^ full, 3 * 10**9)
        members[4] = committed(draw.near(members[5].code, 3), 10**8, -9)
        members[7] = gate.Posted(0)
        members[8] = gate.Posted(2) if round_number % 2 else committed(anchor.code ^ full)
        members[9] = gate.Posted(3) if round_number > 2 else committed(anchor.code)
        members[10] = committed(draw.near(anchor.code, 80), 1, -20)
        game.play(round_number, anchor, members)
    games.append(game)

    # Lanes at their ends, already banned members, and every status.
    draw = Draw("extremes")
    game = Rounds("extreme lanes", 9)
    game.lanes = [
        gate.Lane(-16384, -4710, 8191, 2047, 2047),
        gate.Lane(16383, 7167, 8191, 2047, 0),
        gate.Lane(0, 7168, 5, 6, 7),
        gate.Lane(16381, 8191, 0, 0, 0),
        gate.Lane(-1, 1023, 0, 0, 2047),
        gate.Lane(3, 1024, 0, 0, 1),
        gate.Lane(-8192, -8192, 1, 2, 3),
        gate.Lane(1, 7000, 0, 0, 0),
        gate.Lane(0, 8000, 0, 0, 0),
    ]
    game.yardstick = 1 + 256 * 100
    code = draw.bits(256)
    game.play(
        2**32 - 1,
        committed(code),
        [
            committed(code),
            committed(code ^ full),
            committed(code),
            gate.Posted(3),
            committed(draw.near(code, 60)),
            committed(draw.near(code, 60)),
            committed(code ^ full),
            gate.Posted(2),
            gate.Posted(2),
        ],
    )
    game.play(2048, committed(0), [committed(0), committed(0), *([gate.Posted(0)] * 7)])
    games.append(game)

    # Ties: codes that are equal, and an even number of them.
    draw = Draw("ties")
    game = Rounds("ties", 6)
    code = draw.bits(256)
    a, b = draw.near(code, 50), draw.near(code, 100)
    game.play(1, committed(code), [committed(c) for c in (a, a, b, b, a, b)])
    game.play(2, committed(code), [committed(c) for c in (b, b, b, b, a, b)])
    games.append(game)

    # Nobody to judge: the yardstick stays as it is, before and after the first.
    game = Rounds("nobody judged", 3)
    game.play(1, committed(code), [gate.Posted(0), gate.Posted(2), gate.Posted(3)])
    game.play(2, committed(code), [committed(a), gate.Posted(0), gate.Posted(0)])
    game.play(3, committed(code), [gate.Posted(0)] * 3)
    game.lanes = [lane._replace(llr=8191) for lane in game.lanes]
    game.play(4, committed(code), [committed(a), committed(b), committed(code)])
    games.append(game)

    # A first median below zero: the yardstick is 0, and 0 adds no evidence.
    game = Rounds("negative first median", 3)
    game.play(1, committed(code), [committed(code ^ full), committed(code ^ full), committed(code)])
    game.play(2, committed(code), [committed(code), committed(a), committed(code ^ full)])
    games.append(game)

    # Norms and exponents far apart, at the limits of alive.
    game = Rounds("alive", 12)
    top = 2**64 - 1
    game.play(
        1,
        committed(code, 256 * 1000, 0),
        [
            committed(code, norm2, exponent)
            for norm2, exponent in (
                (1000, 0),
                (999, 0),
                (0, 63),
                (250, 1),
                (249, 1),
                (4000, -1),
                (3999, -1),
                (1, 63),
                (top, -64),
                (top, 63),
                (1, -64),
                (1000 * 4**20, -20),
            )
        ],
    )
    game.play(
        2, committed(code, top, 63), [committed(code, top, e) for e in range(-2, 64, 6)] + [gate.Posted(0)]
    )
    game.play(3, committed(code, 1, -64), [committed(code, 1, e) for e in range(-64, 8, 6)])
    game.play(4, committed(code, 0, 63), [committed(code, 1, -64)] * 6 + [committed(code, 0, 0)] * 6)
    games.append(game)

    # Copies: identical, just near enough and one bit too far, chains, of who is not in J, all of them.
    draw = Draw("copies")
    game = Rounds("copies", 8)
    near, far = 2**16 - 1, (2**17 - 1) << 100
    for round_number in range(1, 10):
        anchor = committed(draw.bits(256))
        members = [committed(draw.near(anchor.code, 60 + 3 * k)) for k in range(8)]
        twin = draw.near(anchor.code, 30)
        if round_number == 1:
            members[3:] = [committed(twin, 10**9 + k) for k in range(5)]
        if round_number == 2:
            members[:3] = [committed(twin), committed(twin ^ near), committed(twin ^ far)]
            members[7] = committed(members[6].code ^ far)
        if round_number == 3:
            chain = [twin, twin ^ near, twin ^ near ^ near << 16]
            members[:3] = [committed(code) for code in chain]
            members[5:] = [committed(draw.near(code ^ full, 0)) for code in (chain[0], chain[2], chain[1])]
        if round_number in (4, 5, 6):
            members[0] = gate.Posted(2)
            members[1:3] = [committed(twin)] * 2
        if round_number == 4:
            members[3:6] = [gate.Posted(3), committed(twin ^ near), gate.Posted(0)]
        if round_number == 7:  # member 0 is banned by now
            members[:4] = [committed(twin)] * 4
        if round_number == 8:
            members = [committed(twin ^ 1 << k) for k in range(8)]
        if round_number == 9:
            members = [gate.Posted(0)] * 6 + [committed(twin)] * 2
        game.play(round_number, anchor, members)
    games.append(game)

    for bits in (0, 256):
        game = Rounds(f"copies within {bits} bits", 5, gate.GateSpec(duplicateBits=bits))
        anchor = committed(draw.bits(256))
        codes = [draw.near(anchor.code, 20 * k) for k in range(5)]
        game.play(1, anchor, [committed(code) for code in codes])
        game.play(2, anchor, [committed(code) for code in (codes[3], codes[0], codes[0] ^ 1, codes[0], full)])
        games.append(game)

    # A cohort of 256: every word is in use.
    draw = Draw("large")
    game = Rounds("largest cohort", 255)
    for round_number in (1, 2):
        anchor = committed(draw.bits(256), 2 * 10**9, -12)
        game.play(
            round_number,
            anchor,
            [
                gate.Posted(0)
                if i % 17 == 5
                else committed(draw.near(anchor.code, 100), 10**9 + draw.bits(30), -12)
                for i in range(255)
            ],
        )
    games.append(game)

    # Another spec, with hard penalties.
    draw = Draw("spec")
    spec = gate.GateSpec(
        yardstickKeep=1,
        yardstickGain=300,
        yardstickDivisor=2,
        yardstickOffset=0,
        evidenceDivisor=1000,
        evidenceMin=-1,
        evidenceMax=5000,
        evidenceFloor=-10,
        faultEvidence=8191,
        acceptBelow=8191,
        banFrom=8191,
        scoreAbove=0,
        aliveFactor=1,
        clipLowPercent=0,
        clipHighPercent=100,
        duplicateBits=60,
        coalitionKeepQ8=0,
        coalitionThresholdQ16=0,
        coalitionPenalty=2**32 - 1,
        groupSpared=1,
        groupPenalty=2**32 - 1,
        anchorShareBps=10000,
    )
    game = Rounds("another spec", 5, spec)
    for round_number in (1, 2):
        anchor = committed(draw.bits(256), 10**9 + 1)
        members = [committed(draw.near(anchor.code, 70), 10**10) for _ in range(5)]
        members[1] = committed(draw.near(members[0].code, 2), 10**11)
        if round_number == 2:
            members[4] = gate.Posted(2)
        game.play(round_number, anchor, members)
    games.append(game)

    gates = [case for game in games for case in game.cases]
    weighed = [case for game in games for case in game.weights if not game.name.startswith("largest")]
    large = [
        case | {"pairs": None} for game in games for case in game.weights if game.name.startswith("largest")
    ]
    return gates, weighed + large


# ---- gate.md, Several guards


def committees() -> list[Json]:
    """Readings of committees: ties, even V, equal norms under other exponents, too few."""
    full, nobody = 2**256 - 1, gate.Posted(0)
    draw = Draw("committees")
    code = draw.bits(256)
    a, b, c = (draw.near(code, 60) for _ in range(3))
    striped = 0xAAAA << 240
    cases: list[tuple[str, list[gate.Posted]]] = [
        ("three that differ", [committed(a, 30), committed(b, 10), committed(c, 20)]),
        ("two against one", [committed(code), committed(code ^ full, 10**15, 40), committed(code)]),
        ("a tie is 1", [committed(striped, 5), committed(striped ^ full, 4), nobody]),
        ("a tie is 1, the other is absent", [nobody, committed(striped, 4), committed(a, 4)]),
        ("unavailable", [committed(a, 7), gate.Posted(2), committed(b, 8)]),
        ("malformed", [gate.Posted(3), committed(a, 7), committed(b, 6)]),
        ("equal norms under other exponents", [committed(a, 16, 0), committed(b, 1, 2), committed(c, 4, 1)]),
        ("equal norms, the first are smaller", [committed(a, 4, 3), committed(b, 1, 4), committed(c, 2**8)]),
        ("zero norms", [committed(a, 0, 63), committed(b, 0, -64), committed(c, 0, 0)]),
        ("one zero norm", [committed(a, 0, 63), committed(b, 1, -64), committed(c, 2, -64)]),
        (
            "norms at their limits",
            [committed(a, 2**64 - 1, 63), committed(b, 2**64 - 1, -64), committed(c, 1, 63)],
        ),
        ("equal scores: the first is merged", [committed(a), committed(b ^ full), committed(a)]),
        ("all bits set", [committed(full)] * 3),
        ("no bit set", [committed(0)] * 3),
        ("one of three", [nobody, committed(a), gate.Posted(2)]),
        ("nobody of three", [nobody, gate.Posted(3), gate.Posted(2)]),
        (
            "five, two lie together",
            [committed(draw.near(code, 30), 10**6 + k) for k in range(3)]
            + [committed(code ^ full, 2**60), committed(code ^ full, 0)],
        ),
        ("four of five", [committed(x, 9 - k) for k, x in enumerate((a, b, c, code))] + [nobody]),
        ("three of five", [gate.Posted(2), committed(a, 3), nobody, committed(b, 1), committed(c, 2)]),
        ("two of five", [gate.Posted(2), committed(a, 3), nobody, committed(b, 1), gate.Posted(3)]),
        ("fifteen", [committed(draw.bits(256), draw.bits(64), draw.between(-64, 63)) for _ in range(15)]),
        ("fifteen of one word", [committed(code, 10**9 + draw.bits(20)) for _ in range(15)]),
        ("eight of fifteen", [committed(draw.bits(256), k) for k in range(8)] + [nobody] * 7),
        ("fourteen of fifteen", [committed(draw.bits(256), 5, -k) for k in range(14)] + [gate.Posted(3)]),
        ("seven of fifteen", [committed(a)] * 7 + [nobody, gate.Posted(2)] + [gate.Posted(3)] * 6),
        ("one guard", [committed(a, 3, -2)]),
    ]
    out = []
    for name, guards in cases:
        case: Json = {"name": name, "guards": [posted_json(p) for p in guards], "reading": None}
        try:
            reading = committee.reading(guards)
        except committee.NoQuorum:
            out.append(case)
            continue
        case["reading"] = posted_json(reading)
        case["scores"] = committee.scores(guards, reading.code)
        first = committee.next_lanes([gate.Lane()] * len(guards), guards, reading.code, 1)
        case["mergedGuard"] = committee.merged_guard(guards, first)
        out.append(case)
    return out


class CommitteeRounds:
    """Consecutive rounds of one cohort with several guards."""

    def __init__(self, name: str, workers: int, guards: int) -> None:
        self.name = name
        self.spec = gate.GateSpec()
        self.workers = workers
        self.lanes = [gate.Lane()] * (workers + guards)
        self.yardstick = 0
        self.pairs: merge.Pairs = {}
        self.cases: list[Json] = []

    def play(
        self, round_number: int, workers: list[gate.Posted], guards: list[gate.Posted], poster: int
    ) -> None:
        w = self.workers
        anchor = committee.reading(guards)
        of_workers, of_guards = self.lanes[:w], self.lanes[w:]
        banned = [lane.llr >= self.spec.banFrom for lane in of_workers]
        verdict = gate.gate(self.spec, round_number, anchor, workers, of_workers, self.yardstick)
        guards_after = committee.next_lanes(of_guards, guards, anchor.code, round_number)
        after = verdict.lanes + guards_after
        members = [*workers, *guards]
        trace_root = sha256(f"{self.name} {round_number}".encode()).digest()
        seed = sha256(f"seed of {self.name} {round_number}".encode()).digest()
        payload = gate.encode_payload(anchor, verdict.median, members, trace_root, poster, seed)
        self.pairs = merge.coalition(self.spec, self.pairs, anchor, workers, banned)
        number = committee.merged_guard(guards, guards_after)
        given = merge.weights(
            self.spec, self.pairs, anchor, workers, verdict.lanes, verdict.approved, guards[number]
        )
        preimage = merge.weights_preimage(7, round_number, given)
        self.cases.append(
            {
                "name": f"{self.name}, round {round_number}",
                "spec": spec_json(self.spec),
                "round": round_number,
                "poster": poster,
                "anchor": posted_json(anchor),
                "workers": [posted_json(p) for p in workers],
                "guards": [posted_json(p) for p in guards],
                "presence": word(sum(1 << i for i, p in enumerate(members) if p.status)),
                "laneWordsBefore": [word(x) for x in gate.lane_words(self.lanes)],
                "yardstickBefore": self.yardstick,
                "median": verdict.median,
                "traceRoot": h(trace_root),
                "seed": h(seed),
                "payload": h(payload),
                "payloadHash": h(keccak(payload)),
                "scores": verdict.scores,
                "guardScores": committee.scores(guards, anchor.code),
                "mergedGuard": number,
                "approved": word(verdict.approved),
                "yardstickAfter": verdict.yardstick,
                "laneWordsAfter": [word(x) for x in gate.lane_words(after)],
                "pairs": [[i, j, value] for (i, j), value in sorted(self.pairs.items())],
                "indices": given.indices,
                "weights": given.weights,
                "anchorWeight": given.anchor,
                "weightsPreimage": h(preimage),
                "weightsDigest": h(keccak(preimage)),
            }
        )
        self.lanes, self.yardstick = after, verdict.yardstick


def committee_rounds() -> list[Json]:
    full = 2**256 - 1
    games: list[CommitteeRounds] = []

    # Three guards: all, a liar, one that is away, one without data; a worker that flips every sign.
    draw = Draw("three guards")
    game = CommitteeRounds("three guards", 5, 3)
    for round_number in range(1, 7):
        truth = draw.bits(256)
        workers = [committed(draw.near(truth, 60), 10**9 + draw.bits(28)) for _ in range(5)]
        workers[1] = committed(workers[0].code ^ full)
        workers[4] = [workers[4], gate.Posted(0), gate.Posted(2), gate.Posted(3)][round_number % 4]
        guards = [committed(draw.near(truth, 30), 10**9 + draw.bits(29)) for _ in range(3)]
        if round_number == 2:
            guards[0] = committed(truth ^ full, 2**63, 20)
        if round_number == 3:
            guards[1] = gate.Posted(0)
        if round_number == 4:
            guards[2] = gate.Posted(2)
        if round_number == 5:
            guards[1] = gate.Posted(3)
        if round_number == 6:
            guards[0] = committed(guards[0].code, 0, 63)
        game.play(round_number, workers, guards, round_number % 3)
    games.append(game)

    # Five guards of a cohort whose guards' lanes share words with workers'; lanes at their ends.
    draw = Draw("five guards")
    game = CommitteeRounds("five guards", 6, 5)
    game.lanes[6:] = [
        gate.Lane(16383, 0, 8191, 2047, 2047),
        gate.Lane(-16384, 0, 8191, 2047, 0),
        gate.Lane(-1, 0, 0, 0, 3),
        gate.Lane(1, 0, 8190, 2046, 1),
        gate.Lane(3, 0, 1, 2, 3),
    ]
    for round_number in (4096, 4097, 2**32 - 1):
        truth = draw.bits(256)
        workers = [committed(draw.near(truth, 70), 10**9 + draw.bits(28)) for _ in range(6)]
        guards = [committed(draw.near(truth, 25), 10**9 + draw.bits(28)) for _ in range(5)]
        guards[1] = committed(truth ^ full, 2**64 - 1, 63)
        if round_number == 4097:
            guards[3:] = [gate.Posted(2), gate.Posted(3)]
        if round_number == 2**32 - 1:
            guards[0], guards[4] = gate.Posted(0), gate.Posted(0)
            workers = [gate.Posted(0)] * 6
        game.play(round_number, workers, guards, 4)
    games.append(game)

    # Copies, also of a guard's word, which makes nobody a copy.
    draw = Draw("copies beside guards")
    game = CommitteeRounds("copies beside three guards", 7, 3)
    near = 2**16 - 1
    for round_number in (1, 2, 3):
        truth = draw.bits(256)
        workers = [committed(draw.near(truth, 60 + 5 * k), 10**9) for k in range(7)]
        guards = [committed(draw.near(truth, 30), 10**9 + k) for k in range(3)]
        if round_number == 1:
            workers[0] = committed(guards[0].code)
            workers[4:] = [committed(guards[1].code)] * 3
        if round_number == 2:
            code = draw.near(truth, 40)
            workers[2:5] = [
                committed(code ^ mask) for mask in (near << 32, near << 32 ^ near << 16, near << 16)
            ]
            workers[5] = gate.Posted(3)
        if round_number == 3:
            workers = [committed(draw.near(guards[2].code, 1)) for _ in range(7)]
        game.play(round_number, workers, guards, 0)
    games.append(game)

    # A score of exactly 0 counts as refused, and norms of zero make every worker alive.
    game = CommitteeRounds("a guard with a score of 0", 1, 3)
    half = 2**128 - 1
    game.play(1, [committed(full)], [committed(full, 0), committed(full, 0), committed(half, 9)], 2)
    games.append(game)

    # Fifteen guards, and the largest cohort.
    draw = Draw("fifteen guards")
    game = CommitteeRounds("fifteen guards", 3, 15)
    for round_number in (1, 2):
        truth = draw.bits(256)
        workers = [committed(draw.near(truth, 60), 10**9) for _ in range(3)]
        guards = [committed(draw.near(truth, 60), 10**9 + draw.bits(29)) for _ in range(15)]
        if round_number == 2:
            guards[3:10] = [gate.Posted(0), *[committed(truth ^ full, 1)] * 4, gate.Posted(3), gate.Posted(2)]
        game.play(round_number, workers, guards, 14)
    games.append(game)

    draw = Draw("largest cohort of guards")
    game = CommitteeRounds("largest cohort", 241, 15)
    truth = draw.bits(256)
    workers = [committed(draw.near(truth, 90), 10**9) if i % 8 == 0 else gate.Posted(0) for i in range(241)]
    guards = [committed(draw.near(truth, 40), 10**9 + k) for k in range(15)]
    game.play(1, workers, guards, 7)
    games.append(game)
    return [case for game in games for case in game.cases]


def medians() -> list[Json]:
    cases = [[], [4], [4, 2], [-2, 0, 2], [0, 0, 2, 2], [254, -254, 254, -254, 0, 0], [2, 2, 2], [2, 4, 6, 8]]
    out = []
    for scores in cases:
        for x in sorted({0, 1, *scores}):
            out.append({"scores": scores, "x": x, "isMedian": gate.is_median(x, scores)})
    return out


# ---- merge.md


def models() -> list[Json]:
    """Parameters and momentum are float32 whose bits are a byte stream, little-endian, NaN and all."""
    out = []
    for length in (1, 2048, 2049, 5000):
        parameters_seed, momentum_seed = sha256(b"p%d" % length).digest(), sha256(b"m%d" % length).digest()
        parameters, momentum = stream(parameters_seed, 4 * length), stream(momentum_seed, 4 * length)
        digest = sha256(b"shape").digest()
        out.append(
            {
                "length": length,
                "shapeDigest": h(digest),
                "parametersSeed": h(parameters_seed),
                "momentumSeed": h(momentum_seed),
                "modelRoot": h(merge.model_root(parameters, momentum, digest)),
                "fileSha256": h(sha256(merge.model_file(parameters, momentum, digest)).digest()),
            }
        )
    return out


def build() -> dict[str, list[Json]]:
    """Give every section of the file."""
    gates, weighed = rounds()
    return {
        "updates": updates(),
        "malformed": malformed(),
        "shapes": shapes(),
        "signs": signs(),
        "segments": segments(),
        "sketches": sketches(),
        "traces": traces(),
        "roundTraces": round_traces(),
        "specs": specs(),
        "lanes": lanes(),
        "medians": medians(),
        "gates": gates,
        "weights": weighed,
        "committees": committees(),
        "committeeGates": committee_rounds(),
        "models": models(),
    }


def render(sections: dict[str, list[Json]]) -> str:
    """Give the text of the file: one case per line."""
    parts = []
    for name, cases in sections.items():
        lines = ",\n".join(json.dumps(case, separators=(",", ":"), ensure_ascii=False) for case in cases)
        parts.append(f'"{name}":[\n{lines}\n]')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    """Write the file."""
    PATH.write_text(render(build()), encoding="utf-8")


if __name__ == "__main__":
    main()
