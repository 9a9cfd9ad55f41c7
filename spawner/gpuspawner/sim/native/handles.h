/* Handles, and the one way into every call on a device. */
#ifndef GPUSPAWNER_SIM_HANDLES_H
#define GPUSPAWNER_SIM_HANDLES_H

#include "abi.h"
#include "state.h"

#define EXPORT __attribute__((visibility("default")))

struct handle {
    char uuid[SIM_UUID_SIZE];
    double extra_mj;   /* energy above idle that this process has seen the card take */
    uint64_t seen_us;  /* when it last looked */
};

/* NVML_SUCCESS between nvmlInit and nvmlShutdown; blocks while the simulated driver hangs. */
nvmlReturn_t enter(void);

/* The same for one device: also blocks while that device hangs, GPU_IS_LOST for a lost one, and reads its state. */
nvmlReturn_t enter_device(nvmlDevice_t handle, sim_device *out);

/* As enter_device, for calls that real cards refuse on a MIG instance. */
nvmlReturn_t enter_card(nvmlDevice_t handle, sim_device *out);

/* The PCI address with this bus number, everything else 0. */
void fill_pci_address(nvmlPciInfo_t *out, unsigned bus);

/* The handle of a UUID; the same one each time, valid until the process ends. NULL when there are too many. */
nvmlDevice_t handle_of(const char *uuid);

#endif
