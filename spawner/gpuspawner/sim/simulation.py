"""A running simulation: creates it, changes what its cards say, removes it."""

import ctypes
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from gpuspawner.sim import cdi, native, store
from gpuspawner.sim.errors import SimError
from gpuspawner.sim.faults import RECOVERY_OF_XID, Recovery
from gpuspawner.sim.layout import (
    DEMO_LAYOUT,
    SimDevice,
    SimInstance,
    build_instances,
    parse_layout,
)
from gpuspawner.sim.report import Report, read_report

DEFAULT_DRIVER = "580.95.05"
_DRIVER = re.compile(r"[0-9]{3}\.[0-9]{1,4}(\.[0-9]{1,4})?")


class Simulation:
    """The simulation in one root directory. All state is in its files: several of these may look at one.

    CARD arguments are an index, a UUID, or the beginning of one UUID, of a card or (for loads) an instance.
    Methods raise SimError, and then have changed nothing.
    """

    def __init__(self, root: Path) -> None:
        """Opens the simulation in root.

        Raises:
            SimError: there is none.
        """
        self.root = root.absolute()
        try:
            about = json.loads((self.root / store.MARKER).read_text())
            self.instance = str(about["instance"])
            self.layout = str(about["layout"])
            self.cdi_dir = Path(about["cdi_dir"]) if about["cdi_dir"] is not None else None
            self.files = native.NativeFiles(Path(about["native"]))
        except (OSError, ValueError, KeyError) as error:
            raise SimError(
                f"no simulation in {self.root}; make one with: gpuspawner sim create --root {self.root}"
            ) from error
        self.cards = parse_layout(self.layout, self.instance)

    @classmethod
    def create(
        cls,
        root: Path,
        layout: str = DEMO_LAYOUT,
        *,
        instance: str,
        cdi_dir: Path | None = cdi.DEFAULT_CDI_DIR,
        build_dir: Path | None = None,
        driver: str = DEFAULT_DRIVER,
    ) -> "Simulation":
        """Makes a new simulation, with nothing running on its cards.

        Args:
            root: a directory that is not there yet, or is empty.
            layout: cards, such as 2xa100-40gb,2xl40s.
            instance: names the simulation on this host; UUIDs and the CDI spec's file name come from it.
            cdi_dir: where the spec goes; None for a simulation that no container uses.
            build_dir: where the library is built; root/native by default. Share one to compile once.
            driver: the driver version that NVML reports.

        Raises:
            SimError: a bad argument, something in the way, no compiler.
        """
        root = root.absolute()
        cards = parse_layout(layout, instance)
        _check_driver(driver)
        if (root / store.MARKER).exists():
            raise SimError(
                f"there is a simulation in {root} already; to remove it: gpuspawner sim destroy --root {root}"
            )
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise SimError(f"{root} is not an empty directory; choose another for the simulation")
        if cdi_dir is not None:
            _check_spec_is_free(cdi.spec_path(cdi_dir.absolute(), instance), root)
        try:
            root.mkdir(parents=True, exist_ok=True)
            root.chmod(0o755)
            files = native.build(build_dir or root / "native")
            store.create_files(root, cards, driver)
            store.write_text(root / store.MARKER, _about(instance, layout, cdi_dir, files))
            simulation = cls(root)
            simulation.write_spec()
        except OSError as error:
            store.remove_files(root)
            raise SimError(f"cannot create the simulation in {root}: {error}") from error
        except BaseException:
            store.remove_files(root)
            raise
        return simulation

    @classmethod
    def ensure(
        cls,
        root: Path,
        layout: str = DEMO_LAYOUT,
        *,
        instance: str,
        cdi_dir: Path | None = cdi.DEFAULT_CDI_DIR,
        build_dir: Path | None = None,
    ) -> "Simulation":
        """As create, but keeps such a simulation if it is there, and puts back its library and spec.

        Raises:
            SimError: as create, or the simulation that is there has another layout or instance name.
        """
        if not (root / store.MARKER).exists():
            return cls.create(root, layout, instance=instance, cdi_dir=cdi_dir, build_dir=build_dir)
        simulation = cls(root)
        if (simulation.layout, simulation.instance) != (layout, instance):
            raise SimError(
                f"the simulation in {root} is {simulation.instance} with {simulation.layout}, not {instance}"
                f" with {layout}; to remove it: gpuspawner sim destroy --root {root}"
            )
        with store.locked(simulation.root):
            files = native.build(build_dir or simulation.root / "native")
            store.write_text(simulation.root / store.MARKER, _about(instance, layout, cdi_dir, files))
        simulation = cls(root)
        simulation.write_spec()
        return simulation

    def destroy(self) -> None:
        """Removes the CDI spec and everything that create made; a hanging driver lets go."""
        if self.cdi_dir is not None:
            cdi.spec_path(self.cdi_dir, self.instance).unlink(missing_ok=True)
        store.remove_files(self.root)

    def environment(self) -> dict[str, str]:
        """The variables under which a host process, from its start, sees this simulation through pynvml."""
        return native.environment(self.files, self.root)

    def load_here(self) -> None:
        """Lets this process see the simulation: its library is loaded before pynvml asks for it by name."""
        os.environ.update(self.environment())
        ctypes.CDLL(str(self.files.library))

    def write_spec(self) -> None:
        """Writes the CDI spec for cards and instances as they are now; a no-op without a CDI directory."""
        if self.cdi_dir is not None:
            spec = cdi.build_spec(self.root, self.files, self.cards, self.instances())
            cdi.write_spec(cdi.spec_path(self.cdi_dir, self.instance), spec)

    def instances(self) -> tuple[SimInstance, ...]:
        """The MIG instances that exist now, by card and index."""
        profiles: dict[str, list[tuple[int, str]]] = {}
        for path in (self.root / "devices").glob("MIG-*/state"):
            state = store.parse_state(path.read_text())
            profiles.setdefault(state.values["parent"], []).append(
                (state.number("index"), state.values["profile"])
            )
        return tuple(
            instance
            for card in self.cards
            if card.uuid in profiles
            for instance in build_instances(card, [name for _, name in sorted(profiles[card.uuid])])
        )

    def find(self, card: str | int) -> SimDevice | SimInstance:
        """The card or instance that an index, a UUID or the beginning of one UUID means.

        Raises:
            SimError: none, or more than one.
        """
        wanted = str(card)
        everything: list[SimDevice | SimInstance] = [*self.cards, *self.instances()]
        if wanted.isascii() and wanted.isdigit():
            found = [device for device in everything[: len(self.cards)] if device.index == int(wanted)]
        else:
            found = [
                device
                for device in everything
                if device.uuid.lower().startswith(wanted.lower())
                or (len(wanted) >= 4 and device.uuid.lower()[4:].startswith(wanted.lower()))
            ]
        if len(found) == 1 and wanted:
            return found[0]
        known = ", ".join(device.uuid for device in (found or everything))
        if found:
            raise SimError(f"card {wanted!r} is ambiguous: {known}")
        raise SimError(f"no card {wanted!r}; there are {len(self.cards)}, counted from 0: {known}")

    def set_load(
        self, card: str | int, *, utilization: int = 0, memory_mib: int = 0, pid: int | None = None
    ) -> None:
        """Makes a card or instance busy: by itself, or with a host process of this PID, until it ends.

        Args:
            card: which one.
            utilization: percent.
            memory_mib: on top of the idle baseline.
            pid: a process that runs on this host; without one, no process shows.
        """
        device = self.find(card)
        if not 0 <= utilization <= 100:
            raise SimError(f"utilization is 0 to 100 percent, not {utilization}")
        with self._change(device) as state:
            room = state.number("memory_mib") - state.number("reserved_mib") - state.number("baseline_mib")
            if not 0 <= memory_mib <= room:
                raise SimError(f"memory on {device.uuid} is 0 to {room} MiB, not {memory_mib}")
            if state.number("mig"):
                raise SimError(f"{device.uuid} is divided into MIG instances; give the UUID of one of them")
            if pid is None:
                if not state.number("load"):
                    state.values["load_since_us"] = str(store.now_us())
                state.values["load"] = str(utilization)
                state.values["load_memory_mib"] = str(memory_mib)
            else:
                _put_process(state, pid, utilization, memory_mib)

    def idle(self, card: str | int) -> None:
        """Takes away what set_load put there. Loads that run in containers go on."""
        with self._change(self.find(card)) as state:
            state.values.update(load="0", load_memory_mib="0")
            state.processes.clear()

    def raise_xid(self, card: str | int, number: int, recovery: Recovery | None = None) -> None:
        """Raises an XID error now; recovery None means what this XID usually asks for."""
        if not 1 <= number <= 1023:
            raise SimError(f"an XID is a number from 1 to 1023, not {number}")
        with self._change(self._card(card)) as state:
            sequence = state.number("xid_sequence") + 1
            state.values["xid_sequence"] = str(sequence)
            state.xids = [*state.xids, store.Xid(sequence, number, store.now_us())][-store.KEPT_XIDS :]
            asked = RECOVERY_OF_XID.get(number) if recovery is None else recovery
            if asked is not None:
                state.values["recovery"] = str(int(asked))

    def lose(self, card: str | int) -> None:
        """The card falls off the bus: every call on it says so; the others go on. Raises no XID by itself."""
        self._set(self._card(card), lost=1)

    def restore(self, card: str | int) -> None:
        """The card is as after a reset: there, answering, nothing asked for. XIDs stay in the history."""
        self._set(self._card(card), lost=0, hang=0, recovery=0)

    def hang(self, card: str | int | None = None) -> None:
        """Calls on this card block, or all calls without one, until unhang."""
        self._set_hang(card, 1)

    def unhang(self, card: str | int | None = None) -> None:
        """Calls on this card return; without one, all calls on all cards do."""
        self._set_hang(card, 0)

    def set_mig(self, card: str | int, profiles: list[str]) -> tuple[SimInstance, ...]:
        """Divides a card into instances of these profiles, or with none makes it whole; the CDI spec follows.

        Raises:
            SimError: also when the card or one of its instances is in use, as a real driver refuses then.
        """
        device = self._card(card)
        instances = build_instances(device, profiles) if profiles else ()
        before = [instance for instance in self.instances() if instance.parent == device]
        with store.locked(self.root):
            parts: list[SimDevice | SimInstance] = [device, *before]
            for part in parts:
                report = read_report(self.root, part)
                if report.pids or report.utilization:
                    raise SimError(f"{part.uuid} is in use (processes {list(report.pids)}); end that first")
            self._replace_instances(device, before, instances)
        self.write_spec()
        return instances

    def set_driver(self, version: str, *, mismatch: bool = False) -> None:
        """The driver's version; with mismatch, nvmlInit fails as after an upgrade without a reboot."""
        _check_driver(version)
        with store.locked(self.root):
            path = self.root / "host" / "state"
            state = store.parse_state(path.read_text())
            state.values.update(driver=version, mismatch=str(int(mismatch)))
            store.write_text(path, state.text())

    def driver(self) -> str:
        """The driver's version."""
        return store.parse_state((self.root / "host" / "state").read_text()).values["driver"]

    def hanging(self) -> bool:
        """The whole driver hangs."""
        return bool(store.parse_state((self.root / "host" / "state").read_text()).number("hang"))

    def reports(self) -> tuple[Report, ...]:
        """What everything shows now: cards by index, each followed by its instances. Never blocks."""
        instances = self.instances()
        reports = []
        for card in self.cards:
            reports.append(read_report(self.root, card))
            reports += [read_report(self.root, instance) for instance in instances if instance.parent == card]
        return tuple(reports)

    def _card(self, card: str | int) -> SimDevice:
        device = self.find(card)
        if isinstance(device, SimInstance):
            raise SimError(
                f"{device.uuid} is a MIG instance; this is about a whole card: {device.parent.uuid}"
            )
        return device

    def _state_path(self, device: SimDevice | SimInstance) -> Path:
        return self.root / "devices" / device.uuid / "state"

    @contextmanager
    def _change(self, device: SimDevice | SimInstance) -> Iterator[store.State]:
        """A device's state, under the simulation's lock; written back unless the body raises."""
        path = self._state_path(device)
        with store.locked(self.root):
            state = store.parse_state(path.read_text())
            yield state
            store.write_text(path, state.text())

    def _set(self, device: SimDevice, **values: int) -> None:
        with self._change(device) as state:
            state.values.update({key: str(value) for key, value in values.items()})

    def _set_hang(self, card: str | int | None, value: int) -> None:
        if card is not None:
            self._set(self._card(card), hang=value)
            return
        with store.locked(self.root):
            path = self.root / "host" / "state"
            state = store.parse_state(path.read_text())
            state.values["hang"] = str(value)
            store.write_text(path, state.text())
        if not value:
            for device in self.cards:
                self._set(device, hang=0)

    def _replace_instances(
        self, card: SimDevice, before: list[SimInstance], after: tuple[SimInstance, ...]
    ) -> None:
        path = self._state_path(card)
        state = store.parse_state(path.read_text())
        for old in before:
            shutil.rmtree(self.root / "devices" / old.uuid)
            shutil.rmtree(self.root / "dropbox" / old.uuid)
        for new in after:
            store.create_device(self.root, new.uuid, store.instance_state(new))
        state.values["mig"] = str(int(bool(after)))
        state.values.update(load="0", load_memory_mib="0")
        store.write_text(path, state.text())


