"""What can be wrong with a bundle."""

from typing import ClassVar

from ledger.errors import ProofError


class BundleError(ProofError):
    """A bundle does not hold together; nothing in it is believed.

    Attributes:
        field: What is wrong: "archive", "member", "manifest", "format", "sha256", "headers", "bodies",
            "transactions_root", "receipts_root", "bloom", "state", "contracts", "chain_id", "head", ...
    """

    code: ClassVar[str] = "bundle"

    def __init__(self, field: str, message: str, *, hint: str = "") -> None:
        super().__init__(
            f"bundle, {field}: {message}", hint=hint or "have it made again, or get it from elsewhere"
        )
        self.field = field
