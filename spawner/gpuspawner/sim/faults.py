"""What goes wrong with cards, in NVML's numbers."""

from enum import IntEnum


class Recovery(IntEnum):
    """What the driver asks for after an error: NVML's field 230."""

    NONE = 0
    GPU_RESET = 1
    NODE_REBOOT = 2
    DRAIN_P2P = 3
    DRAIN_AND_RESET = 4


RECOVERY_OF_XID = {
    48: Recovery.GPU_RESET,
    64: Recovery.GPU_RESET,
    74: Recovery.GPU_RESET,
    79: Recovery.NODE_REBOOT,
    95: Recovery.GPU_RESET,
    119: Recovery.GPU_RESET,
    120: Recovery.GPU_RESET,
    140: Recovery.GPU_RESET,
}
"""What these XIDs usually make the driver ask for; the others leave it as it is."""
