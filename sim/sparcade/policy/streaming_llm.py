"""StreamingLLM (Xiao et al., ICLR 2024, section 3.2): attention sinks and a window of recent tokens."""

from __future__ import annotations

from dataclasses import dataclass

from sparcade.config import check_counts
from sparcade.policy.protocol import Choice, Ids, KeyState, SequenceShape
from sparcade.policy.static import MOST_TOKENS, Static, StaticConfig, check_decoder


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingLLMConfig(StaticConfig):
    """The cache between two steps, of every head of every layer."""

    sinks: int = 4  #: first tokens
    window: int = 1020  #: most recent tokens

    def __post_init__(self) -> None:
        StaticConfig.__post_init__(self)
        check_counts(self, least=0, sinks=MOST_TOKENS)
        check_counts(self, window=MOST_TOKENS)


def sinks_and_window(state: KeyState, sinks: int, window: int) -> Ids:
    """The candidates among the first `sinks` tokens and the `window` most recent ones."""
    ids = state.candidates
    return ids[(ids < sinks) | (ids >= state.context - window)]


class StreamingLLM(Static[StreamingLLMConfig]):
    """Keys that stay are known without a ranking: nothing is charged. Positions stay those of the text."""

    def begin_sequence(self, shape: SequenceShape) -> None:
        """Refuse an encoder."""
        check_decoder(shape, self.config.name)

    def keep_keys(self, state: KeyState) -> Choice:
        """Sinks and window."""
        return sinks_and_window(state, self.config.sinks, self.config.window)
