// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title  Counting bits of one word.
library Bits {
    /// @notice Counts the one bits of a word, exact from 0 to 256.
    /// @param  word   Any word.
    /// @return count_ Number of ones, 0..256.
    function count(uint256 word) internal pure returns (uint256 count_) {
        return sumOfBytes(countsInBytes(word));
    }

    /// @notice Counts the one bits of each byte.
    /// @return counts A word whose byte i is the number of ones in byte i of `word`, 0..8.
    function countsInBytes(uint256 word) internal pure returns (uint256 counts) {
        assembly ("memory-safe") {
            word := sub(word, and(shr(1, word), 0x5555555555555555555555555555555555555555555555555555555555555555))
            word := add(
                and(word, 0x3333333333333333333333333333333333333333333333333333333333333333),
                and(shr(2, word), 0x3333333333333333333333333333333333333333333333333333333333333333)
            )
            counts := and(add(word, shr(4, word)), 0x0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f)
        }
    }

    /// @notice Adds up the bytes of a word, each at most 8.
    /// @dev    The usual `mul(x, 0x0101..01) >> 248` wraps 256 to 0 and so confuses "all differ" with "none differs".
    ///         Without the multiplier's lowest byte, the top byte of the product is the sum of the lower 31 bytes (at
    ///         most 248), and the 32nd is added by itself.
    function sumOfBytes(uint256 counts) internal pure returns (uint256 sum) {
        assembly ("memory-safe") {
            sum := add(
                byte(0, mul(counts, 0x0101010101010101010101010101010101010101010101010101010101010100)),
                byte(0, counts)
            )
        }
    }
}
