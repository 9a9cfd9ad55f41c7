"""The ledger: devices, samples, leases, homes and the audit trail, in one database.

Hub, agent and command line are all clients of it. Everything that is written goes through
:meth:`Ledger.write`, one immediate transaction at a time.
"""

from .ledger import Ledger
from .unit import LedgerUnit

__all__ = ["Ledger", "LedgerUnit"]
