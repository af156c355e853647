"""`sparcade baselines`: other accelerators, GPUs and CPUs on the same trace or workload."""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparcade.cli.settings import add_set_option, report_folder, split_settings

if TYPE_CHECKING:
    from sparcade.arch import Arch
    from sparcade.baselines import Normalisation, Ratios
    from sparcade.baselines.a3 import A3


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "baselines",
        help="A3, MnnFast, dense accelerators, other policies, GPUs and CPUs on the same work",
        description="Time other designs on the same trace or workload, with the same multipliers, bandwidth and clock "
        "(docs/baselines.md).",
    )
    parser.add_argument("target", nargs="?", help="trace or workload, as in 'sparcade run'")
    parser.add_argument("--quotes", action="store_true", help="print published figures of other accelerators instead")
    parser.add_argument("--arch", default="spatten", help="arch preset or TOML file (default: spatten)")
    parser.add_argument(
        "--policy",
        action="append",
        metavar="POLICY",
        help="policy on the arch; repeatable, the first is what others are held against (default: the published "
        "scheme, then the library's others)",
    )
    add_set_option(parser)
    parser.add_argument(
        "--multipliers", type=int, metavar="N", help="of the closed forms, in all (default: the arch's)"
    )
    parser.add_argument(
        "--bandwidth", type=float, metavar="GB/s", help="peak of the closed forms (default: the arch's)"
    )
    parser.add_argument(
        "--bandwidth-efficiency",
        type=float,
        metavar="SHARE",
        help="usable share of it (default: what a sequential stream reaches on the arch)",
    )
    parser.add_argument("--word-bits", type=int, metavar="N", help="of the closed forms in DRAM (default: 12)")
    parser.add_argument(
        "--a3", action="append", metavar="M:T", help="also A3 with M (up to 1: share of the keys) and T; repeatable"
    )
    parser.add_argument("--a3-ratios", metavar="M,C,K", help="of a workload: M/n, C/n and K'/n of A3's search")
    parser.add_argument("--mnnfast-ratio", metavar="SHARE", help="of a workload: share of V that MnnFast multiplies")
    parser.add_argument("--mnnfast-threshold", type=float, metavar="P", help="skip V below this probability (0.1)")
    parser.add_argument("--platform", action="append", metavar="NAME", help="GPU or CPU; repeatable (default: all)")
    parser.add_argument(
        "--element-bits", type=int, metavar="N", help="of GPUs and CPUs (default: 16 or 32, by platform)"
    )
    parser.add_argument("--efficiency", metavar="LOW,HIGH", help="share of the roofline that they reach (0.6,0.75)")
    parser.add_argument("--paper", action="store_true", help="also the paper's own measurements (its 30 benchmarks)")
    parser.add_argument("--framework", action="store_true", help="also a fit to the paper's framework overhead")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder (default: reports/baselines-WORKLOAD-ARCH)")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Carry out the command."""
    from rich.console import Console

    from sparcade.arch import load_arch
    from sparcade.baselines import compare, quotes
    from sparcade.baselines.compare import A3_VERSIONS, MNNFAST_FORMS
    from sparcade.baselines.roofline import EFFICIENCY
    from sparcade.cli.progress import Stages
    from sparcade.errors import ConfigError
    from sparcade.policy import load_policy
    from sparcade.report.baselines_report import check_folder, print_comparison, print_quotes, write_folder
    from sparcade.sources import load_source
    from sparcade.workload import Workload

    console = Console(markup=False, highlight=False)
    if options.quotes:
        print_quotes(console, quotes())
        return
    if options.target is None:
        raise ConfigError(
            "nothing to compare is named",
            where="sparcade baselines",
            expected="a trace or workload, or --quotes",
            got="neither",
            remedy="sparcade baselines gpt2-tiny",
        )
    arch_settings, policy_settings = split_settings(options.set)
    arch = load_arch(options.arch, arch_settings)
    named = options.policy or []
    if policy_settings and len(named) != 1:
        raise ConfigError(
            "it is not clear which policy the setting is for",
            where=f"--set policy.{policy_settings[0]}",
            expected="one --policy",
            got=f"{len(named)} of them",
            remedy="name the policy, or put each into a TOML file",
        )
    policies = [load_policy(name, policy_settings) for name in named]
    versions = [*A3_VERSIONS, *(_version(text) for text in options.a3 or ())]
    forms = MNNFAST_FORMS
    if options.mnnfast_threshold is not None:
        forms = tuple(_with(form, threshold=options.mnnfast_threshold) for form in forms)
    source = load_source(options.target)
    if isinstance(source, Workload) and (options.a3 or options.mnnfast_threshold is not None):
        raise ConfigError(
            "a workload has no tensors to search",
            where="--a3, --mnnfast-threshold",
            expected="a trace; or the counts, with --a3-ratios and --mnnfast-ratio",
            got=f"the workload {source.shape.name!r}",
            remedy="compare a trace, or state the ratios",
        )
    name = source.shape.name if isinstance(source, Workload) else source.name
    folder = options.out or report_folder("baselines", name, arch.name)
    check_folder(folder)
    with Stages() as stages:
        comparison = compare(
            source,
            arch,
            policies=policies,
            normalisation=_normalisation(options, arch),
            versions=versions,
            forms=forms,
            ratios=_ratios(options),
            platforms=options.platform,
            element_bits=options.element_bits,
            efficiency=_range(options.efficiency) if options.efficiency else EFFICIENCY,
            paper=options.paper,
            framework=options.framework,
            step=stages.step,
        )
        files = write_folder(folder, comparison)
    print_comparison(console, comparison)
    for path in files:
        console.print(f"  {path}", soft_wrap=True)


