// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title  What can be asked for.
/// @notice docs/spec/challenge.md, "Requests".
library RequestKinds {
    uint8 internal constant SEGMENT = 1;
    uint8 internal constant TRACE = 2;
    uint8 internal constant FAULT = 3;
}
