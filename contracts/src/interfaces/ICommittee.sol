// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title  What several guards read together.
/// @notice docs/spec/gate.md, "Several guards". One pure function; a ledger with several guards creates such a contract for itself,
///         because the code does not fit into the ledger.
interface ICommittee {
    /// @notice Checks a payload's code, norm and exponent against the guards' entries in it, and moves the guards' lanes.
    /// @dev    Reverts with an error of `CommitteeRules` or, where an entry is not well formed, of `Gate`.
    /// @param  round      Round number; it goes to the lanes mod 2048.
    /// @param  members    Size of the cohort; 4..256.
    /// @param  guards     How many of its last members are guards; 3, 5, .. 15.
    /// @param  presence   Bit i is set iff member i has committed.
    /// @param  payload    The bytes of `settle`, docs/spec/ledger.md.
    /// @param  lanes      All ceil(members / 4) lane words.
    /// @return lanesAfter The same, with the guards' lanes moved.
    function examine(
        uint256 round,
        uint256 members,
        uint256 guards,
        uint256 presence,
        bytes calldata payload,
        uint256[] calldata lanes
    ) external pure returns (uint256[] memory lanesAfter);
}
