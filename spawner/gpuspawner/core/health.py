"""Whether a device is fit for work, judged from what the driver says.

Sources: NVIDIA's XID catalogue and NVML's field 230 (``NVML_FI_DEV_GET_GPU_RECOVERY_ACTION``).
"""

from __future__ import annotations

from .model import DeviceReading, Health

APPLICATION_XIDS = frozenset({13, 31, 43, 45, 68, 109})
"""Faults of the program that ran, not of the card."""

RECOVERY_ACTIONS = {
    1: "reset the GPU",
    2: "reboot the host",
    3: "drain peer-to-peer work",
    4: "drain and reset",
}
"""What NVML asks for in field 230; 0 is *nothing to do*."""


def judge_health(reading: DeviceReading, standing_fault: str | None) -> tuple[Health, str]:
    """Judge a device.

    Args:
        reading: The newest look at it.
        standing_fault: A fault found earlier that stays until an administrator clears it, or None.

    Returns:
        The health and its reason; the reason is empty for OK.
    """
    if reading.lost:
        return Health.FAULTY, "the driver has lost the card (it has fallen off the bus)"
    if reading.recovery_action:
        wanted = RECOVERY_ACTIONS.get(
            reading.recovery_action, f"take recovery action {reading.recovery_action}"
        )
        return Health.FAULTY, f"the driver asks to {wanted}"
    fault = find_standing_fault(reading) or standing_fault
    if fault is not None:
        return Health.FAULTY, fault
    if reading.sample is None or reading.sample.processes is None or reading.sample.memory_used_bytes is None:
        return Health.UNKNOWN, reading.error or "the driver gave no sample"
    return Health.OK, ""


def find_standing_fault(reading: DeviceReading) -> str | None:
    """Name the fault that must outlive its reading: a hard XID is told once, and time does not cure it."""
    hard = [xid for xid in reading.xids if xid not in APPLICATION_XIDS]
    return f"hardware or driver fault, XID {', '.join(map(str, hard))}" if hard else None
