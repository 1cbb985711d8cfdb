// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {LedgerState} from "./IContributionLedger.sol";

/// @title  What challenges and requests need of a ledger.
/// @notice Everything but `overturn` and `overturnRound` only reads.
/// @dev    `Challenge` and `DataRequests` trust none of the answers beyond the ledger that gave them: a ledger that lies can
///         harm those alone who staked for it.
interface IChallengedLedger {
    /// @notice Gives the latest digest of a round: accumulator, settled, final or void; zero before the first commitment.
    function recordOf(uint32 round) external view returns (bytes32 record);

    /// @notice Gives the EIP-712 digest of a contribution.
    function contributionDigest(
        uint32 round,
        uint256 index,
        bytes32 parentModel,
        bytes32 updateRoot,
        uint64 tokens,
        uint64 deadline
    ) external view returns (bytes32 digest);

    /// @notice Gives the current state.
    function state() external view returns (LedgerState memory state_);

    /// @notice Run id.
    function run() external view returns (uint64);

    /// @notice The run's cohort, a data contract.
    function cohort() external view returns (address);

    /// @notice Digest of the model's shape.
    function shapeDigest() external view returns (bytes32);

    /// @notice Number of values of an update.
    function length() external view returns (uint64);

    /// @notice Data-request contract; zero if the run has none.
    function dataRequests() external view returns (address);

    /// @notice The only account that may overturn; zero if the run has none.
    function challenge() external view returns (address);

    /// @notice Vault that holds the stakes of this ledger's members; zero if the run has none.
    function vault() external view returns (address);

    /// @notice Bitmap of a round's overturned members; the guard's bit means the whole round.
    function overturnedOf(uint32 round) external view returns (uint256 bitmap);

    /// @notice Takes one member's contribution back.
    /// @param  round          Settled or final round.
    /// @param  index          Cohort index of a worker.
    /// @param  approved       Bitmap of the members that the round approved.
    /// @param  laneWordBefore Word `index / 4` of the lanes before the round.
    function overturn(uint32 round, uint256 index, uint256 approved, uint256 laneWordBefore) external;

    /// @notice Takes a whole round back: its anchor was false.
    /// @param  round           Settled or final round.
    /// @param  lanesBefore     All lane words before the round.
    /// @param  yardstickBefore Yardstick word before the round.
    function overturnRound(uint32 round, uint256[] calldata lanesBefore, uint256 yardstickBefore) external;
}

/// @title  What a challenge needs of a vault.
interface ISlashingVault {
    /// @notice Takes a whole stake; taking nothing is no error.
    /// @param  domain     Whose stake: deposited for this ledger.
    /// @param  holder     Identity of the member.
    /// @param  challenger Who is rewarded.
    /// @return slashed    Wei taken.
    function slash(address domain, address holder, address challenger) external returns (uint256 slashed);
}
