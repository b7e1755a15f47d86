/* cpg_bench: measures Corosync's closed process groups as `unanimous bench` measures its own.
 *
 *   cpg_bench throughput MEMBERS SENDERS SENDS SIZE WINDOW SECONDS
 *   cpg_bench latency    MEMBERS SENDS SIZE CASTS
 *   cpg_bench watch      MEMBERS
 *
 * One process runs at each node. MEMBERS is how many join; SENDS is 1 if this one casts. A sender keeps WINDOW own
 * undelivered messages under way for one second of warm-up and then SECONDS that count; every member counts what is
 * delivered to it in that stretch. Each prints one line of JSON. `watch` prints a line at every change of the
 * membership with the time of the monotonic clock, until it is killed.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <corosync/corotypes.h>
#include <corosync/cpg.h>

enum { READY = 'R', DATA = 'D', END = 'E' };
enum { WARM_UP_CASTS = 200, READY_BYTES = 16 };
static const double WARM_UP_SECONDS = 1.0;

static cpg_handle_t handle;
static struct cpg_name group = {.length = 5, .value = "bench"};
static uint32_t own_node, own_pid;
static int watching;

/* What was delivered so far. */
static size_t members, ready, ends;
static uint64_t delivered, counted, own;
static double count_from = 1e300, count_to = 1e300;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void die(const char *what, int code) {
    fprintf(stderr, "cpg_bench: %s failed with %d\n", what, code);
    exit(1);
}

static void on_deliver(cpg_handle_t h, const struct cpg_name *name, uint32_t node, uint32_t pid, void *message,
                       size_t length) {
    (void)h, (void)name;
    /* A message is at least one byte long. */
    switch (length ? *(const char *)message : 0) {
    case READY:
        ready++;
        return;
    case END:
        ends++;
        break;
    default: {
        double time = now();
        delivered++;
        if (time >= count_from && time < count_to)
            counted++;
    }
    }
    if (node == own_node && pid == own_pid)
        own++;
}

static void on_change(cpg_handle_t h, const struct cpg_name *name, const struct cpg_address *list, size_t count,
                      const struct cpg_address *left, size_t left_count, const struct cpg_address *joined,
                      size_t joined_count) {
    (void)h, (void)name, (void)list, (void)left, (void)left_count, (void)joined, (void)joined_count;
    members = count;
    if (watching) {
        printf("{\"at\":%.6f,\"members\":%zu}\n", now(), count);
        fflush(stdout);
    }
}

static cpg_callbacks_t callbacks = {.cpg_deliver_fn = on_deliver, .cpg_confchg_fn = on_change};

static void dispatch(cs_dispatch_flags_t how) {
    cs_error_t code = cpg_dispatch(handle, how);
    if (code != CS_OK && code != CS_ERR_TRY_AGAIN)
        die("cpg_dispatch", code);
}

/* Waits for something to be delivered, for at most so many milliseconds. */
static void wait_for_delivery(int milliseconds) {
    int fd;
    cpg_fd_get(handle, &fd);
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    if (poll(&poll_fd, 1, milliseconds) < 0 && errno != EINTR)
        die("poll", errno);
    dispatch(CS_DISPATCH_ALL);
}

/* Whether it was taken: Corosync's own flow control may refuse. */
static int try_cast(char *message, size_t length) {
    struct iovec part = {.iov_base = message, .iov_len = length};
    cs_error_t code = cpg_mcast_joined(handle, CPG_TYPE_AGREED, &part, 1);
    if (code != CS_OK && code != CS_ERR_TRY_AGAIN)
        die("cpg_mcast_joined", code);
    return code == CS_OK;
}

static void cast(char *message, size_t length) {
    while (!try_cast(message, length))
        wait_for_delivery(1);
}

static void join(size_t wanted) {
    cs_error_t code = cpg_initialize(&handle, &callbacks);
    if (code != CS_OK)
        die("cpg_initialize", code);
    cpg_local_get(handle, &own_node);
    own_pid = (uint32_t)getpid();
    while ((code = cpg_join(handle, &group)) == CS_ERR_TRY_AGAIN)
        poll(NULL, 0, 10);
    if (code != CS_OK)
        die("cpg_join", code);
    while (members < wanted)
        wait_for_delivery(100);
}

