"""Reward functions for RL trainers, one adapter module each; none is imported here.

`verdict_reward` trains a judge: its completions are right or wrong. `preference_reward` lets a judge train
another policy: its answers are compared, and each gets the probability that it is the better one.
"""

from rmr1_sdk.rewards.preference import PreferenceRewards, RewardMetrics, preference_reward
from rmr1_sdk.rewards.verdict import verdict_reward

__all__ = ["PreferenceRewards", "RewardMetrics", "preference_reward", "verdict_reward"]
