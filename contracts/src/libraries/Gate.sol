// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {GateParameters} from "../interfaces/IGateSpec.sol";
import {Bits} from "./Bits.sol";
import {Lanes} from "./Lanes.sol";
import {Twins} from "./Twins.sol";

/// @title  The gate: verdicts of one round from its posted words.
/// @notice docs/spec/gate.md, written for the EVM. All integers; no result depends on who calls it.
library Gate {
    /// @notice The constants that the gate reads, each widened to a word: size of the cohort with its guards, how many of the
    ///         last members are guards, then those of `GateParameters` by the same names.
    struct Rules {
        uint256 members;
        uint256 guards;
        uint256 yardstickKeep;
        uint256 yardstickGain;
        uint256 yardstickDivisor;
        uint256 yardstickOffset;
        uint256 evidenceDivisor;
        int256 evidenceMin;
        int256 evidenceMax;
        int256 evidenceFloor;
        int256 faultEvidence;
        int256 acceptBelow;
        int256 banFrom;
        int256 scoreAbove;
        uint256 aliveFactor;
        uint256 duplicateBits;
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
        uint256 workers; // 0x100: the present ones
        uint256 copies; // 0x120: those of them that do not count in the median
    }

    /// @dev What the pass over the members reads, the same for all of them; `_judgeWords` knows the offsets. Numbers named
    ///      `..Fields` are for four members at once: the same value in each 64-bit field of a word.
    struct Measure {
        uint256 anchorCode; // 0x000
        // evidence - evidenceMin = floor((base + step * distance) / evidenceDivisor) - 2^64, before it is clipped
        uint256 base; // 0x020
        uint256 step; // 0x040
        uint256 evidenceDivisor; // 0x060
        uint256 evidenceRange; // 0x080: evidenceMax - evidenceMin
        // Smallest norm2 that is alive with exponent lowExponent, lowExponent + 1, .. + 3: 64 bits each from the lowest
        uint256 minNorms; // 0x0a0
        int256 lowExponent; // 0x0c0: of the anchor, less 1; 1000 where that table cannot be used
        uint256 aliveFactor; // 0x0e0
        uint256 anchorNorm2; // 0x100
        int256 anchorExponent; // 0x120
        // Each of the next makes bit 20 of a field say something.
        uint256 bannedFields; // 0x140: added to llr + 8192, that it is at least banFrom
        uint256 llrFields; // 0x160: added to llr + 8192 + evidence - evidenceMin, that it is at least the floor
        uint256 topFields; // 0x180: added to llr - floor, that it is above 8191
        uint256 acceptFields; // 0x1a0: less llr - floor, that it is below acceptBelow
        uint256 nearFields; // 0x1c0: less the distance, that the score is above scoreAbove
        uint256 belowFields; // 0x1e0: added to the distance, that the score is below x
        uint256 notAboveFields; // 0x200: added to the distance, that the score is not above x
        uint256 llrRangeFields; // 0x220: 8191 - floor
        uint256 floorFields; // 0x240: floor + 8192
        uint256 lastRoundFields; // 0x260: the round, in its place in the lane
        // Results.
        uint256 approved; // 0x280
        uint256 tally; // 0x2a0
        bool isRefused; // 0x2c0: some exponent is out of range
    }

    uint256 internal constant HEADER_BYTES = 160;
    uint256 internal constant WORKER_BYTES = 41;

    int256 private constant BIT_20 = 1 << 20;

    /// @notice Thrown when the cohort's size is outside 2..256 or does not fit the lane words.
    error GateWrongCohort(uint256 members, uint256 laneWords);
    /// @notice Thrown when the presence bitmap names members that do not exist.
    error GateUnknownMember(uint256 presence, uint256 members);
    /// @notice Thrown when the payload is not exactly 160 + 41 n bytes for n entries: of the present workers and, if there are
    ///         several, of the present guards.
    error GateWrongPayloadLength(uint256 length, uint256 expected);
    /// @notice Thrown when the bitmaps of unavailable and malformed members overlap or leave the members that have entries.
    error GateWrongStatuses(uint256 unavailable, uint256 malformed, uint256 entries);
    /// @notice Thrown when the payload's poster is not the number of a guard.
    error GateNoSuchPoster(uint256 poster, uint256 guards);
    /// @notice Thrown when an unavailable or malformed worker has a code, norm or exponent that is not zero.
    error GateUndeliveredNotZero(uint256 index);
    /// @notice Thrown when an exponent is outside -64..63.
    /// @param  index Cohort index of the member; of the first guard for the header.
    error GateExponentOutOfRange(uint256 index, int256 exponent);
    /// @notice Thrown when the posted median is not the upper median of the judged scores.
    /// @param  x      Posted median.
    /// @param  judged Number of scores, copies left out.
    /// @param  below  Scores below x.
    /// @param  equal  Scores equal to x.
    error GateWrongMedian(int256 x, uint256 judged, uint256 below, uint256 equal);

    /// @notice Picks the gate's constants out of a run's constants.
    function rulesOf(GateParameters memory p, uint256 members, uint256 guards)
        internal
        pure
        returns (Rules memory rules)
    {
        rules.members = members;
        rules.guards = guards;
        rules.yardstickKeep = p.yardstickKeep;
        rules.yardstickGain = p.yardstickGain;
        rules.yardstickDivisor = p.yardstickDivisor;
        rules.yardstickOffset = p.yardstickOffset;
        rules.evidenceDivisor = p.evidenceDivisor;
        rules.evidenceMin = p.evidenceMin;
        rules.evidenceMax = p.evidenceMax;
        rules.evidenceFloor = p.evidenceFloor;
        rules.faultEvidence = p.faultEvidence;
        rules.acceptBelow = p.acceptBelow;
        rules.banFrom = p.banFrom;
        rules.scoreAbove = p.scoreAbove;
        rules.aliveFactor = p.aliveFactor;
        rules.duplicateBits = p.duplicateBits;
    }

    /// @notice Judges one round and moves the lanes.
    /// @dev    After looking for copies, one pass: the yardstick follows from the posted median, so all verdicts can be computed
    ///         while the scores are counted, and the median is checked at the end. A score s never appears; with d = popcount(code XOR
    ///         anchorCode), s = 256 - 2 d, and all comparisons are made on 2 d.
    /// @param  rules          Constants, within the ranges that `GateConstants.validate` checks. Of several guards, the entries
    ///                        and lanes are `CommitteeRules`' to judge.
    /// @param  round          Round number.
    /// @param  presence       Bit i is set iff member i has committed.
    /// @param  payload        The settle payload.
    /// @param  yardstick      Yardstick word before the round.
    /// @param  lanes          Lane words before the round; changed in place to those after it.
    /// @return approved       Bitmap of approved members.
    /// @return yardstickAfter Yardstick word after the round.
    function judge(
        Rules memory rules,
        uint256 round,
        uint256 presence,
        bytes calldata payload,
        uint256 yardstick,
        uint256[] memory lanes
    ) internal pure returns (uint256 approved, uint256 yardstickAfter) {
        unchecked {
            uint256 members = rules.members;
            uint256 guards = rules.guards;
            if (members <= guards || members > 256 || lanes.length != Lanes.wordsFor(members)) {
                revert GateWrongCohort(members, lanes.length);
            }
            if (members < 256 && presence >> members != 0) revert GateUnknownMember(presence, members);
            uint256 workers = presence & ((1 << (members - guards)) - 1);
            Header memory header = _readHeader(payload, guards == 1 ? workers : presence, guards, members);
            (Measure memory measure, uint256 next) = _measure(header, rules, round, yardstick);
            yardstickAfter = next;
            header.workers = workers;
            header.copies = _copies(header, measure.bannedFields, lanes, rules.duplicateBits);
            // Words with an undelivered update first, one member at a time; the others four members at a time.
            uint256 fast = workers;
            if (header.undelivered != 0) fast = _judgeSingly(header, measure, rules, round, workers, lanes);
            _judgeWords(header, measure, fast, lanes);
            if (measure.isRefused) _refuseExponent(header, workers);
            approved = measure.approved;

            // One 64-bit field for each position in the word: counted, not above x, below x, 16 bits each.
            uint256 tally = measure.tally;
            tally += tally >> 128;
            tally += tally >> 64;
            uint256 judged = tally & 0xffff;
            uint256 below = (tally >> 32) & 0xffff;
            uint256 equal = ((tally >> 16) & 0xffff) - below;
            if (judged == 0) {
                // Nobody to measure by: the yardstick stays. The lanes of this pass did not use it.
                if (header.x != 0) revert GateWrongMedian(header.x, 0, 0, 0);
                yardstickAfter = yardstick;
            } else {
                uint256 middle = judged / 2;
                if (equal == 0 || below > middle || below + equal <= middle) {
                    revert GateWrongMedian(header.x, judged, below, equal);
                }
            }
        }
    }

    /// @notice Bitmaps of the members whose update did not arrive, or not sound, as a payload says.
    function undeliveredIn(bytes calldata payload) internal pure returns (uint256 unavailable, uint256 malformed) {
        if (payload.length < HEADER_BYTES) revert GateWrongPayloadLength(payload.length, HEADER_BYTES);
        unavailable = uint256(bytes32(payload[64:96]));
        malformed = uint256(bytes32(payload[96:128]));
    }

    /// @notice Number of the guard that posts a payload. Means nothing before the payload's length was checked.
    function posterIn(bytes calldata payload) internal pure returns (uint256 poster) {
        assembly ("memory-safe") {
            poster := byte(0, calldataload(add(payload.offset, 139)))
        }
    }

    /// @dev `entries`: the members that have entries.
    function _readHeader(bytes calldata payload, uint256 entries, uint256 guards, uint256 members)
        private
        pure
        returns (Header memory header)
    {
        unchecked {
            uint256 count = Bits.count(entries);
            uint256 expected = HEADER_BYTES + WORKER_BYTES * count;
            if (payload.length != expected) revert GateWrongPayloadLength(payload.length, expected);
            uint256 start;
            uint256 anchorCode;
            uint256 unavailable;
            uint256 malformed;
            uint256 tail;
            assembly ("memory-safe") {
                start := payload.offset
                anchorCode := calldataload(start)
                unavailable := calldataload(add(start, 64))
                malformed := calldataload(add(start, 96))
                tail := calldataload(add(start, 128))
            }
            // tail = norm2 (8 bytes) || exponent (1) || x (2) || poster (1) || seed (20), which is the ledger's to check
            uint256 poster = (tail >> 160) & 0xff;
            if (poster >= guards) revert GateNoSuchPoster(poster, guards);
            uint256 undelivered = unavailable | malformed;
            if (unavailable & malformed != 0 || undelivered & ~entries != 0) {
                revert GateWrongStatuses(unavailable, malformed, entries);
            }
            int256 exponent = int8(uint8(tail >> 184));
            if (exponent < -64 || exponent > 63) revert GateExponentOutOfRange(members - guards, exponent);
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

    /// @dev Members of J (present, delivered, not banned) that have a twin of a smaller index in J.
    function _copies(Header memory header, uint256 bannedFields, uint256[] memory lanes, uint256 bits)
        private
        pure
        returns (uint256)
    {
        unchecked {
            uint256 workers = header.workers;
            uint256 taken = workers & ~header.undelivered & ~_banned(bannedFields, lanes);
            uint256[] memory codes = new uint256[](Bits.count(taken));
            if (taken == workers) {
                uint256 codesAt = header.codesAt;
                assembly ("memory-safe") {
                    calldatacopy(add(codes, 0x20), codesAt, shl(5, mload(codes)))
                }
                return _membersAt(Twins.copiesAmong(codes, bits), taken);
            }
            uint256 k = 0;
            for (uint256 left = taken; left != 0; left &= left - 1) {
                (codes[k++],,) = _assayAt(header, Bits.count(workers & ((left & (0 - left)) - 1)));
            }
            return _membersAt(Twins.copiesAmong(codes, bits), taken);
        }
    }

    /// @dev Gives the k-th member of a bitmap, from the lowest, for each bit k of `positions`.
    function _membersAt(uint256 positions, uint256 members) private pure returns (uint256 chosen) {
        unchecked {
            for (; positions != 0; positions >>= 1) {
                if (positions & 1 != 0) chosen |= members & (0 - members);
                members &= members - 1;
            }
        }
    }

    /// @dev Members that are banned, the guards' bits meaning nothing.
    function _banned(uint256 bannedFields, uint256[] memory lanes) private pure returns (uint256 banned) {
        assembly ("memory-safe") {
            let count := mload(lanes)
            for { let i := 0 } lt(i, count) { i := add(i, 1) } {
                // llr + 8192 in each field, as in `_judgeWords`
                let fields := and(
                    xor(
                        shr(15, mload(add(add(lanes, 32), shl(5, i)))),
                        0x0000000000002000000000000000200000000000000020000000000000002000
                    ),
                    0x0000000000003fff0000000000003fff0000000000003fff0000000000003fff
                )
                fields := and(
                    shr(20, add(fields, bannedFields)),
                    0x0000000000000001000000000000000100000000000000010000000000000001
                )
                if fields {
                    fields := or(or(fields, shr(63, fields)), or(shr(126, fields), shr(189, fields)))
                    banned := or(banned, shl(shl(2, i), and(fields, 15)))
                }
            }
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
            int256 gained = int256(rules.yardstickGain) * (header.x - int256(rules.yardstickOffset));
            // Rounding toward zero instead of down is harmless: a negative quotient becomes 0 either way.
            // slither-disable-next-line divide-before-multiply
            m = gained / int256(rules.yardstickDivisor - rules.yardstickKeep);
            if (yardstick != 0) {
                int256 moved =
                    (int256(rules.yardstickKeep * (yardstick - 1)) + gained) / int256(rules.yardstickDivisor);
                if (moved < m) m = moved;
            }
            if (m < 0) m = 0;
            yardstickAfter = uint256(m) + 1;

            // The llr has 14 bits: more evidence than 2^14 at once makes no difference.
            int256 evidenceMin = _clip(rules.evidenceMin, -16384, 0);
            int256 evidenceMax = _clip(rules.evidenceMax, 0, 16384);
            int256 floor = rules.evidenceFloor;
            measure.anchorCode = header.anchorCode;
            measure.base = uint256(
                m * (m - 131072) - evidenceMin * int256(rules.evidenceDivisor) + int256(rules.evidenceDivisor << 64)
            );
            measure.step = uint256(m << 10);
            measure.evidenceDivisor = rules.evidenceDivisor;
            measure.evidenceRange = uint256(evidenceMax - evidenceMin);
            (measure.minNorms, measure.lowExponent) = _minNorms(header, rules.aliveFactor);
            measure.aliveFactor = rules.aliveFactor;
            measure.anchorNorm2 = header.anchorNorm2;
            measure.anchorExponent = header.anchorExponent;
            measure.bannedFields = _fields(BIT_20 - rules.banFrom - 8192);
            measure.llrFields = _fields(BIT_20 - 8192 + evidenceMin - floor);
            measure.topFields = _fields(BIT_20 - 1 - (Lanes.LLR_MAX - floor));
            measure.acceptFields = _fields(BIT_20 - 1 + rules.acceptBelow - floor);
            // s > scoreAbove, as d <= nearest with 2 d < 256 - scoreAbove; and likewise for x.
            measure.nearFields = _fields(BIT_20 + _clip((255 - rules.scoreAbove) >> 1, -1, 256));
            measure.belowFields = _fields(BIT_20 - 1 - ((256 - header.x) >> 1));
            measure.notAboveFields = _fields(BIT_20 - ((257 - header.x) >> 1));
            measure.llrRangeFields = _fields(Lanes.LLR_MAX - floor);
            measure.floorFields = _fields(floor + 8192);
            measure.lastRoundFields = _fields(int256((round & Lanes.LAST_ROUND_MASK) << Lanes.LAST_ROUND_SHIFT));
        }
    }

    /// @dev The smallest living norm2 for the four exponents around the anchor's, where almost all updates are.
    function _minNorms(Header memory header, uint256 aliveFactor)
        private
        pure
        returns (uint256 minNorms, int256 lowExponent)
    {
        unchecked {
            lowExponent = header.anchorExponent - 1;
            // All four must be exponents and their norms must fit.
            if (lowExponent < -64 || lowExponent > 60) return (0, 1000);
            for (uint256 k = 4; k-- > 0;) {
                uint256 divisor = aliveFactor << (2 * k);
                uint256 minNorm2 = (4 * header.anchorNorm2 + divisor - 1) / divisor;
                if (minNorm2 > type(uint64).max) return (0, 1000);
                minNorms = (minNorms << 64) | (minNorm2 == 0 ? 1 : minNorm2);
            }
        }
    }

    /// @dev Judges every member of the words that hold an undelivered update, in plain Solidity.
    /// @return fast Present workers of the other words.
    function _judgeSingly(
        Header memory header,
        Measure memory measure,
        Rules memory rules,
        uint256 round,
        uint256 workers,
        uint256[] memory lanes
    ) private pure returns (uint256 fast) {
        unchecked {
            fast = workers;
            for (uint256 first = 0; workers >> first != 0; first += Lanes.PER_WORD) {
                if ((header.undelivered >> first) & 15 == 0) continue;
                fast &= ~(15 << first);
                uint256 word = lanes[first / Lanes.PER_WORD];
                for (uint256 index = first; index < first + Lanes.PER_WORD; ++index) {
                    if ((workers >> index) & 1 == 0) continue;
                    uint256 shift = (index % Lanes.PER_WORD) * 64;
                    uint256 lane = (word >> shift) & Lanes.MASK;
                    uint256 nth = Bits.count(workers & ((1 << index) - 1));
                    word ^= (lane ^ _judgeOne(header, measure, rules, round, index, nth, lane)) << shift;
                }
                lanes[first / Lanes.PER_WORD] = word;
            }
        }
    }

    function _judgeOne(
        Header memory header,
        Measure memory measure,
        Rules memory rules,
        uint256 round,
        uint256 index,
        uint256 nth,
        uint256 lane
    ) private pure returns (uint256) {
        unchecked {
            (uint256 code, uint256 norm2, int256 exponent) = _assayAt(header, nth);
            int256 llr = Lanes.llr(lane);
            int256 ema = Lanes.ema(lane);
            if ((header.undelivered >> index) & 1 == 1) {
                if (code != 0 || norm2 != 0 || exponent != 0) revert GateUndeliveredNotZero(index);
                if (llr >= rules.banFrom) return lane;
                llr = _clip(llr + rules.faultEvidence, rules.evidenceFloor, Lanes.LLR_MAX);
                return Lanes.judged(lane, ema, llr, false, round);
            }
            if (exponent < -64 || exponent > 63) revert GateExponentOutOfRange(index, exponent);
            if (llr >= rules.banFrom) return lane;

            int256 distance = int256(Bits.count(code ^ header.anchorCode));
            int256 s = 256 - 2 * distance;
            if ((header.copies >> index) & 1 == 0) {
                measure.tally += 1;
                if (s <= header.x) measure.tally += 1 << 16;
                if (s < header.x) measure.tally += 1 << 32;
            }
            uint256 quotient = (measure.base + measure.step * uint256(distance)) / measure.evidenceDivisor;
            int256 aboveMin = _clip(int256(quotient) - (1 << 64), 0, int256(measure.evidenceRange));
            llr = _clip(
                llr + aboveMin + _clip(rules.evidenceMin, -16384, 0), rules.evidenceFloor, Lanes.LLR_MAX
            );
            ema += (64 * s - ema) >> 2;
            bool isApproved =
                llr < rules.acceptBelow && s > rules.scoreAbove && _isAlive(header, rules.aliveFactor, norm2, exponent);
            if (isApproved) measure.approved |= 1 << index;
            return Lanes.judged(lane, ema, llr, isApproved, round);
        }
    }

    /// @dev norm2 > 0 and aliveFactor * norm2 * 4^e >= anchorNorm2 * 4^eAnchor. From a difference of 64 exponents on more
    ///      shifting changes nothing (aliveFactor * norm2 < 2^81, anchorNorm2 < 2^64).
    function _isAlive(Header memory header, uint256 aliveFactor, uint256 norm2, int256 exponent)
        private
        pure
        returns (bool)
    {
        unchecked {
            int256 k = _clip(exponent - header.anchorExponent, -64, 64);
            if (norm2 == 0) return false;
            if (k < 0) return aliveFactor * norm2 >= header.anchorNorm2 << uint256(-2 * k);
            return (aliveFactor * norm2) << uint256(2 * k) >= header.anchorNorm2;
        }
    }

    /// @dev Judges the words without undelivered updates, in assembly and four members at a time: this pass decides what a
    ///      settlement costs, and member by member in Solidity it takes five times the gas.
    ///
    ///      First, for each member, what cannot be done in parallel is put into a 64-bit field of `found`: distance (9 bits),
    ///      evidence - evidenceMin at bit 16 (at most 2^15), alive at bit 32, present at bit 33. Then docs/spec/gate.md is
    ///      followed for the four lanes at once. No field ever borrows from the next or carries into it: all its values are
    ///      between 0 and 2^22, comparisons being made by adding to, or taking from, a constant of about 2^20 and looking at
    ///      bit 20. `ones` has bit 0 of each field set; b * 0xfffff, written (b << 20) - b, spreads a bit to a mask.
    ///
    ///      Four constants are at 0x00..0x80, the shortest way to them; the two words that Solidity keeps there are put back.
    function _judgeWords(
        Header memory header,
        Measure memory measure,
        uint256 fast,
        uint256[] memory lanes
    ) private pure {
        uint256 codeAt = header.codesAt;
        uint256 normAt = header.normsAt;
        uint256 exponentAt = header.exponentsAt;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mcopy(0x00, measure, 0x80) // anchorCode, base, step, evidenceDivisor
            // From memory: the compiler would compute it again wherever it is used.
            let workers := mload(add(header, 0x100))
            for { let first := 0 } shr(first, workers) { first := add(first, 4) } {
                let left := and(shr(first, workers), 15)
                if iszero(and(shr(first, fast), 15)) {
                    // Nobody present, or judged before.
                    for {} left { left := and(left, sub(left, 1)) } {
                        codeAt := add(codeAt, 32)
                        normAt := add(normAt, 8)
                        exponentAt := add(exponentAt, 1)
                    }
                    continue
                }
                let found := 0
                for { let shift := 0 } left { shift := add(shift, 64) } {
                    if and(left, 1) {
                        // distance = popcount(code XOR anchorCode), as in `Bits.count`
                        let field := xor(calldataload(codeAt), mload(0x00))
                        field := sub(
                            field,
                            and(shr(1, field), 0x5555555555555555555555555555555555555555555555555555555555555555)
                        )
                        field := add(
                            and(field, 0x3333333333333333333333333333333333333333333333333333333333333333),
                            and(shr(2, field), 0x3333333333333333333333333333333333333333333333333333333333333333)
                        )
                        field := and(
                            add(field, shr(4, field)),
                            0x0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f
                        )
                        field := add(
                            byte(0, mul(field, 0x0101010101010101010101010101010101010101010101010101010101010100)),
                            byte(0, field)
                        )
                        // evidence - evidenceMin; unsigned, too little is very much
                        let evidence :=
                            sub(div(add(mload(0x20), mul(mload(0x40), field)), mload(0x60)), 0x10000000000000000)
                        if gt(evidence, mload(add(measure, 0x080))) {
                            evidence := mul(sgt(evidence, 0), mload(add(measure, 0x080)))
                        }
                        field := or(field, shl(16, evidence))
                        let norm2 := shr(192, calldataload(normAt))
                        let k := sub(signextend(0, byte(0, calldataload(exponentAt))), mload(add(measure, 0x0c0)))
                        switch lt(k, 4)
                        case 1 {
                            let minNorm2 := and(shr(shl(6, k), mload(add(measure, 0x0a0))), 0xffffffffffffffff)
                            field := or(field, shl(32, sub(3, lt(norm2, minNorm2))))
                        }
                        default {
                            // As `_isAlive`.
                            let exponent := add(k, mload(add(measure, 0x0c0)))
                            if gt(add(exponent, 64), 127) { mstore(add(measure, 0x2c0), 1) }
                            let own := mul(mload(add(measure, 0x0e0)), norm2)
                            let anchors := mload(add(measure, 0x100))
                            k := sub(exponent, mload(add(measure, 0x120)))
                            switch slt(k, 0)
                            case 0 {
                                if gt(k, 64) { k := 64 }
                                own := shl(shl(1, k), own)
                            }
                            default {
                                k := sub(0, k)
                                if gt(k, 64) { k := 64 }
                                anchors := shl(shl(1, k), anchors)
                            }
                            field := or(field, shl(32, or(2, and(lt(0, norm2), iszero(lt(own, anchors))))))
                        }
                        found := or(found, shl(shift, field))
                        codeAt := add(codeAt, 32)
                        normAt := add(normAt, 8)
                        exponentAt := add(exponentAt, 1)
                    }
                    left := shr(1, left)
                }

                let ones := 0x0000000000000001000000000000000100000000000000010000000000000001
                let wordAt := add(add(lanes, 32), shl(3, first))
                let word := mload(wordAt)
                // llr + 8192, from two's complement of 14 bits
                let llr := and(
                    xor(shr(15, word), 0x0000000000002000000000000000200000000000000020000000000000002000),
                    0x0000000000003fff0000000000003fff0000000000003fff0000000000003fff
                )
                // Members of J: present and not banned.
                let judged := and(
                    and(shr(33, found), not(shr(20, add(llr, mload(add(measure, 0x140)))))),
                    ones
                )
                // llr - floor, clipped
                llr := add(
                    add(llr, mload(add(measure, 0x160))),
                    and(shr(16, found), 0x000000000000ffff000000000000ffff000000000000ffff000000000000ffff)
                )
                let is := and(shr(20, llr), ones)
                llr := and(llr, sub(shl(20, is), is))
                is := and(shr(20, add(llr, mload(add(measure, 0x180)))), ones)
                is := sub(shl(20, is), is)
                llr := xor(llr, and(is, xor(llr, mload(add(measure, 0x220)))))
                // Only the distance is left in `alive`'s place from here on.
                let alive := shr(32, found)
                found := and(found, 0x00000000000001ff00000000000001ff00000000000001ff00000000000001ff)
                let accepted := and(
                    and(alive, judged),
                    shr(20, and(sub(mload(add(measure, 0x1a0)), llr), sub(mload(add(measure, 0x1c0)), found)))
                )
                mstore(
                    add(measure, 0x280),
                    or(
                        mload(add(measure, 0x280)),
                        shl(
                            first,
                            and(
                                or(
                                    or(accepted, shr(63, accepted)),
                                    or(shr(126, accepted), shr(189, accepted))
                                ),
                                15
                            )
                        )
                    )
                )
                // Copies do not count in the median.
                let counted := and(shr(first, mload(add(header, 0x120))), 15)
                if counted {
                    counted := or(
                        or(and(counted, 1), shl(63, and(counted, 2))),
                        or(shl(126, and(counted, 4)), shl(189, and(counted, 8)))
                    )
                }
                counted := and(judged, not(counted))
                mstore(
                    add(measure, 0x2a0),
                    add(
                        mload(add(measure, 0x2a0)),
                        add(
                            counted,
                            add(
                                shl(16, and(shr(20, add(found, mload(add(measure, 0x200)))), counted)),
                                shl(32, and(shr(20, add(found, mload(add(measure, 0x1e0)))), counted))
                            )
                        )
                    )
                )
                // llr in two's complement, in its place, and the round
                let next := or(
                    shl(
                        15,
                        xor(
                            add(llr, mload(add(measure, 0x240))),
                            0x0000000000002000000000000000200000000000000020000000000000002000
                        )
                    ),
                    mload(add(measure, 0x260))
                )
                // Counters: accepted in bits 29-41, refused in 42-52; one that is full stays.
                is := and(shr(29, word), 0x0000000000001fff0000000000001fff0000000000001fff0000000000001fff)
                next := or(
                    next,
                    shl(29, add(is, and(accepted, not(shr(13, add(is, ones))))))
                )
                is := and(shr(42, word), 0x00000000000007ff00000000000007ff00000000000007ff00000000000007ff)
                next := or(
                    next,
                    shl(42, add(is, and(xor(judged, accepted), not(shr(11, add(is, ones))))))
                )
                // ema + ((64 s - ema) >> 2) = floor((3 ema + 64 s) / 4) and 64 s = 16384 - 128 distance. With ema + 16384
                // and 2^20 more, so that it is positive; the surplus of 2^18 is gone with the 15 bits that are kept.
                is := and(
                    xor(word, 0x0000000000004000000000000000400000000000000040000000000000004000),
                    0x0000000000007fff0000000000007fff0000000000007fff0000000000007fff
                )
                next := or(
                    next,
                    and(
                        shr(
                            2,
                            sub(
                                add(mul(3, is), 0x00000000000f800000000000000f800000000000000f800000000000000f8000),
                                shl(7, found)
                            )
                        ),
                        0x0000000000007fff0000000000007fff0000000000007fff0000000000007fff
                    )
                )
                // Only judged members' lanes change.
                mstore(wordAt, xor(word, and(xor(word, next), sub(shl(64, judged), judged))))
            }
            mstore(0x40, free)
            mstore(0x60, 0)
        }
    }

    /// @dev Raises the error of the first exponent that is out of range.
    function _refuseExponent(Header memory header, uint256 workers) private pure {
        unchecked {
            uint256 nth = 0;
            for (uint256 index = 0;; ++index) {
                if ((workers >> index) & 1 == 0) continue;
                (,, int256 exponent) = _assayAt(header, nth++);
                if (exponent < -64 || exponent > 63) revert GateExponentOutOfRange(index, exponent);
            }
        }
    }

    /// @dev The nth present worker's fields; the length of the payload was checked before.
    function _assayAt(Header memory header, uint256 nth)
        private
        pure
        returns (uint256 code, uint256 norm2, int256 exponent)
    {
        unchecked {
            uint256 codeAt = header.codesAt + 32 * nth;
            uint256 normAt = header.normsAt + 8 * nth;
            uint256 exponentAt = header.exponentsAt + nth;
            assembly ("memory-safe") {
                code := calldataload(codeAt)
                norm2 := shr(192, calldataload(normAt))
                exponent := signextend(0, byte(0, calldataload(exponentAt)))
            }
        }
    }

    function _clip(int256 value, int256 low, int256 high) private pure returns (int256) {
        if (value < low) return low;
        return value > high ? high : value;
    }

    /// @dev The same value, 0..2^64 - 1, in all four fields.
    function _fields(int256 value) private pure returns (uint256) {
        unchecked {
            return uint256(value) * 0x0000000000000001000000000000000100000000000000010000000000000001;
        }
    }
}
