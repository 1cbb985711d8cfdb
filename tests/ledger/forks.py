"""A chain in memory that is reorganised when told to."""

from typing import Any

from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from ledger.chain import EmbeddedChain, EmbeddedProvider, LogicalClock, RpcDispatcher


class ForkingChain(JSONBaseProvider):
    """Serves a chain; reorganise() replaces its newest blocks, as a node does that learns of a longer branch.

    Attributes:
        chain: The branch that it serves now.
        depths: Of the reorganisations so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.depths: list[int] = []
        self._serve(EmbeddedChain.open(None, clock=LogicalClock()))

    def reorganise(self, depth: int) -> None:
        """Put as many empty blocks in the place of the newest ones; what was in these is gone."""
        old, kept = self.chain, self.chain.head().block_number - depth
        self._serve(EmbeddedChain.open(None, clock=LogicalClock()))
        for number in range(1, kept + 1):
            self.chain.import_block(old.block(old.header(number)).block)
        self.depths.append(depth)
        self.chain.skip_time(7 * len(self.depths))
        for _ in range(depth):
            self.chain.mine()
        old.close()

    def close(self) -> None:
        """Close the chain."""
        self.chain.close()

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        return self._inner.make_request(method, params)

    def _serve(self, chain: EmbeddedChain) -> None:
        self.chain = chain
        self._inner = EmbeddedProvider(RpcDispatcher(chain))
