"""The ledger: chain client, embedded chain, contracts, signatures, update files, blob store."""

import os

# eth-hash picks its backend on first use; safe-pysha3 is about three times faster than the default.
os.environ.setdefault("ETH_HASH_BACKEND", "pysha3")
