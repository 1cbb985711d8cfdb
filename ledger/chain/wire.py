"""JSON-RPC 2.0 envelopes: hostile bytes in, an answer out, whatever happens."""

import json
from collections.abc import Sequence
from typing import Final, Protocol

from ledger.chain import params
from ledger.chain.params import Json, RpcError
from ledger.strict_json import loads

DEFAULT_MAX_BATCH: Final = 1_000
_REQUEST_KEYS: Final = frozenset({"jsonrpc", "id", "method", "params"})


class Dispatcher(Protocol):
    """Answers methods; the chain's, or one that adds some of its own."""

    def handle(self, method: str, parameters: Sequence[Json]) -> Json:
        """Answer one request, or raise RpcError."""
        ...


def decode(body: bytes | str) -> Json:
    """Parse the JSON of a request.

    Args:
        body: UTF-8 text.

    Raises:
        RpcError: It is no JSON, or is nested or has numbers beyond reason.
    """
    try:
        parsed: Json = loads(body)
    except ValueError as error:
        raise RpcError(params.PARSE_ERROR, "parse error: the body is not valid JSON") from error
    return parsed


def encode(value: Json) -> str:
    """Write an answer as JSON text."""
    return json.dumps(value, separators=(",", ":"))


def answer_body(dispatcher: Dispatcher, body: bytes | str, *, max_batch: int = DEFAULT_MAX_BATCH) -> Json:
    """Answer the body of an HTTP request or one WebSocket message.

    Args:
        dispatcher: The chain's methods.
        body: One request object, or a list of them.
        max_batch: Most requests of one list.

    Returns:
        One response object, or a list of them in the order of the requests.
    """
    try:
        parsed = decode(body)
    except RpcError as error:
        return failure(None, error)
    if not isinstance(parsed, list):
        return answer(dispatcher, parsed)
    if not parsed:
        return failure(None, RpcError(params.INVALID_REQUEST, "empty batch"))
    if len(parsed) > max_batch:
        return failure(
            None,
            RpcError(
                params.INVALID_REQUEST, f"batch of {len(parsed)} requests, at most {max_batch} are accepted"
            ),
        )
    return [answer(dispatcher, request) for request in parsed]


def answer(dispatcher: Dispatcher, request: Json) -> dict[str, Json]:
    """Answer one request object.

    Args:
        dispatcher: The chain's methods.
        request: The parsed request.

    Returns:
        The response object, with either ``result`` or ``error``.
    """
    try:
        identifier, method, parameters = unpack(request)
        return success(identifier, dispatcher.handle(method, parameters))
    except RpcError as error:
        return failure(identifier_of(request), error)


def unpack(request: Json) -> tuple[Json, str, list[Json]]:
    """Take a request object apart.

    Returns:
        Its id, method and positional parameters.

    Raises:
        RpcError: It is no JSON-RPC 2.0 request with an id. Requests without an id
            get no answer by the standard; they are refused rather than run unseen.
    """
    if not isinstance(request, dict):
        raise RpcError(params.INVALID_REQUEST, "invalid request: object expected")
    unknown = set(request) - _REQUEST_KEYS
    if unknown:
        raise RpcError(params.INVALID_REQUEST, f"invalid request: unknown member {min(unknown)[:64]!r}")
    if request.get("jsonrpc") != "2.0":
        raise RpcError(params.INVALID_REQUEST, 'invalid request: "jsonrpc" must be "2.0"')
    method, parameters = request.get("method"), request.get("params")
    if not isinstance(method, str):
        raise RpcError(params.INVALID_REQUEST, "invalid request: method must be a string")
    if "id" not in request or not _may_be_id(request["id"]):
        raise RpcError(params.INVALID_REQUEST, "invalid request: an id (string or number) is required")
    if parameters is None:
        parameters = []
    if not isinstance(parameters, list):
        raise RpcError(params.INVALID_PARAMS, "invalid params: non-array args")
    return request["id"], method, parameters


def _may_be_id(value: Json) -> bool:
    return value is None or (isinstance(value, str | int | float) and not isinstance(value, bool))


def identifier_of(request: Json) -> Json:
    """Give the id of a request, or None where there is no usable one."""
    if isinstance(request, dict) and _may_be_id(request.get("id")):
        return request.get("id")
    return None


def success(identifier: Json, result: Json) -> dict[str, Json]:
    """Make a response object."""
    return {"jsonrpc": "2.0", "id": identifier, "result": result}


def failure(identifier: Json, error: RpcError) -> dict[str, Json]:
    """Make an error response object."""
    detail: dict[str, Json] = {"code": error.rpc_code, "message": error.message}
    if error.data is not None:
        detail["data"] = error.data
    return {"jsonrpc": "2.0", "id": identifier, "error": detail}
