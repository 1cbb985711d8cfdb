// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title  Where data of a committed update can be asked for in public.
/// @notice A guard may call a committed update unavailable only if it was asked for here and nobody answered in time. Then
///         nobody is condemned on a blob host's word, and nobody can look at the seed and withhold for free.
/// @dev    A run without such a contract rests on the guard's word.
interface IDataRequests {
    /// @notice Tells whether a request for a member's update was made and its time ran out.
    /// @dev    Called by the ledger with STATICCALL while a round settles, once for each unavailable member.
    /// @param  round Round of the calling ledger (`msg.sender`).
    /// @param  index Cohort index of the member.
    function isUnanswered(uint32 round, uint256 index) external view returns (bool);

    /// @notice Seconds in which an answer counts.
    function answerWindowS() external view returns (uint40);
}
