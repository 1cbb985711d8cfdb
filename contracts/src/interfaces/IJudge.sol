// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title  What a round's posted words make of every member.
/// @notice docs/spec/gate.md, with the constants and the cohort of one run. Every ledger creates such a contract for itself.
interface IJudge {
    /// @notice Judges one round and moves the lanes.
    /// @dev    Reverts with an error of `Gate` if the words are not well formed, and of `CommitteeRules` if the header is not
    ///         what several guards read together.
    /// @param  round          Round number; it goes to the lanes mod 2048.
    /// @param  presence       Bit i is set iff member i has committed.
    /// @param  payload        The bytes of `settle`, docs/spec/ledger.md.
    /// @param  yardstick      Yardstick word before the round.
    /// @param  lanes          All ceil(members / 4) lane words before the round, 32 bytes each, joined.
    /// @return approved       Bitmap of approved members.
    /// @return yardstickAfter Yardstick word after the round.
    /// @return lanesAfter     Lane words after the round, likewise.
    function judge(
        uint256 round,
        uint256 presence,
        bytes calldata payload,
        uint256 yardstick,
        bytes calldata lanes
    ) external view returns (uint256 approved, uint256 yardstickAfter, bytes memory lanesAfter);
}
