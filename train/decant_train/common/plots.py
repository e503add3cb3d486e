"""Training curves from a run's log."""

import json
from pathlib import Path


def training_curves(run: Path) -> Path:
    """Draw the losses and metrics of ``run``/metrics.jsonl into ``run``/curves.svg; returns its path.

    Set and denoiser runs: against epochs. Codec runs: loss and validation score against steps.
    """
    from matplotlib.figure import Figure

    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    panels = [("loss", "loss"), ("PSNR (dB)", "psnr"), ("SSIM", "ssim"), ("validation score", "score")]
    panels = [(label, name) for label, name in panels if any(name in row for row in rows)]
    across = "epoch" if "epoch" in rows[0] else "step"
    figure = Figure(figsize=(3.7 * len(panels), 3.2), layout="constrained")
    for axis, (label, name) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        points = [row for row in rows if name in row]
        axis.plot(
            [p[across] for p in points], [p[name] for p in points], marker="." if len(points) < 100 else ""
        )
        axis.set_xlabel(across)
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        if name == "loss":
            axis.set_yscale("log")
    path = run / "curves.svg"
    figure.savefig(path, metadata={"Date": None})
    return path
