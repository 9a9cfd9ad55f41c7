/* Reader of the simulation's state files, shared by the library and the two tools.
 *
 * Layout under the root (on the host: the simulation's directory; in a container: /run/gpuspawner-sim, where only
 * the granted devices are mounted):
 *   simulation.json              only on the host; tells the reader where it is
 *   host/state                   driver version, hanging driver
 *   devices/<uuid>/state         one card or one MIG instance
 *   dropbox/<uuid>/slot-00..31   written by processes that pretend to use the card; hostile input
 */
#ifndef GPUSPAWNER_SIM_STATE_H
#define GPUSPAWNER_SIM_STATE_H

#include <stdint.h>

#define SIM_DEFAULT_ROOT "/run/gpuspawner-sim"
#define SIM_ROOT_VARIABLE "GPUSPAWNER_SIM_ROOT"
#define SIM_UUID_SIZE 48    /* "GPU-" or "MIG-", 36 characters, NUL */
#define SIM_TEXT_SIZE 96
#define SIM_MAX_DEVICES 128
#define SIM_MAX_XIDS 64
#define SIM_MAX_PEERS 8     /* GPUs that a GPU's NVLinks go to directly */
#define SIM_NVSWITCHES 6
#define SIM_NVSWITCH_BUS 0xE0u /* PCI bus of the first NVSwitch; those of the cards are smaller */
#define SIM_SLOTS 32        /* drop box slots per device, and host-made processes at most */
#define SIM_MAX_PROCESSES 256 /* of a card with all its MIG instances */

typedef struct {
    int hang;              /* every call blocks */
    int mismatch;          /* the driver was upgraded under the library */
    uint64_t cuda_version; /* 1000 * major + 10 * minor */
    char driver[SIM_TEXT_SIZE];
} sim_host;

typedef struct {
    uint64_t sequence, number, time_us;
} sim_xid;

typedef struct {
    int pid;             /* in the caller's PID namespace; 0 when it is not visible from there */
    uint64_t start;      /* start time in clock ticks of a host-made process, 0 for others */
    uint64_t memory_mib;
    uint64_t utilization; /* percent */
    uint64_t since_us;    /* load began at, microseconds since the epoch */
} sim_process;

typedef struct {
    char uuid[SIM_UUID_SIZE], parent[SIM_UUID_SIZE]; /* parent is empty for a whole card */
    char name[SIM_TEXT_SIZE], profile[32];
    uint64_t index, minor, pci_bus, pci_device_id;
    uint64_t memory_mib, reserved_mib, baseline_mib;
    uint64_t cc_major, cc_minor;
    uint64_t temperature_c, idle_power_mw, power_limit_mw;
    uint64_t numa, pcie_switch, nvlink_group, nvlink_links; /* group 0: no NVLink */
    uint64_t nvlink_switched;               /* the NVLinks go to NVSwitches */
    uint64_t nvlink_peers[SIM_MAX_PEERS];   /* else PCI buses of the cards that they go to */
    unsigned nvlink_peer_count;
    uint64_t mig_capable, mig, gpu_instance, compute_instance, compute_slices, gpu_slices, sm_count;
    uint64_t lost, hang, recovery;
    uint64_t load, load_memory_mib, load_since_us;
    sim_xid xids[SIM_MAX_XIDS];
    unsigned xid_count;
    sim_process processes[SIM_MAX_PROCESSES]; /* as written in the state file */
    unsigned process_count;
} sim_device;

typedef struct {
    uint64_t utilization; /* percent of the card, at most 100 */
    uint64_t used_mib;    /* without the driver's reserve */
    sim_process processes[SIM_MAX_PROCESSES];
    unsigned process_count;
} sim_usage;

const char *sim_root(void);
int sim_is_regular(int fd);
uint64_t sim_now_us(void);
void sim_sleep_ms(unsigned milliseconds);
int sim_parse_number(const char *text, uint64_t most, uint64_t *out);
int sim_path(char *out, unsigned size, const char *folder, const char *uuid, const char *file);
int sim_slot_path(char *out, unsigned size, const char *uuid, unsigned slot);

/* Each returns 0, or -1 when the file is not there or makes no sense. */
int sim_read_host(sim_host *out);
int sim_read_device(const char *uuid, sim_device *out);

/* Whole cards (parent NULL) or the instances of one card, in index order; returns their number, -1 without a root. */
int sim_list(const char *parent, char uuids[][SIM_UUID_SIZE], int most);

/* What is used now, by host-made load and by the processes that hold a lock in the drop box. */
void sim_read_usage(const sim_device *device, sim_usage *out);

/* The same for a card in MIG mode together with its instances: their memory and processes. */
void sim_read_card_usage(const sim_device *device, sim_usage *out);

typedef enum { SIM_PATH_SYSTEM, SIM_PATH_NODE, SIM_PATH_SWITCH } sim_path_kind;
typedef enum { SIM_REMOTE_NONE, SIM_REMOTE_GPU, SIM_REMOTE_SWITCH } sim_remote_kind;

/* The way over PCIe from one card to another: between sockets, within a NUMA node, or within one switch. */
sim_path_kind sim_pcie_path(const sim_device *a, const sim_device *b);

/* What is at the other end of an NVLink, and its PCI bus number. */
sim_remote_kind sim_nvlink_remote(const sim_device *device, unsigned link, unsigned *bus);

/* How many NVLinks join two cards, directly or through NVSwitches. */
unsigned sim_nvlinks_between(const sim_device *a, const sim_device *b);

unsigned sim_power_mw(const sim_device *device, const sim_usage *usage);
unsigned sim_temperature_c(const sim_device *device, const sim_usage *usage);

#endif
