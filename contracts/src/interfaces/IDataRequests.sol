// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title  Who says whether a committed update can be posted as not delivered.
/// @notice A guard may post a committed update as unavailable or malformed only if this contract grants it: because it was asked for
///         in public and nobody answered in time (`IDataRequestBook`, for unavailable; malformed can be asked for afterwards), or
///         because more than half of the guards got no sound bytes (`IGuardVotes`, for both). Then nobody is condemned on one
///         host's or one guard's word, and nobody can look at the seed and withhold for free.
/// @dev    A run without such a contract rests on the word of the guard that posts.
interface IDataRequests {
    /// @notice Gives the members that may not be posted so, as a bitmap.
    /// @dev    Called by the ledger with STATICCALL while a round settles, if any member is posted so.
    /// @param  round       Round of the calling ledger (`msg.sender`).
    /// @param  unavailable Bitmap of the members that are posted as unavailable.
    /// @param  malformed   Bitmap of those posted as malformed.
    function ungranted(uint32 round, uint256 unavailable, uint256 malformed) external view returns (uint256 members);

    /// @notice Seconds in which an answer counts; 0 where there is none.
    function answerWindowS() external view returns (uint40);
}
