/* SPDX-License-Identifier: Apache-2.0 */
/* A capture file that Wireshark and tshark read without being told anything: each packet names the dissector
 * that reads it (LINKTYPE_WIRESHARK_UPPER_PDU, 252), and who speaks to whom. Knows nothing of what the
 * packets hold. */
#ifndef SLUICE_CTL_PCAP_H
#define SLUICE_CTL_PCAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct pcap_packet {
    const char *dissector;
    int64_t wall_us;
    uint8_t from, to; /* units; 0: the master */
    bool answer;
    const uint8_t *data;
    size_t len;
};

void pcap_begin(FILE *out);
void pcap_write(FILE *out, const struct pcap_packet *p);

#endif
