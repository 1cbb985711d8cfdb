// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ERC165, IERC165} from "@openzeppelin/contracts/utils/introspection/ERC165.sol";

import {IContributionLedger} from "./interfaces/IContributionLedger.sol";
import {IReputation, ReputationView} from "./interfaces/IReputation.sol";
import {Cohort} from "./libraries/Cohort.sol";
import {Lanes} from "./libraries/Lanes.sol";

/// @title  Reputation of one run's cohort.
/// @notice See {IReputation}.
/// @dev    A reader without storage. The lanes are in the ledger, where a settlement reads and writes them in place; there is
///         no function anywhere that takes a lane from outside.
contract Reputation is IReputation, ERC165 {
    address public immutable override ledger;
    address private immutable _cohort;
    int256 private immutable _banFrom;

    /// @dev Created by the ledger that it reads.
    /// @param cohort_  The run's cohort.
    /// @param banFrom_ Evidence from which a member is banned, in 1/1024 nat.
    constructor(address cohort_, int256 banFrom_) {
        ledger = msg.sender;
        _cohort = cohort_;
        _banFrom = banFrom_;
    }

    /// @inheritdoc IReputation
    function lanes() external view override returns (uint256[] memory words) {
        words = new uint256[](Lanes.wordsFor(Cohort.size(_cohort)));
        for (uint256 i = 0; i < words.length; ++i) {
            // slither-disable-next-line calls-loop
            words[i] = IContributionLedger(ledger).laneWord(i);
        }
    }

    /// @inheritdoc IReputation
    function reputationOf(address identity) external view override returns (ReputationView memory) {
        (bool isMember, uint256 index) = Cohort.find(_cohort, identity);
        if (!isMember) revert ReputationUnknownMember(identity);
        return _at(index);
    }

    /// @inheritdoc IReputation
    function reputationAt(uint256 index) external view override returns (ReputationView memory) {
        uint256 count = Cohort.size(_cohort);
        if (index >= count) revert Cohort.CohortNoSuchIndex(index, count);
        return _at(index);
    }

    /// @inheritdoc IReputation
    function members() external view override returns (address[] memory) {
        return Cohort.identities(_cohort);
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) public view override(ERC165, IERC165) returns (bool) {
        return interfaceId == type(IReputation).interfaceId || super.supportsInterface(interfaceId);
    }

    function _at(uint256 index) private view returns (ReputationView memory reputation) {
        uint256 lane = Lanes.laneOf(IContributionLedger(ledger).laneWord(index / Lanes.PER_WORD), index);
        reputation.ema = Lanes.ema(lane);
        reputation.llr = Lanes.llr(lane);
        reputation.accepted = Lanes.accepted(lane);
        reputation.refused = Lanes.refused(lane);
        reputation.banned = reputation.llr >= _banFrom;
        if (Lanes.isJudged(lane)) {
            uint256 current = IContributionLedger(ledger).currentRound();
            unchecked {
                reputation.lastRound = current - ((current - Lanes.lastRoundMod(lane)) & Lanes.LAST_ROUND_MASK);
            }
        }
    }
}
