/* Initialisation, errors, driver version, and from index or UUID to handle. */
#include "handles.h"

#include <string.h>

static int initialised;
static char busy;
static struct handle handles[4 * SIM_MAX_DEVICES];
static unsigned handle_count;

/* A spin lock of the compiler: pthread symbols moved between libraries in glibc 2.34. */
static void lock(void) {
    while (__atomic_test_and_set(&busy, __ATOMIC_ACQUIRE))
        sim_sleep_ms(1);
}

static void unlock(void) { __atomic_clear(&busy, __ATOMIC_RELEASE); }

nvmlDevice_t handle_of(const char *uuid) {
    nvmlDevice_t found = NULL;
    lock();
    for (unsigned i = 0; i < handle_count && found == NULL; i++)
        if (strcmp(handles[i].uuid, uuid) == 0)
            found = &handles[i];
    if (found == NULL && handle_count < sizeof handles / sizeof handles[0]) {
        found = &handles[handle_count++];
        strcpy(found->uuid, uuid); /* a UUID that was read from a state folder fits */
    }
    unlock();
    return found;
}

static int known(nvmlDevice_t handle) {
    int found = 0;
    lock();
    for (unsigned i = 0; i < handle_count && !found; i++)
        found = handle == &handles[i];
    unlock();
    return found;
}

/* Waits while the driver hangs; -1 when there is no simulation. */
static int wait_for_driver(sim_host *host) {
    while (sim_read_host(host) == 0) {
        if (!host->hang)
            return 0;
        sim_sleep_ms(20);
    }
    return -1;
}

nvmlReturn_t enter(void) {
    sim_host host;
    if (__atomic_load_n(&initialised, __ATOMIC_ACQUIRE) <= 0)
        return NVML_ERROR_UNINITIALIZED;
    return wait_for_driver(&host) == 0 ? NVML_SUCCESS : NVML_ERROR_DRIVER_NOT_LOADED;
}

nvmlReturn_t enter_device(nvmlDevice_t handle, sim_device *out) {
    sim_device parent;
    nvmlReturn_t result = enter();
    if (result != NVML_SUCCESS)
        return result;
    if (!known(handle))
        return NVML_ERROR_INVALID_ARGUMENT;
    for (;; sim_sleep_ms(20)) {
        int instance = strncmp(handle->uuid, "MIG-", 4) == 0;
        if (sim_read_device(handle->uuid, out) != 0)
            return instance ? NVML_ERROR_NOT_FOUND : NVML_ERROR_GPU_IS_LOST;
        if (instance && sim_read_device(out->parent, &parent) != 0)
            return NVML_ERROR_GPU_IS_LOST;
        if (instance ? parent.hang : out->hang)
            continue;
        return (instance ? parent.lost : out->lost) ? NVML_ERROR_GPU_IS_LOST : NVML_SUCCESS;
    }
}

nvmlReturn_t enter_card(nvmlDevice_t handle, sim_device *out) {
    nvmlReturn_t result = enter_device(handle, out);
    return result == NVML_SUCCESS && out->parent[0] != '\0' ? NVML_ERROR_NOT_SUPPORTED : result;
}

