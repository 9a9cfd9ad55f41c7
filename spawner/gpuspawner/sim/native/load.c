/* gpu-load: makes a simulated card busy for as long as it runs. It holds a lock on a slot of the card's drop box; the
 * kernel drops the lock when the process ends, however it ends, and with it load, memory and process entry. */
#define _GNU_SOURCE
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t ended;

static void end(int signal_number) {
    (void)signal_number;
    ended = 1;
}

static int fail(const char *format, ...) {
    va_list values;
    va_start(values, format);
    fprintf(stderr, "gpu-load: ");
    vfprintf(stderr, format, values);
    fprintf(stderr, "\n");
    va_end(values);
    return 2;
}

/* "80", "80%", "4GiB": a whole number with one of the allowed endings, each of which has a factor. */
typedef struct {
    const char *ending;
    uint64_t factor;
} unit;
static const unit PERCENT[] = {{"", 1}, {"%", 1}, {NULL, 0}};
static const unit MEMORY[] = {{"", 1}, {"MiB", 1}, {"M", 1}, {"GiB", 1024}, {"G", 1024}, {NULL, 0}};
static const unit TIME[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {NULL, 0}};

static int parse_amount(const char *text, const unit *units, uint64_t *out) {
    char digits[16];
    size_t length = strspn(text, "0123456789");
    if (length == 0 || length >= sizeof digits)
        return -1;
    memcpy(digits, text, length);
    digits[length] = '\0';
    for (; units->ending != NULL; units++)
        if (strcmp(text + length, units->ending) == 0) {
            int result = sim_parse_number(digits, UINT32_MAX, out);
            *out *= units->factor;
            return result;
        }
    return -1;
}

static int find_card(const char *wanted, sim_device *out) {
    char uuids[SIM_MAX_DEVICES][SIM_UUID_SIZE], instances[SIM_MAX_DEVICES][SIM_UUID_SIZE];
    uint64_t index;
    sim_host host;
    sim_device parent;
    int count = sim_read_host(&host) == 0 ? sim_list(NULL, uuids, SIM_MAX_DEVICES) : 0;
    if (count <= 0)
        return fail("no GPU here. This server was started without one.");
    if (sim_parse_number(wanted, UINT32_MAX, &index) == 0) {
        if (index >= (uint64_t)count)
            return fail("no GPU %s here; there are %d, counted from 0. 'nvidia-smi -L' lists them.", wanted, count);
        wanted = uuids[index];
    }
    if (sim_read_device(wanted, out) != 0)
        return fail("no GPU %s here; 'nvidia-smi -L' lists them.", wanted);
    if (out->mig) {
        count = sim_list(out->uuid, instances, SIM_MAX_DEVICES);
        if (count != 1)
            return fail("GPU %s is divided into %d MIG instances; say which one: --gpu MIG-...", out->uuid, count);
        if (sim_read_device(instances[0], out) != 0)
            return fail("MIG instance %s went away.", instances[0]);
    }
    parent = *out;
    if (out->parent[0] != '\0' && sim_read_device(out->parent, &parent) != 0)
        return fail("GPU %s went away.", out->parent);
    return parent.lost ? fail("GPU %s is lost.", parent.uuid) : 0;
}

/* Takes the first slot nobody holds; the descriptor, or -1 after saying why not. */
static int take_slot(const sim_device *device) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};
    char path[512];
    int reason = ENOENT;
    for (unsigned slot = 0; slot < SIM_SLOTS; slot++) {
        if (sim_slot_path(path, sizeof path, device->uuid, slot) != 0)
            break;
        int fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && sim_is_regular(fd) && fcntl(fd, F_SETLK, &lock) == 0)
            return fd;
        reason = errno;
        if (fd >= 0)
            close(fd);
    }
    if (reason == EAGAIN || reason == EACCES)
        fail("GPU %s has no free slot: %d processes use it already.", device->uuid, SIM_SLOTS);
    else
        fail("cannot write to the drop box of GPU %s: %s.", device->uuid, strerror(reason));
    return -1;
}

static int hold(const sim_device *device, uint64_t utilization, uint64_t memory_mib, uint64_t seconds) {
    char text[96];
    int fd = take_slot(device);
    if (fd < 0)
        return 1;
    int length = snprintf(text, sizeof text, "utilization %u\nmemory_mib %llu\n", (unsigned)utilization,
                          (unsigned long long)memory_mib);
    if (pwrite(fd, text, (size_t)length, 0) != length || ftruncate(fd, length) != 0)
        return fail("cannot write to the drop box: %s.", strerror(errno));
    printf("Simulated load on %s (%s): %u %%, %llu MiB, process %d. Ctrl-C ends it.\n", device->name, device->uuid,
           (unsigned)utilization, (unsigned long long)memory_mib, (int)getpid());
    fflush(stdout);
    uint64_t end_us = sim_now_us() + seconds * 1000000u;
    while (!ended && (seconds == 0 || sim_now_us() < end_us))
        sim_sleep_ms(100);
    return ftruncate(fd, 0) == 0 ? 0 : 1;
}

static int usage(void) {
    return fail("usage: gpu-load [--gpu INDEX|UUID] [--utilization 80%%] [--memory 4000MiB|4GiB] [--for 60s|5m|1h]");
}

int main(int argc, char **argv) {
    const char *gpu = "0";
    uint64_t utilization = 80, memory_mib = 1000, seconds = 0;
    sim_device device;
    sim_usage now;
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--help") == 0) {
            usage();
            return 0;
        }
        if (value == NULL)
            return fail("%s needs a value.", argv[i]), usage();
        if (strcmp(argv[i], "--gpu") == 0)
            gpu = value;
        else if (strcmp(argv[i], "--utilization") == 0) {
            if (parse_amount(value, PERCENT, &utilization) != 0 || utilization > 100)
                return fail("--utilization is a whole number from 0 to 100, not '%s'.", value);
        } else if (strcmp(argv[i], "--memory") == 0) {
            if (parse_amount(value, MEMORY, &memory_mib) != 0)
                return fail("--memory is a whole number with MiB or GiB, such as 4000MiB, not '%s'.", value);
        } else if (strcmp(argv[i], "--for") == 0) {
            if (parse_amount(value, TIME, &seconds) != 0 || seconds == 0)
                return fail("--for is a whole number with s, m or h, such as 60s, not '%s'.", value);
        } else
            return fail("unknown option '%s'.", argv[i]), usage();
    }
    if (find_card(gpu, &device) != 0)
        return 2;
    sim_read_usage(&device, &now);
    uint64_t taken = now.used_mib + device.reserved_mib;
    uint64_t free_mib = taken < device.memory_mib ? device.memory_mib - taken : 0;
    if (memory_mib > free_mib)
        return fail("out of memory: %llu MiB asked for, %llu MiB free on %s.", (unsigned long long)memory_mib,
                    (unsigned long long)free_mib, device.uuid);
    struct sigaction action = {.sa_handler = end};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    return hold(&device, utilization, memory_mib, seconds);
}
