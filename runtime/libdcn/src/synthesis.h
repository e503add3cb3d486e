/* The integer networks of a codec (docs/synthesis.md): the hyper synthesis (hyperlatents -> means) and the synthesis
 * (symbols and means -> pixels). They give the same result on every machine. */
#ifndef DCN_SYNTHESIS_H
#define DCN_SYNTHESIS_H

#include "convolution.h"
#include "dcn.h"

enum { DCN_MOST_HALVES = 8, DCN_MOST_LAYERS = 16, DCN_MOST_CHANNELS = 4096, DCN_STEP_BITS = 10, DCN_HYPER_BITS = 4 };

/* One convolution as it is stored: weights (outputs, side, side, inputs). */
typedef struct {
    int inputs, outputs, side;
    const int16_t *weights;
    const int32_t *bias;
    const uint8_t *shift;
} dcn_layer;

/* Sizes: latent channels, channels at 1/4 resolution, residual layers there, and the channel-conditional mean
 * prediction of channels first .. first + prediction.outputs (none where prediction.outputs is 0). */
typedef struct {
    int latents, width, layers, first;
    const uint8_t *exponent; /* (latents): a latent is value / 2^exponent */
    dcn_layer prediction, up, last;
    dcn_layer residual[DCN_MOST_LAYERS][2];
} dcn_synthesis_layers;

typedef struct dcn_synthesis dcn_synthesis;
typedef struct dcn_mean dcn_mean;

dcn_status dcn_synthesis_new(const dcn_synthesis_layers *layers, dcn_synthesis **made);
void dcn_synthesis_free(dcn_synthesis *synthesis);
int dcn_synthesis_latents(const dcn_synthesis *synthesis);

/* Receptive field of a pixel, in latents to each side. */
int dcn_synthesis_halo(const dcn_synthesis *synthesis);

/* Upper bounds of the memory that dcn_synthesis_view takes for `w` columns of latents, and dcn_mean_compute and
 * dcn_mean_context for hz x wz hyperlatents. */
uint64_t dcn_synthesis_memory(const dcn_synthesis *synthesis, int w, int threads);
uint64_t dcn_mean_memory(const dcn_mean *mean, int hz, int wz);

/* Input of the synthesis: symbols (latents, h, w), means (h, w, latents) in units of 2^-exponent, step (latents). */
typedef struct {
    const int16_t *symbols, *means;
    const float *step;
    int h, w;
} dcn_latents;

/* The region of pixels to compute, within 16 h x 16 w. Rows are written to `pixels`, `stride` bytes apart. */
typedef struct {
    int top, left, height, width;
    uint8_t *pixels;
    size_t stride;
} dcn_view;

/* Safe to call from several threads. */
dcn_status dcn_synthesis_view(const dcn_synthesis *synthesis, const dcn_latents *latents, int threads,
                              const dcn_view *view);

/* The same for floats: symbols (which hold integers) and mean (latents, h, w), step (latents) -> pixels
 * (16 h, 16 w, 3). Safe to call from several threads. */
dcn_status dcn_synthesis_run(const dcn_synthesis *synthesis, const float *symbols, const float *mean,
                             const float *step, int h, int w, int threads, uint8_t *pixels);

/* Creates the hyper synthesis from its three convolutions. `exponent` is that of the latents (layers[2].outputs).
 * `near` are the checkerboard mean contexts of the first `halves` channel groups, a hidden and an output layer each.
 * The channels of the groups follow one another from channel 0 on. */
dcn_status dcn_mean_new(const dcn_layer layers[3], const dcn_layer (*near)[2], int halves, const uint8_t *exponent,
                        dcn_mean **made);
void dcn_mean_free(dcn_mean *mean);
void dcn_mean_sizes(const dcn_mean *mean, int *hyper, int *latents, int *halved);

/* Hyperlatents in units of 1/16 -> means (4 hz, 4 wz, latents). `plane` and `row` are the distances, in elements, from
 * one channel and one row to the next. */
dcn_status dcn_mean_compute(const dcn_mean *mean, const int32_t *hyperlatents, size_t plane, size_t row, int hz, int wz,
                            int16_t *means);

/* Corrects the means of one coding tile at the non-anchor positions (y + x odd) by the checkerboard mean contexts, from
 * the symbols (halved, h, w) at the anchor positions and their step (halved). `row` and `position` are the distances of
 * means, in elements, from one row and one position to the next. */
dcn_status dcn_mean_context(const dcn_mean *mean, const int16_t *symbols, const float *step, int h, int w, int threads,
                            int16_t *means, size_t row, size_t position);

/* For floats: hyperlatents (hyper, hz, wz), multiples of 1/16 -> means (latents, 4 hz, 4 wz), which are exact. */
dcn_status dcn_mean_run(const dcn_mean *mean, const float *hyperlatents, int hz, int wz, float *means);

/* For floats: corrects the means (halved, h, w) of one coding tile as dcn_mean_context does. */
dcn_status dcn_mean_add_context(const dcn_mean *mean, const float *symbols, const float *step, int h, int w,
                                float *means);

#endif
