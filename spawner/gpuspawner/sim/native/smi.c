/* nvidia-smi for simulated cards: -L, a short table, topo -m, and --query-gpu. Static, so that it runs in any image. */
#include "state.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

typedef struct {
    char uuids[SIM_MAX_DEVICES][SIM_UUID_SIZE];
    int count;
    const char *only; /* -i: an index or a UUID; NULL means all */
    sim_host host;
} machine;

static const char *const FIELDS[] = {
    "index", "uuid", "name", "count", "memory.total", "memory.used", "memory.free", "utilization.gpu",
    "temperature.gpu", "power.draw", "driver_version", "compute_cap", "mig.mode.current", "pci.bus_id",
};
enum { FIELD_COUNT = sizeof FIELDS / sizeof FIELDS[0], MAX_COLUMNS = 32 };

static int usage_error(const char *what, const char *value) {
    fprintf(stderr, "nvidia-smi (simulated): %s: %s\n", what, value);
    fprintf(stderr, "Usage: nvidia-smi [-L] [-i INDEX|UUID] "
                    "[--query-gpu=FIELD,... --format=csv[,noheader][,nounits]]\n"
                    "       nvidia-smi topo -m\n");
    fprintf(stderr, "Fields:");
    for (int i = 0; i < FIELD_COUNT; i++)
        fprintf(stderr, " %s", FIELDS[i]);
    fprintf(stderr, "\n");
    return 2;
}

static int open_machine(machine *m) {
    while (sim_read_host(&m->host) == 0 && m->host.hang)
        sim_sleep_ms(20);
    if (m->host.mismatch) {
        printf("Failed to initialize NVML: Driver/library version mismatch\n");
        return 18;
    }
    m->count = m->host.driver[0] != '\0' ? sim_list(NULL, m->uuids, SIM_MAX_DEVICES) : -1;
    if (m->count < 0) {
        printf("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver: "
               "no simulated GPU under %s.\n", sim_root());
        return 9;
    }
    return 0;
}

static int selected(const machine *m, int index) {
    char number[16];
    snprintf(number, sizeof number, "%d", index);
    return m->only == NULL || strcmp(m->only, number) == 0 || strcasecmp(m->only, m->uuids[index]) == 0;
}

/* 0 for a card that answers; 15 for a lost one, after saying so; waits for one that hangs. */
static int open_card(const machine *m, int index, sim_device *device) {
    int known;
    while ((known = sim_read_device(m->uuids[index], device)) == 0 && device->hang)
        sim_sleep_ms(20);
    if (known == 0 && !device->lost)
        return 0;
    printf("Unable to determine the device handle for GPU%d: 0000:%02X:00.0: GPU is lost.  "
           "Reboot the system to recover this GPU\n", index, (unsigned)device->pci_bus);
    return 15;
}

static void list_card(int index, const sim_device *device) {
    char uuids[SIM_MAX_DEVICES][SIM_UUID_SIZE];
    sim_device instance;
    printf("GPU %d: %s (UUID: %s)\n", index, device->name, device->uuid);
    int count = device->mig ? sim_list(device->uuid, uuids, SIM_MAX_DEVICES) : 0;
    for (int i = 0; i < count; i++)
        if (sim_read_device(uuids[i], &instance) == 0)
            printf("  MIG %-12sDevice %2d: (UUID: %s)\n", instance.profile, i, instance.uuid);
}

static void print_table_row(int index, const sim_device *device) {
    sim_usage usage;
    char busy[16] = "N/A";
    sim_read_card_usage(device, &usage);
    if (!device->mig)
        snprintf(busy, sizeof busy, "%u%%", (unsigned)usage.utilization);
    printf("| %3d  %-46.46s %4uC %5uW / %4uW |\n", index, device->name, sim_temperature_c(device, &usage),
           sim_power_mw(device, &usage) / 1000, (unsigned)(device->power_limit_mw / 1000));
    printf("|      %-40s %5uMiB / %5uMiB %6s |\n", device->uuid, (unsigned)usage.used_mib,
           (unsigned)device->memory_mib, busy);
    for (unsigned i = 0; i < usage.process_count; i++)
        if (usage.processes[i].pid > 0)
            printf("|      process %-10d %45uMiB |\n", usage.processes[i].pid, (unsigned)usage.processes[i].memory_mib);
}

