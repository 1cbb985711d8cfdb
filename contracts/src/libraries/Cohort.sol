// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title  Reading a cohort's data contract.
/// @dev    The code at a cohort's address is `0x00 || for each member: identity (20) || signer (20)`, docs/spec/ledger.md.
///         One EXTCODECOPY reads all members, where storage would cost one slot (2,100 gas) for each.
///         The functions trust that the address is a cohort; `WorkerRegistry.isCohort` says so.
library Cohort {
    uint256 internal constant MAX_MEMBERS = 256;
    uint256 internal constant ENTRY_BYTES = 40;

    /// @notice Thrown when an index is not below the number of members.
    error CohortNoSuchIndex(uint256 index, uint256 members);

    /// @notice Number of members, the guards included.
    function size(address cohort) internal view returns (uint256) {
        unchecked {
            uint256 length = cohort.code.length;
            return length == 0 ? 0 : (length - 1) / ENTRY_BYTES;
        }
    }

    /// @notice Writes a cohort as a data contract.
    /// @dev    The 10-byte creation code is PUSH2 length, DUP1, PUSH1 10, RETURNDATASIZE, CODECOPY, RETURNDATASIZE,
    ///         RETURN: it returns everything behind itself.
    /// @param  entries identity || signer of each member in cohort order.
    /// @return cohort  Address of the data contract; zero if the creation failed.
    function write(bytes memory entries) internal returns (address cohort) {
        bytes memory creation =
            abi.encodePacked(hex"61", uint16(entries.length + 1), hex"80600a3d393df3", hex"00", entries);
        assembly ("memory-safe") {
            cohort := create(0, add(creation, 32), mload(creation))
        }
    }

    /// @notice Gives one member.
    /// @param  cohort   A cohort.
    /// @param  index    Position in the cohort.
    /// @return identity Cold owner's address.
    /// @return signer   Hot key's address when the cohort was sealed.
    function memberAt(address cohort, uint256 index) internal view returns (address identity, address signer) {
        uint256 members = size(cohort);
        if (index >= members) revert CohortNoSuchIndex(index, members);
        assembly ("memory-safe") {
            // 40 bytes into the scratch space: 0x00..0x14 identity, 0x14..0x28 signer.
            extcodecopy(cohort, 0, add(1, mul(index, 40)), 40)
            identity := shr(96, mload(0))
            signer := shr(96, mload(20))
        }
    }

    /// @notice Copies all entries to memory.
    /// @return entries 40 bytes for each member.
    function load(address cohort) internal view returns (bytes memory entries) {
        uint256 length = size(cohort) * ENTRY_BYTES;
        assembly ("memory-safe") {
            entries := mload(0x40)
            // One spare word: the last entry is read with a 32-byte load.
            mstore(0x40, and(add(add(entries, length), 95), not(31)))
            mstore(entries, length)
            extcodecopy(cohort, add(entries, 32), 1, length)
        }
    }

    /// @notice Finds a member by identity.
    /// @return isMember Whether there is one.
    /// @return index    Its position.
    function find(address cohort, address identity) internal view returns (bool isMember, uint256 index) {
        bytes memory entries = load(cohort);
        uint256 members = entries.length / ENTRY_BYTES;
        for (; index < members; ++index) {
            address entry;
            assembly ("memory-safe") {
                entry := shr(96, mload(add(add(entries, 32), mul(index, 40))))
            }
            if (entry == identity) return (true, index);
        }
        return (false, 0);
    }

    /// @notice Gives all identities in cohort order.
    function identities(address cohort) internal view returns (address[] memory identities_) {
        bytes memory entries = load(cohort);
        identities_ = new address[](entries.length / ENTRY_BYTES);
        for (uint256 index; index < identities_.length; ++index) {
            address entry;
            assembly ("memory-safe") {
                entry := shr(96, mload(add(add(entries, 32), mul(index, 40))))
            }
            identities_[index] = entry;
        }
    }
}
