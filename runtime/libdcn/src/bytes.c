/* See bytes.h. */
#include "bytes.h"

#include <stdarg.h>
#include <stdio.h>

uint32_t dcn_crc32(const uint8_t *bytes, size_t size)
{
    uint32_t table[256], crc = 0xFFFFFFFFu;
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xEDB88320u : 0);
    }
    for (size_t i = 0; i < size; i++)
        crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 0xFF];
    return ~crc;
}

dcn_status dcn_fail(dcn_error *error, dcn_status status, const char *format, ...)
{
    if (!error)
        return status;
    va_list arguments;
    va_start(arguments, format);
    error->status = status;
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return status;
}

int dcn_name_is_good(const uint8_t *name, size_t size)
{
    if (size < 1 || size > DCN_MOST_NAME)
        return 0;
    for (size_t i = 0; i < size; i++) {
        int letter = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9');
        int mark = name[i] == '.' || name[i] == '_' || name[i] == '-';
        if (!letter && !(mark && i))
            return 0;
    }
    return 1;
}

const char *dcn_version(void)
{
    return "1.0.0";
}

const char *dcn_status_text(dcn_status status)
{
    static const char *const texts[] = {"good",          "bad model",  "out of memory", "bad file",
                                        "another model", "too large", "bad argument",  "stopped"};
    return (unsigned)status < sizeof texts / sizeof *texts ? texts[status] : "unknown status";
}
