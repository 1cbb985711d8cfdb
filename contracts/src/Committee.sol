// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ICommittee} from "./interfaces/ICommittee.sol";
import {CommitteeRules} from "./libraries/CommitteeRules.sol";

/// @title  What several guards read together.
/// @notice See {ICommittee}.
/// @dev    Created by the constructor of a ledger with several guards. No storage, no calls.
contract Committee is ICommittee {
    /// @inheritdoc ICommittee
    function examine(
        uint256 round,
        uint256 members,
        uint256 guards,
        uint256 presence,
        bytes calldata payload,
        uint256[] calldata lanes
    ) external pure override returns (uint256[] memory lanesAfter) {
        lanesAfter = lanes;
        CommitteeRules.examine(round, members, guards, presence, payload, lanesAfter);
    }
}