EXPORT nvmlReturn_t nvmlInitWithFlags(unsigned flags) {
    sim_host host;
    (void)flags;
    if (wait_for_driver(&host) != 0)
        return NVML_ERROR_DRIVER_NOT_LOADED;
    if (host.mismatch)
        return NVML_ERROR_LIB_RM_VERSION_MISMATCH;
    __atomic_add_fetch(&initialised, 1, __ATOMIC_ACQ_REL);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
EXPORT nvmlReturn_t nvmlInit(void) { return nvmlInitWithFlags(0); }

EXPORT nvmlReturn_t nvmlShutdown(void) {
    if (__atomic_load_n(&initialised, __ATOMIC_ACQUIRE) <= 0)
        return NVML_ERROR_UNINITIALIZED;
    __atomic_sub_fetch(&initialised, 1, __ATOMIC_ACQ_REL);
    return NVML_SUCCESS;
}

EXPORT const char *nvmlErrorString(nvmlReturn_t result) {
    switch (result) {
    case NVML_SUCCESS: return "Success";
    case NVML_ERROR_UNINITIALIZED: return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED: return "Not Supported";
    case NVML_ERROR_NOT_FOUND: return "Not Found";
    case NVML_ERROR_INSUFFICIENT_SIZE: return "Insufficient Size";
    case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case NVML_ERROR_TIMEOUT: return "Timeout";
    case NVML_ERROR_GPU_IS_LOST: return "GPU is lost";
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH: return "Driver/library version mismatch";
    case NVML_ERROR_MEMORY: return "Insufficient Memory";
    case NVML_ERROR_ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
    default: return "Unknown Error";
    }
}

static nvmlReturn_t give_text(const char *text, char *out, unsigned size) {
    if (out == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (strlen(text) >= size)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(out, text);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlSystemGetDriverVersion(char *out, unsigned size) {
    sim_host host;
    nvmlReturn_t result = enter();
    if (result != NVML_SUCCESS)
        return result;
    return sim_read_host(&host) == 0 ? give_text(host.driver, out, size) : NVML_ERROR_DRIVER_NOT_LOADED;
}

EXPORT nvmlReturn_t nvmlSystemGetNVMLVersion(char *out, unsigned size) {
    char text[SIM_TEXT_SIZE + 16] = "13.";
    sim_host host;
    nvmlReturn_t result = enter();
    if (result != NVML_SUCCESS)
        return result;
    if (sim_read_host(&host) != 0)
        return NVML_ERROR_DRIVER_NOT_LOADED;
    return give_text(strcat(text, host.driver), out, size);
}

EXPORT nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *out) {
    sim_host host;
    if (out == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (wait_for_driver(&host) != 0) /* real NVML answers this one without nvmlInit, too */
        return NVML_ERROR_DRIVER_NOT_LOADED;
    *out = (int)host.cuda_version;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *out) { return nvmlSystemGetCudaDriverVersion_v2(out); }

EXPORT nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *out) {
    char uuids[SIM_MAX_DEVICES][SIM_UUID_SIZE];
    nvmlReturn_t result = enter();
    if (result != NVML_SUCCESS || out == NULL)
        return result != NVML_SUCCESS ? result : NVML_ERROR_INVALID_ARGUMENT;
    int count = sim_list(NULL, uuids, SIM_MAX_DEVICES);
    *out = count > 0 ? (unsigned)count : 0;
    return NVML_SUCCESS;
}

/* Like the real one, a handle of a lost card is refused: the caller learns which index is lost, not its UUID. */
static nvmlReturn_t give_handle(const char *uuid, nvmlDevice_t *out) {
    sim_device device;
    nvmlDevice_t handle = handle_of(uuid);
    if (handle == NULL)
        return NVML_ERROR_MEMORY;
    nvmlReturn_t result = enter_device(handle, &device);
    if (result == NVML_SUCCESS)
        *out = handle;
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *out) {
    char uuids[SIM_MAX_DEVICES][SIM_UUID_SIZE];
    nvmlReturn_t result = enter();
    if (result != NVML_SUCCESS || out == NULL)
        return result != NVML_SUCCESS ? result : NVML_ERROR_INVALID_ARGUMENT;
    int count = sim_list(NULL, uuids, SIM_MAX_DEVICES);
    return count > 0 && index < (unsigned)count ? give_handle(uuids[index], out) : NVML_ERROR_INVALID_ARGUMENT;
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *out) {
    sim_device device;
    nvmlReturn_t result = enter();
    if (result != NVML_SUCCESS)
        return result;
    if (uuid == NULL || out == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (strncmp(uuid, "GPU-", 4) != 0 && strncmp(uuid, "MIG-", 4) != 0)
        return NVML_ERROR_NOT_FOUND;
    return sim_read_device(uuid, &device) == 0 ? give_handle(uuid, out) : NVML_ERROR_NOT_FOUND;
}

EXPORT nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t handle, char *out, unsigned size) {
    sim_device device;
    nvmlReturn_t result = enter_device(handle, &device);
    return result == NVML_SUCCESS ? give_text(device.uuid, out, size) : result;
}

EXPORT nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t handle, char *out, unsigned size) {
    sim_device device;
    nvmlReturn_t result = enter_device(handle, &device);
    return result == NVML_SUCCESS ? give_text(device.name, out, size) : result;
}

EXPORT nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t handle, unsigned *out) {
    char uuids[SIM_MAX_DEVICES][SIM_UUID_SIZE];
    sim_device device;
    nvmlReturn_t result = enter_device(handle, &device);
    if (result != NVML_SUCCESS || out == NULL)
        return result != NVML_SUCCESS ? result : NVML_ERROR_INVALID_ARGUMENT;
    int count = sim_list(device.parent[0] != '\0' ? device.parent : NULL, uuids, SIM_MAX_DEVICES);
    for (int i = 0; i < count; i++)
        if (strcmp(uuids[i], device.uuid) == 0) {
            *out = (unsigned)i;
            return NVML_SUCCESS;
        }
    return NVML_ERROR_GPU_IS_LOST;
}
