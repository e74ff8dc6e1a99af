# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""One loop for all kinds of input: seeds, damage, a process that reads, limits, a journal.

A kind is registered with :func:`register`; what it gives is in :class:`Kind`. Input number ``i`` of a
seed is always the same, so a run goes on where its journal ends, and a failure can be made again.
"""

import contextlib
import json
import multiprocessing
import os
import random
import resource
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

# Of a processor, for one input; on the clock, where a process waits or shares its processor, more.
SECONDS = 5.0

WAITING_SECONDS = 60.0

MEGABYTE = 2**20

# What a process may take besides twice the decoded size.
BASE_MEMORY = 256 * MEGABYTE

GOOD = ('read', 'doubtful', 'refused')

BAD = ('wrong', 'exception', 'crash', 'hang', 'memory')


class WrongError(AssertionError):
    """What was read is not what the input holds."""


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        name (str): Of the kind.
        seeds (Callable): Writes sound inputs into a folder, returns their paths.
        damage (Callable): Bytes of a sound input and a ``random.Random``; returns damaged bytes.
        read (Callable): Reads a file, given the sound one, too; returns 'read' or 'doubtful' (read with
            a warning) and the bytes of what it gave. Raises WrongError if that is wrong, an error of
            ``refusals`` if it refuses.
        refusals (tuple): The project's own errors.
        suffix (str): Of the files. Defaults to none.
    """

    name: str
    seeds: Callable[[Path], list[Path]]
    damage: Callable[[bytes, random.Random], bytes]
    read: Callable[[Path, Path], tuple[str, int]]
    refusals: tuple[type[Exception], ...]
    suffix: str = ''


KINDS: dict[str, Kind] = {}


def register(kind: Kind) -> Kind:
    """Add a kind to those that the command knows."""
    KINDS[kind.name] = kind
    return kind


class Outcomes(Counter):
    """Inputs by outcome."""

    @property
    def bad(self) -> int:
        """Inputs that show a fault of the project."""
        return sum(self[name] for name in BAD)