def _with(value: Any, **changes: Any) -> Any:
    """A frozen parameter with what the options change; what they do not is None."""
    import dataclasses

    return dataclasses.replace(value, **{name: change for name, change in changes.items() if change is not None})


def _normalisation(options: argparse.Namespace, arch: Arch) -> Normalisation:
    from sparcade.baselines import Normalisation

    return _with(  # type: ignore[no-any-return]
        Normalisation.of(arch),
        multipliers=options.multipliers,
        bandwidth_gbps=options.bandwidth,
        efficiency=options.bandwidth_efficiency,
        basis=None if options.bandwidth_efficiency is None else "given",
        word_bits=options.word_bits,
    )


def _version(text: str) -> A3:
    from sparcade.baselines.a3 import A3

    iterations, threshold = _shares(text, ":", 2, "--a3", "1/2:0.05")
    return A3(name=f"a3, M {iterations}, T {float(threshold):g}", iterations=iterations, threshold=float(threshold))


def _ratios(options: argparse.Namespace) -> Ratios | None:
    from sparcade.baselines import Ratios

    if options.a3_ratios is None and options.mnnfast_ratio is None:
        return None
    a3 = kept = None
    if options.a3_ratios is not None:
        iterations, candidates, rows = _shares(options.a3_ratios, ",", 3, "--a3-ratios", "0.5,0.4,0.2")
        a3 = iterations, candidates, rows
    if options.mnnfast_ratio is not None:
        (kept,) = _shares(options.mnnfast_ratio, ",", 1, "--mnnfast-ratio", "0.1")
    return Ratios(a3=a3, mnnfast=kept)


def _range(text: str) -> tuple[float, float]:
    low, high = _shares(text, ",", 2, "--efficiency", "0.6,0.75")
    return float(low), float(high)


def _shares(text: str, separator: str, count: int, option: str, example: str) -> list[Fraction]:
    """Numbers or fractions of an option, exactly."""
    from sparcade.config import check_value
    from sparcade.errors import ConfigError

    parts = text.split(separator)
    if len(parts) != count:
        raise ConfigError(
            "the option has another number of parts",
            where=f"{option} {text}",
            expected=f"{count} numbers, such as {example}",
            got=repr(text),
            remedy=f"{option} {example}",
        )
    for part in parts:
        check_value(Fraction, part, where=f"{option} {text}")
    return [Fraction(part) for part in parts]
