// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {GateParameters} from "../src/interfaces/IGateSpec.sol";
import {Gate} from "../src/libraries/Gate.sol";
import {GateConstants} from "../src/libraries/GateConstants.sol";
import {Lanes} from "../src/libraries/Lanes.sol";
import {Twins} from "../src/libraries/Twins.sol";

/// @dev The gate, four lanes at a time, against docs/spec/gate.md written member by member.
contract GateTest {
    uint256 private constant PATTERNS = 8;

    /// @dev One fuzzed round.
    struct Round {
        uint32 number;
        uint256 members;
        uint256 presence;
        uint256 unavailable;
        uint256 malformed;
        uint256 anchorCode;
        uint64 anchorNorm2;
        int8 anchorExponent;
        uint256[] codes;
        uint64[] norms;
        int8[] exponents;
        uint32 yardstick;
        uint256[] lanes;
    }

    uint256 private _state;

    function testFuzz_fourAtOnceIsOneByOne(uint256 seed) external {
        _check(seed, _defaults());
    }

    function testFuzz_fourAtOnceIsOneByOneForAnyConstants(uint256 seed) external {
        _check(seed, _anyConstants(seed));
    }

    /// @dev The copies among words, eight at a time, against the double loop.
    function testFuzz_copiesAreThoseOfTheDoubleLoop(uint256 seed, uint16 bits, uint8 number) external {
        _state = seed;
        uint256 most = bits % 4 == 0 ? bits % 257 : bits % 70;
        uint256[] memory words = new uint256[](number % 80);
        for (uint256 k = 0; k < words.length; ++k) {
            words[k] = _next();
            uint256 pattern = _next() % 5;
            if (pattern == 0) words[k] = _flipped(words[_next() % (k + 1)], _next() % 257);
            if (pattern == 1) words[k] = _flipped(words[_next() % (k + 1)], most + _next() % 2);
            if (pattern == 2) words[k] = words[_next() % (k + 1)] ^ (_next() & _next() & _next());
            if (pattern == 3) words[k] = (words[k] >> 128) | (words[k] & (type(uint256).max << 128)); // its fold is 0
        }
        uint256 copies = Twins.copiesAmong(words, most);
        for (uint256 k = 0; k < words.length; ++k) {
            bool hasTwin = false;
            for (uint256 j = 0; j < k; ++j) {
                if (_ones(words[j] ^ words[k]) <= most) hasTwin = true;
            }
            assert(((copies >> k) & 1 == 1) == hasTwin);
        }
    }

    function judge(GateParameters calldata p, Round calldata round, bytes calldata payload)
        external
        pure
        returns (uint256 approved, uint256 yardstick, uint256[] memory lanes)
    {
        lanes = round.lanes;
        (approved, yardstick) = Gate.judge(
            Gate.rulesOf(p, round.members, 1), round.number, round.presence, payload, round.yardstick, lanes
        );
    }

    function _check(uint256 seed, GateParameters memory p) private {
        GateConstants.validate(p);
        Round memory round = _draw(seed, p);
        int256 x = _median(round, p);
        bytes memory payload = _payload(round, x);
        (uint256 approved, uint256 yardstick, uint256[] memory lanes) = this.judge(p, round, payload);
        (uint256 approved_, uint256 yardstick_, uint256[] memory lanes_) = _naive(p, round, x);
        assert(approved == approved_);
        assert(yardstick == yardstick_);
        assert(keccak256(abi.encode(lanes)) == keccak256(abi.encode(lanes_)));

        // Any other median is refused, unless it is the same by the counts.
        int256 other = x + (_next() % 2 == 0 ? int256(2) : -2);
        try this.judge(p, round, _payload(round, other)) {
            assert(false);
        } catch (bytes memory reason) {
            assert(bytes4(reason) == Gate.GateWrongMedian.selector);
        }
    }

    function _naive(GateParameters memory p, Round memory round, int256 x)
        private
        pure
        returns (uint256 approved, uint256 yardstickAfter, uint256[] memory lanes)
    {
        lanes = new uint256[](round.lanes.length);
        for (uint256 i = 0; i < lanes.length; ++i) {
            lanes[i] = round.lanes[i];
        }
        (int256 m, bool measured) = _yardstick(p, round, x);
        yardstickAfter = measured ? uint256(m + 1) : round.yardstick;
        if (!measured && round.yardstick != 0) m = int256(uint256(round.yardstick)) - 1;
        for (uint256 i = 0; i + 1 < round.members; ++i) {
            if ((round.presence >> i) & 1 == 0) continue;
            uint256 lane = Lanes.laneOf(lanes[i / 4], i);
            if (Lanes.llr(lane) >= p.banFrom) continue;
            (uint256 after_, bool accepted) = _member(p, round, i, lane, m);
            if (accepted) approved |= 1 << i;
            lanes[i / 4] = (lanes[i / 4] & ~(Lanes.MASK << (64 * (i % 4)))) | (after_ << (64 * (i % 4)));
        }
    }

    function _yardstick(GateParameters memory p, Round memory round, int256 x)
        private
        pure
        returns (int256 m, bool measured)
    {
        for (uint256 i = 0; i + 1 < round.members; ++i) {
            measured = measured || _isJudged(p, round, i);
        }
        if (!measured) return (0, false);
        int256 g = int256(uint256(p.yardstickGain)) * (x - int256(uint256(p.yardstickOffset)));
        m = _floor(g, int256(uint256(p.yardstickDivisor)) - int256(uint256(p.yardstickKeep)));
        if (round.yardstick != 0) {
            int256 before = int256(uint256(round.yardstick)) - 1;
            int256 kept = _floor(
                int256(uint256(p.yardstickKeep)) * before + g, int256(uint256(p.yardstickDivisor))
            );
            if (kept < m) m = kept;
        }
        if (m < 0) m = 0;
    }

    function _member(GateParameters memory p, Round memory round, uint256 i, uint256 lane, int256 m)
        private
        pure
        returns (uint256, bool)
    {
        int256 ema = Lanes.ema(lane);
        int256 llr = _clip(Lanes.llr(lane) + _evidence(p, round, i, m), p.evidenceFloor, 8191);
        if (!_isDelivered(round, i)) return (Lanes.judged(lane, ema, llr, false, round.number), false);
        int256 s = _score(round, i);
        bool accepted = llr < p.acceptBelow && s > p.scoreAbove && _isAlive(p, round, i);
        return (Lanes.judged(lane, ema + _floor(64 * s - ema, 4), llr, accepted, round.number), accepted);
    }

    function _evidence(GateParameters memory p, Round memory round, uint256 i, int256 m)
        private
        pure
        returns (int256)
    {
        if (!_isDelivered(round, i)) return p.faultEvidence;
        int256 quotient = _floor((m - 512 * _score(round, i)) * m, int256(uint256(p.evidenceDivisor)));
        return _clip(quotient, p.evidenceMin, p.evidenceMax);
    }

    function _isDelivered(Round memory round, uint256 i) private pure returns (bool) {
        return ((round.unavailable | round.malformed) >> i) & 1 == 0;
    }

    function _isAlive(GateParameters memory p, Round memory round, uint256 i) private pure returns (bool) {
        if (round.norms[i] == 0) return false;
        // Both sides times 4^64: at most 2^16 * 2^64 * 4^127 would not fit a word, so the larger side decides alone there.
        int256 k = int256(round.exponents[i]) - round.anchorExponent;
        uint256 own = uint256(p.aliveFactor) * round.norms[i];
        uint256 anchors = round.anchorNorm2;
        if (k >= 64) return true;
        if (k <= -64) return anchors == 0;
        return k >= 0 ? own * 4 ** uint256(k) >= anchors : own >= anchors * 4 ** uint256(-k);
    }

    function _isJudged(GateParameters memory p, Round memory round, uint256 i) private pure returns (bool) {
        return (round.presence >> i) & 1 == 1 && _isDelivered(round, i)
            && Lanes.llr(Lanes.laneOf(round.lanes[i / 4], i)) < p.banFrom;
    }

    function _score(Round memory round, uint256 i) private pure returns (int256) {
        return 256 - 2 * int256(_ones(round.codes[i] ^ round.anchorCode));
    }

    function _ones(uint256 word) private pure returns (uint256 ones) {
        for (; word != 0; word &= word - 1) {
            ++ones;
        }
    }

    /// @dev Whether a judged member's word is near that of a judged one before it.
    function _isCopy(GateParameters memory p, Round memory round, uint256 i) private pure returns (bool) {
        for (uint256 j = 0; j < i; ++j) {
            if (_isJudged(p, round, j) && _ones(round.codes[j] ^ round.codes[i]) <= p.duplicateBits) return true;
        }
        return false;
    }

    /// @dev Upper median: the score with floor(n / 2) smaller ones when sorted; copies left out.
    function _median(Round memory round, GateParameters memory p) private pure returns (int256) {
        int256[] memory sorted = new int256[](round.members);
        uint256 n;
        for (uint256 i = 0; i + 1 < round.members; ++i) {
            if (!_isJudged(p, round, i) || _isCopy(p, round, i)) continue;
            int256 s = _score(round, i);
            uint256 place = n++;
            for (; place > 0 && sorted[place - 1] > s; --place) {
                sorted[place] = sorted[place - 1];
            }
            sorted[place] = s;
        }
        return n == 0 ? int256(0) : sorted[n / 2];
    }

    function _payload(Round memory round, int256 x) private pure returns (bytes memory payload) {
        payload = bytes.concat(
            abi.encode(round.anchorCode, uint256(0), round.unavailable, round.malformed),
            abi.encodePacked(round.anchorNorm2, round.anchorExponent, int16(x), bytes21(0))
        );
        bytes memory norms;
        bytes memory exponents;
        for (uint256 i = 0; i + 1 < round.members; ++i) {
            if ((round.presence >> i) & 1 == 0) continue;
            bool isCommitted = _isDelivered(round, i);
            payload = bytes.concat(payload, bytes32(isCommitted ? round.codes[i] : 0));
            norms = bytes.concat(norms, bytes8(isCommitted ? round.norms[i] : 0));
            exponents = bytes.concat(exponents, bytes1(uint8(isCommitted ? round.exponents[i] : int8(0))));
        }
        payload = bytes.concat(payload, norms, exponents);
    }

    /// @dev Codes near the anchor, far from it, equal, opposite; lanes of newcomers, of every evidence, full counters.
    function _draw(uint256 seed, GateParameters memory p) private returns (Round memory round) {
        _state = seed;
        round.number = uint32(_next());
        round.members = 2 + _next() % 40;
        uint256 workers = (1 << (round.members - 1)) - 1;
        round.presence = (_next() % 3 == 0 ? workers : _next() & workers) | (1 << (round.members - 1));
        if (_next() % 2 == 0) {
            round.unavailable = _next() & _next() & _next() & round.presence & workers;
            round.malformed = _next() & _next() & _next() & round.presence & workers & ~round.unavailable;
        }
        round.anchorCode = _next();
        (round.anchorNorm2, round.anchorExponent) = _size();
        round.yardstick = _next() % 3 == 0 ? 0 : uint32(_next() % (1 + uint256(512) ** (_next() % 3)));
        round.codes = new uint256[](round.members);
        round.norms = new uint64[](round.members);
        round.exponents = new int8[](round.members);
        for (uint256 i = 0; i < round.members; ++i) {
            uint256 pattern = _next() % PATTERNS;
            if (pattern == 0) round.codes[i] = _next();
            if (pattern == 1) round.codes[i] = round.anchorCode;
            if (pattern == 2) round.codes[i] = ~round.anchorCode;
            if (pattern == 3) round.codes[i] = round.anchorCode ^ (_next() & _next());
            if (pattern == 4) round.codes[i] = round.anchorCode ^ (_next() & _next() & _next());
            if (pattern == 5) round.codes[i] = round.codes[i / 2];
            if (pattern == 6) round.codes[i] = _flipped(round.codes[_next() % (i + 1)], _next() % 18);
            if (pattern == 7) round.codes[i] = _flipped(round.codes[i / 2], p.duplicateBits + _next() % 2);
            (round.norms[i], round.exponents[i]) = _size();
        }
        round.lanes = new uint256[](Lanes.wordsFor(round.members));
        for (uint256 i = 0; i + 1 < round.members; ++i) {
            round.lanes[i / 4] |= _lane(p) << (64 * (i % 4));
        }
    }

    /// @dev At most so many bits of a word changed; exactly so many if they are few.
    function _flipped(uint256 word, uint256 bits) private returns (uint256) {
        uint256 start = _next() % 256;
        uint256 mask = bits > 255 ? type(uint256).max : (1 << bits) - 1;
        return word ^ ((mask << start) | (start == 0 ? 0 : mask >> (256 - start)));
    }

    function _size() private returns (uint64 norm2, int8 exponent) {
        norm2 = uint64(_next() >> (192 + _next() % 65));
        exponent = int8(int256(_next() % 4 == 0 ? _next() % 128 : 60 + _next() % 8) - 64);
    }

    function _lane(GateParameters memory p) private returns (uint256) {
        if (_next() % 4 == 0) return 0;
        int256 range = 8192 - int256(p.evidenceFloor);
        int256 llr = int256(_next() % uint256(range)) + p.evidenceFloor;
        if (_next() % 4 == 0) llr = p.banFrom - int256(_next() % 2);
        uint256 before = _next() & Lanes.MASK;
        if (_next() % 4 == 0) before = Lanes.MASK;
        return Lanes.judged(before, int256(_next() % 32768) - 16384, llr, _next() % 2 == 0, _next() % 2048);
    }

    function _next() private returns (uint256) {
        _state = uint256(keccak256(abi.encode(_state)));
        return _state;
    }

    function _defaults() private pure returns (GateParameters memory) {
        return GateParameters({
            version: 1,
            sketchVersion: 1,
            yardstickKeep: 7,
            yardstickGain: 576,
            yardstickDivisor: 10,
            yardstickOffset: 4,
            evidenceDivisor: 73728,
            evidenceMin: -2191,
            evidenceMax: 2560,
            evidenceFloor: -4710,
            faultEvidence: 2560,
            acceptBelow: 1024,
            banFrom: 7168,
            scoreAbove: -128,
            aliveFactor: 256,
            challengeWindowS: 0,
            settleWindowS: 3600,
            clipLowPercent: 75,
            clipHighPercent: 150,
            duplicateBits: 16,
            coalitionKeepQ8: 218,
            coalitionThresholdQ16: 1966,
            coalitionPenalty: 6,
            groupSpared: 2,
            groupPenalty: 1296,
            voteOffset: 12,
            anchorShareBps: 1500,
            outerLrMicro: 700000,
            outerMomentumMicro: 900000
        });
    }

    /// @dev Every constant that the gate reads, anywhere in the range that a spec may have.
    function _anyConstants(uint256 seed) private returns (GateParameters memory p) {
        _state = ~seed;
        p = _defaults();
        p.yardstickDivisor = 1 + uint32(_next() % 65536);
        p.yardstickKeep = uint32(_next() % p.yardstickDivisor);
        p.yardstickGain = uint32(_next() % 65537);
        p.yardstickOffset = uint32(_next() % 257);
        p.evidenceDivisor = 1 + uint32(_next() % (uint256(1) << (_next() % 32)));
        p.evidenceMin = -int32(uint32(_next() % (uint256(1) << (_next() % 32))));
        p.evidenceMax = int32(uint32(_next() % (uint256(1) << (_next() % 32))));
        p.evidenceFloor = -int32(uint32(_next() % 8193));
        p.faultEvidence = int32(uint32(_next() % (uint256(1) << (_next() % 32))));
        p.banFrom = 1 + int32(uint32(_next() % 8191));
        p.acceptBelow = 1 + int32(uint32(_next() % uint32(p.banFrom)));
        p.scoreAbove = int32(uint32(_next()));
        if (_next() % 2 == 0) p.scoreAbove = int32(int256(_next() % 514) - 257);
        p.aliveFactor = 1 + uint32(_next() % 65536);
        p.duplicateBits = uint32(_next() % 257);
        if (_next() % 2 == 0) p.duplicateBits = uint32(_next() % 20);
    }

    function _floor(int256 a, int256 b) private pure returns (int256 quotient) {
        quotient = a / b;
        if (a % b != 0 && a < 0) --quotient;
    }

    function _clip(int256 value, int256 low, int256 high) private pure returns (int256) {
        return value < low ? low : value > high ? high : value;
    }
}
