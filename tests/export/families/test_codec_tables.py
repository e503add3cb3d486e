"""Tables of a codec's bundle: qualities and rate points."""

import torch
from decant_export.families.codec.tables import positions
from decant_train.codec.config import CodecConfig


def test_quality_100_is_the_last_rate_point_or_has_the_lambda_it_always_had() -> None:
    """Codecs up to 0.12 extrapolate by one rate point; higher lambdas are trained."""
    assert positions(CodecConfig()).tolist() == torch.linspace(0, 8, 100).tolist()
    assert positions(CodecConfig(highest_lambda=1.0)).tolist() == torch.linspace(0, 7, 100).tolist()
