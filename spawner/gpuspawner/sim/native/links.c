/* How cards are connected: PCIe paths, NVLinks and what is at their other ends. */
#include "handles.h"

#include <string.h>

EXPORT nvmlReturn_t nvmlDeviceGetTopologyCommonAncestor(nvmlDevice_t first, nvmlDevice_t second, unsigned *out) {
    static const unsigned levels[] = {
        [SIM_PATH_SYSTEM] = TOPOLOGY_SYSTEM, [SIM_PATH_NODE] = TOPOLOGY_NODE, [SIM_PATH_SWITCH] = TOPOLOGY_SINGLE};
    sim_device a, b;
    nvmlReturn_t result = enter_card(first, &a);
    if (result == NVML_SUCCESS)
        result = enter_card(second, &b);
    if (result == NVML_SUCCESS)
        *out = strcmp(a.uuid, b.uuid) == 0 ? (unsigned)TOPOLOGY_INTERNAL : levels[sim_pcie_path(&a, &b)];
    return result;
}

static nvmlReturn_t enter_link(nvmlDevice_t handle, unsigned link, sim_device *out) {
    nvmlReturn_t result = enter_card(handle, out);
    if (result != NVML_SUCCESS)
        return result;
    if (out->nvlink_group == 0)
        return NVML_ERROR_NOT_SUPPORTED;
    return link < out->nvlink_links ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

EXPORT nvmlReturn_t nvmlDeviceGetNvLinkState(nvmlDevice_t handle, unsigned link, unsigned *out) {
    sim_device device;
    nvmlReturn_t result = enter_link(handle, link, &device);
    if (result == NVML_SUCCESS)
        *out = 1;
    return result;
}

/* Every link can carry traffic between GPUs, reach the host's memory, and do atomics on both. */
EXPORT nvmlReturn_t nvmlDeviceGetNvLinkCapability(nvmlDevice_t handle, unsigned link, unsigned which, unsigned *out) {
    sim_device device;
    nvmlReturn_t result = enter_link(handle, link, &device);
    if (result == NVML_SUCCESS && which > NVLINK_CAP_LAST)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS)
        *out = which != NVLINK_CAP_SLI_BRIDGE;
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetNvLinkRemoteDeviceType(nvmlDevice_t handle, unsigned link, unsigned *out) {
    static const unsigned types[] = {[SIM_REMOTE_NONE] = REMOTE_UNKNOWN, [SIM_REMOTE_GPU] = REMOTE_GPU,
                                     [SIM_REMOTE_SWITCH] = REMOTE_SWITCH};
    unsigned bus;
    sim_device device;
    nvmlReturn_t result = enter_link(handle, link, &device);
    if (result == NVML_SUCCESS)
        *out = types[sim_nvlink_remote(&device, link, &bus)];
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetNvLinkRemotePciInfo_v2(nvmlDevice_t handle, unsigned link, nvmlPciInfo_t *out) {
    unsigned bus;
    sim_device device;
    nvmlReturn_t result = enter_link(handle, link, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (sim_nvlink_remote(&device, link, &bus) == SIM_REMOTE_NONE)
        return NVML_ERROR_NOT_SUPPORTED;
    fill_pci_address(out, bus);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetNumaNodeId(nvmlDevice_t handle, unsigned *out) {
    sim_device device;
    nvmlReturn_t result = enter_card(handle, &device);
    if (result == NVML_SUCCESS)
        *out = (unsigned)device.numa;
    return result;
}
