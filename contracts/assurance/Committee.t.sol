// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {CommitteeRules} from "../src/libraries/CommitteeRules.sol";
import {Majority} from "../src/libraries/Majority.sol";

/// @dev `check_` functions are proven for all inputs by halmos, `test` functions are run by forge. The first two together say,
///      by induction over the words, that the top plane is the majority.
contract CommitteeTest {
    /// @dev One more word adds its bit j to the counter of bit j, and to no other.
    function check_aWordCountsInEveryBit(uint256 a, uint256 b, uint256 c, uint256 d, uint256 word, uint8 bit)
        external
        pure
    {
        uint256[4] memory planes = [a, b, c, d];
        uint256 before = _counter(planes, bit);
        Majority.add(planes, word);
        assert(_counter(planes, bit) == (before + ((word >> bit) & 1)) % 16);
    }

    /// @dev From the preset on no counter passes 15, and its top bit says whether at least half of the words had a one.
    function check_theTopPlaneSaysHalf(uint8 count, uint8 ones, uint8 bit) external pure {
        if (count == 0 || count > Majority.MAX_WORDS || ones > count) return;
        uint256 start = _counter(Majority.preset(count), bit);
        assert(start + ones < 16);
        assert(((start + ones) >> 3 == 1) == (2 * uint256(ones) >= count));
    }

    function testFuzz_majorityBitByBit(uint256[15] calldata drawn, uint256 pattern, uint8 number) external pure {
        uint256 count = 1 + uint256(number) % 15;
        uint256[] memory words = new uint256[](15);
        for (uint256 i = 0; i < 15; ++i) {
            // Often equal or opposite, so that there are ties.
            uint256 kind = (pattern >> (2 * i)) % 4;
            words[i] = kind == 0 ? drawn[i] : kind == 1 ? drawn[0] : kind == 2 ? ~drawn[0] : drawn[i / 2];
        }
        uint256 majority = Majority.ofWords(words, count);
        for (uint256 j = 0; j < 256; ++j) {
            uint256 ones;
            for (uint256 i = 0; i < count; ++i) {
                ones += (words[i] >> j) & 1;
            }
            assert(((majority >> j) & 1 == 1) == (2 * ones >= count));
        }
    }

    /// @dev Products compared after taking the smaller power of four from both; from 2^64 on the larger side decides alone.
    function testFuzz_orderOfNorms(uint64 a, int8 ea, uint64 b, int8 eb, uint8 drop, bool near) external pure {
        a >>= drop % 65;
        ea = int8(int256(uint256(int256(ea)) % 128) - 64);
        eb = near ? ea + (eb % 4) : int8(int256(uint256(int256(eb)) % 128) - 64);
        if (eb < -64 || eb > 63) eb = ea;
        if (near && ea >= eb && a <= type(uint64).max >> uint256(2 * (int256(ea) - eb))) {
            // The same product, or one more or less than it.
            unchecked {
                b = uint64(uint256(a) << uint256(2 * (int256(ea) - eb))) + b % 3 - 1;
            }
        }
        uint256 left = CommitteeRules.orderOf(a, ea);
        uint256 right = CommitteeRules.orderOf(b, eb);
        int256 k = int256(ea) - eb;
        uint256 scaledA = k > 0 ? uint256(a) << (k > 64 ? 128 : uint256(2 * k)) : a;
        uint256 scaledB = k < 0 ? uint256(b) << (k < -64 ? 128 : uint256(-2 * k)) : b;
        assert((left < right) == (scaledA < scaledB));
        assert((left == right) == (scaledA == scaledB));
    }

    function testFuzz_lowerMedianByCounting(uint256[15] calldata drawn, uint8 number) external pure {
        uint256 count = 1 + uint256(number) % 15;
        uint256[] memory norms = new uint256[](15);
        int256[] memory exponents = new int256[](15);
        for (uint256 i = 0; i < 15; ++i) {
            norms[i] = drawn[i] % 5 == 0 ? 0 : uint64(drawn[i]) >> (drawn[i] >> 64) % 64;
            exponents[i] = int256((drawn[i] >> 128) % 128) - 64;
            if (drawn[i] % 3 == 0) (norms[i], exponents[i]) = (norms[i / 2], exponents[i / 2]);
        }
        uint256 median = CommitteeRules.lowerMedian(norms, exponents, count);
        uint256 own = CommitteeRules.orderOf(norms[median], exponents[median]);
        uint256 below;
        for (uint256 i = 0; i < count; ++i) {
            uint256 other = CommitteeRules.orderOf(norms[i], exponents[i]);
            if (other < own || (other == own && i < median)) ++below;
        }
        assert(median < count && below == (count - 1) / 2);
    }

    function _counter(uint256[4] memory planes, uint256 bit) private pure returns (uint256 counter) {
        for (uint256 k = 0; k < 4; ++k) {
            counter |= ((planes[k] >> bit) & 1) << k;
        }
    }
}
