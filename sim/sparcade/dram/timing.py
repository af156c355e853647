"""When a command may issue, and what it forbids afterwards.

`ready` holds the earliest tick of each command for every bank; commands to all banks of a pseudo-channel or rank stand
at its first bank. Command buses are busy for a while of their own (`row_bus`, `column_bus` of a channel).
"""

from __future__ import annotations

from sparcade._jit import kernel
from sparcade.dram.commands import Command
from sparcade.dram.constraints import Scope
from sparcade.dram.state import Dram

_SAME, _FOURTH = int(Scope.SAME), int(Scope.FOURTH)
_ACT, _PREAB, _REFAB = int(Command.ACT), int(Command.PREAB), int(Command.REFAB)


@kernel
def restrict(dram: Dram, channel: int, bank: int, command: int, tick: int) -> None:
    """Push the ready ticks of everything that has to wait for this command."""
    ready, acts, state = dram.ready, dram.acts, dram.channels[channel]
    state.row_bus = max(state.row_bus, tick + dram.buses[command, 0])
    state.column_bus = max(state.column_bus, tick + dram.buses[command, 1])
    upper = dram.banks[bank].upper
    if command == _ACT:
        acts[upper, 3] = acts[upper, 2]
        acts[upper, 2] = acts[upper, 1]
        acts[upper, 1] = acts[upper, 0]
        acts[upper, 0] = tick
    for index in range(dram.starts[command], dram.starts[command + 1]):
        rule = dram.constraints[index]
        after, earliest = rule.after, tick + rule.ticks
        if rule.scope == _FOURTH:
            earliest = acts[upper, 3] + rule.ticks
        first = bank // rule.span * rule.span
        if rule.scope <= _FOURTH:
            span = 1 if after in (_PREAB, _REFAB) else rule.span
            for place in range(first, first + span):
                ready[after, place] = max(ready[after, place], earliest)
        else:
            parent = bank // rule.parent_span * rule.parent_span
            for place in range(parent, parent + rule.parent_span):
                if place < first or place >= first + rule.span:
                    ready[after, place] = max(ready[after, place], earliest)
