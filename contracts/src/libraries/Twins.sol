// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Bits} from "./Bits.sol";

/// @title  Finding copies among words.
/// @notice docs/spec/gate.md, "One round": a word counts once in the median, however often it is handed in.
/// @dev    All pairs are compared, eight at a time. Folding a word, by XOR of its four quarters, to 64 bits never makes two
///         words differ in more bits than before: fold(a) XOR fold(b) = fold(a XOR b), and a quarter's bit that is set there is
///         set in at least one of the four. So words whose folds differ in more bits than may differ are no twins. Folds of
///         words that agree in 60 to 80 % of the bits differ in 28 to 32 of 64; all others are compared as a whole.
library Twins {
    uint256 private constant PER_GROUP = 8;
    uint256 private constant QUARTER = 0xffffffffffffffff;
    /// @dev Bit 0 of each of the four 64-bit fields of a word.
    uint256 private constant ONES = 0x0000000000000001000000000000000100000000000000010000000000000001;

    /// @notice Gives the words that have a twin before them: bit k is set iff popcount(words[j] XOR words[k]) <= bits for some
    ///         j < k.
    /// @param  words At most 256.
    /// @param  bits  In so many bits twins may differ; from 256 on all but the first word are copies.
    function copiesAmong(uint256[] memory words, uint256 bits) internal pure returns (uint256 copies) {
        unchecked {
            // Folds, four to a word; two words of them are a group.
            uint256[] memory folds = new uint256[](words.length / 4 + 2);
            // Added to the number of ones in a field, in its highest byte, it makes that byte's top bit say that they are too
            // many.
            uint256 margin = (ONES << 56) * (127 - (bits < 64 ? bits : 64));
            for (uint256 k = 0; k < words.length; ++k) {
                uint256 fold;
                assembly ("memory-safe") {
                    fold := mload(add(add(words, 0x20), shl(5, k)))
                    fold := xor(fold, shr(128, fold))
                    fold := mul(and(xor(fold, shr(64, fold)), QUARTER), ONES)
                }
                uint256 first = 0;
                while ((first = _skipFar(folds, first, k, fold, margin)) < k) {
                    if (_hasTwin(words, first, k, bits)) {
                        copies |= 1 << k;
                        break;
                    }
                    first += PER_GROUP;
                }
                assembly ("memory-safe") {
                    let at := add(add(folds, 0x20), shl(5, shr(2, k)))
                    mstore(at, or(mload(at), and(fold, shl(shl(6, and(k, 3)), QUARTER))))
                }
            }
        }
    }

    /// @dev Skips groups whose folds all differ from a fold, given in all four fields, in too many bits.
    /// @return The first word of the first other group, from `first` on; at least k if there is none before word k.
    function _skipFar(uint256[] memory folds, uint256 first, uint256 k, uint256 fold, uint256 margin)
        private
        pure
        returns (uint256)
    {
        assembly ("memory-safe") {
            let base := add(folds, 0x20)
            let at := add(base, shl(3, first))
            let end := add(base, shl(3, k))
            for {} lt(at, end) { at := add(at, 0x40) } {
                let a := xor(mload(at), fold)
                let b := xor(mload(add(at, 0x20)), fold)
                // As in `Bits.count`, but summed up in each field by itself.
                a := sub(a, and(shr(1, a), 0x5555555555555555555555555555555555555555555555555555555555555555))
                b := sub(b, and(shr(1, b), 0x5555555555555555555555555555555555555555555555555555555555555555))
                a := add(
                    and(a, 0x3333333333333333333333333333333333333333333333333333333333333333),
                    and(shr(2, a), 0x3333333333333333333333333333333333333333333333333333333333333333)
                )
                b := add(
                    and(b, 0x3333333333333333333333333333333333333333333333333333333333333333),
                    and(shr(2, b), 0x3333333333333333333333333333333333333333333333333333333333333333)
                )
                a := and(add(a, shr(4, a)), 0x0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f)
                b := and(add(b, shr(4, b)), 0x0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f)
                a := add(mul(a, 0x0101010101010101), margin)
                b := add(mul(b, 0x0101010101010101), margin)
                if and(not(and(a, b)), 0x8000000000000000800000000000000080000000000000008000000000000000) { break }
            }
            first := shr(3, sub(at, base))
        }
        return first;
    }

    /// @dev Whether word k has a twin in a group, before itself.
    function _hasTwin(uint256[] memory words, uint256 first, uint256 k, uint256 bits) private pure returns (bool) {
        unchecked {
            uint256 end = first + PER_GROUP < k ? first + PER_GROUP : k;
            for (uint256 j = first; j < end; ++j) {
                if (Bits.count(words[j] ^ words[k]) <= bits) return true;
            }
            return false;
        }
    }
}
