// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {LastStepProof, MergeClaim, MergeProof, StepProof} from "../prototype/MergeProof.sol";

/// @dev A model of one row, merged from one update or the second of two, against docs/merge-proof.md written value by value:
///      of a true claim nothing can be shown, and one wrong bit can.
contract MergeProofTest {
    int256 private constant INT32_MAX = 2 ** 31 - 1;

    MergeProof private immutable PROOF = new MergeProof();

    /// forge-config: default.fuzz.runs = 100
    function testFuzz_trueStepHolds(bytes32 filling, uint8 pattern, uint64 weight, int8 exponent, bool isSecond)
        external
        view
    {
        (MergeClaim memory claim, StepProof memory proof) = _step(filling, pattern, weight, exponent, isSecond, 0);
        try PROOF.proveStep(claim, proof) returns (bytes32) {
            assert(false);
        } catch (bytes memory reason) {
            assert(_is(reason, abi.encodeWithSelector(
                MergeProof.MergeProofStepHolds.selector, proof.index, 0, proof.postedLeaf
            )));
        }
    }

    /// forge-config: default.fuzz.runs = 100
    function testFuzz_falseStepIsShown(
        bytes32 filling,
        uint8 pattern,
        uint64 weight,
        int8 exponent,
        bool isSecond,
        uint16 bit
    ) external view {
        (MergeClaim memory claim, StepProof memory proof) =
            _step(filling, pattern, weight, exponent, isSecond, 1 + uint256(bit) % 32768);
        assert(PROOF.proveStep(claim, proof) == PROOF.claimDigest(claim));
    }

    /// forge-config: default.fuzz.runs = 100
    function testFuzz_trueLastStepHolds(bytes32 filling, uint8 pattern, uint32 lrMicro, uint32 momentumMicro)
        external
        view
    {
        (MergeClaim memory claim, LastStepProof memory proof) = _last(filling, pattern, lrMicro, momentumMicro, 0);
        try PROOF.proveLastStep(claim, proof) returns (bytes32) {
            assert(false);
        } catch (bytes memory reason) {
            assert(_is(reason, abi.encodeWithSelector(
                MergeProof.MergeProofLastStepHolds.selector, 0, proof.postedLeaf
            )));
        }
    }

    /// forge-config: default.fuzz.runs = 100
    function testFuzz_falseLastStepIsShown(
        bytes32 filling,
        uint8 pattern,
        uint32 lrMicro,
        uint32 momentumMicro,
        uint16 bit
    ) external view {
        (MergeClaim memory claim, LastStepProof memory proof) =
            _last(filling, pattern, lrMicro, momentumMicro, 1 + uint256(bit));
        assert(PROOF.proveLastStep(claim, proof) == PROOF.claimDigest(claim));
    }

    /// @dev `flip` is 0, or 1 more than the bit of the sums after the term that is posted wrong.
    function _step(bytes32 filling, uint8 pattern, uint64 weight, int8 exponent, bool isSecond, uint256 flip)
        private
        pure
        returns (MergeClaim memory claim, StepProof memory proof)
    {
        proof.header = new bytes(96);
        proof.header[5] = bytes1(uint8(exponent));
        proof.segment = _bytes(filling, "segment", 8192, pattern);
        if (isSecond) proof.sumsBefore = _bytes(filling, "before", 4096, pattern / 6);
        bytes memory sums = new bytes(4096);
        for (uint256 i = 0; i < 1024; ++i) {
            int256 before = isSecond ? _int32(proof.sumsBefore, i) : int256(0);
            int256 q = int8(uint8(proof.segment[i]));
            _put(sums, i, _sat(before + _round(int256(uint256(weight)) * q, int256(exponent) - 8)));
        }
        if (flip != 0) _flip(sums, flip - 1);

        claim = _claim(filling);
        proof.weight = weight;
        proof.postedLeaf = sha256(bytes.concat(hex"30", sums));
        bytes32 payload = sha256(bytes.concat(hex"00", proof.segment));
        bytes32 update = sha256(bytes.concat(hex"02", proof.header, payload));
        claim.terms = 1;
        claim.termsRoot = sha256(abi.encodePacked(hex"33", update, weight));
        claim.traceRoot = proof.postedLeaf;
        if (isSecond) {
            claim.terms = 2;
            proof.index = 1;
            proof.termSiblings = new bytes32[](1);
            proof.termSiblings[0] = filling;
            claim.termsRoot = sha256(abi.encodePacked(hex"01", filling, claim.termsRoot));
            bytes32 before = sha256(bytes.concat(hex"30", proof.sumsBefore));
            claim.traceRoot = sha256(abi.encodePacked(hex"01", before, proof.postedLeaf));
        }
    }

    /// @dev `flip` is 0, or 1 more than the bit of the new row that is posted wrong.
    function _last(bytes32 filling, uint8 pattern, uint32 lrMicro, uint32 momentumMicro, uint256 flip)
        private
        pure
        returns (MergeClaim memory claim, LastStepProof memory proof)
    {
        claim = _claim(filling);
        claim.terms = 1;
        claim.outerLrMicro = lrMicro;
        claim.outerMomentumMicro = momentumMicro;
        proof.sums = _bytes(filling, "sums", 4096, pattern);
        proof.oldRow = _bytes(filling, "old", 8192, pattern / 6);
        bytes memory newRow = new bytes(8192);
        int256 lr = int256((uint256(lrMicro) * 65536 + 500_000) / 1_000_000);
        int256 momentum = int256((uint256(momentumMicro) * 65536 + 500_000) / 1_000_000);
        for (uint256 i = 0; i < 1024; ++i) {
            int256 delta = _int32(proof.sums, i);
            int256 v = _sat(_round(momentum * _int32(proof.oldRow, 1024 + i), -16) + delta);
            int256 step = _sat(delta + _round(momentum * v, -16));
            _put(newRow, i, _sat(_int32(proof.oldRow, i) - _round(lr * step, -16)));
            _put(newRow, 1024 + i, v);
        }
        if (flip != 0) _flip(newRow, flip - 1);
        claim.traceRoot = sha256(bytes.concat(hex"30", proof.sums));
        claim.oldModelRoot = _modelRoot(claim, sha256(bytes.concat(hex"31", proof.oldRow)));
        proof.postedLeaf = sha256(bytes.concat(hex"31", newRow));
        claim.newModelRoot = _modelRoot(claim, proof.postedLeaf);
    }

    function _claim(bytes32 filling) private pure returns (MergeClaim memory claim) {
        claim.shapeDigest = filling;
        claim.length = uint64(1 + uint256(filling) % 1024);
    }

    function _modelRoot(MergeClaim memory claim, bytes32 tree) private pure returns (bytes32) {
        return sha256(abi.encodePacked(hex"32", claim.shapeDigest, claim.length, tree));
    }

    /// @dev floor(value * 2^shift + 1/2). `value` has at most 72 bits, the shift is at most 119.
    function _round(int256 value, int256 shift) private pure returns (int256) {
        if (shift >= 0) return value * int256(1 << uint256(shift));
        int256 unit = int256(1 << uint256(-shift));
        int256 doubled = 2 * value + unit;
        int256 rest = doubled % (2 * unit);
        return (doubled - (rest < 0 ? rest + 2 * unit : rest)) / (2 * unit);
    }

    function _sat(int256 value) private pure returns (int256) {
        if (value > INT32_MAX) return INT32_MAX;
        return value < -INT32_MAX - 1 ? -INT32_MAX - 1 : value;
    }

    function _int32(bytes memory data, uint256 i) private pure returns (int256) {
        uint256 word;
        for (uint256 k = 0; k < 4; ++k) {
            word |= uint256(uint8(data[4 * i + k])) << (8 * k);
        }
        return int32(uint32(word));
    }

    function _put(bytes memory data, uint256 i, int256 value) private pure {
        for (uint256 k = 0; k < 4; ++k) {
            data[4 * i + k] = bytes1(uint8(uint256(value) >> (8 * k)));
        }
    }

    function _flip(bytes memory data, uint256 bit) private pure {
        data[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
    }

    function _is(bytes memory reason, bytes memory expected) private pure returns (bool) {
        return keccak256(reason) == keccak256(expected);
    }

    /// @dev Random bytes; or numbers that are the largest, the smallest, both in turn, small ones of either sign, or zero.
    function _bytes(bytes32 filling, string memory what, uint256 size, uint8 pattern)
        private
        pure
        returns (bytes memory data)
    {
        data = new bytes(size);
        for (uint256 word = 0; word < size; word += 32) {
            bytes32 random = keccak256(abi.encode(filling, what, word));
            for (uint256 k = 0; k < 32; ++k) {
                bool isTop = k % 4 == 3;
                bool isOdd = (word / 4 + k / 4) % 2 == 1;
                bytes1 value = random[k];
                if (pattern % 6 == 1) value = isTop ? bytes1(0x7f) : bytes1(0xff);
                if (pattern % 6 == 2) value = isTop ? bytes1(0x80) : bytes1(0);
                if (pattern % 6 == 3) value = isTop == isOdd ? bytes1(0x80) : bytes1(0x7f);
                if (pattern % 6 == 4 && k % 4 > 0) value = isOdd ? bytes1(0xff) : bytes1(0);
                if (pattern % 6 == 5) value = 0;
                data[word + k] = value;
            }
        }
    }
}
