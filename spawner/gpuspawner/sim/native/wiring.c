/* How cards are wired: what their state files say of NUMA nodes, PCIe switches and NVLinks. */
#include "state.h"

sim_path_kind sim_pcie_path(const sim_device *a, const sim_device *b) {
    if (a->numa != b->numa)
        return SIM_PATH_SYSTEM;
    return a->pcie_switch == b->pcie_switch ? SIM_PATH_SWITCH : SIM_PATH_NODE;
}

/* The links go in equal shares to the NVSwitches or to the peers. */
sim_remote_kind sim_nvlink_remote(const sim_device *device, unsigned link, unsigned *bus) {
    if (device->nvlink_group == 0 || link >= device->nvlink_links)
        return SIM_REMOTE_NONE;
    if (device->nvlink_switched) {
        *bus = SIM_NVSWITCH_BUS + link % SIM_NVSWITCHES;
        return SIM_REMOTE_SWITCH;
    }
    if (device->nvlink_peer_count == 0)
        return SIM_REMOTE_NONE;
    *bus = (unsigned)device->nvlink_peers[link % device->nvlink_peer_count] & 0xFFu;
    return SIM_REMOTE_GPU;
}

unsigned sim_nvlinks_between(const sim_device *a, const sim_device *b) {
    unsigned bus, direct = 0;
    if (a->nvlink_group == 0 || a->nvlink_group != b->nvlink_group)
        return 0;
    if (a->nvlink_switched && b->nvlink_switched)
        return (unsigned)(a->nvlink_links < b->nvlink_links ? a->nvlink_links : b->nvlink_links);
    for (unsigned link = 0; link < a->nvlink_links; link++)
        if (sim_nvlink_remote(a, link, &bus) == SIM_REMOTE_GPU && bus == (b->pci_bus & 0xFFu))
            direct++;
    return direct;
}
