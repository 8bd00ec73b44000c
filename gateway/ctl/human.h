/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as people read them: "3 s", "2 h 5 min", "1.2 MB", "12,034". Each writes into a struct text by
 * value, so that several can stand in one printf. Any thread. */
#ifndef SLUICE_CTL_HUMAN_H
#define SLUICE_CTL_HUMAN_H

struct text {
    char s[40];
};

/* Seconds as an age or a duration: two units at most, the second only while the first is small. */
struct text human_age(double seconds);
/* Bytes in powers of 1000, three digits that mean something. */
struct text human_size(double bytes);
/* A count with a comma at each thousand. */
struct text human_count(double count);
/* 0.62 as "62 %". */
struct text human_share(double share);

#endif
