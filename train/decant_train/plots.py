"""Training curves from a run's log."""

import json
from pathlib import Path


def training_curves(run: Path) -> Path:
    """Draw loss, PSNR and SSIM of ``run``/metrics.jsonl against epochs into ``run``/curves.svg; returns its
    path.
    """
    from matplotlib.figure import Figure

    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    evaluated = [row for row in rows if "psnr" in row]
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    panels = (("loss (MSE)", "loss", rows), ("PSNR (dB)", "psnr", evaluated), ("SSIM", "ssim", evaluated))
    for axis, (label, name, points) in zip(figure.subplots(1, 3), panels, strict=True):
        axis.plot(
            [p["epoch"] for p in points], [p[name] for p in points], marker="." if points is evaluated else ""
        )
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        if name == "loss":
            axis.set_yscale("log")
    path = run / "curves.svg"
    figure.savefig(path, metadata={"Date": None})
    return path
