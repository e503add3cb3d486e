/* libdcn: decodes .dcn files (docs/format/file.md) with the model file of a codec (docs/format/dcnm.md).
 *
 *     dcn_model *model;
 *     dcn_info info;
 *     dcn_error error;
 *     if (dcn_model_open(model_bytes, model_size, &model, &error))
 *         fprintf(stderr, "%s\n", error.message);
 *     if (dcn_read_info(file, size, &info, &error)) ...
 *     uint8_t *pixels = malloc((size_t)info.width * info.height * 3);
 *     if (dcn_decode(model, file, size, NULL, DCN_RGB, pixels, 0, &error)) ...
 *     dcn_model_close(model);
 *
 * All arithmetic is in integers, so every processor gives the same pixels. C11, no dependency but libc; threads are
 * optional.
 *
 * Threads: any number of threads may use a model at once. Nothing else is shared. A process may fork between calls. No
 * function installs signal handlers, keeps threads after it returns, prints, or reads files.
 *
 * Memory: dcn_decode_memory gives an upper bound from the header. It grows with the width of a picture, and limits are
 * checked before memory is allocated. While a model is open, up to 16 MB of released memory are kept for the next
 * decode, unless the caller has its own allocator. There is no recursion.
 *
 * Input is not trusted, models included.
 *
 * Errors: functions return DCN_OK or a status. `error`, which may be NULL, receives a sentence for people.
 */
#ifndef DCN_H
#define DCN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32) && defined(DCN_SHARED)
#define DCN_API __declspec(dllexport)
#elif defined(__GNUC__)
#define DCN_API __attribute__((visibility("default")))
#else
#define DCN_API
#endif

typedef enum {
    DCN_OK,
    DCN_BAD_MODEL,     /* not a model file, damaged, or invalid numbers */
    DCN_OUT_OF_MEMORY, /* the allocator returned NULL */
    DCN_BAD_FILE,      /* not a .dcn file, or damaged */
    DCN_WRONG_MODEL,   /* the file names another model than the one given */
    DCN_TOO_LARGE,     /* more pixels or memory than the options allow */
    DCN_BAD_ARGUMENT,  /* an argument outside its range, such as a region beyond the picture */
    DCN_STOPPED        /* the progress callback asked for it */
} dcn_status;

typedef struct {
    dcn_status status;
    char message[232]; /* ends with 0; no newline */
} dcn_error;

/* "1.0.0" */
DCN_API const char *dcn_version(void);

/* A few words for a status. */
DCN_API const char *dcn_status_text(dcn_status status);

/* The kernels of models that are opened from now on: "portable", "avx2", "avx512", "neon", ... */
DCN_API const char *dcn_kernels_in_use(void);

/* ---- memory ---- */

typedef struct {
    void *(*allocate)(void *context, size_t size); /* aligned for any type; NULL without enough memory */
    void (*release)(void *context, void *memory);  /* takes NULL */
    void *context;
} dcn_allocator;

/* Takes all memory of this process from `allocator` from now on; NULL means malloc. Call it before any other function,
 * or when no model is open and no other call runs. Several threads may call both functions at once. */
DCN_API void dcn_set_allocator(const dcn_allocator *allocator);

/* ---- models ---- */

typedef struct dcn_model dcn_model;

/* Opens the model file in `bytes` (a .dcnm file), which may be freed afterwards. On success, close `*model` with
 * dcn_model_close; else it is NULL. */
DCN_API dcn_status dcn_model_open(const void *bytes, size_t size, dcn_model **model, dcn_error *error);
DCN_API void dcn_model_close(dcn_model *model); /* takes NULL */

/* The model's name in files, valid while it is open; and its id, 8 bytes. */
DCN_API const char *dcn_model_name(const dcn_model *model);
DCN_API const uint8_t *dcn_model_id(const dcn_model *model);

/* ---- files ---- */

enum { DCN_MOST_NAME = 64, DCN_ID_BYTES = 8 };

/* Bytes of a section, within the memory of the file. `bytes` is NULL if the file has no such section. */
typedef struct {
    const uint8_t *bytes;
    size_t size;
} dcn_bytes;

typedef struct {
    uint32_t width, height;        /* 1..65535 pixels */
    int quality;                   /* 1..100; 0: the model has no qualities */
    int grey, alpha;               /* 1: pixels are grey; the file has alpha */
    char name[DCN_MOST_NAME + 1];  /* of the model */
    uint8_t model_id[DCN_ID_BYTES];
    size_t header_size;            /* bytes before the first section */
    dcn_bytes latents, alpha_plane; /* as they are stored */
    dcn_bytes exif, icc, xmp;      /* metadata, as the encoder got it; not checked */
} dcn_info;

/* Reads the header of a file from its first bytes: 89 are always enough. The sections of `info` stay empty. Returns
 * DCN_BAD_FILE if `size` bytes are too few. */
DCN_API dcn_status dcn_read_header(const void *bytes, size_t size, dcn_info *info, dcn_error *error);

/* Reads a whole file, checks all its checksums and finds its sections. No pixel is decoded. */
DCN_API dcn_status dcn_read_info(const void *bytes, size_t size, dcn_info *info, dcn_error *error);

/* ---- decoding ---- */

typedef enum {
    DCN_RGB = 3, /* 8 bits each; alpha is left out. Colours where alpha is 0 are unspecified. */
    DCN_RGBA = 4 /* not premultiplied; 255 in files without alpha */
} dcn_pixels;

/* Called while a picture is decoded, when the first `rows` rows of the region are final. With `preview_groups` it is
 * called once before, with `preview` 1, when all rows show a coarse picture. Return 0 to continue; any other value ends
 * decoding with DCN_STOPPED. Calls come from the thread that decodes, in order. */
typedef int (*dcn_progress)(void *context, uint32_t rows, int preview);

/* Zero means the default, for every field: `dcn_options options = {0};` */
typedef struct {
    uint32_t x, y, width, height; /* region in pixels; width and height 0: the whole picture */
    int threads;                  /* 0 and 1: none but the caller's; at most 64 */
    uint64_t most_pixels;         /* of the picture; 0: 2^28 */
    uint64_t most_memory;         /* bytes beside the caller's; 0: no limit but dcn_decode_memory's figure */
    dcn_progress progress;
    void *progress_context;
    int preview_groups; /* channel groups of a preview before the picture: 1 is the coarsest; 0: no preview */
} dcn_options;

/* Decodes a file in memory. `pixels` receives the rows of the picture or of the region, top down, `stride` bytes apart.
 * 0 means rows without gaps. It needs stride * (height - 1) + width * 3 or 4 bytes; its content after an error is
 * unspecified. A region has the same pixels as that part of the whole picture. Only the coding tiles that it needs are
 * decoded. */
DCN_API dcn_status dcn_decode(const dcn_model *model, const void *file, size_t size, const dcn_options *options,
                              dcn_pixels format, uint8_t *pixels, size_t stride, dcn_error *error);

/* The same for a file that dcn_read_info has read. */
DCN_API dcn_status dcn_decode_info(const dcn_model *model, const dcn_info *info, const dcn_options *options,
                                   dcn_pixels format, uint8_t *pixels, size_t stride, dcn_error *error);

/* An upper bound of the memory that dcn_decode allocates for a file with this header, without the model and the
 * caller's memory. */
DCN_API uint64_t dcn_decode_memory(const dcn_model *model, const dcn_info *info, const dcn_options *options);

#ifdef __cplusplus
}
#endif
#endif
