"""Which cards a simulation has: pure values, models with the figures of real cards, layouts."""

import re
import uuid
from dataclasses import dataclass

from gpuspawner.sim.errors import SimError

SIMULATED = "(simulated)"
MAX_DEVICES = 64
MOST_DIRECT = 4
"""Cards that NVLinks join directly, as on real boards of 2, 3 or 4; more are joined through NVSwitches."""

_NAMESPACE = uuid.UUID("4b6f6c1c-8f7e-5c0b-9d55-6f1d3a0c9a52")
_INSTANCE = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_PART = re.compile(r"(?:(?P<count>[0-9]{1,3})x)?(?P<model>[a-z0-9-]+)")


def _pci_bus(index: int) -> int:
    return 7 + 3 * index  # 196 for the last card; the library puts its NVSwitches behind that


@dataclass(frozen=True, slots=True)
class MigProfile:
    """A way to cut a MIG instance out of a card."""

    name: str
    """Such as 3g.20gb."""
    compute_slices: int
    """Of the card's seven."""
    memory_slices: int
    """Of the card's eight."""
    memory_mib: int
    sm_count: int
    """Streaming multiprocessors."""


@dataclass(frozen=True, slots=True)
class GpuModel:
    """A kind of card."""

    key: str
    """What a layout calls it, such as a100-40gb."""
    name: str
    """What NVML calls it."""
    memory_mib: int
    reserved_mib: int
    """Taken by the driver."""
    baseline_mib: int
    """Used with no process on the card."""
    capability: tuple[int, int]
    """CUDA compute capability."""
    pci_device_id: int
    sm_count: int
    idle_power_mw: int
    power_limit_mw: int
    nvlink_links: int = 0
    mig_profiles: tuple[MigProfile, ...] = ()
    temperature_c: int = 34
    """When idle."""


@dataclass(frozen=True, slots=True)
class SimDevice:
    """One whole simulated card and its place in the machine."""

    index: int
    uuid: str
    """GPU-<uuid>; made from the simulation's instance name, so that two simulations never share one."""
    model: GpuModel
    numa: int
    """NUMA node."""
    pcie_switch: int
    """Cards of one number share a PCIe switch."""
    nvlink_group: int
    """Cards of one number are joined by NVLink; 0 means none."""
    nvlink_switched: bool = False
    """The links go to NVSwitches."""
    nvlink_peers: tuple[int, ...] = ()
    """PCI bus numbers of the cards that the links go to directly, each with an equal share of them."""

    @property
    def name(self) -> str:
        """The model's name with the word that announces the simulation."""
        return f"{self.model.name} {SIMULATED}"

    @property
    def minor(self) -> int:
        """The number of /dev/nvidia<N>."""
        return self.index

    @property
    def pci_bus(self) -> int:
        """The PCI bus number, distinct for each card."""
        return _pci_bus(self.index)


@dataclass(frozen=True, slots=True)
class SimInstance:
    """One MIG instance of a simulated card."""

    index: int
    """Among the card's instances."""
    uuid: str
    """MIG-<uuid>."""
    parent: SimDevice
    profile: MigProfile
    gpu_instance: int

    @property
    def name(self) -> str:
        """As NVML names an instance."""
        return f"{self.parent.name} MIG {self.profile.name}"


def _a100_profiles() -> tuple[MigProfile, ...]:
    return (
        MigProfile("1g.5gb", 1, 1, 4864, 14),
        MigProfile("2g.10gb", 2, 2, 9856, 28),
        MigProfile("3g.20gb", 3, 4, 19968, 42),
        MigProfile("4g.20gb", 4, 4, 19968, 56),
        MigProfile("7g.40gb", 7, 8, 40192, 98),
    )


def _h100_profiles() -> tuple[MigProfile, ...]:
    return (
        MigProfile("1g.10gb", 1, 1, 9984, 16),
        MigProfile("2g.20gb", 2, 2, 20096, 32),
        MigProfile("3g.40gb", 3, 4, 40448, 60),
        MigProfile("4g.40gb", 4, 4, 40448, 64),
        MigProfile("7g.80gb", 7, 8, 81024, 132),
    )


