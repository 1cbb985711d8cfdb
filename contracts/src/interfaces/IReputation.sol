// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

/// @notice One member's reputation in one run.
/// @param  ema       Moving average of the semantic consistency score, in 1/64; -16384..16383. For people to read.
/// @param  llr       Evidence against the member, in 1/1024 nat; -8192..8191. The lower the better, 0 for a newcomer.
/// @param  accepted  Accepted contributions; stops at 8191. Of one of several guards: rounds in which it agreed with the majority.
/// @param  refused   Refused contributions; stops at 2047. Of one of several guards: rounds in which it did not, or its anchor did not
///                   arrive.
/// @param  lastRound Last round in which the member was judged, 0 if never. Kept mod 2048, so exact for the last 2,048 rounds.
/// @param  banned    Whether the evidence has reached the run's ban: no update of this member is approved any more. Never of a guard.
struct ReputationView {
    int256 ema;
    int256 llr;
    uint256 accepted;
    uint256 refused;
    uint256 lastRound;
    bool banned;
}

/// @title  Reputation of a run's members, for other contracts to read.
/// @notice It follows from verdicts alone: there is no function by which a person could set it. A reputation belongs to an
///         identity in one run's cohort and cannot be transferred.
/// @dev    IMPORTANT: before trusting an address that offers this interface, check that it is `reputation()` of a ledger
///         that you trust. Reads cost at most one EXTCODECOPY of the cohort and one slot, `lanes()` at most 64 slots.
interface IReputation is IERC165 {
    /// @notice Thrown when an identity is not in the cohort.
    error ReputationUnknownMember(address identity);
    /// @notice Gives a member's reputation.
    /// @param  identity Cold owner's address, as registered.
    function reputationOf(address identity) external view returns (ReputationView memory reputation);

    /// @notice Gives the reputation of the member at a position of the cohort.
    function reputationAt(uint256 index) external view returns (ReputationView memory reputation);

    /// @notice Gives all lane words, docs/spec/gate.md: ceil(members / 4) of them.
    function lanes() external view returns (uint256[] memory words);

    /// @notice Gives all identities in cohort order, the guards last.
    function members() external view returns (address[] memory identities);

    /// @notice Gives the ledger that created this contract and holds the lanes.
    function ledger() external view returns (address);
}
