// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title  Who says whether a committed update is unavailable.
/// @notice A guard may post a committed update as unavailable only if this contract says so: because it was asked for in public and
///         nobody answered in time (`IDataRequestBook`), or because more than half of the guards did not get it (`IGuardVotes`).
///         Then nobody is condemned on one host's word, and nobody can look at the seed and withhold for free.
/// @dev    A run without such a contract rests on the word of the guard that posts.
interface IDataRequests {
    /// @notice Tells whether a member's update counts as unavailable.
    /// @dev    Called by the ledger with STATICCALL while a round settles, once for each unavailable member.
    /// @param  round Round of the calling ledger (`msg.sender`).
    /// @param  index Cohort index of the member.
    function isUnanswered(uint32 round, uint256 index) external view returns (bool);

    /// @notice Seconds in which an answer counts; 0 where there is none.
    function answerWindowS() external view returns (uint40);
}
