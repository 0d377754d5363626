/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ethernet, ARP, IPv4, ICMP echo and UDP for one port with one address, pure: packets and the time come in, verdicts
 * and bytes come out. Owned by a port (dpdk.c) and called on that port's thread alone; nothing here allocates, reads a
 * clock or knows DPDK. No VLANs, no fragments; IPv4 options are skipped. Whatever is not taken adds one to exactly one
 * counter: eth_bad, eth_not_ours, ip_checksum, ip_fragment, ip_other, udp_other_port, arp_conflicts; or is an ARP
 * packet (arp_in).
 *
 * Checksums. A packet whose sums the device has verified comes with flags that say so; all others are verified here.
 * A UDP checksum of 0 ("none", RFC 768) is taken. Kernel sockets whose packets never leave the machine (veth, bridges)
 * leave the UDP checksum unfinished: the field holds the sum of the pseudo-header alone, for a device to complete that
 * is not there. Such a packet is taken only where `accept_partial_checksum` says that the port is of that kind; on a
 * wire it would be damage. What it gives up is small: the payload carries its own CRC32C, and the pseudo-header's
 * addresses are still compared.
 *
 * Neighbours. Learned from ARP, and from traffic to this port that passed every check: a node that has just heard from
 * a client can answer it without asking. A cache of fixed size; the entry least recently sent to gives way, so that a
 * flood of strangers cannot push out the peers in use. An entry is confirmed by whatever arrives from it; older than
 * half its age it is asked again while still in use, older than its age it is not used. A frame to an unresolved
 * neighbour is dropped and counted (the protocol repeats what matters) and a request is sent, paced per neighbour.
 * The other members are kept resolved though nothing is sent to them: a new sequencer's first frames must not be lost.
 * ARP that contradicts a neighbour whose datagrams have just been heard is only asked about, and taken if the old MAC
 * address stays silent; what ARP alone has set gives way to the next datagram. So a forged packet diverts nothing that
 * is in use, and a machine that takes over an address is followed after LS_NEIGHBOUR_RIVAL_NS.
 */
#ifndef LOCKSTEP_NET_FRAMING_H
#define LOCKSTEP_NET_FRAMING_H

#include <lockstep/limits.h>
#include <lockstep/counters.h>
#include <lockstep/types.h>

#include "../core/io.h"

#define LS_FRAMING_HEADERS      42 /* Ethernet, IPv4 without options, UDP */
#define LS_FRAMING_OWN_MAX      60 /* bytes of a packet from ls_framing_own() */
#define LS_FRAMING_ASKS_MAX     16 /* ARP requests waiting to be sent */
#define LS_NEIGHBOUR_SETS       128
#define LS_NEIGHBOUR_WAYS       8
#define LS_NEIGHBOUR_AGE_NS     (60ull * 1000 * 1000 * 1000)
#define LS_NEIGHBOUR_ASK_MIN_NS (10ull * 1000 * 1000)   /* between two requests for one neighbour, doubling ... */
#define LS_NEIGHBOUR_ASK_MAX_NS (1000ull * 1000 * 1000) /* ... up to this */
#define LS_NEIGHBOUR_HOLD_NS    (1000ull * 1000 * 1000) /* datagrams hold their sender's MAC for so long */
#define LS_NEIGHBOUR_RIVAL_NS   (50ull * 1000 * 1000)   /* ARP prevails against them if the old MAC is silent so long */

struct ls_framing_config {
    struct ls_addr addr; /* of this port; the IP address must not belong to any kernel interface */
    uint32_t gateway;    /* next hop off the subnet, inside the subnet; 0: none */
    uint8_t prefix;      /* length of the subnet's, 1..31 */
    uint8_t mac[6];
    bool accept_partial_checksum; /* see above */
    bool device_sums_udp;         /* the device completes UDP checksums of sent packets */
    uint64_t neighbour_age_ns;    /* 0: LS_NEIGHBOUR_AGE_NS */
};

struct ls_neighbour {
    uint8_t mac[6];
    bool resolved;
    uint8_t tries; /* requests since it was last confirmed */
    bool heard;    /* datagrams came from this MAC, last at heard_ns; else it is known by ARP alone */
    bool rival;    /* ARP has claimed the address for rival_mac, first at rival_ns; the old MAC is silent since */
    uint8_t rival_mac[6];
    uint64_t heard_ns;
    uint64_t rival_ns;
    uint64_t confirmed_ns;
    uint64_t used_ns; /* last sent to; 0: never */
    uint64_t ask_ns;  /* no request before */
};

