"""`sparcade doctor`: checks the installation."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        help="check the installation: what works, what is missing, how to get it",
        description="Check the installation (docs/doctor.md). Exit code 0 when the base works, 1 when something it "
        "needs is missing or broken; optional parts only say how to get them.",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(function=doctor)


def doctor(options: argparse.Namespace) -> int:
    """Carry out the command."""
    from sparcade.doctor import checkup, works

    checks = checkup()
    good = works(checks)
    if options.json:
        from sparcade._files import canonical_json

        table = {"schema": "sparcade.doctor", "schema_version": 1, "works": good}
        print(canonical_json(table | {"checks": [dataclasses.asdict(check) for check in checks]}), end="")
        return 0 if good else 1
    width = max(len(check.name) for check in checks)
    for needed, title in ((True, "needed"), (False, "optional")):
        print(f"{title}:")
        for check in checks:
            if check.needed == needed:
                print(f"  {check.name:<{width}}  {check.state:<7}  {check.found}")
                if check.state != "ok":
                    print(f"  {'':<{width}}           for: {check.enables}")
                    print(f"  {'':<{width}}           get: {check.remedy}")
    print("the base works" if good else "the base does not work: mend what is needed and not ok")
    return 0 if good else 1
