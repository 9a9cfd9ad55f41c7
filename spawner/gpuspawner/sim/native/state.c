/* See state.h. Numbers are parsed by hand: strtol and sscanf of a newer glibc bind to symbols (__isoc23_*) that an
 * older image lacks, and this code is built on the host and loaded in the image. statx for the same reason. */
#define _GNU_SOURCE
#include "state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STATE_BYTES 32768
#define SLOT_BYTES 256

const char *sim_root(void) {
    const char *root = getenv(SIM_ROOT_VARIABLE);
    return root != NULL && root[0] == '/' ? root : SIM_DEFAULT_ROOT;
}

uint64_t sim_now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

void sim_sleep_ms(unsigned milliseconds) {
    struct timespec pause = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000L};
    nanosleep(&pause, NULL);
}

int sim_parse_number(const char *text, uint64_t most, uint64_t *out) {
    uint64_t value = 0;
    if (*text == '\0')
        return -1;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return -1;
        uint64_t digit = (uint64_t)(*text - '0');
        value = value > (UINT64_MAX - digit) / 10 ? UINT64_MAX : value * 10 + digit;
    }
    *out = value > most ? most : value;
    return 0;
}

static int fits(int written, unsigned size) { return written > 0 && (unsigned)written < size ? 0 : -1; }

int sim_path(char *out, unsigned size, const char *folder, const char *uuid, const char *file) {
    return fits(snprintf(out, size, "%s/%s/%s/%s", sim_root(), folder, uuid, file), size);
}

int sim_slot_path(char *out, unsigned size, const char *uuid, unsigned slot) {
    return fits(snprintf(out, size, "%s/dropbox/%s/slot-%02u", sim_root(), uuid, slot), size);
}

int sim_is_regular(int fd) {
    struct statx about;
    return statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &about) == 0 && S_ISREG(about.stx_mode);
}

/* Opens a regular file only, never waits for it, and reads at most size - 1 bytes of it. */
static int read_text(const char *path, char *text, unsigned size) {
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    unsigned length = 0;
    if (fd < 0)
        return -1;
    if (!sim_is_regular(fd)) {
        close(fd);
        return -1;
    }
    while (length < size - 1) {
        ssize_t got = read(fd, text + length, size - 1 - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        length += (unsigned)got;
    }
    close(fd);
    text[length] = '\0';
    return 0;
}

/* Cuts the next "key value" line out of *cursor; the value may hold spaces. 0 at the end of the text. */
static int next_pair(char **cursor, char **key, char **value) {
    char *line = *cursor;
    if (line == NULL || *line == '\0')
        return 0;
    char *end = strchr(line, '\n');
    *cursor = end != NULL ? end + 1 : NULL;
    if (end != NULL)
        *end = '\0';
    *key = line;
    char *space = strchr(line, ' ');
    *value = space != NULL ? space + 1 : line + strlen(line);
    if (space != NULL)
        *space = '\0';
    return 1;
}

static void copy_text(char *out, unsigned size, const char *text) {
    size_t length = strlen(text);
    if (length >= size)
        length = size - 1;
    memcpy(out, text, length);
    out[length] = '\0';
}

/* Splits "12 34 56" into numbers; a line that is not made of exactly `count` numbers is refused. */
static int parse_numbers(char *text, uint64_t *out, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        char *space = strchr(text, ' ');
        if ((space == NULL) != (i + 1 == count))
            return -1;
        if (space != NULL)
            *space = '\0';
        if (sim_parse_number(text, UINT64_MAX, &out[i]) != 0)
            return -1;
        text = space != NULL ? space + 1 : text;
    }
    return 0;
}

int sim_read_host(sim_host *out) {
    char path[512], text[2048], *cursor = text, *key, *value;
    uint64_t number;
    memset(out, 0, sizeof *out);
    if (fits(snprintf(path, sizeof path, "%s/host/state", sim_root()), sizeof path) != 0)
        return -1;
    if (read_text(path, text, sizeof text) != 0)
        return -1;
    while (next_pair(&cursor, &key, &value)) {
        if (strcmp(key, "driver") == 0)
            copy_text(out->driver, sizeof out->driver, value);
        else if (sim_parse_number(value, INT32_MAX, &number) != 0)
            continue;
        else if (strcmp(key, "cuda") == 0)
            out->cuda_version = number;
        else if (strcmp(key, "hang") == 0)
            out->hang = number != 0;
        else if (strcmp(key, "mismatch") == 0)
            out->mismatch = number != 0;
    }
    return 0;
}

