"""eth_subscribe for one connection."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.chain import params
from ledger.chain.chain import MinedBlock
from ledger.chain.logs import LogQuery
from ledger.chain.params import Json, LogRequest, ParamError, RpcError
from ledger.chain.rpc import RpcDispatcher
from ledger.chain.views import header_view, log_view
from ledger.chain.wire import encode

MAX_SUBSCRIPTIONS: Final = 100


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a client wants to hear of: logs of a kind, or new heads where it is None."""

    logs: LogRequest | None


class SubscribingDispatcher:
    """The chain's methods, with eth_subscribe and eth_unsubscribe added.

    Every call must hold the chain's lock, so that a subscription's id is sent before
    its first notification.
    """

    def __init__(self, dispatcher: RpcDispatcher, send: Callable[[str], None]) -> None:
        """Listen for new blocks until :meth:`close`.

        Args:
            dispatcher: The chain's methods.
            send: Queues one message for the client; called from any thread.
        """
        self._dispatcher = dispatcher
        self._send = send
        self._subscriptions: dict[str, Subscription] = {}
        self._stop = dispatcher.chain.on_block(self._notify)

    def close(self) -> None:
        """End all subscriptions."""
        self._stop()
        self._subscriptions.clear()

    def handle(self, method: str, parameters: Sequence[Json]) -> Json:
        """Answer one request.

        Raises:
            RpcError: The request failed.
        """
        try:
            if method == "eth_subscribe":
                return self._subscribe(parameters)
            if method == "eth_unsubscribe":
                return self._unsubscribe(parameters)
        except ParamError as error:
            raise RpcError(params.INVALID_PARAMS, f"invalid params: {error}") from error
        return self._dispatcher.handle(method, parameters)

    def _subscribe(self, parameters: Sequence[Json]) -> Json:
        if not parameters:
            raise ParamError("name of a subscription expected")
        subscription = _parse(parameters[0], parameters[1:])
        if len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
            raise RpcError(
                params.LIMIT_EXCEEDED, f"at most {MAX_SUBSCRIPTIONS} subscriptions on one connection"
            )
        identifier = hex(secrets.randbits(127) | 1 << 127)
        self._subscriptions[identifier] = subscription
        return identifier

    def _unsubscribe(self, parameters: Sequence[Json]) -> Json:
        if len(parameters) != 1:
            raise ParamError("id of a subscription expected")
        return self._subscriptions.pop(params.text(parameters[0]), None) is not None

    def _notify(self, mined: MinedBlock) -> None:
        for identifier, subscription in self._subscriptions.items():
            if subscription.logs is None:
                self._push(identifier, header_view(mined.block.header))
                continue
            wanted = subscription.logs
            query = LogQuery(mined.number, mined.number, wanted.addresses, wanted.topics)
            for log in self._dispatcher.find_logs(query):
                self._push(identifier, log_view(log))

    def _push(self, identifier: str, result: Json) -> None:
        body: dict[str, Json] = {"subscription": identifier, "result": result}
        self._send(encode({"jsonrpc": "2.0", "method": "eth_subscription", "params": body}))


def _parse(name: Json, rest: Sequence[Json]) -> Subscription:
    if name == "newHeads":
        if any(item is not None for item in rest):
            raise ParamError("newHeads takes no further parameter")
        return Subscription(None)
    if name == "logs":
        if len(rest) > 1:
            raise ParamError("logs takes one filter object")
        criteria = rest[0] if rest and rest[0] is not None else {}
        if isinstance(criteria, dict) and set(criteria) & {"fromBlock", "toBlock", "blockHash"}:
            raise ParamError("a subscription to logs starts now; ask for older ones with eth_getLogs")
        return Subscription(params.log_request(criteria))
    raise ParamError("subscription not supported; known are newHeads, logs")
