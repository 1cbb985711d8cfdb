// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {GateParameters} from "../interfaces/IGateSpec.sol";
import {Bits} from "./Bits.sol";
import {Lanes} from "./Lanes.sol";

/// @title  The gate: verdicts of one round from its posted words.
/// @notice docs/spec/gate.md, written for the EVM. All integers; no result depends on who calls it.
library Gate {
    /// @notice The constants that the gate reads, each widened to a word; same names as in `GateParameters`.
    struct Rules {
        uint256 yardstickKeep;
        uint256 yardstickGain;
        uint256 yardstickDivisor;
        uint256 evidenceDivisor;
        int256 evidenceMin;
        int256 evidenceMax;
        int256 evidenceFloor;
        int256 faultEvidence;
        int256 acceptBelow;
        int256 banFrom;
        int256 scoreAbove;
        uint256 aliveFactor;
    }

    /// @dev The payload's header, and where the workers' fields are in the calldata.
    struct Header {
        uint256 anchorCode;
        uint256 anchorNorm2;
        int256 anchorExponent;
        int256 x;
        uint256 undelivered;
        uint256 codesAt;
        uint256 normsAt;
        uint256 exponentsAt;
    }

    /// @dev What the pass over the members reads, the same for all of them. `_judgeAll` knows the offsets.
    struct Measure {
        uint256 anchorCode; // 0x000
        // ceil(anchorNorm2 / aliveFactor) or 1: the smallest norm2 that is alive at the anchor's own exponent
        uint256 minNorm2; // 0x020
        int256 anchorExponent; // 0x040
        uint256 undelivered; // 0x060
        int256 banFrom; // 0x080
        // 256 - x: twice the distance that scores exactly x
        int256 medianDistance2; // 0x0a0
        // evidence - evidenceMin = floor((base + step * distance) / evidenceDivisor) - 2^64, before it is clipped
        uint256 base; // 0x0c0
        uint256 step; // 0x0e0
        uint256 evidenceDivisor; // 0x100
        uint256 evidenceRange; // 0x120: evidenceMax - evidenceMin
        int256 minLessFloor; // 0x140: evidenceMin - evidenceFloor
        uint256 llrRange; // 0x160: 8191 - evidenceFloor
        int256 evidenceFloor; // 0x180
        int256 acceptBelow; // 0x1a0
        // 256 - scoreAbove: twice the distance that is just too far
        int256 distance2Below; // 0x1c0
        uint256 lastRound; // 0x1e0: in its place in the lane
        uint256 aliveFactor; // 0x200
        uint256 anchorNorm2; // 0x220
        int256 faultEvidence; // 0x240
    }

    uint256 internal constant HEADER_BYTES = 160;
    uint256 internal constant WORKER_BYTES = 41;

    /// @notice Thrown when the cohort's size is outside 2..256 or does not fit the lane words.
    error GateWrongCohort(uint256 members, uint256 laneWords);
    /// @notice Thrown when the presence bitmap names members that do not exist.
    error GateUnknownMember(uint256 presence, uint256 members);
    /// @notice Thrown when the payload is not exactly 160 + 41 n bytes for n present workers.
    error GateWrongPayloadLength(uint256 length, uint256 expected);
    /// @notice Thrown when the bitmaps of unavailable and malformed members overlap or leave the present workers.
    error GateWrongStatuses(uint256 unavailable, uint256 malformed, uint256 presentWorkers);
    /// @notice Thrown when the trace root or the padding of the payload's header is not zero.
    error GateHeaderNotZero(bytes32 traceRoot, uint256 padding);
    /// @notice Thrown when an unavailable or malformed worker has a code, norm or exponent that is not zero.
    error GateUndeliveredNotZero(uint256 index);
    /// @notice Thrown when an exponent is outside -64..63.
    /// @param  index Cohort index of the worker, or of the guard for the anchor.
    error GateExponentOutOfRange(uint256 index, int256 exponent);
    /// @notice Thrown when the posted median is not the lower median of the judged scores.
    /// @param  x      Posted median.
    /// @param  judged Number of scores.
    /// @param  below  Scores below x.
    /// @param  equal  Scores equal to x.
    error GateWrongMedian(int256 x, uint256 judged, uint256 below, uint256 equal);

    /// @notice Picks the gate's constants out of a run's constants.
    function rulesOf(GateParameters memory p) internal pure returns (Rules memory rules) {
        rules.yardstickKeep = p.yardstickKeep;
        rules.yardstickGain = p.yardstickGain;
        rules.yardstickDivisor = p.yardstickDivisor;
        rules.evidenceDivisor = p.evidenceDivisor;
        rules.evidenceMin = p.evidenceMin;
        rules.evidenceMax = p.evidenceMax;
        rules.evidenceFloor = p.evidenceFloor;
        rules.faultEvidence = p.faultEvidence;
        rules.acceptBelow = p.acceptBelow;
        rules.banFrom = p.banFrom;
        rules.scoreAbove = p.scoreAbove;
        rules.aliveFactor = p.aliveFactor;
    }

    /// @notice Judges one round and moves the lanes.
    /// @dev    One pass: the yardstick follows from the posted median, so all verdicts can be computed while the scores
    ///         are counted, and the median is checked at the end. A score s never appears; with d = popcount(code XOR
    ///         anchorCode), s = 256 - 2 d, and all comparisons are made on 2 d.
    /// @param  rules          Constants, within the ranges that `GateConstants.validate` checks.
    /// @param  round          Round number.
    /// @param  members        Cohort size with the guard, which has the last index.
    /// @param  presence       Bit i is set iff member i has committed.
    /// @param  payload        The settle payload.
    /// @param  yardstick      Yardstick word before the round.
    /// @param  lanes          Lane words before the round; changed in place to those after it.
    /// @return approved       Bitmap of approved members.
    /// @return yardstickAfter Yardstick word after the round.
    function judge(
        Rules memory rules,
        uint256 round,
        uint256 members,
        uint256 presence,
        bytes calldata payload,
        uint256 yardstick,
        uint256[] memory lanes
    ) internal pure returns (uint256 approved, uint256 yardstickAfter) {
        unchecked {
            if (members < 2 || members > 256 || lanes.length != Lanes.wordsFor(members)) {
                revert GateWrongCohort(members, lanes.length);
            }
            if (members < 256 && presence >> members != 0) revert GateUnknownMember(presence, members);
            uint256 workers = presence & ((1 << (members - 1)) - 1);
            Header memory header = _readHeader(payload, workers, members);
            Measure memory measure;
            (measure, yardstickAfter) = _measure(header, rules, round, yardstick);
            uint256 tally;
            (approved, tally) = _judgeAll(header, measure, workers, lanes);

            uint256 judged = tally & 0xffff;
            uint256 equal = (tally >> 16) & 0xffff;
            uint256 below = tally >> 32;
            if (judged == 0) {
                // Nobody to measure by: the yardstick stays. The lanes of this pass did not use it.
                if (header.x != 0) revert GateWrongMedian(header.x, 0, 0, 0);
                yardstickAfter = yardstick;
            } else {
                uint256 middle = (judged - 1) / 2;
                if (equal == 0 || below > middle || below + equal <= middle) {
                    revert GateWrongMedian(header.x, judged, below, equal);
                }
            }
        }
    }

    /// @notice Bitmap of the members whose update did not arrive, as the guard says in a payload.
    function unavailableIn(bytes calldata payload) internal pure returns (uint256 bitmap) {
        if (payload.length < HEADER_BYTES) revert GateWrongPayloadLength(payload.length, HEADER_BYTES);
        bitmap = uint256(bytes32(payload[64:96]));
    }

    function _readHeader(bytes calldata payload, uint256 workers, uint256 members)
        private
        pure
        returns (Header memory header)
    {
        unchecked {
            uint256 count = Bits.count(workers);
            uint256 expected = HEADER_BYTES + WORKER_BYTES * count;
            if (payload.length != expected) revert GateWrongPayloadLength(payload.length, expected);
            uint256 start;
            uint256 anchorCode;
            bytes32 traceRoot;
            uint256 unavailable;
            uint256 malformed;
            uint256 tail;
            assembly ("memory-safe") {
                start := payload.offset
                anchorCode := calldataload(start)
                traceRoot := calldataload(add(start, 32))
                unavailable := calldataload(add(start, 64))
                malformed := calldataload(add(start, 96))
                tail := calldataload(add(start, 128))
            }
            // tail = norm2 (8 bytes) || exponent (1) || x (2) || zero (21)
            uint256 padding = tail & ((1 << 168) - 1);
            if (traceRoot != 0 || padding != 0) revert GateHeaderNotZero(traceRoot, padding);
            uint256 undelivered = unavailable | malformed;
            if (unavailable & malformed != 0 || undelivered & ~workers != 0) {
                revert GateWrongStatuses(unavailable, malformed, workers);
            }
            int256 exponent = int8(uint8(tail >> 184));
            if (exponent < -64 || exponent > 63) revert GateExponentOutOfRange(members - 1, exponent);
            header.anchorCode = anchorCode;
            header.anchorNorm2 = tail >> 192;
            header.anchorExponent = exponent;
            header.x = int16(uint16(tail >> 168));
            header.undelivered = undelivered;
            header.codesAt = start + HEADER_BYTES;
            header.normsAt = start + HEADER_BYTES + 32 * count;
            header.exponentsAt = start + HEADER_BYTES + 40 * count;
        }
    }

    /// @dev Computes the new yardstick and the two numbers from which all evidence of the round follows:
    ///      (m - 512 s) m = m (m - 131072) + 1024 m d for the distance d. `evidenceDivisor << 64` is added so that the
    ///      numerator is positive (m (m - 131072) >= -2^32, evidenceMin <= 0) and the EVM's division, which rounds toward
    ///      zero, rounds down.
    function _measure(Header memory header, Rules memory rules, uint256 round, uint256 yardstick)
        private
        pure
        returns (Measure memory measure, uint256 yardstickAfter)
    {
        unchecked {
            int256 m;
            if (yardstick == 0) {
                m = 256 * header.x;
            } else {
                // Rounding toward zero instead of down is harmless: a negative quotient becomes 0 either way.
                m = (int256(rules.yardstickKeep * (yardstick - 1)) + int256(rules.yardstickGain) * header.x)
                    / int256(rules.yardstickDivisor);
            }
            if (m < 0) m = 0;
            yardstickAfter = uint256(m) + 1;
            uint256 minNorm2 = (header.anchorNorm2 + rules.aliveFactor - 1) / rules.aliveFactor;
            measure = Measure({
                anchorCode: header.anchorCode,
                minNorm2: minNorm2 == 0 ? 1 : minNorm2,
                anchorExponent: header.anchorExponent,
                undelivered: header.undelivered,
                banFrom: rules.banFrom,
                medianDistance2: 256 - header.x,
                base: uint256(
                    m * (m - 131072) - rules.evidenceMin * int256(rules.evidenceDivisor)
                        + int256(rules.evidenceDivisor << 64)
                ),
                step: uint256(m << 10),
                evidenceDivisor: rules.evidenceDivisor,
                evidenceRange: uint256(rules.evidenceMax - rules.evidenceMin),
                minLessFloor: rules.evidenceMin - rules.evidenceFloor,
                llrRange: uint256(Lanes.LLR_MAX - rules.evidenceFloor),
                evidenceFloor: rules.evidenceFloor,
                acceptBelow: rules.acceptBelow,
                distance2Below: 256 - rules.scoreAbove,
                lastRound: (round & Lanes.LAST_ROUND_MASK) << Lanes.LAST_ROUND_SHIFT,
                aliveFactor: rules.aliveFactor,
                anchorNorm2: header.anchorNorm2,
                faultEvidence: rules.faultEvidence
            });
        }
    }

    /// @dev The pass over all members, in assembly: this loop decides what a settlement costs, and written in Solidity it
    ///      takes three times the gas (bounds checks, function calls). What it computes for a member is docs/spec/gate.md,
    ///      line by line. Constants are read from `measure` where they are needed, so that the loop's own variables stay on
    ///      the stack; results gather in the scratch space (0x00 approved, 0x20 tally) for the same reason. A field that may
    ///      not be as it is sets only bit 255 of the tally; the error is raised afterwards.
    /// @return approved Bitmap of approved members.
    /// @return tally    Members of J in the low 16 bits, those that score x in the next 16, those below x above.
    function _judgeAll(Header memory header, Measure memory measure, uint256 workers, uint256[] memory lanes)
        private
        pure
        returns (uint256 approved, uint256 tally)
    {
        uint256 codeAt = header.codesAt;
        uint256 normAt = header.normsAt;
        uint256 exponentAt = header.exponentsAt;
        assembly ("memory-safe") {
            mstore(0x00, 0)
            mstore(0x20, 0)
            let wordAt := add(lanes, 32)
            let bit := 1
            for { let left := workers } left { wordAt := add(wordAt, 32) } {
                // The word is rotated by a lane at a time; after four it is back in order, each lane replaced.
                let word := mload(wordAt)
                for { let end := shl(4, bit) } xor(bit, end) { bit := shl(1, bit) } {
                    let lane := and(word, 0xffffffffffffffff)
                    if and(left, 1) {
                        let llr := sar(242, shl(227, lane))
                        let isJudged := slt(llr, mload(add(measure, 0x080))) // banFrom
                        let norm2 := shr(192, calldataload(normAt))
                        let exponent := signextend(0, byte(0, calldataload(exponentAt)))
                        let isAlive := iszero(lt(norm2, mload(add(measure, 0x020)))) // minNorm2
                        // Two rare cases behind one jump.
                        if or(
                            and(bit, mload(add(measure, 0x060))), // undelivered
                            xor(exponent, mload(add(measure, 0x040))) // anchorExponent
                        ) {
                            switch and(bit, mload(add(measure, 0x060)))
                            case 0 {
                                // aliveFactor * norm2 * 4^k >= anchorNorm2 for k = exponent - anchorExponent. From |k| = 64
                                // on more shifting changes nothing (aliveFactor * norm2 < 2^81, anchorNorm2 < 2^64).
                                let own := mul(mload(add(measure, 0x200)), norm2)
                                let k := sub(exponent, mload(add(measure, 0x040)))
                                switch slt(k, 0)
                                case 0 {
                                    if gt(k, 64) { k := 64 }
                                    isAlive := iszero(lt(shl(shl(1, k), own), mload(add(measure, 0x220))))
                                }
                                default {
                                    k := sub(0, k)
                                    if gt(k, 64) { k := 64 }
                                    isAlive := iszero(lt(own, shl(shl(1, k), mload(add(measure, 0x220)))))
                                }
                                isAlive := and(isAlive, lt(0, norm2))
                                if gt(add(exponent, 64), 127) { mstore(0x20, or(mload(0x20), shl(255, 1))) }
                            }
                            default {
                                // Unavailable or malformed: nothing to score.
                                if or(or(calldataload(codeAt), norm2), exponent) {
                                    mstore(0x20, or(mload(0x20), shl(255, 1)))
                                }
                                if isJudged {
                                    isJudged := 0
                                    llr := add(llr, mload(add(measure, 0x240))) // faultEvidence
                                    if slt(llr, mload(add(measure, 0x180))) { llr := mload(add(measure, 0x180)) }
                                    if sgt(llr, 8191) { llr := 8191 }
                                    if xor(and(lane, 0x1ffc0000000000), 0x1ffc0000000000) { lane := add(lane, shl(42, 1)) }
                                    lane := or(
                                        or(and(lane, 0x1fffffe0007fff), mload(add(measure, 0x1e0))),
                                        shl(15, and(llr, 0x3fff))
                                    )
                                }
                            }
                        }
                        if isJudged {
                            // distance = popcount(code XOR anchorCode), as in `Bits.count`
                            let distance := xor(calldataload(codeAt), mload(measure))
                            distance := sub(
                                distance,
                                and(shr(1, distance), 0x5555555555555555555555555555555555555555555555555555555555555555)
                            )
                            distance := add(
                                and(distance, 0x3333333333333333333333333333333333333333333333333333333333333333),
                                and(shr(2, distance), 0x3333333333333333333333333333333333333333333333333333333333333333)
                            )
                            distance := and(
                                add(distance, shr(4, distance)),
                                0x0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f
                            )
                            distance := add(
                                byte(0, mul(distance, 0x0101010101010101010101010101010101010101010101010101010101010100)),
                                byte(0, distance)
                            )
                            // In the tally: 1 above x, 2^16 + 1 at x, 2^32 + 1 below x (farther than x).
                            let off := sub(shl(1, distance), mload(add(measure, 0x0a0)))
                            mstore(0x20, add(mload(0x20), or(1, or(shl(16, iszero(off)), shl(32, sgt(off, 0))))))

                            // llr - evidenceFloor from here on; an unsigned number above the range is clipped.
                            llr := sub(
                                div(
                                    add(mload(add(measure, 0x0c0)), mul(mload(add(measure, 0x0e0)), distance)),
                                    mload(add(measure, 0x100))
                                ),
                                shl(64, 1)
                            )
                            if gt(llr, mload(add(measure, 0x120))) {
                                llr := mul(sgt(llr, 0), mload(add(measure, 0x120)))
                            }
                            llr := add(add(llr, mload(add(measure, 0x140))), sar(242, shl(227, lane)))
                            if gt(llr, mload(add(measure, 0x160))) {
                                llr := mul(sgt(llr, 0), mload(add(measure, 0x160)))
                            }
                            llr := add(llr, mload(add(measure, 0x180)))

                            // Counters: accepted in bits 29-41, refused in bits 42-52; each stops when it is full.
                            switch and(
                                and(isAlive, slt(llr, mload(add(measure, 0x1a0)))), // acceptBelow
                                slt(shl(1, distance), mload(add(measure, 0x1c0))) // distance2Below
                            )
                            case 0 {
                                if xor(and(lane, 0x1ffc0000000000), 0x1ffc0000000000) { lane := add(lane, shl(42, 1)) }
                            }
                            default {
                                mstore(0x00, or(mload(0x00), bit))
                                if xor(and(lane, 0x3ffe0000000), 0x3ffe0000000) { lane := add(lane, shl(29, 1)) }
                            }
                            // ema + ((64 s - ema) >> 2), and 64 s = 16384 - 128 distance
                            let ema := sar(241, shl(241, lane))
                            lane := or(
                                or(
                                    or(and(lane, 0x1fffffe0000000), mload(add(measure, 0x1e0))), // lastRound
                                    shl(15, and(llr, 0x3fff))
                                ),
                                and(add(ema, sar(2, sub(sub(16384, shl(7, distance)), ema))), 0x7fff)
                            )
                        }
                        codeAt := add(codeAt, 32)
                        normAt := add(normAt, 8)
                        exponentAt := add(exponentAt, 1)
                    }
                    word := or(shr(64, word), shl(192, lane))
                    left := shr(1, left)
                }
                mstore(wordAt, word)
            }
            approved := mload(0x00)
            tally := mload(0x20)
        }
        if (tally >> 255 != 0) _refuse(header, workers);
    }

    /// @dev Raises the error of the first member with a bad field.
    function _refuse(Header memory header, uint256 workers) private pure {
        unchecked {
            uint256 nth = 0;
            for (uint256 index = 0;; ++index) {
                if ((workers >> index) & 1 == 0) continue;
                uint256 codeAt = header.codesAt + 32 * nth;
                uint256 normAt = header.normsAt + 8 * nth;
                uint256 exponentAt = header.exponentsAt + nth;
                uint256 codeAndNorm;
                int256 exponent;
                assembly ("memory-safe") {
                    codeAndNorm := or(calldataload(codeAt), shr(192, calldataload(normAt)))
                    exponent := signextend(0, byte(0, calldataload(exponentAt)))
                }
                if ((header.undelivered >> index) & 1 == 1) {
                    if (codeAndNorm != 0 || exponent != 0) revert GateUndeliveredNotZero(index);
                } else if (exponent < -64 || exponent > 63) {
                    revert GateExponentOutOfRange(index, exponent);
                }
                ++nth;
            }
        }
    }
}
