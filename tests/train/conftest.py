"""One thread: two stall each other for seconds when the machine is busy with something else."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