static void print_value(const machine *m, int index, const sim_device *device, const char *field, int units) {
    sim_usage usage;
    sim_read_card_usage(device, &usage);
    const char *mib = units ? " MiB" : "";
    uint64_t taken = usage.used_mib + device->reserved_mib;
    uint64_t free_mib = taken < device->memory_mib ? device->memory_mib - taken : 0;
    if (strcmp(field, "index") == 0)
        printf("%d", index);
    else if (strcmp(field, "uuid") == 0)
        printf("%s", device->uuid);
    else if (strcmp(field, "name") == 0)
        printf("%s", device->name);
    else if (strcmp(field, "count") == 0)
        printf("%d", m->count);
    else if (strcmp(field, "memory.total") == 0)
        printf("%llu%s", (unsigned long long)device->memory_mib, mib);
    else if (strcmp(field, "memory.used") == 0)
        printf("%llu%s", (unsigned long long)usage.used_mib, mib);
    else if (strcmp(field, "memory.free") == 0)
        printf("%llu%s", (unsigned long long)free_mib, mib);
    else if (strcmp(field, "utilization.gpu") == 0 && device->mig)
        printf("[N/A]");
    else if (strcmp(field, "utilization.gpu") == 0)
        printf("%u%s", (unsigned)usage.utilization, units ? " %" : "");
    else if (strcmp(field, "temperature.gpu") == 0)
        printf("%u", sim_temperature_c(device, &usage));
    else if (strcmp(field, "power.draw") == 0)
        printf("%u.00%s", sim_power_mw(device, &usage) / 1000, units ? " W" : "");
    else if (strcmp(field, "driver_version") == 0)
        printf("%s", m->host.driver);
    else if (strcmp(field, "compute_cap") == 0)
        printf("%u.%u", (unsigned)device->cc_major, (unsigned)device->cc_minor);
    else if (strcmp(field, "mig.mode.current") == 0)
        printf("%s", !device->mig_capable ? "[N/A]" : device->mig ? "Enabled" : "Disabled");
    else
        printf("00000000:%02X:00.0", (unsigned)device->pci_bus);
}

static void print_header(const char *const *columns, int count, int units) {
    for (int i = 0; i < count; i++) {
        const char *unit = "";
        if (units && strncmp(columns[i], "memory.", 7) == 0)
            unit = " [MiB]";
        else if (units && strcmp(columns[i], "utilization.gpu") == 0)
            unit = " [%]";
        else if (units && strcmp(columns[i], "power.draw") == 0)
            unit = " [W]";
        printf("%s%s%s", i > 0 ? ", " : "", columns[i], unit);
    }
    printf("\n");
}

/* Splits the field list in place; the number of columns, or -1 after naming the unknown one. */
static int parse_columns(char *list, const char **columns) {
    int count = 0;
    for (char *item = strtok(list, ","); item != NULL; item = strtok(NULL, ",")) {
        const char *known = strcmp(item, "gpu_uuid") == 0 ? "uuid" : strcmp(item, "gpu_name") == 0 ? "name" : NULL;
        for (int i = 0; i < FIELD_COUNT; i++)
            if (strcmp(item, FIELDS[i]) == 0)
                known = FIELDS[i];
        if (known == NULL || count == MAX_COLUMNS) {
            usage_error("field is not a valid field to query", item);
            return -1;
        }
        columns[count++] = known;
    }
    return count;
}

static int query(machine *m, char *list, char *format) {
    const char *columns[MAX_COLUMNS];
    int header = 1, units = 1, csv = 0, worst = 0;
    sim_device device;
    int count = parse_columns(list, columns);
    if (count <= 0)
        return 2;
    for (char *item = format != NULL ? strtok(format, ",") : NULL; item != NULL; item = strtok(NULL, ",")) {
        if (strcmp(item, "csv") == 0)
            csv = 1;
        else if (strcmp(item, "noheader") == 0)
            header = 0;
        else if (strcmp(item, "nounits") == 0)
            units = 0;
        else
            return usage_error("unknown format", item);
    }
    if (!csv)
        return usage_error("--query-gpu needs", "--format=csv");
    int opened = open_machine(m);
    if (opened != 0)
        return opened;
    if (header)
        print_header(columns, count, units);
    for (int index = 0; index < m->count; index++) {
        int result = selected(m, index) ? open_card(m, index, &device) : -1;
        if (result > 0)
            worst = result;
        if (result != 0)
            continue;
        for (int i = 0; i < count; i++) {
            printf("%s", i > 0 ? ", " : "");
            print_value(m, index, &device, columns[i], units);
        }
        printf("\n");
    }
    return worst;
}

