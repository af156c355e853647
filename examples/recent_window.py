"""A policy of one's own: keep the first tokens (attention sinks) and a window of recent ones, as StreamingLLM does.

sparcade run stories260k --policy examples/recent_window.py:RecentWindow --compare dense
"""


class RecentWindow:
    sinks, window = 4, 124

    def begin_sequence(self, shape):
        """Nothing to remember between layers."""

    def keep_tokens(self, state):
        ids = state.candidates
        return ids[(ids < self.sinks) | (ids >= state.context - self.window)]

    def keep_heads(self, state):
        return state.candidates

    def keep_values(self, row):
        return row.key_ids

    def bits(self, row):
        return 12, 0, 0.0
