// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IStakeDomain, IStakeVault} from "../src/interfaces/IStakeVault.sol";

/// @notice A domain, or a recipient of payments, that does its worst when the vault calls it. For tests.
contract TestStakeDomain is IStakeDomain {
    enum Vice {
        None,
        Reverts,
        BurnsGas,
        ReturnsMuch,
        Reenters,
        RefusesPayment
    }

    IStakeVault private immutable _vault;
    address public override challenge;
    Vice public vice;
    /// @notice What it calls the vault with when it reenters.
    bytes public reentry;
    /// @notice Whether the vault let it in.
    bool public hasReentered;
    /// @notice What it was told last, and how often.
    address public lastHolder;
    uint256 public lastBonded;
    uint256 public notices;
    /// @notice The stake that the vault showed while it told.
    uint256 public stakeSeen;

    constructor(IStakeVault vault, address challenge_) {
        _vault = vault;
        challenge = challenge_;
    }

    receive() external payable {
        if (vice == Vice.RefusesPayment) revert("no");
        if (vice == Vice.Reenters) _reenter();
    }

    function setVice(Vice vice_, bytes calldata reentry_) external {
        vice = vice_;
        reentry = reentry_;
    }

    function setChallenge(address challenge_) external {
        challenge = challenge_;
    }

    function stakeChanged(address holder, uint256 bonded) external override {
        (lastHolder, lastBonded) = (holder, bonded);
        ++notices;
        (stakeSeen,) = _vault.stakeOf(address(this), holder);
        if (vice == Vice.Reverts) revert("no");
        if (vice == Vice.BurnsGas) {
            while (true) {}
        }
        if (vice == Vice.ReturnsMuch) {
            assembly ("memory-safe") {
                revert(0, 20000)
            }
        }
        if (vice == Vice.Reenters) _reenter();
    }

    /// @notice Calls the vault as a holder of stakes.
    function act(bytes calldata data) external payable {
        (bool done, bytes memory answer) = address(_vault).call{value: msg.value}(data);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
    }

    function _reenter() private {
        (bool done,) = address(_vault).call(reentry);
        if (done) hasReentered = true;
    }
}
