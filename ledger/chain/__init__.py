"""The embedded chain: an EVM chain in one file, reachable in-process and over JSON-RPC."""

from ledger.chain.chain import EmbeddedChain, MinedBlock
from ledger.chain.clock import Clock, LogicalClock, SystemClock
from ledger.chain.genesis import Genesis
from ledger.chain.params import RpcError
from ledger.chain.provider import EmbeddedProvider
from ledger.chain.rpc import RpcDispatcher, RpcLimits
from ledger.chain.server import BoundAddress, ServerConfig, run_server, serve

__all__ = [
    "BoundAddress",
    "Clock",
    "EmbeddedChain",
    "EmbeddedProvider",
    "Genesis",
    "LogicalClock",
    "MinedBlock",
    "RpcDispatcher",
    "RpcError",
    "RpcLimits",
    "ServerConfig",
    "SystemClock",
    "run_server",
    "serve",
]
