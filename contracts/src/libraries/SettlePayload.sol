// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Bits} from "./Bits.sol";

/// @notice How a settle payload speaks of a member.
enum PostedStatus {
    Sound,
    Unavailable,
    Malformed
}

/// @notice What a settle payload says of a member.
/// @param  status    Sound for the anchor of a single guard.
/// @param  code      Word; zero unless sound.
/// @param  norm2     Sum of squares; zero unless sound.
/// @param  exponent  Exponent; zero unless sound.
struct Posted {
    PostedStatus status;
    uint256 code;
    uint64 norm2;
    int8 exponent;
}

/// @title  Reading the bytes that were posted to `settle`.
/// @notice docs/spec/ledger.md, "Settle".
library SettlePayload {
    uint256 internal constant HEADER_BYTES = 160;
    uint256 internal constant ENTRY_BYTES = 41;

    /// @notice Thrown when a payload is not 160 + 41 n bytes for n entries.
    error SettlePayloadWrongLength(uint256 length, uint256 expected);
    /// @notice Thrown when the round has no commitment of this member.
    error SettlePayloadNotPresent(uint256 index, uint256 presence);

    /// @notice Gives what is posted of a member. A single guard has no entry: the header is what is posted of its anchor.
    /// @param  payload  The payload.
    /// @param  presence Members that had committed at the seal.
    /// @param  members  Size of the cohort, 1..256.
    /// @param  guards   How many of its last members are guards, 1 or more.
    /// @param  index    Cohort index, below `members`.
    function read(bytes calldata payload, uint256 presence, uint256 members, uint256 guards, uint256 index)
        internal
        pure
        returns (Posted memory posted)
    {
        if (index > 255 || (presence >> index) & 1 == 0) revert SettlePayloadNotPresent(index, presence);
        uint256 entries = guards == 1 ? presence & ((1 << (members - 1)) - 1) : presence;
        uint256 count = Bits.count(entries);
        uint256 expected = HEADER_BYTES + ENTRY_BYTES * count;
        if (payload.length != expected) revert SettlePayloadWrongLength(payload.length, expected);
        if (guards == 1 && index == members - 1) {
            posted.code = uint256(bytes32(payload[0:32]));
            posted.norm2 = uint64(bytes8(payload[128:136]));
            posted.exponent = int8(uint8(payload[136]));
            return posted;
        }
        uint256 position = Bits.count(entries & ((1 << index) - 1));
        if ((uint256(bytes32(payload[64:96])) >> index) & 1 != 0) posted.status = PostedStatus.Unavailable;
        if ((uint256(bytes32(payload[96:128])) >> index) & 1 != 0) posted.status = PostedStatus.Malformed;
        uint256 start = HEADER_BYTES + 32 * position;
        posted.code = uint256(bytes32(payload[start:start + 32]));
        start = HEADER_BYTES + 32 * count + 8 * position;
        posted.norm2 = uint64(bytes8(payload[start:start + 8]));
        posted.exponent = int8(uint8(payload[HEADER_BYTES + 40 * count + position]));
    }

    /// @notice Gives the number of the guard that posted; the payload has at least 160 bytes.
    function posterIn(bytes calldata payload) internal pure returns (uint256) {
        return uint8(payload[139]);
    }

    /// @notice Gives the trace root; the payload has at least 64 bytes.
    function traceRootIn(bytes calldata payload) internal pure returns (bytes32) {
        return bytes32(payload[32:64]);
    }
}
