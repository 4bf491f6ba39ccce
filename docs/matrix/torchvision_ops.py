"""Names the operators that torchvision defines only in builds with CUDA, so that it can be imported without.

Runs when Python starts in an environment whose packages import torchvision. No attention module calls one
of the operators; a call raises, as it would without this file.
"""

import importlib.util

_OPERATORS = (
    "nms",
    "qnms",
    "roi_align",
    "qroi_align",
    "_roi_align_backward",
    "roi_pool",
    "_roi_pool_backward",
    "ps_roi_align",
    "_ps_roi_align_backward",
    "ps_roi_pool",
    "_ps_roi_pool_backward",
    "deform_conv2d",
    "_deform_conv2d_backward",
)

if importlib.util.find_spec("torchvision") and importlib.util.find_spec("torch"):
    import torch

    # Kept in a name: the definitions go when the library object goes.
    _LIBRARY = torch.library.Library("torchvision", "DEF")
    for _operator in _OPERATORS:
        # Importing torchvision looks up names only, so any signature will do.
        _LIBRARY.define(f"{_operator}(Tensor never_called) -> Tensor")
