/* MIG instances. */
#include "handles.h"

#include <string.h>

EXPORT nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t handle, unsigned *current, unsigned *pending) {
    sim_device device;
    nvmlReturn_t result = enter_card(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (!device.mig_capable)
        return NVML_ERROR_NOT_SUPPORTED;
    *current = *pending = device.mig != 0;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t handle, unsigned *out) {
    sim_device device;
    nvmlReturn_t result = enter_card(handle, &device);
    if (result == NVML_SUCCESS)
        *out = device.mig ? 7 : 0;
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t handle, unsigned index, nvmlDevice_t *out) {
    char uuids[SIM_MAX_DEVICES][SIM_UUID_SIZE];
    sim_device device;
    nvmlReturn_t result = enter_card(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (!device.mig_capable)
        return NVML_ERROR_NOT_SUPPORTED;
    int count = device.mig ? sim_list(device.uuid, uuids, SIM_MAX_DEVICES) : 0;
    if (count <= 0 || index >= (unsigned)count)
        return NVML_ERROR_NOT_FOUND;
    *out = handle_of(uuids[index]);
    return *out != NULL ? NVML_SUCCESS : NVML_ERROR_MEMORY;
}

EXPORT nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t handle, unsigned *out) {
    sim_device device;
    nvmlReturn_t result = enter_device(handle, &device);
    if (result == NVML_SUCCESS)
        *out = device.parent[0] != '\0';
    return result;
}

static nvmlReturn_t enter_instance(nvmlDevice_t handle, sim_device *out) {
    nvmlReturn_t result = enter_device(handle, out);
    return result == NVML_SUCCESS && out->parent[0] == '\0' ? NVML_ERROR_INVALID_ARGUMENT : result;
}

EXPORT nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t handle, nvmlDevice_t *out) {
    sim_device device;
    nvmlReturn_t result = enter_instance(handle, &device);
    if (result == NVML_SUCCESS)
        *out = handle_of(device.parent);
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t handle, unsigned *out) {
    sim_device device;
    nvmlReturn_t result = enter_instance(handle, &device);
    if (result == NVML_SUCCESS)
        *out = (unsigned)device.gpu_instance;
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t handle, unsigned *out) {
    sim_device device;
    nvmlReturn_t result = enter_instance(handle, &device);
    if (result == NVML_SUCCESS)
        *out = (unsigned)device.compute_instance;
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t handle, nvmlDeviceAttributes_t *out) {
    sim_device device;
    nvmlReturn_t result = enter_device(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    memset(out, 0, sizeof *out);
    out->multiprocessors = (unsigned)device.sm_count;
    out->copy_engines = (unsigned)device.compute_slices;
    out->gpu_slices = (unsigned)device.gpu_slices;
    out->compute_slices = (unsigned)device.compute_slices;
    out->memory_mib = device.memory_mib;
    return NVML_SUCCESS;
}
