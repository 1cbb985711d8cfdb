"""A run in one file, for an audit without its chain (docs/adr/0013-bundles.md)."""

from trainer.bundle.errors import BundleError
from trainer.bundle.export import BundleSummary, export_bundle
from trainer.bundle.opened import Bundle, open_bundle

__all__ = ["Bundle", "BundleError", "BundleSummary", "export_bundle", "open_bundle"]
