"""A question to a node: asked again when the connection is lost, and errors by whose fault they are."""

import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import requests
from web3.exceptions import ContractLogicError, Web3Exception, Web3RPCError

from ledger.errors import EnvironmentFault
from ledger.reverts import decode_revert

_T = TypeVar("_T")
_RETRIES = 4


class NodeUnavailableError(EnvironmentFault):
    """The node cannot be reached or stopped answering; may be retried."""

    code = "node-unavailable"


class NodeAnswerError(EnvironmentFault):
    """The node answered something that cannot be right."""

    code = "node-answer"


def ask(question: Callable[[], _T], action: str) -> _T:
    """Give the answer to a question; a lost connection is tried again.

    Args:
        question: Asks the node through web3, and looks at the answer; may be called several times.
        action: What it does, for messages.

    Returns:
        What the question returned.

    Raises:
        RevertedError: A contract refused.
        NodeUnavailableError: The node did not answer.
        NodeAnswerError: It refused, or its answer makes no sense.
    """
    delay_s = 0.1
    for attempt in range(_RETRIES):
        try:
            return question()
        except ContractLogicError as error:
            raise decode_revert(action, _revert_data(error)) from error
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
            raise NodeAnswerError(f"{action}: {_refusal(error)}") from error
        except (Web3Exception, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise NodeAnswerError(f"{action}: the node's answer makes no sense: {error}") from error
    raise NodeUnavailableError(f"{action}: the node does not answer")


def with_fields(answer: _T, *names: str) -> _T:
    """Give an answer that has these fields; a KeyError says that it does not."""
    for name in names:
        cast(Any, answer)[name]
    return answer


def _refusal(error: Web3RPCError) -> object:
    """Give what the node said, without the rest of its answer where it is one."""
    answer: object = error.rpc_response
    said = answer.get("error") if isinstance(answer, dict) else None
    message = said.get("message") if isinstance(said, dict) else None
    return message if isinstance(message, str) else error.message or error


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
