// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ERC165, IERC165} from "@openzeppelin/contracts/utils/introspection/ERC165.sol";

import {IContributionLedger} from "./interfaces/IContributionLedger.sol";
import {IReputation, ReputationView} from "./interfaces/IReputation.sol";
import {Cohort} from "./libraries/Cohort.sol";
import {Lanes} from "./libraries/Lanes.sol";

/// @title  Packed reputation of one run's cohort.
/// @notice See {IReputation}.
contract Reputation is IReputation, ERC165 {
    address public immutable override ledger;
    address private immutable _cohort;
    int256 private immutable _banFrom;
    uint256 private immutable _words;

    /// @dev Slots 0..63. A fixed array, so that a word's slot is its number.
    uint256[64] private _lanes;

    /// @dev Created by a ledger, which becomes the only writer.
    /// @param cohort_  The run's cohort.
    /// @param banFrom_ Evidence from which a member is banned, in 1/1024 nat.
    constructor(address cohort_, int256 banFrom_) {
        ledger = msg.sender;
        _cohort = cohort_;
        _banFrom = banFrom_;
        _words = Lanes.wordsFor(Cohort.size(cohort_));
    }

    /// @notice Replaces all lanes by those after a round.
    /// @dev    Only for the ledger, which has just computed them from `lanes()` and the posted words.
    /// @param  words All lane words.
    function record(uint256[] calldata words) external {
        if (msg.sender != ledger) revert ReputationNotLedger(msg.sender);
        uint256 count = _words;
        if (words.length != count) revert ReputationWrongLength(words.length, count);
        assembly ("memory-safe") {
            // Without the bounds checks; writing an unchanged word costs 100 gas and no more.
            for { let i := 0 } lt(i, count) { i := add(i, 1) } {
                sstore(add(_lanes.slot, i), calldataload(add(words.offset, shl(5, i))))
            }
        }
    }

    /// @inheritdoc IReputation
    function lanes() external view override returns (uint256[] memory words) {
        uint256 count = _words;
        words = new uint256[](count);
        assembly ("memory-safe") {
            for { let i := 0 } lt(i, count) { i := add(i, 1) } {
                mstore(add(add(words, 0x20), shl(5, i)), sload(add(_lanes.slot, i)))
            }
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
        uint256 lane = Lanes.laneOf(_lanes[index / Lanes.PER_WORD], index);
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
