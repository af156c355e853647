"""`apply`: replay a trace under a policy, value-exact, and write down the work the hardware would do."""

from __future__ import annotations

from collections.abc import Callable

from sparcade.policy.engine import Engine
from sparcade.policy.protocol import Policy
from sparcade.policy.result import PolicyResult
from sparcade.policy.tensors import SequenceTensors
from sparcade.trace import AttentionTrace


def apply(trace: AttentionTrace, policy: Policy, progress: Callable[[float], None] | None = None) -> PolicyResult:
    """Replay every sequence of a trace, back to back (open loop: later layers saw the model's unpruned inputs).

    Parameters
    ----------
    progress : called with the fraction done, after each step of each sequence.

    Raises
    ------
    PolicyError
        When the policy raises, or returns a pruned token, no token, unsupported bits, or scores that do not fit.
    """
    engine = Engine(model=trace.manifest.model, policy=policy)
    sequences = trace.manifest.sequences
    total, done = sum(1 + sequence.decode_steps for sequence in sequences), 0
    for index, sequence in enumerate(sequences):
        engine.begin_sequence(sequence.tokens, SequenceTensors.of(trace, index))
        for _ in range(1 + sequence.decode_steps):
            for _ in range(trace.manifest.model.layers):
                engine.enter_layer()
                engine.attend()
            done += 1
            if progress is not None:
                progress(done / total)
    return engine.result(name=trace.name, trace_hash=trace.content_hash)
