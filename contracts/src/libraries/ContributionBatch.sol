// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title  The signed message of a contribution, alone and in batches.
/// @notice docs/spec/ledger.md, "Contribution (EIP-712)" and "Commitments".
library ContributionBatch {
    bytes32 internal constant TYPE_HASH = keccak256(
        "Contribution(uint64 run,uint32 round,address worker,bytes32 specDigest,bytes32 parentModel,bytes32 updateRoot,uint64 tokens,uint64 deadline)"
    );

    /// @notice Bytes of one item: updateRoot (32), tokens (8), r (32), yParityAndS (32).
    uint256 internal constant ITEM_BYTES = 104;

    /// @dev secp256k1's order / 2: a larger s is the malleable twin of a smaller one.
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice The fields that all contributions of a round share.
    struct Message {
        bytes32 domainSeparator;
        uint64 run;
        uint32 round;
        bytes32 specDigest;
        bytes32 parentModel;
        uint64 deadline;
    }

    /// @notice Where the check of a batch stopped. `expected` is zero if every signature is its signer's.
    struct Mismatch {
        uint256 index;
        address expected;
        address recovered;
    }

    /// @notice Gives one contribution's EIP-712 digest.
    function digest(Message memory m, address worker, bytes32 updateRoot, uint64 tokens)
        internal
        pure
        returns (bytes32)
    {
        bytes32 structHash = keccak256(
            abi.encode(
                TYPE_HASH, m.run, m.round, worker, m.specDigest, m.parentModel, updateRoot, tokens, m.deadline
            )
        );
        return keccak256(abi.encodePacked(hex"1901", m.domainSeparator, structHash));
    }

    /// @notice Checks a batch's signatures and appends its contributions, from the lowest member up.
    /// @dev    In assembly because this loop is most of what a round costs: each contribution is 3,000 gas for ecrecover,
    ///         about 1,650 for its calldata, and what is written here.
    ///         The message is hashed in one buffer whose constant fields are written once:
    ///         0x000 TYPE_HASH | run | round | worker | specDigest | parentModel | updateRoot | tokens | deadline
    ///         0x120 30 bytes unused, 0x1901 | 0x140 domain separator | 0x160 struct hash
    ///         ecrecover reads digest, v, r, s from 0x00..0x80 and writes over v; the two words that Solidity keeps at 0x40
    ///         and 0x60 are put back at the end. For a signature that recovers to nobody it writes nothing: then v is left,
    ///         27 or 28, which is no member's signer.
    /// @param  m           Shared fields.
    /// @param  accumulator Accumulator before the batch.
    /// @param  members     Bitmap of the members in the batch; all below the cohort's size.
    /// @param  entries     `Cohort.load`.
    /// @param  items       104 bytes for each member; the caller has checked the length.
    /// @return next        Accumulator after the batch.
    /// @return wrong       First signature that is not its member's signer's.
    function append(
        Message memory m,
        bytes32 accumulator,
        uint256 members,
        bytes memory entries,
        bytes calldata items
    ) internal view returns (bytes32 next, Mismatch memory wrong) {
        bytes32 typeHash = TYPE_HASH;
        next = accumulator;
        assembly ("memory-safe") {
            let free := mload(0x40)
            let message := free
            mstore(message, typeHash)
            mstore(add(message, 0x020), mload(add(m, 0x20))) // run
            mstore(add(message, 0x040), mload(add(m, 0x40))) // round
            mstore(add(message, 0x080), mload(add(m, 0x60))) // specDigest
            mstore(add(message, 0x0a0), mload(add(m, 0x80))) // parentModel
            mstore(add(message, 0x100), mload(add(m, 0xa0))) // deadline
            mstore(add(message, 0x120), 0x1901)
            mstore(add(message, 0x140), mload(m)) // domainSeparator

            let item := items.offset
            let entry := add(entries, 0x20)
            for { let left := members } left { left := shr(1, left) } {
                if and(left, 1) {
                    mstore(add(message, 0x060), shr(96, mload(entry))) // worker
                    mstore(add(message, 0x0c0), calldataload(item)) // updateRoot
                    mstore(add(message, 0x0e0), shr(192, calldataload(add(item, 32)))) // tokens
                    mstore(add(message, 0x160), keccak256(message, 0x120))
                    let hash := keccak256(add(message, 0x13e), 0x42)

                    let s := calldataload(add(item, 72))
                    mstore(0x00, hash)
                    mstore(0x20, add(27, shr(255, s)))
                    mstore(0x40, calldataload(add(item, 40))) // r
                    s := and(s, 0x7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff)
                    mstore(0x60, s)
                    pop(staticcall(gas(), 1, 0x00, 0x80, 0x20, 0x20))
                    if or(xor(mload(0x20), shr(96, mload(add(entry, 20)))), gt(s, HALF_ORDER)) {
                        mstore(wrong, div(sub(entry, add(entries, 0x20)), 40))
                        mstore(add(wrong, 0x20), shr(96, mload(add(entry, 20))))
                        mstore(
                            add(wrong, 0x40),
                            mul(mload(0x20), and(eq(returndatasize(), 0x20), iszero(gt(s, HALF_ORDER))))
                        )
                        break
                    }
                    mstore(0x00, next)
                    mstore(0x20, hash)
                    next := keccak256(0x00, 0x40)
                    item := add(item, ITEM_BYTES)
                }
                entry := add(entry, 40)
            }
            mstore(0x40, free)
            mstore(0x60, 0)
        }
    }
}