def _put_process(state: store.State, pid: int, utilization: int, memory_mib: int) -> None:
    ticks = store.start_ticks(pid)
    if ticks is None:
        raise SimError(f"no process {pid} runs on this host; give the PID of one that does")
    process = store.HostProcess(pid, ticks, memory_mib, utilization, store.now_us())
    others = [p for p in state.processes if p.pid != pid and store.start_ticks(p.pid) == p.start_ticks]
    same = [p for p in state.processes if (p.pid, p.start_ticks) == (pid, ticks) and p.utilization]
    if len(others) >= store.SLOTS:
        raise SimError(f"at most {store.SLOTS} host processes on one card")
    state.processes = [*others, replace(process, since_us=same[0].since_us) if same else process]


def _check_driver(version: str) -> None:
    if _DRIVER.fullmatch(version) is None:
        raise SimError(f"driver version {version!r} does not look like one, such as {DEFAULT_DRIVER}")


def _check_spec_is_free(path: Path, root: Path) -> None:
    try:
        mounts = json.loads(path.read_text())["containerEdits"]["mounts"]
        other = next(Path(m["hostPath"]).parent for m in mounts if m["containerPath"].endswith("/host"))
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return
    if other != root and (other / store.MARKER).exists():
        raise SimError(
            f"{path} belongs to the simulation in {other}; choose another instance name for this one"
        )


def _about(instance: str, layout: str, cdi_dir: Path | None, files: native.NativeFiles) -> str:
    about = {
        "instance": instance,
        "layout": layout,
        "cdi_dir": str(cdi_dir.absolute()) if cdi_dir is not None else None,
        "native": str(files.directory),
    }
    return json.dumps(about, indent=1) + "\n"
