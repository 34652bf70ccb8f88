"""The judge under a name that verifiers can find: an id of its plugins is the name of a module without dots."""

from rmr1_sdk.rewards.verifiers import PreferenceJudge

__all__ = ["PreferenceJudge"]
