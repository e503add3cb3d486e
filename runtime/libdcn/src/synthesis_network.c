/* The network of a synthesis: whether its layers fit together, and how much memory it takes. See synthesis.h. */
#include "synthesis_network.h"

#include <string.h>

#include "fixed_point.h"
#include "kernels.h"
#include "memory.h"
#include "threads.h"

/* Whether the layers fit together. */
static int fits(const dcn_synthesis_layers *layers)
{
    int width = layers->width, known = layers->prediction.inputs, predicted = layers->prediction.outputs;
    if (layers->latents < 1 || layers->latents > DCN_MOST_CHANNELS || width < 1 || width > 1024 ||
        layers->layers < 0 || layers->layers > DCN_MOST_LAYERS || layers->first < 0 || predicted < 0)
        return 0;
    if (predicted && (known < 1 || known > layers->latents || layers->prediction.side != 3 ||
                      layers->first + predicted > layers->latents))
        return 0;
    if (layers->up.inputs != layers->latents || layers->up.outputs != 16 * width || layers->up.side != 1 ||
        layers->last.inputs != width || layers->last.outputs != 48 || layers->last.side != 3)
        return 0;
    for (int i = 0; i < layers->layers; i++) {
        const dcn_layer *first = &layers->residual[i][0], *second = &layers->residual[i][1];
        if (first->inputs != width || first->side != 3 || second->outputs != width || second->side != 1 ||
            second->inputs != first->outputs || first->outputs != layers->residual[0][0].outputs)
            return 0;
    }
    for (int c = 0; c < layers->latents; c++)
        if (layers->exponent[c] > 20)
            return 0;
    return 1;
}

dcn_status dcn_synthesis_new(const dcn_synthesis_layers *layers, dcn_synthesis **made)
{
    *made = NULL;
    if (!fits(layers))
        return DCN_BAD_MODEL;
    dcn_synthesis *net = dcn_allocate_zeroed(1, sizeof *net);
    if (!net)
        return DCN_OUT_OF_MEMORY;
    net->kernels = dcn_best_kernels();
    net->latents = layers->latents, net->width = layers->width, net->layers = layers->layers;
    net->first = layers->first, net->predicted = layers->prediction.outputs;
    net->known = net->predicted ? layers->prediction.inputs : 0;
    net->hidden = net->layers ? layers->residual[0][0].outputs : 0;
    memcpy(net->exponent, layers->exponent, (size_t)net->latents);
    int wrong = prepared(&net->up, net->kernels, &layers->up, 4 * net->width);
    wrong |= prepared(&net->last, net->kernels, &layers->last, 48);
    if (net->predicted)
        wrong |= prepared(&net->prediction, net->kernels, &layers->prediction, net->predicted);
    for (int i = 0; i < net->layers; i++)
        for (int j = 0; j < 2; j++)
            wrong |= prepared(&net->residual[i][j], net->kernels, &layers->residual[i][j],
                              layers->residual[i][j].outputs);
    if (wrong) {
        dcn_synthesis_free(net);
        return DCN_BAD_MODEL;
    }
    *made = net;
    return DCN_OK;
}

int dcn_synthesis_halo(const dcn_synthesis *net)
{
    return (net->layers + 1 + 3) / 4 + (net->predicted > 0);
}

uint64_t dcn_synthesis_memory(const dcn_synthesis *net, int w, int threads)
{
    uint64_t count = (uint64_t)(threads < 1 ? 1 : threads > DCN_MOST_THREADS ? DCN_MOST_THREADS : threads);
    uint64_t width = (uint64_t)net->width, known = (uint64_t)net->known, hidden = (uint64_t)net->hidden;
    uint64_t wide = 4 * (uint64_t)w + 2 + DCN_TILE_ROWS, narrow = (uint64_t)w + 2 + DCN_TILE_ROWS;
    uint64_t elements = DCN_RING * narrow * (known + (uint64_t)net->latents) +
                        DCN_RING * wide * width * (uint64_t)(net->layers + 1) + 2 * wide * (hidden + 1) +
                        wide * (width + known) + wide * 48 + sizeof(dcn_scratch) / 2;
    return count * (2 * elements + 1024) + 4 * (uint64_t)net->latents;
}

int dcn_synthesis_latents(const dcn_synthesis *net)
{
    return net->latents;
}

void dcn_synthesis_free(dcn_synthesis *net)
{
    if (!net)
        return;
    dcn_convolution_free(&net->prediction);
    dcn_convolution_free(&net->up);
    dcn_convolution_free(&net->last);
    for (int i = 0; i < DCN_MOST_LAYERS; i++)
        for (int j = 0; j < 2; j++)
            dcn_convolution_free(&net->residual[i][j]);
    dcn_release(net);
}
