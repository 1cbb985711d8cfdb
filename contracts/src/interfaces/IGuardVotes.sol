// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Stage} from "../libraries/RoundState.sol";
import {IDataRequests} from "./IDataRequests.sol";

/// @title  Votes of a run's guards on whose data did not arrive sound.
/// @notice docs/spec/ledger.md, "Settle". Serves every ledger that names this contract as its `dataRequests()`; there is no
///         owner. A member may be posted as unavailable or malformed when more than half of the ledger's guards have said in
///         the sealed round that they got no sound bytes of it: the one that settles can condemn nobody alone. Nobody can
///         answer a vote; a run whose workers shall be able to names `IDataRequestBook` instead.
/// @dev    A ledger that lies about its cohort or round harms itself alone: votes belong to the ledger they name.
interface IGuardVotes is IDataRequests {
    /// @notice Emitted when a guard voted.
    /// @param  guard   Number of the guard, from 0.
    /// @param  members Bitmap of the members that the vote is about.
    event UndeliveredVoted(address indexed ledger, uint32 indexed round, uint256 indexed guard, uint256 members);

    /// @notice Thrown when the caller is no guard's signer.
    error GuardVotesNotGuard(address caller);
    /// @notice Thrown when the round is not the ledger's current one.
    error GuardVotesWrongRound(uint32 given, uint32 current);
    /// @notice Thrown when the round is not sealed, or settled already.
    error GuardVotesNotSealed(uint32 round, Stage stage);
    /// @notice Thrown when a vote is about nobody.
    error GuardVotesEmpty();
    /// @notice Thrown when a vote is about members that have not committed in this round: nothing of them is awaited.
    /// @param  absent Bitmap of those.
    error GuardVotesAbsent(uint256 absent);
    /// @notice Thrown when a guard has voted on some of the members before.
    /// @param  members Bitmap of those.
    error GuardVotesAlreadyCast(uint256 members);

    /// @notice Says that no bytes of members arrived, or only malformed ones. By the signer of one of the ledger's guards,
    ///         while the round is sealed. A vote cannot be taken back; more members can be added in another.
    /// @param  ledger  The ledger.
    /// @param  round   Its current round.
    /// @param  members Bitmap of the members, workers or guards, all of them present.
    function vote(address ledger, uint32 round, uint256 members) external;

    /// @notice Gives the guards that have voted on a member, as a bitmap by their numbers.
    function votesOf(address ledger, uint32 round, uint256 index) external view returns (uint256 guards);

    /// @notice Gives the members that a guard has voted on, as a bitmap.
    /// @param  guard Number of the guard, from 0.
    function castBy(address ledger, uint32 round, uint256 guard) external view returns (uint256 members);
}
