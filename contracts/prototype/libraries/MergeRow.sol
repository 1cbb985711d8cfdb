// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SegmentTree} from "../../src/libraries/SegmentTree.sol";

/// @title  The integer merge of one row of 1,024 values.
/// @notice docs/merge-proof.md. Sums, parameters and momentum are int32 in 2^-24, little-endian; what does not fit becomes the
///         nearest that does; what is shifted out is rounded to nearest, ties up. Defined for any bytes, so that no input is
///         left to whoever implements it.
/// @dev    One value at a time: below the price of its calldata (EIP-7623) all of this is free, so lanes would save nothing.
library MergeRow {
    uint256 internal constant ROW_VALUES = 1024;
    uint256 internal constant SUMS_BYTES = 4096;
    uint256 internal constant MODEL_BYTES = 8192;

    /// @notice Thrown when sums or a row of a model do not have the bytes that they should.
    error MergeRowWrongLength(uint256 length, uint256 expected);

    /// @notice Gives the leaf of sums: sha256(0x30 || 1,024 sums).
    function leafOfSums(bytes calldata sums) internal view returns (bytes32) {
        if (sums.length != SUMS_BYTES) revert MergeRowWrongLength(sums.length, SUMS_BYTES);
        return SegmentTree.hashTagged(0x30, sums);
    }

    /// @notice Gives the leaf of a row of a model: sha256(0x31 || 1,024 parameters || 1,024 momenta).
    function leafOfModel(bytes calldata row) internal view returns (bytes32) {
        if (row.length != MODEL_BYTES) revert MergeRowWrongLength(row.length, MODEL_BYTES);
        return SegmentTree.hashTagged(0x31, row);
    }

    /// @notice Gives the leaf of the sums after one more term.
    /// @param  before   Sums before it; empty for the first term, before which they are zero.
    /// @param  expected Their size: 4,096 bytes or none.
    /// @param  segment  8,192 bytes that hold the term's row; the caller has checked their number.
    /// @param  offset   Where in them the row starts.
    /// @param  weight   Weight of the term, in 2^-32.
    /// @param  exponent Exponent of the update.
    function leafAfter(
        bytes calldata before,
        uint256 expected,
        bytes calldata segment,
        uint256 offset,
        uint256 weight,
        int256 exponent
    ) internal view returns (bytes32) {
        if (before.length != expected) revert MergeRowWrongLength(before.length, expected);
        bytes memory next = new bytes(1 + SUMS_BYTES);
        // weight * 2^-32 * q * 2^exponent, in 2^-24.
        uint256 right = exponent < 8 ? uint256(8 - exponent) : 0;
        uint256 factor = exponent < 8 ? weight : weight << uint256(exponent - 8);
        uint256 half = (1 << right) >> 1;
        assembly ("memory-safe") {
            function swap(word) -> swapped {
                let odd := 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff
                word := or(and(shr(8, word), odd), shl(8, and(word, odd)))
                odd := 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff
                swapped := or(and(shr(16, word), odd), shl(16, and(word, odd)))
            }
            let to := add(next, 0x20)
            mstore8(to, 0x30)
            to := add(to, 1)
            let values := add(segment.offset, offset)
            let counts := iszero(iszero(before.length))
            for { let at := 0 } lt(at, 4096) { at := add(at, 32) } {
                // The topmost of each is the one in turn.
                let sums := mul(counts, swap(calldataload(add(before.offset, at))))
                let eight := calldataload(add(values, shr(2, at)))
                let after_ := 0
                for { let k := 0 } lt(k, 8) { k := add(k, 1) } {
                    let sum := add(sar(224, sums), sar(right, add(mul(factor, sar(248, eight)), half)))
                    if xor(signextend(3, sum), sum) { sum := xor(0x7fffffff, sar(255, sum)) }
                    after_ := or(shl(32, after_), and(sum, 0xffffffff))
                    sums := shl(32, sums)
                    eight := shl(8, eight)
                }
                mstore(add(to, at), swap(after_))
            }
        }
        return SegmentTree.hashMemory(next);
    }

    /// @notice Gives the leaf of a row of the model after the outer step.
    /// @dev    Four values at a time, in lanes of 64 bits. A lane holds x + 2^31, so that products need no signs:
    ///         factor * (x + 2^31) + 2^15 shifted down by 16 is what is wanted, and factor * 2^15 above it. A factor of 29 bits
    ///         makes 61. A lane becomes the nearest int32 from 2^63 + x: its top bit says x >= 0, and then bits 32 to 62 say
    ///         whether it is too large.
    /// @param  sums     Sums after the last term; the caller has checked their number.
    /// @param  row      The row before, parameters and momenta; the caller has checked their number.
    /// @param  lr       Outer learning rate, in 2^-16, below 2^29.
    /// @param  momentum Outer momentum, in 2^-16, below 2^29.
    function leafAfterStep(bytes calldata sums, bytes calldata row, uint256 lr, uint256 momentum)
        internal
        view
        returns (bytes32)
    {
        bytes memory next = new bytes(1 + MODEL_BYTES);
        assembly ("memory-safe") {
            function swap(word) -> swapped {
                let odd := 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff
                word := or(and(shr(8, word), odd), shl(8, and(word, odd)))
                odd := 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff
                swapped := or(and(shr(16, word), odd), shl(16, and(word, odd)))
            }
            function saturated(lanes) -> low {
                let ones := 0x0000000000000001000000000000000100000000000000010000000000000001
                let some := and(shr(63, lanes), ones)
                low := and(lanes, sub(shl(63, some), some))
                some := and(shr(63, add(low, mul(ones, 0x7fffffff00000000))), ones)
                low := and(or(low, sub(shl(32, some), some)), mul(ones, 0xffffffff))
            }
            function scaled(lanes, factor) -> product {
                product := shr(16, add(mul(lanes, factor), 0x0000000000008000000000000000800000000000000080000000000000008000))
                product := and(product, 0x0000ffffffffffff0000ffffffffffff0000ffffffffffff0000ffffffffffff)
            }
            let to := add(next, 0x20)
            mstore8(to, 0x31)
            to := add(to, 1)
            let ones := 0x0000000000000001000000000000000100000000000000010000000000000001
            // Taken off: the bias of a product. Put on: 2^63.
            let biasV := mul(ones, sub(shl(63, 1), shl(15, momentum)))
            let biasTheta := mul(ones, add(shl(63, 1), shl(15, lr)))
            for { let at := 0 } lt(at, 4096) { at := add(at, 32) } {
                let sign := 0x8000000080000000800000008000000080000000800000008000000080000000
                let deltas := xor(swap(calldataload(add(sums.offset, at))), sign)
                let thetas := xor(swap(calldataload(add(row.offset, at))), sign)
                let vs := xor(swap(calldataload(add(add(row.offset, 4096), at))), sign)
                let thetasAfter := 0
                let vsAfter := 0
                // The odd lanes of 32 bits, then the even ones.
                for { let up := 0 } lt(up, 64) { up := add(up, 32) } {
                    let low := mul(ones, 0xffffffff)
                    let delta := add(and(shr(up, deltas), low), biasV)
                    let v := saturated(add(scaled(and(shr(up, vs), low), momentum), delta))
                    let step := saturated(add(scaled(v, momentum), delta))
                    let theta := add(and(shr(up, thetas), low), biasTheta)
                    thetasAfter := or(thetasAfter, shl(up, saturated(sub(theta, scaled(step, lr)))))
                    vsAfter := or(vsAfter, shl(up, v))
                }
                mstore(add(to, at), swap(xor(thetasAfter, sign)))
                mstore(add(add(to, 4096), at), swap(xor(vsAfter, sign)))
            }
        }
        return SegmentTree.hashMemory(next);
    }
}
