// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title  Sketch S6 of one segment: 8,192 int8 values to 256 sums.
/// @notice docs/spec/sketch.md, written for the EVM.
/// @dev    Values sit side by side in one word and are added many at a time. No lane may ever borrow from its neighbour,
///         so every lane carries a bias that keeps it positive:
///         - folding turns a byte q into 128 +- q, so 4 of them make 512 +- .. in 16 bits;
///         - each butterfly of the Hadamard transform adds two lanes and so doubles the bias: 512 after the fold, 32,768
///           after six stages in 16-bit lanes (|v| <= 32,512, so they just fit), 131,072 after all eight, the last two in
///           32-bit lanes;
///         - a row's sign maps u = 131072 + v to 131072 - v, which is (u XOR 0x3ffff) + 1, and 8 rows end at 2^20.
///         Index k = 32 s + d of the folded row has s in the position of the word and d, the byte, in the word; byte 0 is
///         the most significant. On the way bits 5..7 of the index change places with bits 2..4, which turns butterflies
///         inside a word into ones between words. In the end word d holds the sums j = 32 s + d, s = 0 in the lowest lane,
///         so that the row signs of a word are every 32nd bit of R(b).
library Sketch {
    uint256 internal constant SEGMENT_BYTES = 8192;
    uint256 internal constant ROW_BYTES = 1024;
    uint256 internal constant ROWS = 8;
    uint256 internal constant VECTORS = 16;
    /// @notice What every 32-bit lane of `projectLanes` has too much.
    uint256 internal constant BIAS = 0x100000;

    uint256 private constant LOW_BYTES = 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;
    uint256 private constant LOW_SHORTS = 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff;
    uint256 private constant PICKED = 0x0000000000000000000000000000000000000000000000ff00ff0000000000ff00ff;
    uint256 private constant SQUARES = 0x00000000000000000000ffff0000ffff00000000000000000000ffff0000ffff;
    uint256 private constant ONES_8 = 0x0101010101010101010101010101010101010101010101010101010101010101;
    uint256 private constant ONES_16 = 0x0001000100010001000100010001000100010001000100010001000100010001;
    uint256 private constant ONES_32 = 0x0000000100000001000000010000000100000001000000010000000100000001;

    /// @notice Thrown when a segment does not have 8,192 bytes.
    error SketchWrongSegmentLength(uint256 length);
    /// @notice Thrown when a segment holds -128, which makes an update malformed.
    /// @param  offset Position of the first such 32-byte word in the segment, in bytes.
    error SketchMinusHundredTwentyEight(uint256 offset);

    /// @notice Gives what a segment adds to the 256 sums, and the sum of its squares.
    /// @param  seed         Seed of the round.
    /// @param  segmentIndex Position of the segment in the update.
    /// @param  segment      8,192 int8 values.
    function project(bytes32 seed, uint64 segmentIndex, bytes calldata segment)
        internal
        view
        returns (int256[256] memory sums, uint64 norm2)
    {
        (uint256[32] memory lanes, uint256 squares) = projectLanes(seed, segmentIndex, segment);
        norm2 = uint64(squares);
        assembly ("memory-safe") {
            let to := sums
            for { let shift := 0 } lt(shift, 256) { shift := add(shift, 32) } {
                for { let at := lanes } lt(at, add(lanes, 1024)) { at := add(at, 32) } {
                    mstore(to, sub(and(shr(shift, mload(at)), 0xffffffff), BIAS))
                    to := add(to, 32)
                }
            }
        }
    }

    /// @notice Gives the same packed: sum 32 s + d, plus `BIAS`, is lane s (32 bits, 0 the lowest) of word d.
    function projectLanes(bytes32 seed, uint256 segmentIndex, bytes calldata segment)
        internal
        view
        returns (uint256[32] memory lanes, uint256 norm2)
    {
        if (segment.length != SEGMENT_BYTES) revert SketchWrongSegmentLength(segment.length);
        uint256[16] memory row;
        uint256 squares;
        for (uint256 number = 0; number < ROWS; ++number) {
            uint256 rowNumber = segmentIndex * ROWS + number;
            squares = _foldRow(seed, rowNumber % VECTORS, segment, number * ROW_BYTES, row, squares);
            _transform(row);
            _addRow(lanes, row, _rowSigns(seed, rowNumber));
        }
        norm2 = (squares & 0xffffffff) + ((squares >> 32) & 0xffffffff) + ((squares >> 128) & 0xffffffff)
            + ((squares >> 160) & 0xffffffff);
    }

    /// @notice Gives the code of 256 sums: bit j is 1 iff sum j >= 0.
    function code(int256[256] memory sums) internal pure returns (uint256 code_) {
        for (uint256 j = 0; j < 256; ++j) {
            if (sums[j] >= 0) code_ |= 1 << j;
        }
    }

    /// @dev R(b) of the specification.
    function _rowSigns(bytes32 seed, uint256 rowNumber) private view returns (uint256 signs) {
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore8(at, 0x11)
            mstore(add(at, 33), shl(192, rowNumber))
            mstore(add(at, 1), seed)
            if iszero(staticcall(gas(), 2, at, 41, 0, 32)) { revert(0, 0) }
            signs := mload(0)
        }
    }

    /// @dev Folds 1,024 values to 256 and takes the butterflies of bit 0. Word s gets the differences (bit 0 = 1), word
    ///      8 + s the sums; lane m from the top, of 16 bits and bias 1024, has bits 1..4 = m.
    ///      Adds the squares to `squares`: 32-bit lanes 0, 1, 4, 5, to be added up in the end.
    function _foldRow(
        bytes32 seed,
        uint256 vector,
        bytes calldata segment,
        uint256 offset,
        uint256[16] memory row,
        uint256 squares
    ) private view returns (uint256 squares_) {
        uint256 sizes;
        assembly ("memory-safe") {
            // H(vector, t) for t = 0..3.
            let at := mload(0x40)
            mstore8(at, 0x10)
            mstore(add(at, 1), seed)
            mstore8(add(at, 33), vector)
            let signs := add(at, 64)
            for { let t := 0 } lt(t, 4) { t := add(t, 1) } {
                mstore8(add(at, 34), t)
                if iszero(staticcall(gas(), 2, at, 35, add(signs, shl(5, t)), 32)) { revert(0, 0) }
            }

            let from := add(segment.offset, offset)
            for { let s := 0 } lt(s, 8) { s := add(s, 1) } {
                let odd := 0
                let even := 0
                let ones := 0
                for { let t := 0 } lt(t, 128) { t := add(t, 32) } {
                    let word := calldataload(add(from, shl(3, t)))
                    let minus := and(shr(s, mload(add(signs, t))), ONES_8)
                    // 128 + q where the sign is +, 127 - q where it is -; the missing 1 is added in the end.
                    ones := add(ones, minus)
                    let z := xor(word, sub(shl(7, ONES_8), minus))
                    odd := add(odd, and(z, LOW_BYTES))
                    even := add(even, and(shr(8, z), LOW_BYTES))

                    // |q| in each byte; only -128 keeps its top bit.
                    minus := and(shr(7, word), ONES_8)
                    word := add(xor(word, mul(minus, 255)), minus)
                    sizes := or(sizes, word)
                    // Four squares for each MUL. The 16-bit lanes 0, 1, 4, 5 hold no arithmetic progression, so lanes 0, 2,
                    // 8, 10 of the product are the four squares alone. Two products fit in the lanes: the mixed terms next
                    // below a square are at most 2 * 32,258.
                    let x := and(word, PICKED)
                    let y := and(shr(8, word), PICKED)
                    squares := add(squares, and(add(mul(x, x), mul(y, y)), SQUARES))
                    x := and(shr(32, word), PICKED)
                    y := and(shr(40, word), PICKED)
                    squares := add(squares, and(add(mul(x, x), mul(y, y)), SQUARES))
                    x := and(shr(128, word), PICKED)
                    y := and(shr(136, word), PICKED)
                    squares := add(squares, and(add(mul(x, x), mul(y, y)), SQUARES))
                    x := and(shr(160, word), PICKED)
                    y := and(shr(168, word), PICKED)
                    squares := add(squares, and(add(mul(x, x), mul(y, y)), SQUARES))
                }
                odd := add(odd, and(ones, LOW_BYTES))
                even := add(even, and(shr(8, ones), LOW_BYTES))
                let to := add(row, shl(5, s))
                mstore(to, add(even, sub(shl(10, ONES_16), odd)))
                mstore(add(to, 256), add(even, odd))
                from := add(from, 32)
            }
            squares_ := squares
        }
        if (sizes & (ONES_8 << 7) != 0) revert SketchMinusHundredTwentyEight(_findForbidden(segment));
    }

    function _findForbidden(bytes calldata segment) private pure returns (uint256 offset) {
        for (;; offset += 32) {
            // The byte 0x80 becomes zero; a word has a zero byte iff a top bit comes up below.
            uint256 word = uint256(bytes32(segment[offset:offset + 32])) ^ (ONES_8 << 7);
            unchecked {
                if ((word - ONES_8) & ~word & (ONES_8 << 7) != 0) return offset;
            }
        }
    }

    /// @dev Butterflies of bits 6, 7, 4 and 3 on 16-bit lanes, in: bias 1024, out: 16384. Words s, s + 2, s + 4, s + 6 of
    ///      each half meet each other alone. Bits 6 and 7 are butterflies between words. Then bit 7 of the word's position
    ///      and bit 4 of the lane's change places, and bits 6 and 3; lanes with bit 4 = 0 are the higher ones, and after it
    ///      the higher ones are those with bit 7 = 1.
    function _transform(uint256[16] memory row) private pure {
        assembly ("memory-safe") {
            let high := 0xffffffffffffffff0000000000000000ffffffffffffffff0000000000000000
            for { let i := 0 } lt(i, 4) { i := add(i, 1) } {
                let at := add(row, add(shl(5, and(i, 1)), shl(7, and(i, 2))))
                let a := mload(at)
                let b := mload(add(at, 64))
                let c := mload(add(at, 128))
                let d := mload(add(at, 192))
                let bias := shl(11, ONES_16)
                let x := add(a, b)
                let y := add(a, sub(bias, b))
                let z := add(c, d)
                let w := add(c, sub(bias, d))
                bias := shl(1, bias)
                a := add(x, z)
                c := add(x, sub(bias, z))
                b := add(y, w)
                d := add(y, sub(bias, w))
                // Bits 7 and 4: a with c, b with d.
                bias := shl(1, bias)
                x := or(shl(128, shr(128, c)), shr(128, a))
                y := or(shl(128, c), shr(128, shl(128, a)))
                z := or(shl(128, shr(128, d)), shr(128, b))
                w := or(shl(128, d), shr(128, shl(128, b)))
                a := add(x, y)
                c := add(x, sub(bias, y))
                b := add(z, w)
                d := add(z, sub(bias, w))
                // Bits 6 and 3: a with b, c with d.
                bias := shl(1, bias)
                x := or(and(b, high), and(shr(64, a), not(high)))
                y := or(and(shl(64, b), high), and(a, not(high)))
                mstore(at, add(x, y))
                mstore(add(at, 64), add(x, sub(bias, y)))
                x := or(and(d, high), and(shr(64, c), not(high)))
                y := or(and(shl(64, d), high), and(c, not(high)))
                mstore(add(at, 128), add(x, y))
                mstore(add(at, 192), add(x, sub(bias, y)))
            }
        }
    }

    /// @dev The last three butterflies: bit 5 on 16-bit lanes, bit 1 while widening to 32 bits (of two neighbours the higher
    ///      has bit 1 = 0), bit 2 while it changes places with bit 5. Then adds the row to the lanes, negated where its sign
    ///      bit is 1.
    function _addRow(uint256[32] memory lanes, uint256[16] memory row, uint256 signs) private pure {
        assembly ("memory-safe") {
            let high := 0xffffffff00000000ffffffff00000000ffffffff00000000ffffffff00000000
            for { let i := 0 } lt(i, 8) { i := add(i, 1) } {
                // Bit 0 is 1 in the first half of the row; bits 3 and 4 are those of i.
                // slither-disable-next-line incorrect-exp
                let d := or(shl(3, and(i, 3)), xor(1, shr(2, i)))
                let to := add(lanes, shl(5, d))
                let bits := shr(d, signs)
                let b := mload(add(row, shl(6, i)))
                let a := mload(add(add(row, 32), shl(6, i)))
                {
                    let sum := add(b, a)
                    // 0x8000 in each lane
                    a := add(b, sub(shl(15, ONES_16), a))
                    b := sum
                }
                // Where bit 1 = 0: the sums of neighbours, then bit 2.
                let b1 := add(and(shr(16, b), LOW_SHORTS), and(b, LOW_SHORTS))
                let a1 := add(and(shr(16, a), LOW_SHORTS), and(a, LOW_SHORTS))
                let x := or(and(a1, high), and(shr(32, b1), not(high)))
                let y := or(and(shl(32, a1), high), and(b1, not(high)))
                let minus := and(bits, ONES_32)
                let u := xor(add(x, y), mul(minus, 0x3ffff))
                mstore(to, add(mload(to), add(u, minus)))
                minus := and(shr(4, bits), ONES_32)
                u := xor(add(x, sub(shl(17, ONES_32), y)), mul(minus, 0x3ffff))
                mstore(add(to, 128), add(mload(add(to, 128)), add(u, minus)))
                // Where bit 1 = 1: the differences, and the same again. A loop would cost more than these lines do.
                b1 := add(and(shr(16, b), LOW_SHORTS), sub(shl(16, ONES_32), and(b, LOW_SHORTS)))
                a1 := add(and(shr(16, a), LOW_SHORTS), sub(shl(16, ONES_32), and(a, LOW_SHORTS)))
                x := or(and(a1, high), and(shr(32, b1), not(high)))
                y := or(and(shl(32, a1), high), and(b1, not(high)))
                minus := and(shr(2, bits), ONES_32)
                u := xor(add(x, y), mul(minus, 0x3ffff))
                mstore(add(to, 64), add(mload(add(to, 64)), add(u, minus)))
                minus := and(shr(6, bits), ONES_32)
                u := xor(add(x, sub(shl(17, ONES_32), y)), mul(minus, 0x3ffff))
                mstore(add(to, 192), add(mload(add(to, 192)), add(u, minus)))
            }
        }
    }
}
