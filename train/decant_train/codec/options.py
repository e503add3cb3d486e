"""Options of a codec training, with their defaults."""

from dataclasses import dataclass

from decant_train.codec.model import Codec

OPTIMIZERS = ("adam", "muon", "soap")
MS_SSIM_CROP = 192  # pixels: five scales, the last with a window of 11


@dataclass(frozen=True)
class CodecOptions:
    """Options of a codec training. The budget is ``steps`` or ``max_minutes``, whichever ends first.

    The learning rate rises over ``warmup`` steps, stays, and falls as a cosine over the last ``decay`` of the
    budget. A run can be resumed with a longer budget. Rates are factors of ``learning_rate``. Raises
    ValueError where an option is out of its range.
    """

    steps: int = 0
    max_minutes: float = 0.0
    pause_minutes: float = 0.0  # stop after so many minutes of this session, to be resumed; 0: do not
    batch_size: int = 8
    crop: int = 192  # pixels, a multiple of 64
    optimizer: str = "muon"  # "adam", or "muon" or "soap" for the matrices and Adam for the rest
    learning_rate: float = 1e-3
    warmup: int = 100
    decay: float = 0.8  # share of the budget over which the learning rate falls to 2 %
    linear_analysis_rate: float = 0.2  # at the full rate the principal components drift
    linear_synthesis_rate: float = 0.1
    latent_rate: float = 0.5  # of the last layer of the analysis' branches
    render_rate: float = 4.0  # of the renderer's layers at 1/4
    branch_rate: float = 0.5
    matrix_rate: float = 0.8  # of Muon or SOAP, where they are used
    scale_rate: float = 4.0  # scale indices have a wider unit than weights
    hyper_rate: float = 0.3  # of hyperlatents and their means: at the full rate the noisiest part
    hyper_decay: float = 1e-3  # weight of the mean square of hyperlatents, which their rate alone lets grow
    # Rate-point curriculum: all crops at the middle quality, then a range of qualities that grows.
    curriculum_start: float = 0.5  # share of the budget at the middle quality alone
    curriculum_length: float = 0.25  # share after that over which the range grows
    curriculum_range: float = 0.5  # to this share of all qualities
    refine_from: float = 0.8  # share of the budget after which the symbols of files are learned on
    analysis_every: int = 2  # of these steps, those that train the analysis
    rounds: int = 0  # latent refinement of the encoder that chooses these symbols
    keep_encoder: bool = False  # freeze analyses and means, so that bundles can share the encoder
    measured_every: int = 250  # steps between measurements of the synthesis' sensitivity
    beside_in_turn: bool = False  # each step trains the codec's own synthesis and one of ``beside``
    clip_norm: float = 3.0  # gradients are clipped to this norm,
    clip_unusual: float = 2.0  # and to this factor of the usual norm
    average: float = 0.998  # of the weights, per step (exponential moving average)
    compile: bool = False
    validate_every: int = 1000  # steps
    validation_crops: int = 0  # of 256x256 pixels; 0: validation.VALIDATION_CROPS
    save_minutes: float = 4.0
    precision: str = "auto"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.steps or self.max_minutes):
            raise ValueError("codec training needs a budget: give steps or max_minutes")
        if self.crop % 64 or self.crop <= 0:
            raise ValueError(f"crop must be a multiple of 64 pixels, got {self.crop}")
        start, length = self.curriculum_start, self.curriculum_length
        if start < 0 or length < 0 or start + length > 1:
            raise ValueError(
                f"curriculum_start + curriculum_length must be within 0..1, got {start} + {length}"
            )
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}")


def check_crop(model: Codec, crop: int) -> None:
    """Raises ValueError if ``crop`` is too small for the distortion that ``model`` is trained for."""
    if model.config.ms_ssim and crop < MS_SSIM_CROP:
        raise ValueError(f"MS-SSIM needs crops of {MS_SSIM_CROP} pixels, got {crop}")
