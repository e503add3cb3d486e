"""Bundle -> PyTorch codec: the weights in its float graphs and tables, to be trained further.

Weights come back as they are stored (8 bits, half precision, integers). Of the rows for 100 qualities the
eight rate points are fitted by least squares, so that gains differ by up to half a stored level.
"""

from collections.abc import Mapping

import numpy as np
import onnx
import torch
from decant.bundles.bundle import Bundle
from decant.codec.entropy.checkerboard import mean_context_name
from decant.codec.entropy.context_network import non_anchor_name
from decant.codec.layout import GridLayout
from decant_train.codec.config import RATE_POINTS, VALUE_BITS, WEIGHT_BITS, CodecConfig
from decant_train.codec.entropy_model import CheckerboardMean, Context
from decant_train.codec.model import Codec
from decant_train.codec.rate import between_rate_points
from torch import Tensor, nn

from decant_export.common.onnx_graph import constants
from decant_export.errors import ExportError
from decant_export.families.codec.network import FloatSynthesis
from decant_export.families.codec.tables import CODED_BELOW, OFFSET_UNIT, OFFSET_ZERO, positions

Tables = Mapping[str, np.ndarray]
ROLES = ("analysis", "hyper_analysis", "hyper_mean", "synthesis")


def codec_of(bundle: Bundle) -> Codec:
    """The codec of ``bundle``, which needs its encoder and float graphs for ONNX Runtime. Raises ExportError,
    BundleError.
    """
    layout = bundle.layout
    if not isinstance(layout, GridLayout):
        raise ExportError(f"bundle {bundle.name}: only bundles of family codec can be trained further")
    graphs = {role: _graph(bundle, role) for role in ROLES}
    synthesis = FloatSynthesis.of(graphs["synthesis"]).network
    predicted = _prediction_weight(constants(graphs["synthesis"]))
    analysis = constants(graphs["analysis"])
    model = Codec(_config(bundle, layout, synthesis.config, predicted, analysis))
    model.synthesis.load_state_dict(synthesis.state_dict())
    with torch.no_grad():
        _load_analysis(model, analysis)
        _load_hyper_networks(model, constants(graphs["hyper_analysis"]), constants(graphs["hyper_mean"]))
        _load_rows(model, bundle.tables)
        _load_scale_networks(model, bundle.tables)
        _load_mean_contexts(model, bundle.tables)
        _load_prediction(model, predicted)
    return model.eval()


def _graph(bundle: Bundle, role: str) -> onnx.ModelProto:
    graph = bundle.graph(role, "float", "onnxruntime")
    return onnx.load_from_string(bundle.read(graph.files[0]))


def _config(
    bundle: Bundle,
    layout: GridLayout,
    renderer: CodecConfig,
    predicted: np.ndarray | None,
    analysis: Tables,
) -> CodecConfig:
    groups = tuple(layout.channel_groups)
    count, inputs = (0, 0) if predicted is None else predicted.shape[:2]
    blocks = 0
    while f"eighth.{blocks}.first.bias" in analysis:
        blocks += 1
    trained = bundle.manifest.raw.get("training", {}).get("config", {})
    return CodecConfig(
        latents=layout.channels,
        render_width=renderer.render_width,
        render_layers=renderer.render_layers,
        render_hidden=renderer.render_hidden,
        channel_groups=groups,
        hyper=layout.hyper,
        scale_width=layout.class_width,
        context_width=layout.context_width,
        checkerboard_groups=layout.checkerboard_groups,
        mixed_width=layout.mixed_width,
        predicted_channels=count,
        prediction_inputs=0 if inputs == groups[0] else inputs,
        analysis_width=2 * len(analysis["stem.bias"]),
        analysis_blocks=blocks,
        ms_ssim=trained.get("ms_ssim", 0.0),
        colour=trained.get("colour", "rgb"),
        ssimulacra2=trained.get("ssimulacra2", 0.0),
        highest_lambda=trained.get("highest_lambda", CodecConfig.highest_lambda),
    )


def _set(parameter: Tensor, value: np.ndarray) -> None:
    parameter.copy_(torch.from_numpy(np.array(value, np.float32)).reshape(parameter.shape))


def _stored(tensors: Tables, name: str) -> np.ndarray:
    """A weight as the float graphs store it: 8 bits with a scale for each channel, half precision, or whole.
    Raises ExportError where there is none.
    """
    if f"{name}.int8" in tensors:
        steps = tensors[f"{name}.step"]
        values = tensors[f"{name}.int8"].astype(np.float32)
        return values * steps.reshape(-1, *[1] * (values.ndim - 1))
    value = tensors.get(f"{name}.half", tensors.get(name))
    if value is None:
        raise ExportError(f"a float graph has no tensor {name!r}: it is not the graph of a codec")
    return value.astype(np.float32)


