"""The gate's state in JSON files: an audit's cursor, a challenger's journal."""

from collections.abc import Mapping, Sequence
from typing import Any

from guard.state import GateState
from guard.weights import CoalitionHistory
from ledger.strict_json import digest_from, number_from


def gate_as_json(gate: GateState) -> dict[str, object]:
    """Give yardstick, lanes and coalition evidence for a JSON file."""
    return {
        "yardstick": gate.yardstick,
        "lanes": [f"{word:064x}" for word in gate.lane_words],
        "coalition": list(gate.coalition.to_ints()),
    }


def gate_from_json(content: Mapping[str, Any], workers: int, guards: int) -> GateState:
    """Read what gate_as_json() gave.

    Raises:
        KeyError, TypeError, ValueError, GuardError: It is something else; fault of the caller.
    """
    fresh = GateState.start(workers, guards)
    words: Sequence[str] = content["lanes"]
    if len(words) != len(fresh.lane_words):
        raise ValueError(f"{len(words)} lane words instead of {len(fresh.lane_words)}")
    lanes = tuple(int.from_bytes(digest_from(word), "big") for word in words)
    coalition = CoalitionHistory.from_ints(workers, [int(value) for value in content["coalition"]])
    return GateState(number_from(content["yardstick"]), lanes, coalition)
