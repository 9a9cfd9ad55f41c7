from __future__ import annotations

from support.controller import empty_ledger, office

__all__ = ["empty_ledger", "office"]
