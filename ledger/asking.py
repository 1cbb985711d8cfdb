"""A question to a node: asked again when the connection is lost, and errors by whose fault they are."""

import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import requests
from web3.exceptions import ContractLogicError, Web3Exception, Web3RPCError

from ledger.errors import EnvironmentFault, one_line
from ledger.reverts import decode_revert

_T = TypeVar("_T")
_RETRIES = 4


class NodeUnavailableError(EnvironmentFault):
    """The node cannot be reached or stopped answering; may be retried."""

    code = "node-unavailable"


class NodeAnswerError(EnvironmentFault):
    """The node answered something that cannot be right."""

    code = "node-answer"


class AnswerTimeoutError(Exception):
    """An answer was not whole within its time, although something may have come all the while.

    Attributes:
        timeout_s: That time, in seconds.
    """

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"not whole after {timeout_s:g} s")
        self.timeout_s = timeout_s


def ask(question: Callable[[], _T], action: str) -> _T:
    """Give the answer to a question; a lost connection is tried again.

    Args:
        question: Asks the node through web3, and looks at the answer; may be called several times.
        action: What it does, for messages.

    Returns:
        What the question returned.

    Raises:
        RevertedError: A contract refused.
        NodeUnavailableError: The node did not answer, or so slowly that it was given up.
        NodeAnswerError: It refused, or its answer makes no sense.
    """
    delay_s = 0.1
    for attempt in range(_RETRIES):
        try:
            return question()
        except ContractLogicError as error:
            raise decode_revert(action, _revert_data(error)) from error
        except AnswerTimeoutError as error:
            # Not asked again: whoever is so slow, and never silent, would be so as often as one asks.
            raise NodeUnavailableError(
                f"{action}: the node's answer was not whole after {error.timeout_s:g} s",
                hint="run the same command again, or name another node with --rpc-url; nothing was lost",
            ) from error
        except (requests.RequestException, ConnectionError, TimeoutError) as error:
            if attempt == _RETRIES - 1:
                # Never the text of the error: it has the URL, and an URL may have a key in it.
                status = getattr(getattr(error, "response", None), "status_code", None)
                why = type(error).__name__ if status is None else f"HTTP status {status}"
                raise NodeUnavailableError(
                    f"{action}: the node does not answer ({why})",
                    hint="start one with `hallmark chain start`, or check --rpc-url; nothing was lost",
                ) from error
            time.sleep(delay_s)
            delay_s *= 3
        except Web3RPCError as error:
            answer = error.rpc_response
            refusal = answer.get("error") if isinstance(answer, dict) else None
            raise NodeAnswerError(f"{action}: {said(refusal or error.message)}") from error
        except (Web3Exception, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise NodeAnswerError(f"{action}: the node's answer makes no sense: {said(error)}") from error
    raise NodeUnavailableError(f"{action}: the node does not answer")


def said(refusal: object) -> str:
    """Give what a node says in a JSON-RPC error, in one line."""
    text = refusal
    if isinstance(refusal, dict) and isinstance(refusal.get("message"), str):
        details = refusal.get("data")
        # Some nodes have the reason only here; of a revert it is hex, and decoded elsewhere.
        is_told = isinstance(details, str) and not details.startswith("0x")
        text = f"{refusal['message']}: {details}" if is_told else refusal["message"]
    return one_line(text)


def with_fields(answer: _T, *names: str) -> _T:
    """Give an answer that has these fields; a KeyError says that it does not."""
    for name in names:
        cast(Any, answer)[name]
    return answer


def _revert_data(error: ContractLogicError) -> bytes:
    data = error.data
    if isinstance(data, dict):
        data = data.get("data")
    if not isinstance(data, str) or not data.startswith("0x"):
        return b""
    try:
        return bytes.fromhex(data[2:])
    except ValueError:
        return b""