#define NUMBER(field) {#field, offsetof(sim_device, field)}
static const struct {
    const char *key;
    size_t offset;
} NUMBERS[] = {
    NUMBER(index), NUMBER(minor), NUMBER(pci_bus), NUMBER(pci_device_id), NUMBER(memory_mib), NUMBER(reserved_mib),
    NUMBER(baseline_mib), NUMBER(cc_major), NUMBER(cc_minor), NUMBER(temperature_c), NUMBER(idle_power_mw),
    NUMBER(power_limit_mw), NUMBER(numa), NUMBER(pcie_switch), NUMBER(nvlink_group), NUMBER(nvlink_links),
    NUMBER(nvlink_switched),
    NUMBER(mig_capable), NUMBER(mig), NUMBER(gpu_instance), NUMBER(compute_instance), NUMBER(compute_slices),
    NUMBER(gpu_slices), NUMBER(sm_count), NUMBER(lost), NUMBER(hang), NUMBER(recovery), NUMBER(load),
    NUMBER(load_memory_mib), NUMBER(load_since_us),
};

static void take_list(sim_device *out, const char *key, char *value) {
    uint64_t n[5];
    if (strcmp(key, "xid") == 0 && out->xid_count < SIM_MAX_XIDS && parse_numbers(value, n, 3) == 0)
        out->xids[out->xid_count++] = (sim_xid){n[0], n[1], n[2]};
    else if (strcmp(key, "process") == 0 && out->process_count < SIM_SLOTS && parse_numbers(value, n, 5) == 0 &&
             n[0] <= INT32_MAX)
        out->processes[out->process_count++] = (sim_process){(int)n[0], n[1], n[2], n[3], n[4]};
}

static void take_peers(sim_device *out, char *text) {
    for (char *next = text; next != NULL && out->nvlink_peer_count < SIM_MAX_PEERS; text = next) {
        next = strchr(text, ' ');
        if (next != NULL)
            *next++ = '\0';
        if (sim_parse_number(text, 0xFF, &out->nvlink_peers[out->nvlink_peer_count]) != 0)
            return;
        out->nvlink_peer_count++;
    }
}

int sim_read_device(const char *uuid, sim_device *out) {
    char path[512], text[STATE_BYTES], *cursor = text, *key, *value;
    uint64_t number;
    memset(out, 0, sizeof *out);
    if (strchr(uuid, '/') != NULL || strlen(uuid) >= SIM_UUID_SIZE)
        return -1;
    if (sim_path(path, sizeof path, "devices", uuid, "state") != 0 || read_text(path, text, sizeof text) != 0)
        return -1;
    copy_text(out->uuid, sizeof out->uuid, uuid);
    while (next_pair(&cursor, &key, &value)) {
        if (strcmp(key, "name") == 0)
            copy_text(out->name, sizeof out->name, value);
        else if (strcmp(key, "profile") == 0)
            copy_text(out->profile, sizeof out->profile, value);
        else if (strcmp(key, "parent") == 0)
            copy_text(out->parent, sizeof out->parent, value);
        else if (strcmp(key, "nvlink_peers") == 0)
            take_peers(out, value);
        else if (strcmp(key, "xid") == 0 || strcmp(key, "process") == 0)
            take_list(out, key, value);
        else if (sim_parse_number(value, UINT64_MAX, &number) == 0)
            for (unsigned i = 0; i < sizeof NUMBERS / sizeof NUMBERS[0]; i++)
                if (strcmp(key, NUMBERS[i].key) == 0)
                    memcpy((char *)out + NUMBERS[i].offset, &number, sizeof number);
    }
    return out->memory_mib > 0 ? 0 : -1;
}

int sim_list(const char *parent, char uuids[][SIM_UUID_SIZE], int most) {
    static const char *const folder = "devices";
    char path[512];
    uint64_t indices[SIM_MAX_DEVICES];
    int count = 0;
    sim_device device;
    struct dirent *entry;
    if (fits(snprintf(path, sizeof path, "%s/%s", sim_root(), folder), sizeof path) != 0)
        return -1;
    DIR *directory = opendir(path);
    if (directory == NULL)
        return -1;
    most = most < SIM_MAX_DEVICES ? most : SIM_MAX_DEVICES;
    while (count < most && (entry = readdir(directory)) != NULL) {
        if (strncmp(entry->d_name, parent == NULL ? "GPU-" : "MIG-", 4) != 0)
            continue;
        if (sim_read_device(entry->d_name, &device) != 0 || strcmp(device.parent, parent == NULL ? "" : parent) != 0)
            continue;
        int place = count++; /* insertion by index, so that the order does not depend on the directory */
        for (; place > 0 && indices[place - 1] > device.index; place--) {
            indices[place] = indices[place - 1];
            memcpy(uuids[place], uuids[place - 1], SIM_UUID_SIZE);
        }
        indices[place] = device.index;
        copy_text(uuids[place], SIM_UUID_SIZE, device.uuid);
    }
    closedir(directory);
    return count;
}

static int on_host(void) {
    char path[512];
    return fits(snprintf(path, sizeof path, "%s/simulation.json", sim_root()), sizeof path) == 0 &&
           access(path, F_OK) == 0;
}

