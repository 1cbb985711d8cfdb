// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title  The digests that a round's record goes through.
/// @notice docs/spec/ledger.md, "Commitments", "Seal and seed", "Records".
library RoundDigests {
    bytes32 private constant ROUND_TAG = keccak256("hallmark.round.v1");
    bytes32 private constant SEED_TAG = keccak256("hallmark.seed.v1");
    bytes32 private constant SETTLED_TAG = keccak256("hallmark.settled.v1");
    bytes32 private constant FINAL_TAG = keccak256("hallmark.final.v1");
    bytes32 private constant VOID_TAG = keccak256("hallmark.void.v1");

    /// @notice What the settled digest covers beside the commitments.
    struct Settlement {
        uint256 presence;
        bytes32 seed;
        bytes32 payloadHash;
        uint256 approved;
        uint256 yardstickBefore;
        uint256 yardstickAfter;
        bytes32 lanesBeforeHash;
        bytes32 lanesAfterHash;
    }

    /// @notice D0, before the first commitment.
    function start(uint64 run, uint256 round, bytes32 specDigest, bytes32 previousRecord, bytes32 parentModel)
        internal
        view
        returns (bytes32)
    {
        return keccak256(
            abi.encode(
                ROUND_TAG, block.chainid, address(this), run, round, specDigest, previousRecord, parentModel
            )
        );
    }

    /// @notice The accumulator after one more commitment.
    function append(bytes32 accumulator, bytes32 contributionDigest) internal pure returns (bytes32 next) {
        assembly ("memory-safe") {
            mstore(0x00, accumulator)
            mstore(0x20, contributionDigest)
            next := keccak256(0x00, 0x40)
        }
    }

    /// @notice The seed, from the accumulator at the seal and the hash of the block after it.
    function seed(uint64 run, uint256 round, bytes32 accumulator, bytes32 blockHash) internal view returns (bytes32) {
        return keccak256(
            abi.encode(SEED_TAG, block.chainid, address(this), run, round, accumulator, blockHash)
        );
    }

    /// @notice D2, after the verdicts.
    function settled(bytes32 accumulator, Settlement memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(SETTLED_TAG, accumulator, s));
    }

    /// @notice D3, after the merge.
    function finalized(bytes32 settledDigest, bytes32 modelRoot, bytes32 weightsDigest)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(FINAL_TAG, settledDigest, modelRoot, weightsDigest));
    }

    /// @notice V, of a void round; `lastDigest` is zero when nobody had committed.
    function voided(bytes32 lastDigest, uint256 reason) internal pure returns (bytes32) {
        return keccak256(abi.encode(VOID_TAG, lastDigest, reason));
    }

    /// @notice Hash of lane words, 32 bytes each, joined.
    function lanesHash(uint256[] memory words) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            hash := keccak256(add(words, 0x20), shl(5, mload(words)))
        }
    }
}
