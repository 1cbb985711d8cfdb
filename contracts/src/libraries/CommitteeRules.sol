// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {Bits} from "./Bits.sol";
import {Gate} from "./Gate.sol";
import {Lanes} from "./Lanes.sol";
import {Majority} from "./Majority.sol";

/// @title  What several guards read together, and what that says of each of them.
/// @notice docs/spec/gate.md, "Several guards". The guards are the last members of the cohort; guard number k has the cohort
///         index members - guards + k. A single guard has no entry in the payload and is none of this library's business.
library CommitteeRules {
    uint256 internal constant MAX_GUARDS = Majority.MAX_WORDS;

    /// @notice Thrown when the number of guards is even, above 15, or leaves no worker.
    error CommitteeWrongSize(uint256 guards, uint256 members);
    /// @notice Thrown when the anchors of too few guards have arrived.
    /// @param  delivered Bitmap of those guards, by their numbers.
    /// @param  needed    How many it takes: more than half of all guards, present or not.
    error CommitteeNoQuorum(uint256 delivered, uint256 needed);
    /// @notice Thrown when the code in the header is not the guards' majority.
    error CommitteeWrongCode(uint256 posted, uint256 majority);
    /// @notice Thrown when norm and exponent in the header are not those of the guard with the lower median norm.
    /// @param  guard Number of that guard.
    error CommitteeWrongNorm(
        uint64 postedNorm2, int8 postedExponent, uint256 guard, uint64 norm2, int8 exponent
    );

    /// @dev The guards whose anchors have arrived, in cohort order.
    struct Voices {
        uint256 count;
        uint256[] numbers;
        uint256[] codes;
        uint256[] norms;
        int256[] exponents;
    }

    /// @notice Gives how many guards decide: more than half.
    /// @param  guards Odd.
    function quorum(uint256 guards) internal pure returns (uint256) {
        return (guards + 1) / 2;
    }

    /// @notice Reverts unless a cohort can have this many guards.
    function requireSize(uint256 guards, uint256 members) internal pure {
        if (guards % 2 == 0 || guards > MAX_GUARDS || guards >= members) revert CommitteeWrongSize(guards, members);
    }

    /// @notice Checks the header of a payload against the guards' entries, and moves the guards' lanes.
    /// @dev    Reverts with an error of this library, or of `Gate` where an entry is not well formed.
    /// @param  round    Round number.
    /// @param  members  Size of the cohort, at most 256.
    /// @param  guards   How many of them are guards, more than one.
    /// @param  presence Bit i is set iff member i has committed.
    /// @param  payload  The settle payload.
    /// @param  lanes    Lane words; changed in place.
    function examine(
        uint256 round,
        uint256 members,
        uint256 guards,
        uint256 presence,
        bytes calldata payload,
        uint256[] memory lanes
    ) internal pure {
        requireSize(guards, members);
        if (members > 256 || lanes.length != Lanes.wordsFor(members)) {
            revert Gate.GateWrongCohort(members, lanes.length);
        }
        if (members < 256 && presence >> members != 0) revert Gate.GateUnknownMember(presence, members);
        uint256 expected = Gate.HEADER_BYTES + Gate.WORKER_BYTES * Bits.count(presence);
        if (payload.length != expected) revert Gate.GateWrongPayloadLength(payload.length, expected);

        unchecked {
            uint256 workers = members - guards;
            (uint256 unavailable, uint256 malformed) = Gate.undeliveredIn(payload);
            uint256 delivered = (presence & ~(unavailable | malformed)) >> workers;
            if (Bits.count(delivered) < quorum(guards)) revert CommitteeNoQuorum(delivered, quorum(guards));
            Voices memory voices = _voices(payload, presence, workers, guards, delivered);
            uint256 code = _requireCode(payload, voices);
            _requireNorm(payload, voices);

            uint256 next = 0;
            for (uint256 k = 0; k < guards; ++k) {
                uint256 index = workers + k;
                if ((presence >> index) & 1 == 0) continue;
                uint256 lane = Lanes.laneOf(lanes[index / Lanes.PER_WORD], index);
                int256 ema = Lanes.ema(lane);
                bool agrees = false;
                if ((delivered >> k) & 1 != 0) {
                    int256 s = 256 - 2 * int256(Bits.count(voices.codes[next++] ^ code));
                    ema += (64 * s - ema) >> 2;
                    agrees = s > 0;
                }
                uint256 moved = lane ^ Lanes.judged(lane, ema, Lanes.llr(lane), agrees, round);
                lanes[index / Lanes.PER_WORD] ^= moved << ((index % Lanes.PER_WORD) * 64);
            }
        }
    }

    /// @dev Reads the entries of all present guards, which come after the workers'.
    function _voices(
        bytes calldata payload,
        uint256 presence,
        uint256 workers,
        uint256 guards,
        uint256 delivered
    ) private pure returns (Voices memory voices) {
        unchecked {
            voices.numbers = new uint256[](guards);
            voices.codes = new uint256[](guards);
            voices.norms = new uint256[](guards);
            voices.exponents = new int256[](guards);
            uint256 entries = Bits.count(presence);
            uint256 nth = Bits.count(presence & ((1 << workers) - 1));
            for (uint256 k = 0; k < guards; ++k) {
                if ((presence >> (workers + k)) & 1 == 0) continue;
                uint256 place = Gate.HEADER_BYTES + 32 * nth;
                uint256 code = uint256(bytes32(payload[place:place + 32]));
                place = Gate.HEADER_BYTES + 32 * entries + 8 * nth;
                uint256 norm2 = uint64(bytes8(payload[place:place + 8]));
                int256 exponent = int8(uint8(payload[Gate.HEADER_BYTES + 40 * entries + nth]));
                ++nth;
                if ((delivered >> k) & 1 == 0) {
                    if (code != 0 || norm2 != 0 || exponent != 0) revert Gate.GateUndeliveredNotZero(workers + k);
                    continue;
                }
                if (exponent < -64 || exponent > 63) revert Gate.GateExponentOutOfRange(workers + k, exponent);
                voices.numbers[voices.count] = k;
                voices.codes[voices.count] = code;
                voices.norms[voices.count] = norm2;
                voices.exponents[voices.count] = exponent;
                ++voices.count;
            }
        }
    }

    function _requireCode(bytes calldata payload, Voices memory voices) private pure returns (uint256 code) {
        code = Majority.ofWords(voices.codes, voices.count);
        uint256 posted = uint256(bytes32(payload[0:32]));
        if (posted != code) revert CommitteeWrongCode(posted, code);
    }

    function _requireNorm(bytes calldata payload, Voices memory voices) private pure {
        uint256 median = lowerMedian(voices.norms, voices.exponents, voices.count);
        uint64 norm2 = uint64(voices.norms[median]);
        int8 exponent = int8(voices.exponents[median]);
        uint64 postedNorm2 = uint64(bytes8(payload[128:136]));
        int8 postedExponent = int8(uint8(payload[136]));
        if (postedNorm2 != norm2 || postedExponent != exponent) {
            revert CommitteeWrongNorm(postedNorm2, postedExponent, voices.numbers[median], norm2, exponent);
        }
    }

    /// @notice Gives the position of the lower median of norm2 * 4^exponent; of equals, the one that comes first is smaller.
    /// @param  norms     norm2, each below 2^64.
    /// @param  exponents Each in -64..63.
    /// @param  count     How many of them are taken, 1..15.
    function lowerMedian(uint256[] memory norms, int256[] memory exponents, uint256 count)
        internal
        pure
        returns (uint256 position)
    {
        unchecked {
            uint256[] memory keys = new uint256[](count);
            for (uint256 i = 0; i < count; ++i) {
                keys[i] = (orderOf(norms[i], exponents[i]) << 4) | i;
            }
            // All keys differ: exactly one has this many below it.
            uint256 rank = (count - 1) / 2;
            for (; position < count; ++position) {
                uint256 below = 0;
                for (uint256 i = 0; i < count; ++i) {
                    if (keys[i] < keys[position]) ++below;
                }
                if (below == rank) break;
            }
        }
    }

    /// @notice Gives a number that orders as norm2 * 4^exponent does, and is equal where that is; 0 for 0.
    /// @dev    The product itself can have 318 bits. With norm2 = 2^(l - 63) * m and 2^63 <= m < 2^64 it is
    ///         2^(l + 2 exponent - 63) * m: the power decides, then m.
    /// @param  norm2    Below 2^64.
    /// @param  exponent In -64..63.
    function orderOf(uint256 norm2, int256 exponent) internal pure returns (uint256) {
        unchecked {
            if (norm2 == 0) return 0;
            uint256 l = Math.log2(norm2);
            return (uint256(int256(l) + 2 * (exponent + 64)) << 64) | (norm2 << (63 - l));
        }
    }
}
