"""Errors and warnings a user may want to catch or filter."""

__all__ = [
    "IgnoredWeightWarning",
    "ModelFileError",
    "NearlyTiedTimesWarning",
    "NoEventError",
    "NonFiniteLossError",
    "NonFiniteLossWarning",
    "PrecisionWarning",
    "SkippedBatchWarning",
    "SurvivalWarning",
    "TiedGroupsWarning",
]


class NoEventError(ValueError):
    """The data hold no event, so the Cox partial likelihood is not defined."""


class NonFiniteLossError(ValueError):
    """The loss became NaN or infinite before any epoch had ended with usable weights."""


class ModelFileError(ValueError):
    """A file of a model is cut short, altered, of another version or not one of this package."""


class SurvivalWarning(UserWarning):
    """Base class of the warnings of this package."""


class NearlyTiedTimesWarning(SurvivalWarning):
    """Times that are equal but for rounding count as different times in a Cox model."""


class NonFiniteLossWarning(SurvivalWarning):
    """The loss became NaN or infinite; training stopped with the last good weights."""


class PrecisionWarning(SurvivalWarning):
    """A column of X varies too little around its mean for the dtype of the network."""


class SkippedBatchWarning(SurvivalWarning):
    """Batches without an event were left out of a Cox fit."""


class TiedGroupsWarning(SurvivalWarning):
    """Tied predictions, which are not split, leave fewer groups than were asked for."""


class IgnoredWeightWarning(UserWarning):
    """A loss was asked to leave a weight out, as DaCapo does, and was given one."""
