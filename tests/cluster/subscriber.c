/* SPDX-License-Identifier: BSD-3-Clause */
/* Follows the log with the subscriber's library and prints one line per entry: seq, kind, length. For the tests of real
 * processes. usage: lockstep-test-subscriber FROM TO SOCKET... */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lockstep/subscribe.h>

int main(int argc, char **argv)
{
    struct ls_subscription_config config = {.sockets = (const char *const *)argv + 3, .count = (uint32_t)argc - 3};
    struct ls_subscription *subscription;
    struct ls_subscribed entry = {0};
    if (argc < 4)
        return 2;
    config.from = strtoull(argv[1], NULL, 10);
    uint64_t to = strtoull(argv[2], NULL, 10);
    int result = ls_subscription_open(&config, &subscription);
    if (result != 0) {
        fprintf(stderr, "%s\n", strerror(-result));
        return 1;
    }
    while (entry.seq < to && (result = ls_subscription_next(subscription, 10000000000ull, &entry)) == 1)
        printf("%" PRIu64 " %u %u\n", entry.seq, entry.kind, entry.length);
    if (result != 1)
        fprintf(stderr, "%d %s\n", result, ls_subscription_error(subscription));
    ls_subscription_close(subscription);
    return result == 1 ? 0 : 1;
}
