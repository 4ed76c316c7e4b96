"""How many rows a stage takes at a time where it is free to choose.

Too few leave cores idle and read every weight again and again; too many make values that no cache
holds. On a CPU there is a step besides: above 32 MiB the C library returns every buffer to the
system, and each layer pays for fresh pages. Measured on two cores with AVX-512, float32: a block of
layer1 of ResNet-50 takes 4 ms an image for 1 to 4 images at a time and 13 ms for 32; one of layer4
takes 5.1 ms for one image and 3.3 ms for 16 or 32; a block of ViT-B/16 21 ms for 4 and above 30 ms
for 32. So the rule bounds the bytes that cross a stage's cuts; what a stage keeps inside is some
times that (four times in a transformer block).
"""

import torch

from layersearch.backbones import Chain

_CPU_BYTES = 8 * 2**20
_ACCELERATOR_BYTES = 256 * 2**20  # caches matter less than kernels that fill the device


def rows_at_once(chain: Chain, device: torch.device) -> tuple[int | None, ...]:
    """For each stage the most rows at a time, a power of two; None: all rows of one network.

    None is for stages that cannot be given some rows of a batch, or rows of several: those of a
    network that is not cut, and those whose values depend on what else is in the batch.
    """
    limit = _CPU_BYTES if device.type == "cpu" else _ACCELERATOR_BYTES
    last = len(chain.stages) - 1
    rows: list[int | None] = []
    for stage in range(last + 1):
        cuts = [stage] if stage == last else [stage, stage + 1]
        if not chain.traced or not all(chain.cacheable(cut) for cut in cuts):
            rows.append(None)
            continue
        row = max(sum(value.bytes for value in chain.value_shapes(cut)) for cut in cuts)
        rows.append(1 << max(0, (limit // max(1, row)).bit_length() - 1))
    return tuple(rows)
