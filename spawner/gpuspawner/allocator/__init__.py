"""The use cases: gather, let core decide, apply, in one transaction each.

Every method may block on the ledger; hub and controller call them in threads.
"""

from .cards import Cards, Cleared, Drained, Pinned
from .clock import utc_now
from .feeds import Feeds
from .leases import SAME_REFUSAL_AGAIN, Allocator, Status
from .line import Line
from .reservations import Reservations
from .rosters import Rosters
from .sessions import Sessions
from .stock import OwnPlace, Stock
from .undo import Undo
from .usage import UsageReports

__all__ = [
    "SAME_REFUSAL_AGAIN",
    "Allocator",
    "Cards",
    "Cleared",
    "Drained",
    "Feeds",
    "Line",
    "OwnPlace",
    "Pinned",
    "Reservations",
    "Rosters",
    "Sessions",
    "Status",
    "Stock",
    "Undo",
    "UsageReports",
    "utc_now",
]
