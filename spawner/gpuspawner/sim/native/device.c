/* What one card or MIG instance says about itself now. */
#include "handles.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define MIB (1024ull * 1024ull)
#define SAMPLE_US 166667u /* the fastest sampling of real cards: 1/6 s */
#define SAMPLE_COUNT 120u

EXPORT nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t handle, unsigned *out) {
    sim_device device;
    nvmlReturn_t result = enter_card(handle, &device);
    if (result == NVML_SUCCESS)
        *out = (unsigned)device.minor;
    return result;
}

void fill_pci_address(nvmlPciInfo_t *out, unsigned bus) {
    memset(out, 0, sizeof *out);
    out->bus = bus & 0xFFu;
    snprintf(out->legacy, sizeof out->legacy, "0000:%02X:00.0", out->bus);
    snprintf(out->bus_id, sizeof out->bus_id, "00000000:%02X:00.0", out->bus);
}

EXPORT nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t handle, nvmlPciInfo_t *out) {
    sim_device device;
    nvmlReturn_t result = enter_card(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    fill_pci_address(out, (unsigned)device.pci_bus);
    out->device_id = (unsigned)device.pci_device_id;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t handle, nvmlMemory_v2_t *out) {
    sim_device device;
    sim_usage usage;
    nvmlReturn_t result = enter_device(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (out->version != MEMORY_V2)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    sim_read_card_usage(&device, &usage);
    out->total = device.memory_mib * MIB;
    out->reserved = device.reserved_mib * MIB;
    out->used = usage.used_mib * MIB;
    unsigned long long taken = out->used + out->reserved;
    out->free = taken < out->total ? out->total - taken : 0;
    return NVML_SUCCESS;
}

/* The older call counts the driver's reserve as used, as on real cards. */
EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t handle, nvmlMemory_t *out) {
    nvmlMemory_v2_t memory = {.version = MEMORY_V2};
    nvmlReturn_t result = nvmlDeviceGetMemoryInfo_v2(handle, &memory);
    if (result == NVML_SUCCESS)
        *out = (nvmlMemory_t){memory.total, memory.free, memory.total - memory.free};
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t handle, nvmlUtilization_t *out) {
    sim_device device;
    sim_usage usage;
    nvmlReturn_t result = enter_card(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (device.mig)
        return NVML_ERROR_NOT_SUPPORTED;
    sim_read_usage(&device, &usage);
    *out = (nvmlUtilization_t){(unsigned)usage.utilization, (unsigned)usage.utilization / 2};
    return NVML_SUCCESS;
}

static unsigned utilization_at(const sim_device *device, const sim_usage *usage, uint64_t time_us) {
    uint64_t sum = device->load_since_us <= time_us ? device->load : 0;
    for (unsigned i = 0; i < usage->process_count; i++)
        if (usage->processes[i].since_us <= time_us)
            sum += usage->processes[i].utilization;
    return (unsigned)(sum > 100 ? 100 : sum);
}

/* The sample buffer since a time: what runs now, from when it began. What has ended left no samples. */
EXPORT nvmlReturn_t nvmlDeviceGetSamples(nvmlDevice_t handle, unsigned kind, unsigned long long since_us,
                                         unsigned *type, unsigned *count, nvmlSample_t *out) {
    sim_device device;
    sim_usage usage;
    nvmlReturn_t result = enter_card(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (device.mig || kind > SAMPLES_MEMORY)
        return NVML_ERROR_NOT_SUPPORTED;
    *type = TYPE_UINT;
    if (out == NULL) {
        *count = SAMPLE_COUNT;
        return NVML_SUCCESS;
    }
    sim_read_usage(&device, &usage);
    uint64_t last = sim_now_us() / SAMPLE_US;
    unsigned room = *count, filled = 0;
    for (uint64_t tick = last - (SAMPLE_COUNT - 1); tick <= last && filled < room; tick++) {
        if (tick * SAMPLE_US <= since_us)
            continue;
        unsigned busy = utilization_at(&device, &usage, tick * SAMPLE_US);
        usage.utilization = busy;
        out[filled].time_us = tick * SAMPLE_US;
        out[filled].value.ull = 0;
        out[filled++].value.ui = kind == SAMPLES_POWER ? (unsigned)sim_power_mw(&device, &usage)
                                 : kind == SAMPLES_GPU ? busy
                                                       : busy / 2;
    }
    *count = filled;
    return filled > 0 ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}

EXPORT nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t handle, unsigned sensor, unsigned *out) {
    sim_device device;
    sim_usage usage;
    nvmlReturn_t result = enter_card(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (sensor != 0)
        return NVML_ERROR_INVALID_ARGUMENT;
    sim_read_card_usage(&device, &usage);
    *out = sim_temperature_c(&device, &usage);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t handle, nvmlTemperature_t *out) {
    unsigned temperature = 0;
    if (out->version != TEMPERATURE_V1)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    nvmlReturn_t result = nvmlDeviceGetTemperature(handle, out->sensor, &temperature);
    if (result == NVML_SUCCESS)
        out->temperature = (int)temperature;
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t handle, unsigned *out) {
    sim_device device;
    sim_usage usage;
    nvmlReturn_t result = enter_card(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    sim_read_card_usage(&device, &usage);
    *out = (unsigned)sim_power_mw(&device, &usage);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t handle, unsigned *out) {
    sim_device device;
    nvmlReturn_t result = enter_card(handle, &device);
    if (result == NVML_SUCCESS)
        *out = (unsigned)device.power_limit_mw;
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetPowerManagementLimit(nvmlDevice_t handle, unsigned *out) {
    return nvmlDeviceGetEnforcedPowerLimit(handle, out);
}

/* Idle power since boot, and above it what this process has seen from look to look: it never runs backwards. */
EXPORT nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t handle, unsigned long long *out) {
    sim_device device;
    sim_usage usage;
    struct timespec up;
    nvmlReturn_t result = enter_card(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    sim_read_card_usage(&device, &usage);
    clock_gettime(CLOCK_BOOTTIME, &up);
    uint64_t now = (uint64_t)up.tv_sec * 1000000u + (uint64_t)up.tv_nsec / 1000u;
    if (handle->seen_us != 0 && now > handle->seen_us)
        handle->extra_mj +=
            (double)(sim_power_mw(&device, &usage) - device.idle_power_mw) * (double)(now - handle->seen_us) / 1e6;
    handle->seen_us = now;
    *out = (unsigned long long)((double)device.idle_power_mw * (double)now / 1e6 + handle->extra_mj);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t handle, int *major, int *minor) {
    sim_device device;
    nvmlReturn_t result = enter_device(handle, &device);
    if (result == NVML_SUCCESS) {
        *major = (int)device.cc_major;
        *minor = (int)device.cc_minor;
    }
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t handle, unsigned *out) {
    sim_device device;
    nvmlReturn_t result = enter_card(handle, &device);
    if (result == NVML_SUCCESS)
        *out = 1;
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetComputeMode(nvmlDevice_t handle, unsigned *out) {
    sim_device device;
    nvmlReturn_t result = enter_card(handle, &device);
    if (result == NVML_SUCCESS)
        *out = 0;
    return result;
}

static unsigned fill_processes(const sim_device *device, nvmlProcessInfo_t *out, unsigned filled, unsigned room) {
    sim_usage usage;
    int instance = device->parent[0] != '\0';
    sim_read_usage(device, &usage);
    for (unsigned i = 0; i < usage.process_count; i++) {
        const sim_process *process = &usage.processes[i];
        if (process->pid <= 0)
            continue;
        if (filled < room)
            out[filled] = (nvmlProcessInfo_t){
                (unsigned)process->pid, process->memory_mib * MIB,
                instance ? (unsigned)device->gpu_instance : NO_INSTANCE,
                instance ? (unsigned)device->compute_instance : NO_INSTANCE};
        filled++;
    }
    return filled;
}

EXPORT nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t handle, unsigned *count,
                                                            nvmlProcessInfo_t *out) {
    char uuids[SIM_MAX_DEVICES][SIM_UUID_SIZE];
    sim_device device, instance;
    nvmlReturn_t result = enter_device(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    unsigned room = out != NULL ? *count : 0;
    unsigned found = fill_processes(&device, out, 0, room);
    int instances = device.mig ? sim_list(device.uuid, uuids, SIM_MAX_DEVICES) : 0;
    for (int i = 0; i < instances; i++)
        if (sim_read_device(uuids[i], &instance) == 0)
            found = fill_processes(&instance, out, found, room);
    *count = found;
    return found > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t handle, unsigned *count,
                                                             nvmlProcessInfo_t *out) {
    sim_device device;
    nvmlReturn_t result = enter_device(handle, &device);
    (void)out;
    if (result == NVML_SUCCESS)
        *count = 0;
    return result;
}

/* Only processes that computed have samples; NOT_FOUND without any, as on real cards. */
EXPORT nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t handle, nvmlProcessUtilizationSample_t *out,
                                                    unsigned *count, unsigned long long since_us) {
    sim_device device;
    sim_usage usage;
    unsigned found = 0;
    nvmlReturn_t result = enter_card(handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (device.mig)
        return NVML_ERROR_NOT_SUPPORTED;
    if (out == NULL) {
        *count = SIM_MAX_PROCESSES;
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    sim_read_usage(&device, &usage);
    uint64_t now = sim_now_us();
    for (unsigned i = 0; i < usage.process_count && found < *count; i++) {
        const sim_process *process = &usage.processes[i];
        if (process->pid > 0 && process->utilization > 0 && now > since_us)
            out[found++] = (nvmlProcessUtilizationSample_t){(unsigned)process->pid, now,
                                                            (unsigned)process->utilization,
                                                            (unsigned)process->utilization / 2, 0, 0};
    }
    *count = found;
    return found > 0 ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}

static void give_ui(nvmlFieldValue_t *value, unsigned number) {
    value->type = TYPE_UINT;
    value->value.ui = number;
}

static void give_ull(nvmlFieldValue_t *value, unsigned long long number) {
    value->type = TYPE_ULONGLONG;
    value->value.ull = number;
}

static void fill_field(nvmlDevice_t handle, const sim_device *device, nvmlFieldValue_t *value) {
    unsigned number = 0;
    unsigned long long big = 0;
    value->time_us = (long long)sim_now_us();
    value->latency_us = 0;
    value->value.ull = 0;
    value->result = NVML_SUCCESS;
    switch (value->field) {
    case 230: give_ui(value, (unsigned)device->recovery); break; /* recovery action */
    case 4: case 6: give_ull(value, 0); break;                   /* double bit ECC errors, volatile and aggregate */
    case 142: case 143: case 144: case 145: give_ui(value, 0); break; /* remapped rows */
    case 91: give_ui(value, device->nvlink_group ? (unsigned)device->nvlink_links : 0); break;
    case 82:
        value->result = nvmlDeviceGetTemperature(handle, 0, &number);
        give_ui(value, number);
        break;
    case 83:
        value->result = nvmlDeviceGetTotalEnergyConsumption(handle, &big);
        give_ull(value, big);
        break;
    case 185: case 186:
        value->result = nvmlDeviceGetPowerUsage(handle, &number);
        give_ui(value, number);
        break;
    default: value->result = NVML_ERROR_NOT_SUPPORTED;
    }
}

EXPORT nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t handle, int count, nvmlFieldValue_t *values) {
    sim_device device;
    nvmlReturn_t result = enter_card(handle, &device);
    for (int i = 0; result == NVML_SUCCESS && i < count; i++)
        fill_field(handle, &device, &values[i]);
    return result;
}
