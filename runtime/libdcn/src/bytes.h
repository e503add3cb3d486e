/* Little-endian numbers, checksums and messages. */
#ifndef DCN_BYTES_H
#define DCN_BYTES_H

#include <stddef.h>
#include <stdint.h>

#include "dcn.h"

static inline uint32_t dcn_u16(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static inline uint32_t dcn_u32(const uint8_t *at)
{
    return dcn_u16(at) | dcn_u16(at + 2) << 16;
}

/* CRC-32 of zlib. */
uint32_t dcn_crc32(const uint8_t *bytes, size_t size);

/* Puts the status and a message, as printf makes it, into `error` unless it is NULL; returns the status. */
#ifdef __GNUC__
__attribute__((format(printf, 3, 4)))
#endif
dcn_status dcn_fail(dcn_error *error, dcn_status status, const char *format, ...);

/* 1 for 1 to 64 of a-z 0-9 . _ -, a letter or a digit first. */
int dcn_name_is_good(const uint8_t *name, size_t size);

#endif
