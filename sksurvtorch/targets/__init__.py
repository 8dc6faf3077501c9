"""From label volumes to the targets of the segmentation losses, and from predictions to labels.

All functions take and return numpy arrays of one volume, with any number of spatial axes. Labels
are integers; 0 is the background.
"""

from sksurvtorch.targets.affinities import affinities, affinities_to_labels
from sksurvtorch.targets.descriptors import local_shape_descriptors
from sksurvtorch.targets.distances import distances_to_labels, hot_distance, signed_distance
from sksurvtorch.targets.weights import balance_weights

__all__ = [
    "affinities",
    "affinities_to_labels",
    "balance_weights",
    "distances_to_labels",
    "hot_distance",
    "local_shape_descriptors",
    "signed_distance",
]
