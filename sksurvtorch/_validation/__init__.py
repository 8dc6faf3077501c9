"""Every check of user input, and every error sentence.

A sentence reads `` `name` must <rule>, got <value>. <what to do>.`` Values are looked at where
that is free, on the CPU; on another device it would stop the stream at every call.
"""

from sksurvtorch._validation.options import (
    REDUCTIONS,
    check_flag,
    check_number,
    check_option,
    check_sizes,
    describe,
    resolve_device,
)
from sksurvtorch._validation.segmentation import (
    NORMALIZE,
    WEIGHTINGS,
    check_counting_weight,
    check_dense_prediction,
    check_dense_target,
    check_dense_weight,
    check_even_channels,
    check_finite_target,
    check_num_affinities,
    check_weight_sum,
    unpack_dense_target,
)
from sksurvtorch._validation.survival import (
    TIES,
    check_any_event,
    check_codes,
    check_entry,
    check_event,
    check_grid,
    check_prediction,
    check_probability,
    check_survival_y,
    check_time,
    check_vector,
    check_weight,
    comparable,
    unpack_target,
)

__all__ = [
    "NORMALIZE",
    "REDUCTIONS",
    "TIES",
    "WEIGHTINGS",
    "check_any_event",
    "check_codes",
    "check_counting_weight",
    "check_dense_prediction",
    "check_dense_target",
    "check_dense_weight",
    "check_entry",
    "check_even_channels",
    "check_event",
    "check_finite_target",
    "check_flag",
    "check_grid",
    "check_num_affinities",
    "check_number",
    "check_option",
    "check_prediction",
    "check_probability",
    "check_sizes",
    "check_survival_y",
    "check_time",
    "check_vector",
    "check_weight",
    "check_weight_sum",
    "comparable",
    "describe",
    "resolve_device",
    "unpack_dense_target",
    "unpack_target",
]
