"""Table of a run of the speech metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parity.base.text import aligned, plain
from parity.speech.floor import Ruling
from parity.speech.session import Heard

HEAD = ("passage", "metric", "reference", "candidate", "worse by", "floor", "+ margin", "")


def table(heard: Sequence[Heard], silent: Sequence[str] = (), errors: Mapping[str, str] | None = None) -> str:
    """Return a row for each ruling, then remarks, what was not judged, and the verdict.

    `errors` says, by the name of its test, why something could not be judged at all.
    """
    rulings = [ruling for one in heard for ruling in one.rulings]
    lines = aligned([HEAD, *map(_row, rulings)]) if rulings else []
    lines += ["", *(plain(ruling.line()) for ruling in rulings if not ruling.passed)]
    lines += [f"! {plain(name)}: {plain(why)}" for name, why in (errors or {}).items()]
    lines += [plain(remark) for remark in dict.fromkeys(remark for one in heard for remark in one.remarks)]
    lines += [f"no audio output, so nothing to listen to: {', '.join(map(plain, silent))}"] if silent else []
    passed = sum(ruling.passed for ruling in rulings)
    failed = len(rulings) - passed
    verdict = "passed" if rulings and not failed and not errors else "FAILED"
    return "\n".join(
        [
            *lines,
            f"speech {verdict}  ✓ {passed}{f'  ✗ {failed}' if failed else ''}{f'  ! {len(errors)}' if errors else ''}",
        ]
    )


def _row(ruling: Ruling) -> tuple[str, ...]:
    return (
        ruling.subject,
        ruling.metric,
        f"{ruling.reference:.4f}",
        f"{ruling.candidate:.4f}",
        f"{ruling.worse:.2e}",
        f"{ruling.floor:.2e}",
        f"{ruling.margin:g}",
        "✓" if ruling.passed else "✗",
    )
