"""Which points are computed next: all at once, or in rounds that depend on what was found.

A round depends on the results of the rounds before, not on when they came: the same points are computed for any number
of workers, and again after an interruption.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sparcade.errors import MissingError
from sparcade.sweep.axes import Axis, Value
from sparcade.sweep.definition import Sweep
from sparcade.sweep.points import Point, Space, points_of
from sparcade.sweep.scoring import Costs, front_with

if TYPE_CHECKING:
    import optuna

#: Costs of a point of an earlier round; None for one that failed or was skipped.
Found = Callable[[Point], Costs | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Points to compute before the next round is chosen."""

    points: tuple[Point, ...]
    places: tuple[int, ...] = ()  #: of the points in the order of the sweep
    most: int = 0  #: points that all rounds together may have
    front: tuple[Costs, ...] = ()  #: what was found before; a point whose bound it beats is skipped


def rounds(sweep: Sweep, found: Found) -> Iterator[Round]:
    """The rounds of a sweep; `found` is asked for the points of a round when the next one is taken.

    Raises
    ------
    ConfigError
        When the constraints leave no point, a file or name does not exist, or the hardware cannot do a value.
    """
    if not sweep.is_adaptive:
        points = tuple(points_of(sweep))
        yield Round(points=points, places=tuple(range(len(points))), most=len({point.key for point in points}))
        return
    front: tuple[Costs, ...] = ()
    for chosen in _suggested(sweep, found) if sweep.method == "optuna" else _shuffled(sweep):
        yield replace(chosen, front=front) if sweep.skip_dominated else chosen
        front = front_with(front, [costs for point in chosen.points if (costs := found(point)) is not None])


def points_in(sweep: Sweep, found: Found) -> list[Point]:
    """All points of the rounds, each once, in the order of the sweep; a point not found counts as failed."""
    if sweep.method != "optuna":
        return points_of(sweep)
    return list({point.key: point for each in rounds(sweep, found) for point in each.points}.values())


def _shuffled(sweep: Sweep) -> Iterator[Round]:
    """The points in a random order that is always the same: good ones come early, whatever the order of the axes."""
    points = points_of(sweep)
    order = list(range(len(points)))
    random.Random(sweep.seed).shuffle(order)
    most = len({point.key for point in points})
    for start in range(0, len(order), sweep.round):
        places = tuple(order[start : start + sweep.round])
        yield Round(points=tuple(points[place] for place in places), places=places, most=most)


def _suggested(sweep: Sweep, found: Found) -> Iterator[Round]:
    """Points that Optuna suggests: a study for each workload, arch and policy, with `samples` trials each."""
    space = Space(sweep)
    studies = [(named, _study(sweep)) for named in space.combinations()]
    keys: set[str] = set()
    for start in range(0, sweep.samples, sweep.round):
        end = min(start + sweep.round, sweep.samples)
        asked = []
        for named, study in studies:
            for _ in range(start, end):
                trial = study.ask()
                values = {axis.name: _suggest(trial, axis) for axis in sweep.axes}
                asked.append((study, trial, space.point(named, values)))
        points = {point.key: point for _, _, point in asked if point is not None}
        fresh = tuple(point for key, point in points.items() if key not in keys)
        places = tuple(range(len(keys), len(keys) + len(fresh)))
        keys |= points.keys()
        yield Round(points=fresh, places=places, most=len(keys) + (sweep.samples - end) * len(studies))
        for study, trial, point in asked:
            costs = None if point is None else found(point)
            if costs is None:  # counts as bad: it broke a constraint, failed, or was dominated
                study.tell(trial, state=_optuna().trial.TrialState.PRUNED)
            else:
                study.tell(trial, list(costs))
    if not keys:
        raise space.nothing_left()


def _study(sweep: Sweep) -> optuna.Study:
    library = _optuna()
    sampler = library.samplers.TPESampler(seed=sweep.seed, constant_liar=True)
    study: optuna.Study = library.create_study(directions=["minimize"] * len(sweep.objectives), sampler=sampler)
    return study


def _suggest(trial: optuna.Trial, axis: Axis) -> Value:
    if not axis.values:
        return axis.rounded(trial.suggest_float(axis.name, axis.low, axis.high))
    if all(type(value) in (int, float) for value in axis.values):
        return axis.values[int(trial.suggest_int(axis.name, 0, len(axis.values) - 1))]
    return axis.values[int(trial.suggest_categorical(axis.name, list(range(len(axis.values)))))]


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise MissingError(
            "Optuna is not installed",
            where='method = "optuna"',
            expected="the package 'optuna'",
            got="no such package",
            remedy="pip install 'sparcade[sweep]'",
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
