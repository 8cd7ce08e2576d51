"""What one process of several does: each program of its number of ranks, one after the other. For torchrun."""

import contextlib
import os
import sys
import warnings
from datetime import timedelta

import torch
import torch.distributed as dist

from simplegrad import record_torch
from tests.comparison.ranks.programs import PROGRAMS


def main(folder: str) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank, world = dist.get_rank(), dist.get_world_size()
    for name, (function, needed, *_) in PROGRAMS.items():
        if needed == world:
            group = dist.new_group(timeout=timedelta(seconds=1))
            with contextlib.suppress(RuntimeError):  # a rank that waited in vain

                def record(model, file=f"{folder}/{name}.{{rank}}.trace"):
                    return record_torch(model, values="norm", save=file)

                function(rank, world, record, group)
            dist.barrier()
    os._exit(0)  # some groups are broken, as they should be


if __name__ == "__main__":
    main(sys.argv[1])
