/* XID events. A set remembers, per card, the last XID it has told: an agent that waits only now and then still gets
 * every XID that was raised after it registered (of the newest 64, which is what the state file keeps). */
#include "handles.h"

#include <stdlib.h>
#include <string.h>

struct event_set {
    unsigned count;
    struct {
        nvmlDevice_t device;
        uint64_t told; /* sequence number */
    } cards[SIM_MAX_DEVICES];
};

EXPORT nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *out) {
    nvmlReturn_t result = enter();
    if (result != NVML_SUCCESS)
        return result;
    *out = calloc(1, sizeof **out);
    return *out != NULL ? NVML_SUCCESS : NVML_ERROR_MEMORY;
}

EXPORT nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set) {
    free(set);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t handle, unsigned long long *out) {
    sim_device device;
    nvmlReturn_t result = enter_card(handle, &device);
    if (result == NVML_SUCCESS)
        *out = EVENT_XID | EVENT_ECC_SINGLE | EVENT_ECC_DOUBLE;
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t handle, unsigned long long types, nvmlEventSet_t set) {
    sim_device device;
    nvmlReturn_t result = enter_card(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (set == NULL || set->count >= SIM_MAX_DEVICES)
        return NVML_ERROR_INVALID_ARGUMENT;
    if ((types & ~(unsigned long long)(EVENT_XID | EVENT_ECC_SINGLE | EVENT_ECC_DOUBLE)) != 0)
        return NVML_ERROR_NOT_SUPPORTED;
    if ((types & EVENT_XID) == 0)
        return NVML_SUCCESS;
    for (unsigned i = 0; i < set->count; i++)
        if (set->cards[i].device == handle)
            return NVML_SUCCESS;
    set->cards[set->count].device = handle;
    set->cards[set->count++].told = device.xid_count > 0 ? device.xids[device.xid_count - 1].sequence : 0;
    return NVML_SUCCESS;
}

/* The next XID of any card of the set; *lost is set when one of them has fallen off the bus. */
static int next_event(nvmlEventSet_t set, nvmlEventData_t *out, int *lost) {
    sim_device device;
    *lost = 0;
    for (unsigned c = 0; c < set->count; c++) {
        if (sim_read_device(set->cards[c].device->uuid, &device) != 0 || device.lost)
            *lost = 1;
        for (unsigned i = 0; i < device.xid_count; i++) {
            if (device.xids[i].sequence <= set->cards[c].told)
                continue;
            set->cards[c].told = device.xids[i].sequence;
            *out = (nvmlEventData_t){set->cards[c].device, EVENT_XID, device.xids[i].number, NO_INSTANCE, NO_INSTANCE};
            return 1;
        }
    }
    return 0;
}

/* Events come first, so that a lost card hides neither its own last XID nor those of the others. */
EXPORT nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *out, unsigned timeout_ms) {
    uint64_t end = sim_now_us() + (uint64_t)timeout_ms * 1000u;
    int lost;
    if (set == NULL || out == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    for (;; sim_sleep_ms(10)) {
        nvmlReturn_t result = enter();
        if (result != NVML_SUCCESS)
            return result;
        if (next_event(set, out, &lost))
            return NVML_SUCCESS;
        if (lost)
            return NVML_ERROR_GPU_IS_LOST;
        if (sim_now_us() >= end)
            return NVML_ERROR_TIMEOUT;
    }
}