def _load(layer: nn.Module, tensors: Tables, name: str, block: int = 1) -> None:
    """A convolution of the graphs; ``block`` of the SpaceToDepth before it, whose channels are in another
    order.
    """
    assert isinstance(layer, nn.Conv2d)
    weight = _stored(tensors, f"{name}.weight")
    if block > 1:
        out, channels, *kernel = weight.shape
        weight = weight.reshape(out, block**2, channels // block**2, *kernel).swapaxes(1, 2)
    _set(layer.weight, weight)
    if layer.bias is not None:
        _set(layer.bias, tensors[f"{name}.bias"])


def _load_analysis(model: Codec, tensors: Tables) -> None:
    network = model.analysis
    _load(network.linear, tensors, "linear")
    for name, block in (("stem", 4), ("eighth_in", 2), ("sixteenth_in", 2), ("out", 1)):
        _load(getattr(network, name), tensors, name, block)
    for part in ("eighth", "sixteenth"):
        for i, residual in enumerate(getattr(network, part)):
            _load(residual.first, tensors, f"{part}.{i}.first")
            _load(residual.second, tensors, f"{part}.{i}.second")


def _load_hyper_networks(model: Codec, analysis: Tables, mean: Tables) -> None:
    prior = model.hyperprior
    _set(prior.deviation, analysis["deviation"])
    _load(prior.analysis[0], analysis, "first")
    _load(prior.analysis[3], analysis, "second", 2)
    _load(prior.analysis[6], analysis, "hyperlatents", 2)
    for i, name in ((0, "first"), (3, "second"), (6, "mean")):
        _load(prior.mean[i], mean, name)


def _load_rows(model: Codec, tables: Tables) -> None:
    """The rows of the rate points from those of 100 qualities."""
    basis = between_rate_points(torch.eye(RATE_POINTS), positions(model.config)).double().numpy()

    def fit(parameter: Tensor, rows: np.ndarray) -> None:
        _set(parameter, np.linalg.lstsq(basis, rows.astype(np.float64), rcond=None)[0])

    steps = tables["quality.step_levels"][tables["quality.step_index"]]
    fit(model.log_gain, -np.log(steps))
    fit(model.log_hyper_gain, -np.log(tables["quality.hyper_multiplier"] / 2.0**VALUE_BITS))
    offsets = (tables["quality.class_offset"].astype(np.float64) - OFFSET_ZERO) / OFFSET_UNIT
    fit(model.scale_offset, offsets - CODED_BELOW - 0.5)
    fit(model.hyper_scale_index, tables["quality.hyper_class"] - CODED_BELOW)


def _load_scale_networks(model: Codec, tables: Tables) -> None:
    prior = model.hyperprior

    def load(layer: nn.Conv2d, name: str) -> None:
        _set(layer.weight, tables[f"{name}_weight"] / 2.0**WEIGHT_BITS)
        if layer.bias is not None:
            _set(layer.bias, tables[f"{name}_bias"] / 2.0 ** (WEIGHT_BITS + VALUE_BITS))

    load(prior.scale_hidden, "scale.hidden")
    load(prior.scale_out, "scale.out")
    parts = {f"context.{i}": context for i, context in enumerate(prior.contexts, 1)}
    parts |= {non_anchor_name(i): half for i, half in enumerate(prior.checkerboard_contexts)}
    for name, context in parts.items():
        assert isinstance(context, Context)
        load(context.hidden, f"{name}.hidden")
        load(context.out, f"{name}.out")
        if context.mixed is not None:
            assert context.mixed_below is not None
            load(context.mixed, f"{name}.mixed")
            load(context.mixed_below, f"{name}.below")


def _load_mean_contexts(model: Codec, tables: Tables) -> None:
    prior = model.hyperprior
    for i, (network, channels) in enumerate(zip(prior.checkerboard_means, prior.channels(), strict=False)):
        assert isinstance(network, CheckerboardMean)
        assert network.hidden.bias is not None
        assert network.out.bias is not None
        unit, name = prior.deviation[channels].numpy(), mean_context_name(i)
        table = {key: tables[f"{name}.{key}"].astype(np.float32) for key in ("hidden_weight", "out_weight")}
        _set(network.hidden.weight, table["hidden_weight"] * np.tile(unit, 4))
        _set(network.hidden.bias, tables[f"{name}.hidden_bias"])
        _set(network.out.weight, table["out_weight"] / unit[:, None])
        _set(network.out.bias, tables[f"{name}.out_bias"] / unit)


def _prediction_weight(tensors: Tables) -> np.ndarray | None:
    """(predicted, inputs, 3, 3), on latents; None where the synthesis predicts nothing."""
    if "prediction.weight.half" in tensors:
        return _stored(tensors, "prediction.weight")
    if "prediction.weight.int8" not in tensors:
        return None
    unit = tensors["prediction.unit"].reshape(1, -1, 1, 1)
    return _stored(tensors, "prediction.weight") * unit


def _load_prediction(model: Codec, weight: np.ndarray | None) -> None:
    prior = model.hyperprior
    if weight is None or prior.prediction is None:
        return
    first, deviation = model.config.channel_groups[0], prior.deviation.numpy()
    count, inputs = weight.shape[:2]
    weight = weight / deviation[first : first + count, None, None, None] * deviation[:inputs, None, None]
    _set(prior.prediction.weight, weight)