_A100 = GpuModel(
    "a100-40gb", "NVIDIA A100-SXM4-40GB", 40960, 427, 4, (8, 0), 0x20B010DE, 108, 52_000, 400_000, 12,
    _a100_profiles(),
)  # fmt: skip
_L40S = GpuModel("l40s", "NVIDIA L40S", 46068, 594, 2, (8, 9), 0x26B910DE, 142, 33_000, 350_000)
_H100 = GpuModel(
    "h100-80gb", "NVIDIA H100 80GB HBM3", 81559, 551, 4, (9, 0), 0x233010DE, 132, 70_000, 700_000, 18,
    _h100_profiles(),
)  # fmt: skip
_T4 = GpuModel("t4", "Tesla T4", 15360, 440, 2, (7, 5), 0x1EB810DE, 40, 9_000, 70_000)

MODELS = {model.key: model for model in (_A100, _L40S, _H100, _T4)}
DEMO_LAYOUT = "2xa100-40gb,2xl40s"


def check_instance(instance: str) -> str:
    """The instance name itself.

    Raises:
        SimError: it is not made of lower-case letters, digits and dashes, at most 40 of them.
    """
    if _INSTANCE.fullmatch(instance) is None:
        raise SimError(
            f"instance name {instance!r} is not allowed: use at most 40 lower-case letters, digits, dashes"
        )
    return instance


def build_devices(instance: str, models: list[GpuModel]) -> tuple[SimDevice, ...]:
    """One card per model, in this order; neighbours of one model that has NVLink are joined.

    Raises:
        SimError: no model, more than 64, or an instance name that is not allowed.
    """
    check_instance(instance)
    if not 1 <= len(models) <= MAX_DEVICES:
        raise SimError(f"a simulation has 1 to {MAX_DEVICES} cards, not {len(models)}")
    return tuple(_build_device(instance, models, index) for index in range(len(models)))


def _build_device(instance: str, models: list[GpuModel], index: int) -> SimDevice:
    model = models[index]
    peers = [other for other, its_model in enumerate(models) if its_model is model and other != index]
    joined = bool(model.nvlink_links and peers)
    switched = joined and len(peers) >= MOST_DIRECT
    return SimDevice(
        index=index,
        uuid=f"GPU-{uuid.uuid5(_NAMESPACE, f'{instance}/{index}')}",
        model=model,
        numa=index * 2 // len(models),
        pcie_switch=index // 2,
        nvlink_group=1 + list(MODELS).index(model.key) if joined else 0,
        nvlink_switched=switched,
        nvlink_peers=tuple(map(_pci_bus, peers)) if joined and not switched else (),
    )


def parse_layout(text: str, instance: str) -> tuple[SimDevice, ...]:
    """Cards from a layout such as 2xa100-40gb,2xl40s.

    Raises:
        SimError: an unknown model, or text of another form.
    """
    models: list[GpuModel] = []
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        model = MODELS.get(match["model"]) if match else None
        if match is None or model is None:
            raise SimError(
                f"layout {text!r}: {part.strip()!r} is not [COUNTx]MODEL; models are {', '.join(MODELS)},"
                f" for example {DEMO_LAYOUT}"
            )
        models += [model] * int(match["count"] or 1)
    return build_devices(instance, models)


def build_instances(card: SimDevice, profiles: list[str]) -> tuple[SimInstance, ...]:
    """The MIG instances of these profiles on this card.

    Raises:
        SimError: the card has no MIG, a profile it lacks, or more slices than it has.
    """
    known = {profile.name: profile for profile in card.model.mig_profiles}
    if not known:
        raise SimError(f"{card.name} (card {card.index}) has no MIG; an A100 or H100 has")
    unknown = [name for name in profiles if name not in known]
    if unknown or not profiles:
        raise SimError(
            f"MIG profile {', '.join(map(repr, unknown)) or '(none given)'} is not one of this card's:"
            f" {', '.join(known)}"
        )
    chosen = [known[name] for name in profiles]
    compute = sum(profile.compute_slices for profile in chosen)
    memory = sum(profile.memory_slices for profile in chosen)
    if compute > 7 or memory > 8:
        raise SimError(
            f"MIG instances {', '.join(profiles)} need {compute} compute and {memory} memory slices;"
            " a card has 7 and 8"
        )
    return tuple(
        SimInstance(
            index=index,
            uuid=f"MIG-{uuid.uuid5(_NAMESPACE, f'{card.uuid}/{index}/{profile.name}')}",
            parent=card,
            profile=profile,
            gpu_instance=index + 1,
        )
        for index, profile in enumerate(chosen)
    )
