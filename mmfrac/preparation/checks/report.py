# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""All findings of a data set, as text and as JSON."""

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from mmfrac.preparation.checks.finding import CHECKS, Finding
from mmfrac.utils.io import AtomicLocalBackend

SHOWN_LINES = 10


@dataclass
class SplitCounts:
    """Size of a split.

    Attributes:
        ann_file (str): Its annotation file.
        films, positives, negatives, unknown, boxes, patients (int): Counts of what could be read.
    """

    ann_file: str
    films: int = 0
    positives: int = 0
    negatives: int = 0
    unknown: int = 0
    boxes: int = 0
    patients: int = 0


@dataclass
class Report:
    """Everything wrong with a data set.

    Attributes:
        data_root (str): Its folder.
        severity (dict[str, str]): Of each check: 'error', 'warning' or 'off'.
        splits (dict[str, SplitCounts]): By name.
        findings (list[Finding]): Errors first, the worst of each check first.
        decoded (int): Film files whose pixels were looked at.
    """

    data_root: str
    severity: dict[str, str]
    splits: dict[str, SplitCounts] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    decoded: int = 0

    def add(self, findings: list[Finding]) -> None:
        """Keep the findings of checks that are not off."""
        self.findings += [f for f in findings if self.severity[f.check] != 'off']

    def sort(self) -> None:
        """Errors first, then in the order of the checks, the worst of each first."""
        places = {name: place for place, name in enumerate(CHECKS)}

        def key(finding: Finding) -> tuple:
            check = finding.check
            return self.severity[check] != 'error', places[check], -finding.weight

        self.findings.sort(key=key)

    @property
    def counts(self) -> dict[str, int]:
        """Findings of each check that has any, in the order of the findings."""
        return dict(Counter(finding.check for finding in self.findings))

    @property
    def num_errors(self) -> int:
        """Findings that count as errors."""
        return sum(self.severity[finding.check] == 'error' for finding in self.findings)

    @property
    def num_warnings(self) -> int:
        """Findings that count as warnings."""
        return len(self.findings) - self.num_errors

    def of_check(self, check: str) -> list[Finding]:
        """Findings of one check."""
        return [finding for finding in self.findings if finding.check == check]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data: ``ok``, ``splits``, ``checks`` and ``findings``."""
        return dict(
            data_root=self.data_root,
            ok=not self.num_errors,
            errors=self.num_errors,
            warnings=self.num_warnings,
            decoded=self.decoded,
            splits={name: vars(counts) for name, counts in self.splits.items()},
            checks={
                name: dict(severity=severity, title=CHECKS[name].title, found=self.counts[name])
                if name in self.counts
                else dict(severity=severity, title=CHECKS[name].title, found=0)
                for name, severity in self.severity.items()
            },
            findings=[
                dict(
                    check=finding.check,
                    severity=self.severity[finding.check],
                    split=finding.split,
                    film=finding.film,
                    message=finding.message,
                )
                for finding in self.findings
            ],
        )

    def __str__(self) -> str:
        head = (
            f'{"split":<12}{"films":>8}{"label 1":>9}{"0":>8}{"-1":>8}{"boxes":>8}{"patients":>10}'
        )
        lines = [head]
        for name, n in self.splits.items():
            numbers = f'{n.films:>8}{n.positives:>9}{n.negatives:>8}{n.unknown:>8}'
            lines.append(f'{name:<12}{numbers}{n.boxes:>8}{n.patients:>10}')
        lines.append(f'{self.decoded} film files decoded')
        for check, count in self.counts.items():
            lines.append(f'{self.severity[check]}: {CHECKS[check].title}: {count} ({check})')
            messages = [finding.message for finding in self.of_check(check)]
            lines += [f'  {printable(message)}' for message in messages[:SHOWN_LINES]]
            if count > SHOWN_LINES:
                lines.append(f'  ... and {count - SHOWN_LINES} more')
            lines.append(f'  -> {CHECKS[check].advice}')
        lines.append(f'{self.num_errors} errors, {self.num_warnings} warnings')
        return '\n'.join(lines)


def write_report(report: Report, out_file: str | os.PathLike) -> None:
    """Write a report as JSON, under a temporary name that is then renamed.

    Args:
        report (Report): Of :func:`check_data`.
        out_file (str or os.PathLike): JSON; its folder is made.
    """
    AtomicLocalBackend().put_text(json.dumps(report.to_dict(), indent=1), os.fspath(out_file))


def printable(text: str) -> str:
    """Text that any UTF-8 stream takes: lone surrogates (of odd file names) are spelled out."""
    return text.encode('utf-8', 'backslashreplace').decode()