/* One thread: the port's. */
struct ls_framing {
    struct ls_framing_config config;
    struct ls_counters *counters;       /* the owner's */
    uint32_t mask;                      /* of the subnet */
    uint8_t header[LS_FRAMING_HEADERS]; /* of a sent packet, but for destination, lengths and sums */
    uint32_t header_sum;                /* of its IPv4 part, without destination and length, in memory order */
    uint32_t asks;
    uint32_t ask[LS_FRAMING_ASKS_MAX];
    uint32_t announcements; /* still to be sent */
    uint64_t announce_ns;   /* the next one */
    uint64_t keep_ns;       /* when ls_framing_keep_up() is wanted */
    uint32_t kept;
    uint32_t keep[LS_MEMBERS_MAX];
    _Atomic uint64_t disputes; /* ARP packets against a neighbour whose datagrams were heard; any thread may read */
    uint8_t conflict_mac[6];   /* of the last machine that claimed our address (counted as arp_conflicts) */
    uint32_t ip[LS_NEIGHBOUR_SETS][LS_NEIGHBOUR_WAYS]; /* 0: free */
    struct ls_neighbour neighbour[LS_NEIGHBOUR_SETS][LS_NEIGHBOUR_WAYS];
};

/* 0, or -EINVAL with the reason in `error`. `counters` outlives the framing. Announces the address from now on. */
int ls_framing_init(struct ls_framing *framing, const struct ls_framing_config *config, struct ls_counters *counters,
                    char *error, size_t error_size);

/* Tells the neighbours again where the address lives, three times, from `now_ns` on (after a link came up). */
void ls_framing_announce(struct ls_framing *framing, uint64_t now_ns);

/* These are to stay resolved although nothing is sent to them; in place of those named before. At most
 * LS_MEMBERS_MAX, the rest is not kept. */
void ls_framing_keep(struct ls_framing *framing, const struct ls_addr *peer, uint32_t n);
/* Asks for those of them that are not resolved, or not for long any more. Due when keep_ns has come. */
void ls_framing_keep_up(struct ls_framing *framing, uint64_t now_ns);

enum ls_framing_verdict {
    LS_FRAMING_NOTHING,  /* refused or consumed, and counted: give the buffer back */
    LS_FRAMING_DATAGRAM, /* `frame` has data, length and peer */
    LS_FRAMING_ANSWER,   /* the packet was made into an answer in place: send `*answer` bytes of it */
};

#define LS_FRAMING_IP_VERIFIED  1u /* the device found the IPv4 header checksum right */
#define LS_FRAMING_UDP_VERIFIED 2u /* the device found the UDP checksum right */

/* A received packet of `length` bytes, beginning with the Ethernet header; any bytes at all. */
enum ls_framing_verdict ls_framing_in(struct ls_framing *framing, uint8_t *packet, uint32_t length, uint32_t verified,
                                      uint64_t now_ns, struct ls_frame *frame, uint32_t *answer);

/* Writes the headers into the LS_FRAMING_HEADERS bytes before `payload`. Returns the packet's length, or 0: dropped
 * because its next hop is not resolved or there is none (arp_unresolved). `length` <= 65,507. */
uint32_t ls_framing_out(struct ls_framing *framing, uint8_t *payload, uint32_t length, struct ls_addr to,
                        uint64_t now_ns);

/* Something for ls_framing_own() to write. */
static inline bool ls_framing_has_own(const struct ls_framing *framing, uint64_t now_ns)
{
    return framing->asks > 0 || (framing->announcements > 0 && now_ns >= framing->announce_ns);
}

/* Writes the next packet that the port sends by itself (ARP requests, announcements) into LS_FRAMING_OWN_MAX bytes.
 * Returns its length; 0: none now. */
uint32_t ls_framing_own(struct ls_framing *framing, uint8_t *packet, uint64_t now_ns);

/* The MAC address of a neighbour if it is resolved and not too old. */
bool ls_framing_lookup(const struct ls_framing *framing, uint32_t ip, uint64_t now_ns, uint8_t mac[6]);

/* Ones' complement sum (RFC 1071) of `n` bytes in memory order, added to `sum`; folded to 16 bits, not inverted. */
uint16_t ls_internet_sum(uint32_t sum, const void *bytes, size_t n);

#endif
