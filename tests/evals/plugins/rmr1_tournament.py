"""The environment that docs/rewards.md shows."""

import verifiers.v1 as vf
from verifiers.v1.envs.best_of_n import BestOfNEnv

from rmr1_sdk import Judge
from rmr1_sdk.rewards.verifiers import record_preferences

__all__ = ["TournamentEnv"]

judge = Judge("fake:tests.replies:by_xs_or_mute")


class TournamentEnv(BestOfNEnv):
    async def finalize(self, task: vf.Task, episode: vf.Episode) -> None:
        await record_preferences(judge, episode.traces)
