"""Feed .dcn files to a PyTorch training loop.

    python examples/use_in_dataloader.py coded

Needs torch: pip install '.[train]'. Each worker process makes its own decoder when it reads its
first file, so no native object crosses a fork.
"""

import sys
from pathlib import Path

import decant
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class DcnFolder(Dataset[Tensor]):
    """The .dcn files of a folder as float32 tensors (3, ``side``, ``side``) in 0..1, from the top left."""

    def __init__(self, folder: Path, side: int = 64) -> None:
        self.files = sorted(folder.glob("*.dcn"))
        self.side = side
        self.decoder: decant.Decoder | None = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        if self.decoder is None:
            self.decoder = decant.Decoder("lite", threads=1)
        data = self.files[index].read_bytes()
        pixels = self.decoder.decode_region(data, (0, 0, self.side, self.side))  # decodes what it needs
        return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def main(folder: Path) -> None:
    loader = DataLoader(DcnFolder(folder), batch_size=2, num_workers=1)
    for batch in loader:
        print(tuple(batch.shape), f"mean {batch.mean():.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