def damage_bytes(content: bytes, dice: random.Random) -> bytes:
    """Flip, set, cut, repeat, swap or insert some bytes."""
    data = bytearray(content)
    for _ in range(dice.choice((1, 1, 1, 2, 4, 16))):
        if not data:
            break
        at = dice.randrange(len(data))
        if dice.random() < 0.5:  # headers are short, and most is in them
            at = min(at, dice.randrange(min(len(data), 1024)))
        match dice.randrange(7):
            case 0 | 1:
                data[at] ^= 1 << dice.randrange(8)
            case 2:
                data[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
            case 3:
                size = dice.choice((2, 4))
                value = dice.choice((0, 1, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 40_000))
                data[at : at + size] = (value % 2 ** (8 * size)).to_bytes(
                    size, dice.choice(('little', 'big'))
                )
            case 4:
                length = dice.choice((1, 2, 16, 300))
                del data[at : at + length]
            case 5:
                piece = data[at : at + dice.choice((1, 2, 16, 300))]
                data[at:at] = piece
            case 6:
                if dice.random() < 0.3:
                    del data[at:]
    return bytes(data)


def make_input(kind: Kind, seeds: list[Path], seed: int, index: int) -> tuple[bytes, Path]:
    """Input number ``index``, and the sound one that it comes from."""
    dice = random.Random(f'{seed}/{kind.name}/{index}')
    source = dice.choice(seeds)
    return kind.damage(source.read_bytes(), dice), source


def run_kind(kind: Kind, count: int, seed: int, out: Path) -> Outcomes:
    """Go on with a kind up to a number of inputs.

    Args:
        kind (Kind): The kind.
        count (int): Inputs in all.
        seed (int): Of the damage.
        out (Path): Folder of the journal ``KIND_SEED.jsonl`` and of inputs that show a fault.

    Returns:
        Outcomes: Of all inputs, those of earlier runs included.
    """
    folder = out / f'{kind.name}_seeds'
    folder.mkdir(parents=True, exist_ok=True)
    seeds = kind.seeds(folder)
    path = out / f'{kind.name}_{seed}.jsonl'
    outcomes: Outcomes = Outcomes()
    done = 0
    if path.exists():
        for line in path.read_text().splitlines():
            outcomes[json.loads(line)['outcome']] += 1
            done += 1
    _warm_up(kind, seeds)
    context = multiprocessing.get_context('fork')
    worker = None
    with open(path, 'a') as journal:
        for index in range(done, count):
            content, source = make_input(kind, seeds, seed, index)
            target = out / f'{kind.name}_input{kind.suffix}'
            target.write_bytes(content)
            if worker is None:
                here, there = context.Pipe()
                worker = context.Process(target=_work, args=(kind, there), daemon=False)
                worker.start()
                there.close()
            record = dict(index=index, outcome='hang', error='')
            before = _processor_seconds(worker.pid)
            try:
                here.send((str(target), str(source)))
                if _answers(here, worker.pid, before):
                    record['outcome'], record['error'] = here.recv()
            except (EOFError, OSError):
                record['outcome'] = 'crash'
            if record['outcome'] in ('hang', 'crash', 'memory'):
                worker.kill()
                worker.join()
                worker = None
            outcomes[record['outcome']] += 1
            if record['outcome'] in BAD:
                (out / f'{kind.name}_{seed}_{index}_{record["outcome"]}{kind.suffix}').write_bytes(
                    content
                )
            journal.write(json.dumps(record) + '\n')
            journal.flush()
    if worker is not None:
        here.close()
        worker.join(SECONDS)
        worker.kill()
    return outcomes


def _warm_up(kind: Kind, seeds: list[Path]) -> None:
    """Read sound inputs once, so that no damaged one waits for imports and compilation."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for source in dict.fromkeys(seeds):
            # some are refused whatever they hold
            with contextlib.suppress(*kind.refusals):
                kind.read(source, source)


def _answers(channel: Connection, pid: int, before: float) -> bool:
    """Whether a worker answers within its time; ``before``: what it had used up to now."""
    end = time.monotonic() + WAITING_SECONDS
    if channel.poll(SECONDS):
        return True
    while time.monotonic() < end and _processor_seconds(pid) - before < SECONDS:
        if channel.poll(0.2):
            return True
    return channel.poll(0)


def _processor_seconds(pid: int) -> float:
    """Time of a processor that a process and those that it started have used."""
    try:
        # the name of a process may hold spaces and brackets
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
        children = Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
    except OSError:  # gone
        return 0.0
    ticks = sum(map(int, fields[11:15]))
    return ticks / os.sysconf('SC_CLK_TCK') + sum(_processor_seconds(int(c)) for c in children)


def _work(kind: Kind, channel: Connection) -> None:
    warnings.simplefilter('ignore')
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    while True:
        try:
            target, source = channel.recv()
        except EOFError:
            os._exit(0)
        before = _peak()
        size, error = 0, ''
        try:
            outcome, size = kind.read(Path(target), Path(source))
        except kind.refusals as refusal:
            outcome, error = 'refused', str(refusal)
            if os.path.basename(target) not in error or '\n' in error.strip():
                outcome = 'exception'
        except WrongError as wrong:
            outcome, error = 'wrong', str(wrong)
        except BaseException as other:
            outcome, error = 'exception', f'{type(other).__name__}: {other}'
        grown = _peak() - before
        if grown > 2 * size + BASE_MEMORY:
            outcome, error = 'memory', f'{grown} bytes for {size}; {error}'
        channel.send((outcome, error[:500]))


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def table(counts: dict[str, Outcomes], path: Path | None = None) -> str:
    """Counts as Markdown; as JSON in a file, too."""
    if path is not None:
        path.write_text(json.dumps(counts, indent=1))
    names = (*GOOD, *BAD)
    lines = ['| kind | inputs | ' + ' | '.join(names) + ' |', '|---' * (len(names) + 2) + '|']
    for kind, outcomes in counts.items():
        row = ' | '.join(str(outcomes[name]) for name in names)
        lines.append(f'| {kind} | {outcomes.total()} | {row} |')
    return '\n'.join(lines)
