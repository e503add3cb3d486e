"""One call of the prepared run, on the machine that has the GPU.

    python3 -m decant_train.gpu.run --call 0 --folder .gpu --out $OUT

The state stays in ``folder``/state for the next call. ``out`` gets the averaged weights in half precision, in
files small enough to come back, and the metrics. If the machine was changed between the calls, the next one
starts from the weights that came back.
"""

import argparse
import os
import shutil
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from decant_train.codec.config import SIZES
from decant_train.codec.model import Codec
from decant_train.codec.options import CodecOptions
from decant_train.codec.recipe import train_codec
from decant_train.common import checkpoint as checkpoints
from decant_train.gpu.plan import MOST_BACK, MOST_FILES, Plan

WEIGHTS = "weights-{}.safetensors"
TRIAL_STEPS = 4


def run_call(plan: Plan, call: int, folder: Path, out: Path) -> None:
    """Run call ``call`` (from 0) of ``plan`` with the shards in ``folder``, and write its results to ``out``.

    Raises FileNotFoundError where no shard is there.
    """
    out.mkdir(parents=True, exist_ok=True)
    shards = sorted(folder.glob("shard-*.safetensors"))
    if not shards:
        raise FileNotFoundError(f"no shard-*.safetensors in {folder}")
    describe(plan)
    torch.backends.cudnn.benchmark = True  # all crops have one size
    options = CodecOptions(**plan.options, max_minutes=sum(plan.minutes), pause_minutes=plan.minutes[call])
    state, returned = folder / "state", folder / "returned"
    resume = (state / "checkpoint.json").exists()
    if resume:  # as far as the trial of the first call found that it works
        kept = checkpoints.read_description(state)["options"]["refine_from"]
        options = replace(options, refine_from=kept)
    else:
        options = tried(plan, options, shards, folder / "trial")
    begin = restored(plan, returned, folder / "begin") if call and not resume else None
    if begin is not None:  # what is left of the schedule
        options = replace(options, max_minutes=plan.minutes[call], curriculum_start=0.0, warmup=100)
    made = train_codec(
        plan.size,
        state,
        options,
        images=shards,
        shape=plan.shape,
        warm_start=begin,
        resume=resume,
        progress=False,
    )
    parts = write_parts(made.model.state_dict(), out)
    for name in ("metrics.jsonl", "checkpoint.json"):
        if (state / name).exists():
            shutil.copy(state / name, out)
    print(f"step {made.step} after {made.elapsed_s:.0f} s of training, {parts} files of weights", flush=True)


def describe(plan: Plan) -> None:
    """Print what this machine is."""
    print(f"torch {torch.__version__}, {os.cpu_count()} processors, plan {plan}", flush=True)
    if torch.cuda.is_available():
        print(torch.cuda.get_device_name(), flush=True)


def tried(plan: Plan, options: CodecOptions, shards: list[Path], folder: Path) -> CodecOptions:
    """``options`` as far as they work here: a few steps of every phase are run, and timed.

    If steps on the encoder's own symbols fail, the run does without them. Any other failure is raised.
    """
    phases: dict[str, dict[str, Any]] = {
        "plain": {"refine_from": 1.0},
        "refined": {"refine_from": 0.0, "measured_every": TRIAL_STEPS},
    }
    for name, changes in phases.items():
        few: dict[str, Any] = {"steps": TRIAL_STEPS, "max_minutes": 0.0, "pause_minutes": 0.0}
        trial = replace(options, **few | {"validate_every": TRIAL_STEPS} | changes)
        began = time.monotonic()
        try:
            train_codec(plan.size, folder / name, trial, images=shards[:1], shape=plan.shape, progress=False)
            print(f"trial {name}: {TRIAL_STEPS} steps in {time.monotonic() - began:.1f} s", flush=True)
        except Exception:
            if name == "plain":
                raise
            print(f"trial {name} failed; the run does without it:\n{traceback.format_exc()}", flush=True)
            options = replace(options, refine_from=1.0)
    shutil.rmtree(folder, ignore_errors=True)
    return options


def write_parts(weights: Mapping[str, Tensor], out: Path) -> int:
    """Write ``weights`` in half precision as files of at most ``MOST_BACK`` bytes; returns how many."""
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in weights.items():
        kept = tensor.detach().cpu().contiguous()
        kept = kept.half() if kept.is_floating_point() else kept
        if size + kept.nbytes > MOST_BACK * 0.99:
            parts.append({})
            size = 0
        parts[-1][name] = kept
        size += kept.nbytes
    if len(parts) > MOST_FILES - 3:  # beside the metrics, the description and the log
        raise ValueError(f"{len(parts)} files of weights, and at most {MOST_FILES} files come back")
    for index, part in enumerate(parts):
        save_file(part, out / WEIGHTS.format(index))
    return len(parts)


def read_parts(folder: Path) -> dict[str, Tensor]:
    """The weights that ``write_parts`` wrote, in float32. Raises FileNotFoundError."""
    paths = sorted(folder.glob(WEIGHTS.format("*")))
    if not paths:
        raise FileNotFoundError(f"no {WEIGHTS.format('*')} in {folder}")
    found: dict[str, Tensor] = {}
    for path in paths:
        found |= {name: t.float() if t.is_floating_point() else t for name, t in load_file(path).items()}
    return found


def restored(plan: Plan, returned: Path, into: Path) -> Path | None:
    """A checkpoint folder of the weights that an earlier call sent back; None where there are none."""
    try:
        weights = read_parts(returned)
    except FileNotFoundError:
        return None
    model = network(plan)
    model.load_state_dict(weights)
    checkpoints.save(into, checkpoints.Checkpoint("codec", model.config, model))
    return into


def network(plan: Plan) -> Codec:
    """A new codec as ``plan`` has it."""
    return Codec(replace(SIZES[plan.size], **plan.shape))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--call", type=int, required=True, help="which call, from 0")
    parser.add_argument("--folder", type=Path, required=True, help="where shards and the state are")
    parser.add_argument("--out", type=Path, required=True, help="what comes back is written here")
    given = parser.parse_args()
    run_call(Plan(), given.call, given.folder, given.out)


if __name__ == "__main__":
    main()