/* Until all have seen all: nobody casts to a member that is not there yet. */
static void be_ready(size_t wanted) {
    char message[READY_BYTES] = {READY};
    cast(message, sizeof message);
    while (ready < wanted)
        wait_for_delivery(100);
}

static long peak_memory_bytes(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss * 1024L;
}

static void throughput(size_t senders, int sends, size_t size, uint64_t window, double seconds) {
    char *message = calloc(1, size);
    if (!message)
        die("calloc", errno);
    memset(message, 0x5a, size);
    message[0] = DATA;
    count_from = now() + WARM_UP_SECONDS;
    count_to = count_from + seconds;
    uint64_t sent = 0;
    while (sends && now() < count_to) {
        int full = 0;
        while (sent - own < window && !full) {
            full = !try_cast(message, size);
            sent += !full;
        }
        if (full)
            wait_for_delivery(1);
        else
            wait_for_delivery(10);
    }
    if (sends) {
        message[0] = END;
        cast(message, size);
    }
    while (ends < senders)
        wait_for_delivery(100);
    printf("{\"node\":%u,\"size\":%zu,\"senders\":%zu,\"window\":%lu,\"delivered_in_all\":%lu,"
           "\"msgs_per_s\":%.1f,\"bytes_per_s\":%.1f,\"peak_memory_bytes\":%ld}\n",
           own_node, size, senders, (unsigned long)window, (unsigned long)delivered, counted / seconds,
           counted * (double)size / seconds, peak_memory_bytes());
    free(message);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void latency(int sends, size_t size, size_t casts) {
    char *message = calloc(1, size);
    double *times = calloc(casts, sizeof *times);
    if (!message || !times)
        die("calloc", errno);
    for (size_t i = 0; sends && i < WARM_UP_CASTS + casts; i++) {
        uint64_t wanted = own + 1;
        double began = now();
        message[0] = DATA;
        cast(message, size);
        while (own < wanted)
            wait_for_delivery(1000);
        if (i >= WARM_UP_CASTS)
            times[i - WARM_UP_CASTS] = (now() - began) * 1e6;
    }
    if (sends) {
        message[0] = END;
        cast(message, size);
    }
    while (ends < 1)
        wait_for_delivery(100);
    if (sends) {
        qsort(times, casts, sizeof *times, by_size);
        printf("{\"node\":%u,\"size\":%zu,\"latency_us\":{\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f,\"count\":%zu}}\n",
               own_node, size, times[(casts * 50 + 99) / 100 - 1], times[(casts * 99 + 99) / 100 - 1],
               times[casts - 1], casts);
    }
    free(times);
    free(message);
}

static void watch(void) {
    /* Ends with its node, or killed. */
    while (cpg_dispatch(handle, CS_DISPATCH_ONE) == CS_OK)
        ;
}

int main(int argc, char **argv) {
    if (argc >= 8 && !strcmp(argv[1], "throughput")) {
        size_t wanted = strtoul(argv[2], NULL, 10), size = strtoul(argv[5], NULL, 10);
        join(wanted);
        be_ready(wanted);
        throughput(strtoul(argv[3], NULL, 10), atoi(argv[4]), size, strtoul(argv[6], NULL, 10), atof(argv[7]));
    } else if (argc >= 6 && !strcmp(argv[1], "latency")) {
        size_t wanted = strtoul(argv[2], NULL, 10);
        join(wanted);
        be_ready(wanted);
        latency(atoi(argv[3]), strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10));
    } else if (argc >= 3 && !strcmp(argv[1], "watch")) {
        watching = 1;
        join(strtoul(argv[2], NULL, 10));
        watch();
        return 0;
    } else {
        fprintf(stderr, "usage: see the head of cpg_bench.c\n");
        return 2;
    }
    fflush(stdout);
    cpg_leave(handle, &group);
    cpg_finalize(handle);
    return 0;
}
