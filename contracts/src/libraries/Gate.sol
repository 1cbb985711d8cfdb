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

    /// @dev What one pass over the members carries along. A struct, since it does not fit on the stack.
    struct Pass {
        uint256 anchorCode;
        uint256 anchorNorm2;
        int256 anchorExponent;
        // Calldata positions of the next present worker's fields.
        uint256 codeAt;
        uint256 normAt;
        uint256 exponentAt;
        // inc = floor((evidenceBase + evidenceStep * distance) / evidenceDivisor) - 2^64
        uint256 evidenceBase;
        uint256 evidenceStep;
        // 256 - x: twice the distance that scores exactly x.
        int256 medianDistance2;
        // 256 - scoreAbove: twice the distance that is just too far.
        int256 distance2Below;
        uint256 undelivered;
        // Members of J in the low 16 bits, those that score x in the next 16, those below x in the next.
        uint256 tally;
        uint256 approved;
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
            Pass memory pass;
            int256 x = _readHeader(pass, payload, workers, members);
            yardstickAfter = _prepare(pass, rules, x, yardstick);
            _judgeAll(pass, rules, round, workers, lanes);

            uint256 judged = pass.tally & 0xffff;
            uint256 equal = (pass.tally >> 16) & 0xffff;
            uint256 below = pass.tally >> 32;
            if (judged == 0) {
                // Nobody to measure by: the yardstick stays. The lanes of this pass did not use it.
                if (x != 0) revert GateWrongMedian(x, 0, 0, 0);
                yardstickAfter = yardstick;
            } else {
                uint256 middle = (judged - 1) / 2;
                if (equal == 0 || below > middle || below + equal <= middle) {
                    revert GateWrongMedian(x, judged, below, equal);
                }
            }
            approved = pass.approved;
        }
    }

    /// @notice Bitmap of the members whose update did not arrive, as the guard says in a payload.
    function unavailableIn(bytes calldata payload) internal pure returns (uint256 bitmap) {
        if (payload.length < HEADER_BYTES) revert GateWrongPayloadLength(payload.length, HEADER_BYTES);
        bitmap = uint256(bytes32(payload[64:96]));
    }

    function _readHeader(Pass memory pass, bytes calldata payload, uint256 workers, uint256 members)
        private
        pure
        returns (int256 x)
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
            x = int16(uint16(tail >> 168));
            pass.anchorCode = anchorCode;
            pass.anchorNorm2 = tail >> 192;
            pass.anchorExponent = exponent;
            pass.codeAt = start + HEADER_BYTES;
            pass.normAt = start + HEADER_BYTES + 32 * count;
            pass.exponentAt = start + HEADER_BYTES + 40 * count;
            pass.undelivered = undelivered;
            pass.medianDistance2 = 256 - x;
        }
    }

    /// @dev Computes the new yardstick and the two numbers from which all evidence of the round follows:
    ///      (m - 512 s) m = m (m - 131072) + 1024 m d for the distance d. `evidenceDivisor << 64` is added so that the
    ///      numerator is positive (|m (m - 131072)| < 2^65) and the EVM's division, which rounds toward zero, rounds down.
    function _prepare(Pass memory pass, Rules memory rules, int256 x, uint256 yardstick)
        private
        pure
        returns (uint256 yardstickAfter)
    {
        unchecked {
            int256 m;
            if (yardstick == 0) {
                m = 256 * x;
            } else {
                // Rounding toward zero instead of down is harmless: a negative quotient becomes 0 either way.
                m = (int256(rules.yardstickKeep * (yardstick - 1)) + int256(rules.yardstickGain) * x)
                    / int256(rules.yardstickDivisor);
            }
            if (m < 0) m = 0;
            yardstickAfter = uint256(m) + 1;
            pass.evidenceBase = uint256(m * (m - 131072)) + (rules.evidenceDivisor << 64);
            pass.evidenceStep = uint256(m << 10);
            pass.distance2Below = 256 - rules.scoreAbove;
        }
    }

    function _judgeAll(Pass memory pass, Rules memory rules, uint256 round, uint256 workers, uint256[] memory lanes)
        private
        pure
    {
        unchecked {
            uint256 undelivered = pass.undelivered;
            for (uint256 first = 0; workers >> first != 0; first += Lanes.PER_WORD) {
                uint256 before = lanes[first / Lanes.PER_WORD];
                uint256 word = before;
                for (uint256 i = 0; i < Lanes.PER_WORD; ++i) {
                    uint256 index = first + i;
                    if ((workers >> index) & 1 == 0) continue;
                    uint256 lane = Lanes.laneOf(before, i);
                    uint256 next = (undelivered >> index) & 1 == 0
                        ? _judgeDelivered(pass, rules, round, index, lane)
                        : _judgeUndelivered(pass, rules, round, index, lane);
                    word ^= (lane ^ next) << (i * 64);
                }
                lanes[first / Lanes.PER_WORD] = word;
            }
        }
    }

    function _judgeDelivered(Pass memory pass, Rules memory rules, uint256 round, uint256 index, uint256 lane)
        private
        pure
        returns (uint256)
    {
        unchecked {
            (uint256 code, uint256 norm2, int256 exponent) = _next(pass);
            if (exponent < -64 || exponent > 63) revert GateExponentOutOfRange(index, exponent);
            int256 llr = Lanes.llr(lane);
            if (llr >= rules.banFrom) return lane;

            uint256 distance = Bits.count(code ^ pass.anchorCode);
            int256 distance2 = int256(distance << 1);
            uint256 tally = 1;
            if (distance2 == pass.medianDistance2) tally += 1 << 16;
            if (distance2 > pass.medianDistance2) tally += 1 << 32;
            pass.tally += tally;

            int256 evidence =
                int256((pass.evidenceBase + pass.evidenceStep * distance) / rules.evidenceDivisor) - (1 << 64);
            if (evidence < rules.evidenceMin) evidence = rules.evidenceMin;
            if (evidence > rules.evidenceMax) evidence = rules.evidenceMax;
            llr += evidence;
            if (llr < rules.evidenceFloor) llr = rules.evidenceFloor;
            if (llr > Lanes.LLR_MAX) llr = Lanes.LLR_MAX;

            // 64 s = 16384 - 128 d
            int256 ema = Lanes.ema(lane);
            ema += (16384 - int256(distance << 7) - ema) >> 2;

            bool isApproved = llr < rules.acceptBelow && distance2 < pass.distance2Below
                && _isAlive(pass, rules.aliveFactor, norm2, exponent);
            if (isApproved) pass.approved |= 1 << index;
            return Lanes.judged(lane, ema, llr, isApproved, round);
        }
    }

    function _judgeUndelivered(Pass memory pass, Rules memory rules, uint256 round, uint256 index, uint256 lane)
        private
        pure
        returns (uint256)
    {
        unchecked {
            (uint256 code, uint256 norm2, int256 exponent) = _next(pass);
            if (code != 0 || norm2 != 0 || exponent != 0) revert GateUndeliveredNotZero(index);
            int256 llr = Lanes.llr(lane);
            if (llr >= rules.banFrom) return lane;
            llr += rules.faultEvidence;
            if (llr < rules.evidenceFloor) llr = rules.evidenceFloor;
            if (llr > Lanes.LLR_MAX) llr = Lanes.LLR_MAX;
            return Lanes.judged(lane, Lanes.ema(lane), llr, false, round);
        }
    }

    /// @dev Reads the next present worker's fields; the length of the payload was checked before.
    function _next(Pass memory pass) private pure returns (uint256 code, uint256 norm2, int256 exponent) {
        unchecked {
            uint256 codeAt = pass.codeAt;
            uint256 normAt = pass.normAt;
            uint256 exponentAt = pass.exponentAt;
            assembly ("memory-safe") {
                code := calldataload(codeAt)
                norm2 := shr(192, calldataload(normAt))
                exponent := signextend(0, byte(0, calldataload(exponentAt)))
            }
            pass.codeAt = codeAt + 32;
            pass.normAt = normAt + 8;
            pass.exponentAt = exponentAt + 1;
        }
    }

    /// @dev norm2 > 0 and aliveFactor * norm2 * 4^e >= anchorNorm2 * 4^eAnchor. Beyond a difference of 64 exponents more
    ///      shifting changes nothing (aliveFactor * norm2 < 2^81 and anchorNorm2 < 2^64), so it stops there.
    function _isAlive(Pass memory pass, uint256 aliveFactor, uint256 norm2, int256 exponent)
        private
        pure
        returns (bool)
    {
        unchecked {
            uint256 left = aliveFactor * norm2;
            uint256 right = pass.anchorNorm2;
            int256 k = exponent - pass.anchorExponent;
            if (k > 0) left <<= 2 * uint256(k > 64 ? int256(64) : k);
            if (k < 0) right <<= 2 * uint256(k < -64 ? int256(64) : -k);
            return norm2 != 0 && left >= right;
        }
    }
}
