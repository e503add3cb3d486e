/* The container of a .dcn file (docs/format/file.md): header, sections, checksums. decant.formats.container is the same in
 * Python. */
#include <string.h>

#include "bytes.h"

enum { FIXED = 21, SECTION = 5, CRC = 4, VERSION = 1, GREY = 1, ALPHA_FLAG = 2 };
enum { LATENTS = 1, ALPHA = 2, EXIF = 128, ICC = 129, XMP = 130, FIRST_METADATA = 128 };

static const uint8_t MAGIC[4] = {0x8A, 'D', 'C', 'N'};

dcn_status dcn_read_header(const void *bytes, size_t size, dcn_info *info, dcn_error *error)
{
    const uint8_t *data = bytes;
    memset(info, 0, sizeof *info);
    if (size < sizeof MAGIC || memcmp(data, MAGIC, sizeof MAGIC))
        return dcn_fail(error, DCN_BAD_FILE, "not a .dcn file: it begins with other bytes than 8a 44 43 4e");
    if (size < FIXED)
        return dcn_fail(error, DCN_BAD_FILE, "cut off in the header: %zu bytes, at least %d expected", size, FIXED);
    if (data[4] != VERSION)
        return dcn_fail(error, DCN_BAD_FILE, "format version %d at byte 4; this libdcn reads %d", data[4], VERSION);
    size_t name = data[20], end = FIXED + name;
    if (!name || name > DCN_MOST_NAME)
        return dcn_fail(error, DCN_BAD_FILE, "name length %zu at byte 20; 1..%d expected", name, DCN_MOST_NAME);
    if (size < end + CRC)
        return dcn_fail(error, DCN_BAD_FILE, "cut off in the header: %zu bytes, %zu expected", size, end + CRC);
    if (dcn_crc32(data, end) != dcn_u32(data + end))
        return dcn_fail(error, DCN_BAD_FILE, "header checksum at byte %zu differs: the file is damaged", end);
    if (data[5] & ~(GREY | ALPHA_FLAG))
        return dcn_fail(error, DCN_BAD_FILE, "reserved flag bits are set at byte 5: 0x%02x", (unsigned)data[5]);
    info->grey = data[5] & GREY ? 1 : 0, info->alpha = data[5] & ALPHA_FLAG ? 1 : 0;
    info->quality = data[6];
    memcpy(info->model_id, data + 8, DCN_ID_BYTES);
    info->width = dcn_u16(data + 16), info->height = dcn_u16(data + 18);
    memcpy(info->name, data + FIXED, name);
    info->header_size = end + CRC;
    if (!dcn_name_is_good(data + FIXED, name))
        return dcn_fail(error, DCN_BAD_FILE, "the bundle name at byte %d has characters other than a-z 0-9 . _ -", FIXED);
    if (!info->width || !info->height)
        return dcn_fail(error, DCN_BAD_FILE, "%ux%u pixels; 1..65535 a side expected", (unsigned)info->width,
                        (unsigned)info->height);
    if (info->quality > 100)
        return dcn_fail(error, DCN_BAD_FILE, "quality %d; 0..100 expected", info->quality);
    if (!data[7])
        return dcn_fail(error, DCN_BAD_FILE, "no sections at byte 7; at least the latents are expected");
    return DCN_OK;
}

/* Where the content of a section of this type is kept; NULL for metadata that nobody knows. */
static dcn_bytes *place_of(dcn_info *info, int type)
{
    switch (type) {
    case LATENTS:
        return &info->latents;
    case ALPHA:
        return &info->alpha_plane;
    case EXIF:
        return &info->exif;
    case ICC:
        return &info->icc;
    case XMP:
        return &info->xmp;
    default:
        return NULL;
    }
}

/* Reads the section at `*at` and moves on; `seen`: one bit for every type so far. */
static dcn_status read_section(const uint8_t *data, size_t size, size_t *at, uint8_t *seen, dcn_info *info,
                               dcn_error *error)
{
    if (size - *at < SECTION + CRC)
        return dcn_fail(error, DCN_BAD_FILE, "cut off in a section at byte %zu", *at);
    int type = data[*at];
    size_t length = dcn_u32(data + *at + 1), payload = *at + SECTION;
    if (length > size - payload - CRC)
        return dcn_fail(error, DCN_BAD_FILE, "the section at byte %zu reaches beyond the end of the file at %zu", *at,
                        size);
    if (dcn_crc32(data + *at, SECTION + length) != dcn_u32(data + payload + length))
        return dcn_fail(error, DCN_BAD_FILE, "checksum of the section at byte %zu differs: the file is damaged", *at);
    if (seen[type / 8] >> type % 8 & 1)
        return dcn_fail(error, DCN_BAD_FILE, "a second section of type %d at byte %zu; one expected", type, *at);
    seen[type / 8] = (uint8_t)(seen[type / 8] | 1 << type % 8);
    dcn_bytes *place = place_of(info, type);
    if (!place && type < FIRST_METADATA)
        return dcn_fail(error, DCN_BAD_FILE, "section type %d at byte %zu is unknown to this libdcn; update it", type,
                        *at);
    if (place)
        *place = (dcn_bytes){data + payload, length};
    *at = payload + length + CRC;
    return DCN_OK;
}

dcn_status dcn_read_info(const void *bytes, size_t size, dcn_info *info, dcn_error *error)
{
    const uint8_t *data = bytes;
    dcn_status status = dcn_read_header(bytes, size, info, error);
    size_t at = info->header_size;
    uint8_t seen[32] = {0};
    for (int i = 0; status == DCN_OK && i < data[7]; i++)
        status = read_section(data, size, &at, seen, info, error);
    if (status != DCN_OK)
        return status;
    if (at != size)
        return dcn_fail(error, DCN_BAD_FILE, "%zu bytes after the last section, which ends at byte %zu", size - at, at);
    if (!info->latents.bytes)
        return dcn_fail(error, DCN_BAD_FILE, "no latents section (type %d)", LATENTS);
    if (info->alpha != (info->alpha_plane.bytes != NULL))
        return dcn_fail(error, DCN_BAD_FILE, "flagged %s alpha at byte 5, and %s alpha section (type %d) in it",
                        info->alpha ? "with" : "without", info->alpha ? "no" : "an", ALPHA);
    return DCN_OK;
}