/* Start time of a process in clock ticks (field 22 of /proc/<pid>/stat), 0 when there is no such process. */
static uint64_t start_ticks(int pid) {
    char path[64], text[1024];
    uint64_t ticks = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (read_text(path, text, sizeof text) != 0)
        return 0;
    char *field = strrchr(text, ')'); /* the name before it may hold spaces */
    for (int i = 0; field != NULL && i < 20; i++)
        field = strchr(field + 1, ' ');
    if (field == NULL)
        return 0;
    char *end = strchr(field + 1, ' ');
    if (end != NULL)
        *end = '\0';
    return sim_parse_number(field + 1, UINT64_MAX, &ticks) == 0 ? ticks : 0;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* 0 and *out filled when some process holds the write lock of this slot. The kernel gives the holder's PID as the
 * caller sees it: the host PID on the host, 0 when the holder is in no PID namespace the caller can see. */
static int read_slot(const char *path, uint64_t memory_mib, sim_process *out) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};
    struct statx about;
    char text[SLOT_BYTES], *cursor = text, *key, *value;
    uint64_t number;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -1;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_MTIME, &about) != 0 || !S_ISREG(about.stx_mode) ||
        fcntl(fd, F_GETLK, &lock) != 0 || lock.l_type != F_WRLCK || lock.l_pid < 0) {
        close(fd);
        return -1;
    }
    ssize_t got = pread(fd, text, sizeof text - 1, 0);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    uint64_t since = (uint64_t)about.stx_mtime.tv_sec * 1000000u + about.stx_mtime.tv_nsec / 1000u;
    *out = (sim_process){(int)lock.l_pid, 0, 0, 0, least(since, sim_now_us())};
    while (next_pair(&cursor, &key, &value)) {
        if (strcmp(key, "utilization") == 0 && sim_parse_number(value, 100, &number) == 0)
            out->utilization = number;
        else if (strcmp(key, "memory_mib") == 0 && sim_parse_number(value, memory_mib, &number) == 0)
            out->memory_mib = number;
    }
    if (out->pid > 0 && kill(out->pid, 0) != 0 && errno == ESRCH)
        out->pid = 0; /* the lock outlived the thread group that took it; its PID may belong to another by now */
    return 0;
}

static void add_process(const sim_device *device, const sim_process *process, sim_usage *out) {
    out->utilization = least(100, out->utilization + least(100, process->utilization));
    out->used_mib += least(device->memory_mib, process->memory_mib);
    for (unsigned i = 0; i < out->process_count; i++) {
        sim_process *known = &out->processes[i];
        if (process->pid > 0 && known->pid == process->pid) { /* one process in two slots is one process */
            known->memory_mib = least(device->memory_mib, known->memory_mib + process->memory_mib);
            known->utilization = least(100, known->utilization + process->utilization);
            return;
        }
    }
    if (out->process_count < SIM_MAX_PROCESSES)
        out->processes[out->process_count++] = *process;
}

void sim_read_usage(const sim_device *device, sim_usage *out) {
    char path[512];
    sim_process process;
    int host = on_host();
    memset(out, 0, sizeof *out);
    out->utilization = least(100, device->load);
    out->used_mib = device->baseline_mib + least(device->memory_mib, device->load_memory_mib);
    for (unsigned i = 0; i < device->process_count; i++) {
        process = device->processes[i];
        if (host && start_ticks(process.pid) != process.start)
            continue; /* it has ended, or the number belongs to another process by now */
        if (!host)
            process.pid = 0; /* a container sees the load of the host's processes, not who they are */
        add_process(device, &process, out);
    }
    for (unsigned slot = 0; slot < SIM_SLOTS; slot++)
        if (sim_slot_path(path, sizeof path, device->uuid, slot) == 0 &&
            read_slot(path, device->memory_mib, &process) == 0)
            add_process(device, &process, out);
    out->used_mib = least(out->used_mib, device->memory_mib - least(device->reserved_mib, device->memory_mib));
}

void sim_read_card_usage(const sim_device *device, sim_usage *out) {
    char uuids[SIM_MAX_DEVICES][SIM_UUID_SIZE];
    sim_device instance;
    sim_usage part;
    sim_read_usage(device, out);
    int count = device->mig ? sim_list(device->uuid, uuids, SIM_MAX_DEVICES) : 0;
    for (int i = 0; i < count; i++) {
        if (sim_read_device(uuids[i], &instance) != 0)
            continue;
        sim_read_usage(&instance, &part);
        out->used_mib = least(device->memory_mib, out->used_mib + part.used_mib);
        for (unsigned p = 0; p < part.process_count && out->process_count < SIM_MAX_PROCESSES; p++)
            out->processes[out->process_count++] = part.processes[p];
    }
}

unsigned sim_power_mw(const sim_device *device, const sim_usage *usage) {
    uint64_t idle = device->idle_power_mw, limit = device->power_limit_mw;
    return (unsigned)(limit > idle ? idle + (limit - idle) * usage->utilization / 100 : idle);
}

unsigned sim_temperature_c(const sim_device *device, const sim_usage *usage) {
    return (unsigned)(device->temperature_c + usage->utilization * 4 / 10);
}
