"""A web3.py provider that talks to the chain in this process, with no port."""

import json

from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from ledger.chain.rpc import RpcDispatcher
from ledger.chain.wire import answer, encode


class EmbeddedProvider(JSONBaseProvider):
    """Gives exactly the results that the same chain gives over JSON-RPC.

    Requests and answers pass through JSON text, so a client that works here works
    over HTTP and WebSocket, and with any other node. May be used from any thread.
    """

    def __init__(self, dispatcher: RpcDispatcher) -> None:
        """Bind the provider to a dispatcher.

        Args:
            dispatcher: The chain's methods.
        """
        super().__init__()
        self._dispatcher = dispatcher

    def make_request(self, method: RPCEndpoint, params: object) -> RPCResponse:
        """Answer one request.

        Args:
            method: Name of the method.
            params: Its parameters, as web3.py formatted them.

        Returns:
            The response object, with either ``result`` or ``error``.
        """
        request = json.loads(self.encode_rpc_request(method, params))
        return self.decode_rpc_response(encode(answer(self._dispatcher, request)).encode())

    def make_batch_request(self, requests: list[tuple[RPCEndpoint, object]]) -> list[RPCResponse]:
        """Answer several requests, one after the other.

        Args:
            requests: Methods and their parameters.

        Returns:
            Their responses, in the same order.
        """
        return [self.make_request(method, params) for method, params in requests]
