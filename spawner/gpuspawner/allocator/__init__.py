"""The use cases: gather, let core decide, apply, in one transaction each.

Every method may block on the ledger; hub and controller call them in threads.
"""

from .leases import SAME_REFUSAL_AGAIN, Allocator, Status, Stock, utc_now
from .sessions import Sessions

__all__ = ["SAME_REFUSAL_AGAIN", "Allocator", "Sessions", "Status", "Stock", "utc_now"]
