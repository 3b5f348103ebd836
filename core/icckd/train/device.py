"""Whether torch can use the GPU that this process sees.

`python -m icckd.train.device N` writes the answer to descriptor N, with the versions behind it.
"""

import json

import torch

from icckd.resources.processes import answers


def trouble() -> str:
    """Return why torch cannot use the first visible GPU just now; "" when it can.

    One kernel is run and waited for, so that a missing architecture, a lost device and an error
    that stays with this process all show. A full memory does not count: the device works.
    """
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # untyped in torch
        torch.ones(8, device="cuda").sum().item()
        torch.cuda.synchronize()
    except Exception as error:
        text = str(error).partition("\n")[0] or type(error).__name__
        is_full = isinstance(error, torch.OutOfMemoryError) or "out of memory" in text
        return "" if is_full else text
    return ""


def main() -> None:
    """Write what torch says."""
    answer = {
        "error": trouble(),
        "version": torch.__version__,
        "cuda": torch.version.cuda or "",
        "archs": torch.cuda.get_arch_list(),
    }
    with answers() as out:
        out.write(json.dumps(answer).encode())


if __name__ == "__main__":
    main()
