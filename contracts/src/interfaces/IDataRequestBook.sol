// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {CommitmentOpening, Opening} from "../libraries/RoundOpening.sol";
import {PostedStatus} from "../libraries/SettlePayload.sol";
import {UpdateFault} from "../libraries/UpdateFaults.sol";
import {IDataRequests} from "./IDataRequests.sol";

/// @notice State of one request. Answered and unanswered are for ever.
enum RequestStatus {
    None,
    Open,
    Answered,
    Unanswered
}

/// @notice What exactly is asked for.
/// @param  ledger   The ledger.
/// @param  round    Its round.
/// @param  index    Cohort index of the member.
/// @param  kind     1 segment, 2 trace, 3 fault.
/// @param  height   Trace: levels between the node and the leaves, 1 or more. Otherwise 0.
/// @param  position Segment: its position. Trace: position of the node on its level of the round's tree. Fault: 0.
struct RequestKey {
    address ledger;
    uint32 round;
    uint256 index;
    uint8 kind;
    uint256 height;
    uint256 position;
}

/// @notice One request.
/// @param  asker    Who asked.
/// @param  answerBy Last second in which an answer counts.
/// @param  status   Its state.
/// @param  root     Root under which an answer must lie: the committed one, or the trace root.
struct DataRequest {
    address asker;
    uint40 answerBy;
    RequestStatus status;
    bytes32 root;
}

/// @title  Requests for data of a round, and their answers.
/// @notice docs/spec/challenge.md, "Requests". Serves every ledger; there is no owner. A request carries a bond, which is the
///         answer's reward: whoever answers in time gets it, and the answer is in the calldata for everybody. After the time
///         anybody may close the request; the asker gets its bond back, and the member is marked. `settle` and `Challenge`
///         look at the marks.
/// @dev    Each thing can be asked for once, and any number of things at a time: who answers its own requests keeps nobody
///         else from asking. Money leaves only by `claim`.
interface IDataRequestBook is IDataRequests {
    /// @notice Emitted when somebody asked.
    event DataRequested(
        bytes32 indexed id,
        address indexed ledger,
        uint32 indexed round,
        uint256 index,
        uint8 kind,
        uint256 height,
        uint256 position,
        bytes32 root,
        uint40 answerBy,
        address asker
    );
    /// @notice Emitted when an answer came; it is in the calldata.
    event DataRequestAnswered(bytes32 indexed id, address indexed answerer);
    /// @notice Emitted when a request was closed without an answer; the member is marked.
    event DataRequestUnanswered(
        bytes32 indexed id, address indexed ledger, uint32 indexed round, uint256 index, uint8 kind
    );
    /// @notice Emitted when bonds were paid out.
    event BondsClaimed(address indexed owner, address indexed recipient, uint256 amount);

    /// @notice Thrown when the sent bond is not the one that is asked for.
    error DataRequestsWrongBond(uint256 sent, uint256 requestBondWei);
    /// @notice Thrown when a deployment argument is zero that may not be.
    error DataRequestsZeroArgument(string name);
    /// @notice Thrown when this was asked for before.
    error DataRequestsAlreadyAsked(bytes32 id, RequestStatus status);
    /// @notice Thrown when a request is not open.
    error DataRequestsNotOpen(bytes32 id, RequestStatus status);
    /// @notice Thrown when an answer is of another kind than the request.
    error DataRequestsWrongKind(uint8 kind, uint8 needed);
    /// @notice Thrown when an answer comes too late.
    error DataRequestsTooLate(bytes32 id, uint40 answerBy);
    /// @notice Thrown when a request is closed while an answer may still come.
    error DataRequestsStillOpen(bytes32 id, uint40 answerBy);
    /// @notice Thrown when what is asked for is outside of the update or of the member's part of the trace.
    error DataRequestsNoSuchPosition(uint8 kind, uint256 height, uint256 position);
    /// @notice Thrown when the posted status of the member is another one than the request is about.
    error DataRequestsWrongStatus(uint256 index, PostedStatus posted, PostedStatus needed);
    /// @notice Thrown when the round is final: its data had to be asked for before.
    error DataRequestsFinal(uint32 round);
    /// @notice Thrown when an answer does not lie under the root.
    error DataRequestsWrongRoot(bytes32 computed, bytes32 root);
    /// @notice Thrown when an answer does not have exactly the nodes that were asked for.
    error DataRequestsWrongNodes(uint256 nodes, uint256 expected);
    /// @notice Thrown when nothing is owed to the caller.
    error DataRequestsNoCredit(address owner);
    /// @notice Thrown when the recipient did not take the payment.
    error DataRequestsPaymentRefused(address recipient, uint256 amount);

    /// @notice Asks for a segment of an update while the round is sealed.
    /// @return id Number of the request: keccak256 of its key.
    function requestSealed(
        address ledger,
        uint32 round,
        uint256 index,
        uint256 segmentIndex,
        CommitmentOpening calldata opening
    ) external payable returns (bytes32 id);

    /// @notice Asks for something in a settled round that is not final: a segment (1), nodes of the trace (2) for a member posted as
    ///         sound, the fault (3) of a member posted as malformed.
    /// @return id Number of the request.
    function request(RequestKey calldata key, Opening calldata opening) external payable returns (bytes32 id);

    /// @notice Answers with a segment.
    /// @param  header   Header of the update, 96 bytes.
    /// @param  segment  8,192 bytes.
    /// @param  siblings Its path in the update's tree, from the leaf up.
    function answerSegment(
        RequestKey calldata key,
        bytes calldata header,
        bytes calldata segment,
        bytes32[] calldata siblings
    ) external;

    /// @notice Answers with nodes of the trace.
    /// @param  nodes    All nodes 8 levels below the one that was asked for, from the left; fewer levels where the members'
    ///                  roots (for a node above them) or the leaves are nearer.
    /// @param  siblings Path from that one to the trace root.
    function answerTrace(RequestKey calldata key, bytes32[] calldata nodes, bytes32[] calldata siblings) external;

    /// @notice Answers with the fault of an update.
    function answerFault(RequestKey calldata key, UpdateFault calldata fault) external;

    /// @notice Closes a request that nobody answered in time: gives the bond back to who asked and marks the member. Anybody may.
    function close(RequestKey calldata key) external;

    /// @notice Pays out all that is owed to the caller.
    /// @param  recipient Where it goes.
    function claim(address payable recipient) external;

    /// @notice Gives the bitmap of the members of whom a request of a kind was closed without an answer.
    function unansweredOf(address ledger, uint32 round, uint8 kind) external view returns (uint256 bitmap);

    /// @notice Gives a request by its number.
    function requestOf(bytes32 id) external view returns (DataRequest memory request_);

    /// @notice Gives a request's number: keccak256(abi.encode(key)).
    function idOf(RequestKey calldata key) external pure returns (bytes32 id);

    /// @notice Gives what is owed to somebody, wei.
    function creditOf(address owner) external view returns (uint256);

    /// @notice Bond of a request, wei.
    function requestBondWei() external view returns (uint256);
}