static int show(machine *m, int list_only) {
    static const char *const rule = "+--------------------------------------------------------------------------+";
    char title[2 * SIM_TEXT_SIZE];
    sim_device device;
    int worst = 0, opened = open_machine(m);
    if (opened != 0)
        return opened;
    if (!list_only) {
        snprintf(title, sizeof title, "NVIDIA-SMI %s   SIMULATED GPUs: no real card computes here", m->host.driver);
        printf("%s\n| %-72.72s |\n%s\n", rule, title, rule);
    }
    for (int index = 0; index < m->count; index++) {
        int result = selected(m, index) ? open_card(m, index, &device) : -1;
        if (result > 0)
            worst = result;
        else if (result == 0 && list_only)
            list_card(index, &device);
        else if (result == 0)
            print_table_row(index, &device);
    }
    if (!list_only)
        printf("%s\n", rule);
    return worst;
}

static void print_connection(const sim_device *a, const sim_device *b) {
    static const char *const words[] = {
        [SIM_PATH_SYSTEM] = "SYS", [SIM_PATH_NODE] = "NODE", [SIM_PATH_SWITCH] = "PIX"};
    unsigned links = sim_nvlinks_between(a, b);
    if (strcmp(a->uuid, b->uuid) == 0)
        printf("\t X ");
    else if (links > 0)
        printf("\tNV%u", links);
    else
        printf("\t%s", words[sim_pcie_path(a, b)]);
}

static int show_topology(machine *m) {
    static sim_device devices[SIM_MAX_DEVICES];
    int opened = open_machine(m);
    for (int i = 0; i < m->count && opened == 0; i++)
        opened = open_card(m, i, &devices[i]);
    if (opened != 0)
        return opened;
    for (int i = 0; i < m->count; i++)
        printf("\tGPU%d", i);
    printf("\tNUMA Affinity\n");
    for (int i = 0; i < m->count; i++) {
        printf("GPU%d", i);
        for (int j = 0; j < m->count; j++)
            print_connection(&devices[i], &devices[j]);
        printf("\t%u\n", (unsigned)devices[i].numa);
    }
    printf("\nLegend:\n\n  X    = Self\n  SYS  = PCIe and the link between two NUMA nodes (simulated)\n"
           "  NODE = PCIe within a NUMA node (simulated)\n  PIX  = one PCIe switch (simulated)\n"
           "  NV#  = # NVLinks (simulated)\n");
    return 0;
}

int main(int argc, char **argv) {
    static machine m;
    char *fields = NULL, *format = NULL;
    int list_only = 0;
    if (argc > 1 && strcmp(argv[1], "topo") == 0) {
        if (argc == 3 && (strcmp(argv[2], "-m") == 0 || strcmp(argv[2], "--matrix") == 0))
            return show_topology(&m);
        return usage_error("topo needs", "-m, and nothing else");
    }
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (strcmp(argv[i], "-L") == 0 || strcmp(argv[i], "--list-gpus") == 0)
            list_only = 1;
        else if (value != NULL && strncmp(argv[i], "--query-gpu=", 12) == 0)
            fields = value + 1;
        else if (value != NULL && strncmp(argv[i], "--format=", 9) == 0)
            format = value + 1;
        else if (value != NULL && strncmp(argv[i], "--id=", 5) == 0)
            m.only = value + 1;
        else if (strcmp(argv[i], "-i") == 0 && i + 1 < argc)
            m.only = argv[++i];
        else
            return usage_error("unknown option", argv[i]);
    }
    return fields != NULL ? query(&m, fields, format) : show(&m, list_only);
}
