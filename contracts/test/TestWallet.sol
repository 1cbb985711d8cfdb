// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @title  A contract wallet for tests: signs by ERC-1271 with its owner's key, forwards calls, and may refuse money.
contract TestWallet is IERC1271 {
    address public immutable owner;
    bool public refusesMoney;

    constructor(address owner_) {
        owner = owner_;
    }

    receive() external payable {
        require(!refusesMoney, "refused");
    }

    function setRefusesMoney(bool refuses) external {
        refusesMoney = refuses;
    }

    /// @notice Calls another contract and passes its revert on.
    function forward(address target, bytes calldata data) external payable returns (bytes memory) {
        (bool done, bytes memory result) = target.call{value: msg.value}(data);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(result, 32), mload(result))
            }
        }
        return result;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        (address recovered,,) = ECDSA.tryRecoverCalldata(hash, signature);
        return recovered == owner ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
    }
}
