// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IContributionLedger, LedgerState} from "./interfaces/IContributionLedger.sol";
import {IDataRequests} from "./interfaces/IDataRequests.sol";
import {IGuardVotes} from "./interfaces/IGuardVotes.sol";
import {Cohort} from "./libraries/Cohort.sol";
import {Majority} from "./libraries/Majority.sol";
import {Stage} from "./libraries/RoundState.sol";

/// @title  Votes of a run's guards on whose data did not arrive sound.
/// @notice See {IGuardVotes}.
contract GuardVotes is IGuardVotes {
    /// @notice There is nothing to wait for after a settlement.
    uint40 public constant override answerWindowS = 0;

    /// @dev By guard, so that one vote is one slot however many members it is about.
    mapping(address ledger => mapping(uint32 round => mapping(uint256 guard => uint256))) public override castBy;

    /// @inheritdoc IGuardVotes
    function vote(address ledger, uint32 round, uint256 members) external override {
        uint256 guard = _guardOf(IContributionLedger(ledger), msg.sender);
        LedgerState memory state = IContributionLedger(ledger).state();
        if (round != state.round) revert GuardVotesWrongRound(round, state.round);
        if (state.stage != Stage.Sealed) revert GuardVotesNotSealed(round, state.stage);
        if (members == 0) revert GuardVotesEmpty();
        if (members & ~state.presence != 0) revert GuardVotesAbsent(members & ~state.presence);
        uint256 before = castBy[ledger][round][guard];
        if (before & members != 0) revert GuardVotesAlreadyCast(before & members);
        castBy[ledger][round][guard] = before | members;
        emit UndeliveredVoted(ledger, round, guard, members);
    }

    /// @inheritdoc IDataRequests
    function ungranted(uint32 round, uint256 unavailable, uint256 malformed)
        external
        view
        override
        returns (uint256 members)
    {
        uint256 guards = IContributionLedger(msg.sender).guards();
        uint256[4] memory planes = Majority.preset(guards);
        for (uint256 k = 0; k < guards; ++k) {
            Majority.add(planes, castBy[msg.sender][round][k]);
        }
        // There is an odd number of guards, so at least half of them is more than half.
        return (unavailable | malformed) & ~planes[3];
    }

    /// @inheritdoc IGuardVotes
    function votesOf(address ledger, uint32 round, uint256 index) external view override returns (uint256 guards) {
        uint256 count = IContributionLedger(ledger).guards();
        for (uint256 k = 0; k < count; ++k) {
            guards |= ((castBy[ledger][round][k] >> index) & 1) << k;
        }
    }

    /// @dev Number of the guard whose signer somebody is.
    function _guardOf(IContributionLedger ledger, address caller) private view returns (uint256) {
        address cohort = ledger.cohort();
        uint256 guards = ledger.guards();
        uint256 workers = Cohort.size(cohort) - guards;
        for (uint256 k = 0; k < guards; ++k) {
            (, address signer) = Cohort.memberAt(cohort, workers + k);
            if (caller == signer) return k;
        }
        revert GuardVotesNotGuard(caller);
    }
}
