// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IContributionLedger} from "./interfaces/IContributionLedger.sol";
import {DataRequest, IDataRequestBook, RequestKey, RequestStatus} from "./interfaces/IDataRequestBook.sol";
import {IDataRequests} from "./interfaces/IDataRequests.sol";
import {Cohort} from "./libraries/Cohort.sol";
import {RequestKinds} from "./libraries/RequestKinds.sol";
import {CommitmentOpening, Opening, RoundOpening} from "./libraries/RoundOpening.sol";
import {SegmentTree} from "./libraries/SegmentTree.sol";
import {PostedStatus, SettlePayload} from "./libraries/SettlePayload.sol";
import {UpdateFault, UpdateFaults} from "./libraries/UpdateFaults.sol";

/// @title  Requests for data of a round, and their answers.
/// @notice See {IDataRequestBook}.
/// @dev    The balance is at all times at least open requests * bond + credits; equal but for ether forced upon it.
contract DataRequests is IDataRequestBook {
    /// @dev Levels of the trace in one answer: at most 256 nodes, 8 KiB, as a segment.
    uint256 private constant ANSWER_LEVELS = 8;

    uint256 public immutable override requestBondWei;
    uint40 public immutable override answerWindowS;

    mapping(bytes32 id => DataRequest) private _requests;
    mapping(address ledger => mapping(uint32 round => mapping(uint8 kind => uint256))) public override unansweredOf;
    mapping(address owner => uint256) public override creditOf;

    /// @param requestBondWei_ Bond of a request, wei. It pays for the answer: some 500,000 gas.
    /// @param answerWindowS_  Seconds in which an answer counts. Shorter than a ledger's challenge and settle windows.
    constructor(uint256 requestBondWei_, uint40 answerWindowS_) {
        if (requestBondWei_ == 0) revert DataRequestsZeroArgument("requestBondWei");
        if (answerWindowS_ == 0) revert DataRequestsZeroArgument("answerWindowS");
        requestBondWei = requestBondWei_;
        answerWindowS = answerWindowS_;
    }

    /// @inheritdoc IDataRequestBook
    function requestSealed(
        address ledger,
        uint32 round,
        uint256 index,
        uint256 segmentIndex,
        CommitmentOpening calldata opening
    ) external payable override returns (bytes32 id) {
        RoundOpening.requireSealed(ledger, round, index, opening);
        RequestKey memory key = RequestKey(ledger, round, index, RequestKinds.SEGMENT, 0, segmentIndex);
        _requirePosition(key);
        return _ask(key, opening.updateRoot);
    }

    /// @inheritdoc IDataRequestBook
    function request(RequestKey calldata key, Opening calldata opening)
        external
        payable
        override
        returns (bytes32 id)
    {
        // Nobody has to keep data for ever: what is not asked for before the round is final, nobody can be blamed for.
        if (opening.isFinalized) revert DataRequestsFinal(key.round);
        RoundOpening.requireSettled(key.ledger, key.round, key.index, opening);
        _requirePosition(key);
        PostedStatus needed = key.kind == RequestKinds.FAULT ? PostedStatus.Malformed : PostedStatus.Sound;
        PostedStatus posted = _postedStatus(key, opening);
        if (posted != needed) revert DataRequestsWrongStatus(key.index, posted, needed);
        return _ask(
            key,
            key.kind == RequestKinds.TRACE
                ? SettlePayload.traceRootIn(opening.payload)
                : opening.commitment.updateRoot
        );
    }

    /// @inheritdoc IDataRequestBook
    function answerSegment(
        RequestKey calldata key,
        bytes calldata header,
        bytes calldata segment,
        bytes32[] calldata siblings
    ) external override {
        (bytes32 id, bytes32 root) = _answerable(key, RequestKinds.SEGMENT);
        (, uint256 depth) = SegmentTree.shapeOf(IContributionLedger(key.ledger).length());
        _requireRoot(SegmentTree.updateRootAt(header, segment, key.position, depth, siblings), root);
        _reward(id);
    }

    /// @inheritdoc IDataRequestBook
    function answerTrace(RequestKey calldata key, bytes32[] calldata nodes, bytes32[] calldata siblings)
        external
        override
    {
        (bytes32 id, bytes32 root) = _answerable(key, RequestKinds.TRACE);
        (uint256 depth, uint256 memberDepth) = _depths(key.ledger);
        // From above down to the members' roots and no further: one without a word has nothing below its root.
        uint256 levels = key.height > depth ? key.height - depth : key.height;
        if (levels > ANSWER_LEVELS) levels = ANSWER_LEVELS;
        if (nodes.length != 1 << levels) revert DataRequestsWrongNodes(nodes.length, 1 << levels);
        uint256 above = depth + memberDepth - key.height;
        if (siblings.length != above) revert SegmentTree.SegmentTreeWrongDepth(siblings.length, above);

        bytes32[] memory level = nodes;
        for (uint256 count = nodes.length / 2; count > 0; count /= 2) {
            for (uint256 i = 0; i < count; ++i) {
                level[i] = SegmentTree.node(level[2 * i], level[2 * i + 1]);
            }
        }
        _requireRoot(SegmentTree.climb(level[0], key.position, siblings), root);
        _reward(id);
    }

    /// @inheritdoc IDataRequestBook
    function answerFault(RequestKey calldata key, UpdateFault calldata fault) external override {
        (bytes32 id, bytes32 root) = _answerable(key, RequestKinds.FAULT);
        UpdateFaults.requireFault(key.ledger, key.round, key.index, root, fault);
        _reward(id);
    }

    /// @inheritdoc IDataRequestBook
    function close(RequestKey calldata key) external override {
        bytes32 id = idOf(key);
        DataRequest storage asked = _requests[id];
        if (asked.status != RequestStatus.Open) revert DataRequestsNotOpen(id, asked.status);
        if (block.timestamp <= asked.answerBy) revert DataRequestsStillOpen(id, asked.answerBy);
        asked.status = RequestStatus.Unanswered;
        unansweredOf[key.ledger][key.round][key.kind] |= 1 << key.index;
        creditOf[asked.asker] += requestBondWei;
        emit DataRequestUnanswered(id, key.ledger, key.round, key.index, key.kind);
    }

    /// @inheritdoc IDataRequestBook
    function claim(address payable recipient) external override {
        uint256 amount = creditOf[msg.sender];
        if (amount == 0) revert DataRequestsNoCredit(msg.sender);
        delete creditOf[msg.sender];
        emit BondsClaimed(msg.sender, recipient, amount);
        (bool taken,) = recipient.call{value: amount}("");
        if (!taken) revert DataRequestsPaymentRefused(recipient, amount);
    }

    /// @inheritdoc IDataRequests
    function ungranted(uint32 round, uint256 unavailable, uint256) external view override returns (uint256 members) {
        return unavailable & ~unansweredOf[msg.sender][round][RequestKinds.SEGMENT];
    }

    /// @inheritdoc IDataRequestBook
    function requestOf(bytes32 id) external view override returns (DataRequest memory request_) {
        return _requests[id];
    }

    /// @inheritdoc IDataRequestBook
    function idOf(RequestKey memory key) public pure override returns (bytes32 id) {
        return keccak256(abi.encode(key));
    }

    // ---------------------------------------------------------------- private

    function _ask(RequestKey memory key, bytes32 root) private returns (bytes32 id) {
        if (msg.value != requestBondWei) revert DataRequestsWrongBond(msg.value, requestBondWei);
        id = idOf(key);
        if (_requests[id].status != RequestStatus.None) {
            revert DataRequestsAlreadyAsked(id, _requests[id].status);
        }
        uint40 answerBy = uint40(block.timestamp) + answerWindowS;
        _requests[id] = DataRequest(msg.sender, answerBy, RequestStatus.Open, root);
        emit DataRequested(
            id,
            key.ledger,
            key.round,
            key.index,
            key.kind,
            key.height,
            key.position,
            root,
            answerBy,
            msg.sender
        );
    }

    function _answerable(RequestKey calldata key, uint8 kind) private view returns (bytes32 id, bytes32 root) {
        if (key.kind != kind) revert DataRequestsWrongKind(key.kind, kind);
        id = idOf(key);
        DataRequest memory asked = _requests[id];
        if (asked.status != RequestStatus.Open) revert DataRequestsNotOpen(id, asked.status);
        if (block.timestamp > asked.answerBy) revert DataRequestsTooLate(id, asked.answerBy);
        root = asked.root;
    }

    function _reward(bytes32 id) private {
        _requests[id].status = RequestStatus.Answered;
        creditOf[msg.sender] += requestBondWei;
        emit DataRequestAnswered(id, msg.sender);
    }

    function _postedStatus(RequestKey calldata key, Opening calldata opening) private view returns (PostedStatus) {
        IContributionLedger ledger = IContributionLedger(key.ledger);
        uint256 members = Cohort.size(ledger.cohort());
        return
            SettlePayload.read(opening.payload, opening.presence, members, ledger.guards(), key.index).status;
    }

    /// @dev Reverts unless the thing exists and has to do with the member.
    function _requirePosition(RequestKey memory key) private view {
        uint256 kind = key.kind;
        uint256 height = key.height;
        uint256 position = key.position;
        bool exists;
        if (kind == RequestKinds.SEGMENT) {
            (uint256 segments,) = SegmentTree.shapeOf(IContributionLedger(key.ledger).length());
            exists = height == 0 && position < segments;
        } else if (kind == RequestKinds.TRACE) {
            (uint256 depth, uint256 memberDepth) = _depths(key.ledger);
            if (height == 0 || height > depth + memberDepth) exists = false;
            else if (height < depth) exists = position >> (depth - height) == key.index;
            else exists = position == key.index >> (height - depth);
        } else if (kind == RequestKinds.FAULT) {
            exists = height == 0 && position == 0;
        }
        if (!exists) revert DataRequestsNoSuchPosition(key.kind, height, position);
    }

    /// @dev Depth of a member's part of the trace, and of the tree over the members.
    function _depths(address ledger) private view returns (uint256 depth, uint256 memberDepth) {
        (, depth) = SegmentTree.shapeOf(IContributionLedger(ledger).length());
        uint256 members = Cohort.size(IContributionLedger(ledger).cohort());
        while (1 << memberDepth < members) ++memberDepth;
    }

    function _requireRoot(bytes32 computed, bytes32 root) private pure {
        if (computed != root) revert DataRequestsWrongRoot(computed, root);
    }
}
