// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {ApprovalProof, IContributionLedger} from "../src/interfaces/IContributionLedger.sol";
import {IReputation, ReputationView} from "../src/interfaces/IReputation.sol";
import {Cohort} from "../src/libraries/Cohort.sol";

/// @title  Example: a bounty for each approved update of a run.
/// @notice Shows the two reads that another contract needs: `isApproved` for what a worker did, `reputationOf` for who it is.
///         Anyone may claim for a worker; the money goes to the worker's identity.
/// @dev    NOTE: an approval can be claimed as soon as the round has settled. A run with a challenge window should demand
///         `proof.isFinalized`, as this contract does.
contract ApprovedPayout is ReentrancyGuardTransient {
    IContributionLedger public immutable ledger;
    IReputation public immutable reputation;
    uint256 public immutable bountyWei;
    uint256 public immutable minAccepted;

    mapping(uint32 round => uint256) public paid;

    /// @notice Emitted when a bounty was paid.
    event BountyPaid(uint32 indexed round, address indexed worker, uint256 bountyWei);

    /// @notice Thrown when the ledger does not say that the update was approved.
    error ApprovedPayoutNotApproved(uint32 round, uint256 index, bytes32 updateRoot);
    /// @notice Thrown when the worker is banned or has too few accepted updates.
    error ApprovedPayoutLowReputation(address worker, uint256 accepted, bool banned);
    /// @notice Thrown when the bounty was paid already.
    error ApprovedPayoutAlreadyPaid(uint32 round, uint256 index);
    /// @notice Thrown when the worker did not take the money.
    error ApprovedPayoutRefused(address worker);

    /// @param ledger_      Ledger of the run.
    /// @param bountyWei_   Paid for each approved update.
    /// @param minAccepted_ Accepted updates that a worker must have.
    constructor(IContributionLedger ledger_, uint256 bountyWei_, uint256 minAccepted_) payable {
        ledger = ledger_;
        reputation = IReputation(ledger_.reputation());
        bountyWei = bountyWei_;
        minAccepted = minAccepted_;
    }

    /// @notice Adds to the pot.
    receive() external payable {}

    /// @notice Pays the bounty for one approved update.
    /// @param  round      Finalized round.
    /// @param  index      Cohort index of the worker.
    /// @param  updateRoot Root of its update.
    /// @param  proof      Opens the round's record.
    function claim(uint32 round, uint256 index, bytes32 updateRoot, ApprovalProof calldata proof)
        external
        nonReentrant
    {
        if ((paid[round] >> index) & 1 == 1) revert ApprovedPayoutAlreadyPaid(round, index);
        if (!proof.isFinalized || !ledger.isApproved(round, index, updateRoot, proof)) {
            revert ApprovedPayoutNotApproved(round, index, updateRoot);
        }
        (address worker,) = Cohort.memberAt(ledger.cohort(), index);
        ReputationView memory standing = reputation.reputationOf(worker);
        if (standing.banned || standing.accepted < minAccepted) {
            revert ApprovedPayoutLowReputation(worker, standing.accepted, standing.banned);
        }
        paid[round] |= 1 << index;
        emit BountyPaid(round, worker, bountyWei);
        (bool taken,) = worker.call{value: bountyWei}("");
        if (!taken) revert ApprovedPayoutRefused(worker);
    }
}
