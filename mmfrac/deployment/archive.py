# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Results of a packaged model on a whole archive: killed and resumed, on one machine or several.

The images are listed once, and parted into chunks. A process (rank r of n) scores every n-th chunk;
workers decode, the device computes batches. Each chunk has a file of its own, to which the lines of a
batch are written at once and put on the disk; what a killed process left of a batch is cut off, and the
batch is computed again. Batches begin anew with each chunk, so the results do not depend on where a run
was stopped, nor on how many processes shared it. In the end the chunks become ``results.jsonl``.
"""

import errno
import itertools
import json
import os
import pickle
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from mmfrac.apis.inferencer import (
    ImageLoader,
    LoadedImage,
)
from mmfrac.deployment.archive_inputs import (
    Entry,
    ServerError,
    absolute_inputs,
    count_changes,
    file_of,
    located,
)
from mmfrac.deployment.package import ModelPackage, package_inferencer
from mmfrac.deployment.results import ResultError, ResultLine, read_results
from mmfrac.deployment.scorer import LoadedModel, ReadImage
from mmfrac.deployment.selection import UNREADABLE, ImageFacts, Selection
from mmfrac.utils.errors import one_line
from mmfrac.utils.io import (
    OutputFolder,
    atomic_open,
    atomic_path,
    read_json,
    remove_temporary_files,
    write_json,
)
from mmfrac.utils.lock import locked
from mmfrac.utils.processes import FilePool, crash_text
from mmfrac.utils.text import is_told, printable, printable_line

try:
    import fcntl
except ImportError:
    # no such thing on Windows: there nobody keeps two processes from one chunk
    fcntl = None  # type: ignore[assignment]

RESULTS, PARQUET = 'results.jsonl', 'results.parquet'
_JOB, _INPUTS, _PARTS, _LOCK = 'job.json', 'inputs.jsonl', 'parts', '.lock'
_VERSION = 1
# of a batch, at most so many times its size are written at once
_MOST_LINES = 16
# images that travel together between processes
_TOGETHER = 2
_DEFAULT = dict(batch_size=8, chunk=512)
# of a disk that has no room
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class ArchiveOptions:
    """Choices that results depend on.

    Args:
        selection (Selection): Which images are scored. Defaults to frontal chest radiographs.
        operating_point (str, optional): Of the package, for the flag. Defaults to None, its first.
        precision (str, optional): Defaults to None, that of the package.
        batch_size (int, optional): Images a forward pass. Defaults to None, 8.
        chunk (int, optional): Images that one process takes at a time. Defaults to None, 512.
        inputs (Mapping, optional): Where the list of images comes from, plain data, paths absolute
            (``archive_inputs.absolute_inputs``): a folder does not go on with other ones, and what came
            to them since is said. Defaults to None, not asked.
        typed_inputs (Mapping, optional): The same with the paths as they were named: where these are
            equal, and the folder that relative ones begin in was moved, it goes on. Defaults to None.

    Raises:
        ValueError: If a number is not positive.
    """

    selection: Selection = field(default_factory=Selection)
    operating_point: str | None = None
    precision: str | None = None
    batch_size: int | None = None
    chunk: int | None = None
    inputs: Mapping[str, Any] | None = None
    typed_inputs: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ('batch_size', 'chunk'):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f'{name} must be positive, got {value}')


@dataclass(frozen=True)
class Shard:
    """One of several processes that share an archive.

    Args:
        index (int): Its number, from 0. Defaults to 0.
        count (int): Of all. Defaults to 1.
    """

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> 'Shard':
        """Read ``2/8``: the second of eight.

        Raises:
            ValueError: If it is none.
        """
        number, _, count = text.partition('/')
        if not (number.isdecimal() and count.isdecimal() and 0 < int(number) <= int(count)):
            raise ValueError(f'a shard is written NUMBER/COUNT, from 1/COUNT on, got {text!r}')
        return cls(int(number) - 1, int(count))

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> 'Shard':
        """That of this process, as torchrun or Slurm (tasks, arrays, or both) tell it.

        Args:
            environment (Mapping[str, str]): Defaults to that of this process.

        Raises:
            ValueError: If the numbers of an array are no range, e.g. ``--array=1,3,7``.
        """

        def number(name: str, default: int) -> int:
            text = environment.get(name, '')
            return int(text) if text.isdecimal() else default

        if 'RANK' in environment and 'WORLD_SIZE' in environment:
            return cls(number('RANK', 0), number('WORLD_SIZE', 1))
        # outside of srun a task has no number
        tasks = number('SLURM_NTASKS', 1) if 'SLURM_PROCID' in environment else 1
        task = number('SLURM_PROCID', 0) if tasks > 1 else 0
        if 'SLURM_ARRAY_TASK_ID' not in environment:
            return cls(task, tasks)
        first, step = number('SLURM_ARRAY_TASK_MIN', 0), number('SLURM_ARRAY_TASK_STEP', 1)
        job, rest = divmod(number('SLURM_ARRAY_TASK_ID', first) - first, max(step, 1))
        jobs = number('SLURM_ARRAY_TASK_COUNT', 1)
        last = number('SLURM_ARRAY_TASK_MAX', first + (jobs - 1) * step)
        if rest or job >= jobs or (last - first) // max(step, 1) + 1 != jobs:
            raise ValueError(
                'the numbers of this Slurm array are no range, so no task of it knows its share: '
                'name it as --shard NUMBER/COUNT'
            )
        return cls(job * tasks + task, jobs * tasks)


def default_device(environment: Mapping[str, str] = os.environ) -> str | None:
    """GPU of this process among those of its machine; None where there is at most one."""
    local = environment.get('LOCAL_RANK', environment.get('SLURM_LOCALID', ''))
    if torch.cuda.device_count() > 1 and local.isdecimal():
        return f'cuda:{int(local) % torch.cuda.device_count()}'
    return None


def infer_archive(
    package: ModelPackage,
    out_dir: str | os.PathLike,
    entries: Iterable[Entry],
    options: ArchiveOptions | None = None,
    workers: int = 2,
    device: str | None = None,
    shard: Shard | None = None,
    retry_errors: bool = False,
) -> bool:
    """Score the images of an archive, or go on where a run of before was stopped.

    Args:
        package (ModelPackage): The model.
        out_dir (str or PathLike): Folder for the results; that of a run of before goes on, with its list
            of images.
        entries (Iterable[Entry]): Images, see ``archive_inputs.list_entries``; only drawn at the first
            start.
        options (ArchiveOptions, optional): Choices; those that are None are the ones of before. The
            selection has to be that of before. Defaults to None.
        workers (int): Processes that decode; 0: this one. Defaults to 2.
        device (str, optional): Defaults to None, what there is.
        shard (Shard, optional): Defaults to None, that of the environment.
        retry_errors (bool): Try images again that ended in an error, as where a share was away for a
            while; what comes behind them in their chunk is computed anew, so that the results are those
            of a run without errors. Defaults to False.

    Returns:
        bool: Whether all images are done, of other processes too; ``results.jsonl`` is there then.

    Raises:
        ValueError: If the folder holds results of other images or choices, or another process works on
            the same images.
        ServerError: If a DICOMweb server does not answer; nothing is lost.
    """
    options, shard = options or ArchiveOptions(), shard or Shard.of_environment()
    prepare = _Preparer(package, options.selection)
    # forked before the model and its threads are there
    with FilePool(prepare, workers, _crashed, _TOGETHER) as pool:
        inferencer = package_inferencer(package, device or default_device(), options.precision)
        job = _Job.open(
            Path(out_dir), package, entries, options, inferencer.precision, retry_errors
        )
        if job.is_merged():
            if shard.index == 0 and options.inputs is not None:
                _say(
                    f'{job.folder} is done, as its images were listed on {job.listed_on()}: those that '
                    'came since are scored with another --out-dir'
                )
            return True
        if inferencer.precision != job.precision:
            inferencer = package_inferencer(package, device or default_device(), job.precision)
        model = LoadedModel(package, inferencer, package.operating_point(job.operating_point))
        chunks = range(shard.index, job.num_chunks, shard.count)
        if not chunks:
            _say(
                f'shard {shard.index + 1}/{shard.count} has nothing to do: there are {job.num_images} '
                f'images, and a process takes {job.chunk} at a time; start fewer, or name a smaller '
                '--chunk and another --out-dir'
            )
        with job.held(chunks):
            done = {chunk: job.repair(chunk, retry_errors) for chunk in chunks}
            if job.is_merged():
                # by another process, meanwhile
                return True
            name = 'images' if shard.count == 1 else f'shard {shard.index + 1}/{shard.count}'
            _score_chunks(job, model, pool, done, name)
    if shard.index == 0 and options.inputs is not None and job.may_say_changes:
        job.say_changes(options.inputs)
    return merge_results(out_dir, missing_ok=True)


def _score_chunks(
    job: '_Job',
    model: LoadedModel,
    pool: 'FilePool[Entry, _Prepared]',
    done: Mapping[int, int],
    name: str,
) -> None:
    """Score what is left of chunks, with a progress bar.

    Args:
        job (_Job): The job.
        model (LoadedModel): The model.
        pool (FilePool): Prepares images.
        done (Mapping[int, int]): By chunk, the images that need not be scored again.
        name (str): Of the bar.
    """
    todo = [chunk for chunk in done if done[chunk] < job.length(chunk)]
    prepared = pool.map(entry for chunk in todo for entry in job.entries(chunk, done[chunk]))
    doubtful = 0
    with tqdm(
        total=sum(map(job.length, done)),
        initial=sum(done.values()),
        desc=name,
        unit='image',
        mininterval=0.2 if sys.stderr.isatty() else 30,
        smoothing=0.05,
    ) as progress:
        for chunk in todo:
            batches = _Batches(job, model, chunk)
            for _ in range(done[chunk], job.length(chunk)):
                one = next(prepared)
                if one.facts.notes:
                    doubtful += 1
                    _say_doubt(progress, one, doubtful)
                progress.update(batches.add(one))
            progress.update(batches.end())


# ---- the job --------------------------------------------------------------------------------------


class _Job:
    """What is to be done in a folder, and how.

    Args:
        folder (Path): The folder.
        content (dict): Of ``job.json``.
        is_new (bool): Whether it was just begun. Defaults to False.
    """

    def __init__(self, folder: Path, content: dict, is_new: bool = False) -> None:
        self.folder, self.is_new = folder, is_new
        self.output = OutputFolder(folder)
        self.num_images: int = content['num_images']
        self.chunk: int = content['chunk']
        self.batch_size: int = content['batch_size']
        self.precision: str = content['precision']
        self.operating_point: str | None = content['operating_point']
        # in which relative paths of the list begin; none where it is this one
        begun_in = content.get('working_dir') or ''
        self._working_dir = begun_in if begun_in and begun_in != os.getcwd() else ''
        # jobs of before do not tell where they were begun
        self.may_say_changes = not is_new and bool(begun_in)
        self.num_chunks = -(-self.num_images // self.chunk)
        self._offsets = _offsets(folder / _INPUTS, self.chunk)
        if len(self._offsets) != self.num_chunks:
            raise ValueError(f'{folder / _INPUTS} is not the list that {_JOB} tells of')

    @classmethod
    def open(
        cls,
        folder: Path,
        package: ModelPackage,
        entries: Iterable[Entry],
        options: ArchiveOptions,
        precision: str,
        retry_errors: bool = False,
    ) -> '_Job':
        """That of the folder; a new one where there is none."""
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, wait=_say, file=folder / _LOCK):
            remove_temporary_files(folder, of_dead_writers=True)
            is_new = not (folder / _JOB).is_file()
            if is_new:
                cls._begin(folder, package, entries, options, precision)
            content = _moved(read_json(folder / _JOB), options)
            _check_job(folder, content, package, options)
            job = cls(folder, content, is_new)
            if retry_errors and job.is_merged():
                job._part_again()
        return job

    def _part_again(self) -> None:
        """Part results that are merged into chunks again, where any of them is an error."""
        merged = self.folder / RESULTS
        if not any(result.error is not None for result in read_results(merged)):
            return
        (self.folder / _PARTS).mkdir(exist_ok=True)
        with open(merged, 'rb') as file:
            for chunk in range(self.num_chunks):
                with atomic_open(self.part_to_write(chunk), 'wb') as part:
                    part.writelines(itertools.islice(file, self.length(chunk)))
        # last, so that a process that is killed before has lost nothing
        self.output.remove([PARQUET])
        self.output.remove([RESULTS])

    @staticmethod
    def _begin(
        folder: Path,
        package: ModelPackage,
        entries: Iterable[Entry],
        options: ArchiveOptions,
        precision: str,
    ) -> None:
        output = OutputFolder(folder)
        job, inputs = output.path(_JOB), output.path(_INPUTS)
        output.path(RESULTS)
        number = 0
        with atomic_open(inputs) as file:
            for entry in entries:
                file.write(json.dumps(entry) + '\n')
                number += 1
        point = package.operating_point(options.operating_point)
        write_json(
            job,
            dict(
                version=_VERSION,
                model=package.identity,
                precision=precision,
                num_images=number,
                **{key: getattr(options, key) or value for key, value in _DEFAULT.items()},
                operating_point=None if point is None else point.name,
                selection=options.selection.as_dict(),
                inputs=None if options.inputs is None else dict(options.inputs),
                typed_inputs=None if options.typed_inputs is None else dict(options.typed_inputs),
                working_dir=None if options.inputs is None else os.getcwd(),
            ),
        )

    def length(self, chunk: int) -> int:
        """Images of a chunk."""
        return min(self.chunk, self.num_images - chunk * self.chunk)

    def entries(self, chunk: int, start: int = 0) -> Iterator[Entry]:
        """Images of a chunk, from one on."""
        with open(self.folder / _INPUTS, 'rb') as file:
            file.seek(self._offsets[chunk])
            for index in range(self.length(chunk)):
                line = file.readline()
                if index >= start:
                    entry = json.loads(line)
                    yield located(entry, self._working_dir) if self._working_dir else entry

    def say_changes(self, inputs: Mapping[str, Any]) -> None:
        """Say how many images came to the inputs since they were listed: they are not scored.

        Args:
            inputs (Mapping): Those of ``ArchiveOptions``.
        """
        listed = (entry for chunk in range(self.num_chunks) for entry in self.entries(chunk))
        since = f'since the list of {self.folder} was made on {self.listed_on()}'
        where = (inputs.get('sources', ()), inputs.get('column'), inputs.get('root'))
        try:
            added, gone = count_changes(listed, *where, say=_say)
        except (OSError, ValueError) as error:
            _say(f'warning: whether images came {since} cannot be told: {one_line(error)}')
            return
        if added:
            _say(
                f'warning: {added} image{"s" * (added > 1)} came {since}, not scored here: start the '
                'command with another --out-dir to score them'
            )
        if gone:
            _say(f'warning: {gone} image{"s" * (gone > 1)} went away {since}')

    def listed_on(self) -> str:
        """When the list of images was made."""
        made = datetime.fromtimestamp((self.folder / _INPUTS).stat().st_mtime)
        return f'{made:%Y-%m-%d %H:%M}'

    def part(self, chunk: int) -> Path:
        """File of a chunk."""
        return self.folder / _PARTS / f'{chunk:07d}.jsonl'

    def part_to_write(self, chunk: int) -> Path:
        """The same, where it may be written."""
        return self.output.path(f'{_PARTS}/{self.part(chunk).name}')

    def is_merged(self) -> bool:
        """Whether all is done."""
        return (self.folder / RESULTS).is_file()

    @contextmanager
    def held(self, chunks: Iterable[int]) -> Iterator[None]:
        """Keep other processes from chunks; whoever ends, however, lets go of them."""
        (self.folder / _PARTS).mkdir(exist_ok=True)
        with open(self.folder / _PARTS / _LOCK, 'ab') as file:
            for chunk in chunks if fcntl is not None else ():
                try:
                    # a byte for each, which a process that is forked does not hold
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, chunk)
                except OSError as error:
                    raise ValueError(
                        f'another process scores the same images in {self.folder}: wait for it, or end '
                        'it; several share them as --shard 1/2, --shard 2/2'
                    ) from error
            yield

    def repair(self, chunk: int, retry_errors: bool = False) -> int:
        """Cut off what a killed process left of a batch; images that are done.

        Args:
            chunk (int): Its number.
            retry_errors (bool): Cut off from the first batch with an error on. Defaults to False.

        Returns:
            int: Images that need not be scored again.
        """
        path = self.part(chunk)
        if not path.is_file():
            return 0
        done = number = scored = size = good = 0
        with open(path, 'rb') as file:
            for entry, line in zip(self.entries(chunk), file):
                try:
                    result = ResultLine.from_json(line) if line.endswith(b'\n') else None
                except ResultError:
                    result = None
                if result is None or result.image != entry['image']:
                    break
                if retry_errors and result.error is not None:
                    break
                number, size, scored = number + 1, size + len(line), scored + result.scored
                is_end = _is_full(scored, number - done, self.batch_size)
                if is_end or number == self.length(chunk):
                    done, good, scored = number, size, 0
        if good < path.stat().st_size:
            with open(path, 'r+b') as file:
                file.truncate(good)
                os.fsync(file.fileno())
        return done


def _is_full(scored: int, lines: int, batch_size: int) -> bool:
    """Whether the images that are waited with make a batch; the same when its lines are read back."""
    return scored == batch_size or lines == _MOST_LINES * batch_size


def _offsets(path: Path, chunk: int) -> np.ndarray:
    """Where the lines of each chunk begin in a file."""
    found, position = [], 0
    with open(path, 'rb') as file:
        for number, line in enumerate(file):
            if number % chunk == 0:
                found.append(position)
            position += len(line)
    return np.array(found, np.int64)


def _check_job(folder: Path, content: Any, package: ModelPackage, options: ArchiveOptions) -> None:
    if not isinstance(content, dict) or content.get('version') != _VERSION:
        raise ValueError(f'{folder / _JOB} is of another version of mmfrac: name another folder')
    name = options.operating_point
    point = None if name is None else package.operating_point(name)
    wanted = dict(
        model=package.identity,
        precision=options.precision if options.precision != 'auto' else None,
        batch_size=options.batch_size,
        chunk=options.chunk,
        operating_point=None if point is None else point.name,
        selection=options.selection.as_dict(),
        # not in folders of before
        inputs=options.inputs if content.get('inputs') is not None else None,
    )
    begun = dict(content)
    if wanted['inputs'] not in (None, content.get('inputs')) and 'working_dir' not in content:
        # relative ones, in folders of before
        begun['inputs'] = absolute_inputs(content['inputs'])
    for key, value in wanted.items():
        if value is not None and begun.get(key) != value:
            raise ValueError(
                f'{folder} was begun with {key} {begun.get(key)!r}, not {value!r}: start it as '
                'before, or name another folder'
            )


def _moved(content: Any, options: ArchiveOptions) -> Any:
    """What a job was begun with, in this folder where the one that it was begun in was moved here."""
    if not isinstance(content, dict) or options.inputs is None or options.typed_inputs is None:
        return content
    begun = content.get('inputs')
    if not begun or content.get('typed_inputs') != options.typed_inputs:
        return content
    pairs = [pair for pair in zip(_paths(begun), _paths(options.inputs)) if pair[0] != pair[1]]
    if pairs and all(os.path.exists(new) and not os.path.lexists(old) for old, new in pairs):
        return content | dict(inputs=options.inputs, working_dir=os.getcwd())
    return content


def _paths(inputs: Mapping[str, Any]) -> list[str]:
    root = inputs.get('root')
    return [*inputs.get('sources', ()), *([] if root is None else [root])]


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr)


def _say_doubt(progress: tqdm, one: '_Prepared', count: int) -> None:
    """Warn of the 1st, 10th, 100th ... image that is doubtful."""
    if is_told(count):
        text = printable_line(f"image '{one.image}' is doubtful: {'; '.join(one.facts.notes)}")
        progress.write(
            f'{text} ({count} such images in this run; field "notes" of the results has all)',
            file=sys.stderr,
        )


# ---- in the workers -------------------------------------------------------------------------------


class _Prepared(NamedTuple):
    """An image as it comes from a worker.

    Attributes:
        image (str): What it is called.
        facts (ImageFacts): What its header says, with its size as stored.
        error (str | None): Why it cannot be read.
        packed (bytes | None): What the model gets; None where it is not scored.
    """

    image: str
    facts: ImageFacts
    error: str | None = None
    packed: bytes | None = None


class _Preparer:
    """Reads, selects and decodes an image, in a worker.

    Args:
        package (ModelPackage): Whose test pipeline images go through.
        selection (Selection): Which images are scored.
    """

    def __init__(self, package: ModelPackage, selection: Selection) -> None:
        self._loader = ImageLoader(package.config)
        self._selection = selection
        self._parent = os.getpid()

    def __call__(self, entry: Entry) -> _Prepared:
        if os.getpid() != self._parent:
            torch.set_num_threads(1)
        name, facts, path = entry['image'], ImageFacts(), ''
        if 'modality' in entry:
            facts = self._selection.facts_of_server(entry['uids'], entry['modality'])
            if facts.reason:
                return _Prepared(name, facts)
        try:
            with file_of(entry) as path:
                facts = self._selection.facts(path)
                if facts.reason:
                    return _Prepared(name, facts, facts.error(name))
                loaded = self._loader.load(path, path)
        except ServerError:
            raise
        except (OSError, ValueError) as error:
            # of a copy nobody knows the path
            text = one_line(error).replace(path, name) if path else one_line(error)
            return _Prepared(name, facts._replace(reason=UNREADABLE), text)
        facts = self._selection.facts_of_pixels(facts, loaded.image.shape, loaded.notes)
        if facts.reason:
            return _Prepared(name, facts)
        # not as torch sends tensors, with a file descriptor each
        packed = pickle.dumps(loaded.packed, pickle.HIGHEST_PROTOCOL)
        return _Prepared(name, facts, packed=packed)


def _crashed(entry: Entry) -> _Prepared:
    return _Prepared(entry['image'], ImageFacts(UNREADABLE), crash_text(entry['image']))


# ---- batches --------------------------------------------------------------------------------------


class _Batches:
    """Results of a chunk, batch by batch.

    Args:
        job (_Job): The job.
        model (LoadedModel): The model.
        chunk (int): Number of the chunk.
    """

    def __init__(self, job: _Job, model: LoadedModel, chunk: int) -> None:
        self._model, self._batch_size = model, job.batch_size
        with _written(job.part(chunk)):
            self._path = job.part_to_write(chunk)
        self._waiting: list[_Prepared] = []
        self._scored = 0

    def add(self, one: _Prepared) -> int:
        """Take an image; how many lines were written."""
        self._waiting.append(one)
        self._scored += one.packed is not None
        full = _is_full(self._scored, len(self._waiting), self._batch_size)
        return self.end() if full else 0

    def end(self) -> int:
        """Score what is waited with; how many lines were written."""
        if not self._waiting:
            return 0
        results = predict_prepared(self._model, self._waiting)
        lines = ''.join(result.to_json() + '\n' for result in results)
        with _written(self._path):
            self._path.parent.mkdir(exist_ok=True)
            with open(self._path, 'ab') as file:
                file.write(lines.encode())
                file.flush()
                os.fsync(file.fileno())
        self._waiting, self._scored = [], 0
        return len(results)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Say of results that cannot be written where they are and what is to be done."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            remedy = 'make room there and start again'
        else:
            remedy = 'make it writable and start again, or name another folder'
        raised = OSError(
            f'the results cannot be written to {path} ({error.strerror or error}): {remedy}; nothing '
            'that was written before is lost'
        )
        # as an argument it would stand before the sentence
        raised.errno = error.errno
        raise raised from error


def predict_prepared(model: LoadedModel, prepared: Sequence[_Prepared]) -> list[ResultLine]:
    """Results of images, those that are scored in one forward pass.

    Args:
        model (LoadedModel): The model.
        prepared (Sequence[_Prepared]): Images.

    Returns:
        list[ResultLine]: In the order of the images.
    """
    nothing = np.zeros((0, 0), np.float32)
    images = [
        ReadImage(
            name,
            facts,
            error,
            None if packed is None else LoadedImage(name, nothing, pickle.loads(packed)),
        )
        for name, facts, error, packed in prepared
    ]
    return [scored.result for scored in model.results(images, names_errors=True)]


# ---- one file -------------------------------------------------------------------------------------


def merge_results(
    out_dir: str | os.PathLike, parquet: bool = False, missing_ok: bool = False
) -> bool:
    """Put the results of all processes into ``results.jsonl``, in the order of the list.

    Args:
        out_dir (str or PathLike): Folder of ``infer_archive``.
        parquet (bool): Whether ``results.parquet`` is written, too. Defaults to False.
        missing_ok (bool): Whether there may be images that are not done; nothing is written then.
            Defaults to False.

    Returns:
        bool: Whether all images are done.

    Raises:
        FileNotFoundError: If the folder holds no results.
        ValueError: If images are not done.
    """
    folder = Path(out_dir)
    if not (folder / _JOB).is_file():
        raise FileNotFoundError(f'{folder} holds no results: it has no {_JOB}')
    with locked(folder, wait=_say, file=folder / _LOCK):
        job = _Job(folder, read_json(folder / _JOB))
        if not job.is_merged():
            missing = sum(
                job.length(chunk) - _num_lines(job.part(chunk)) for chunk in range(job.num_chunks)
            )
            if missing and missing_ok:
                return False
            if missing:
                raise ValueError(
                    f'{missing} of {job.num_images} images in {folder} are not done: start the run again'
                )
            with atomic_open(job.output.path(RESULTS), 'wb') as file:
                for chunk in range(job.num_chunks):
                    with open(job.part(chunk), 'rb') as part:
                        shutil.copyfileobj(part, file)
            shutil.rmtree(folder / _PARTS)
        if parquet:
            write_parquet(folder / RESULTS, job.output.path(PARQUET))
    return True


def _num_lines(path: Path) -> int:
    """Whole lines of a file."""
    try:
        with open(path, 'rb') as file:
            return sum(block.count(b'\n') for block in iter(lambda: file.read(1 << 20), b''))
    except FileNotFoundError:
        return 0


def write_parquet(
    results: str | os.PathLike, out_file: str | os.PathLike, rows: int = 10000
) -> None:
    """Write results as Parquet.

    Args:
        results (str or PathLike): ``results.jsonl``.
        out_file (str or PathLike): File to write.
        rows (int): Results that are held at a time. Defaults to 10000.

    Raises:
        ImportError: If pyarrow is missing.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError("Parquet needs pyarrow: pip install '.[deploy]' in a checkout") from error
    text, number, flag = pyarrow.string(), pyarrow.float64(), pyarrow.bool_()
    kinds = dict(
        notes=pyarrow.list_(text),
        width=pyarrow.int32(),
        height=pyarrow.int32(),
        scored=flag,
        flag=flag,
        score=number,
        probability=number,
        operating_point=pyarrow.struct([('name', text), ('threshold', number)]),
        boxes=pyarrow.list_(pyarrow.list_(number)),
        scores=pyarrow.list_(number),
        map_scale=pyarrow.list_(number),
        model=pyarrow.struct([('name', text), ('sha256', text)]),
    )
    from mmfrac.deployment.results import FIELDS

    schema = pyarrow.schema([(name, kinds.get(name, text)) for name in FIELDS])
    with atomic_path(out_file) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        held: list[dict] = []
        for result in read_results(results):
            # names of files that are no UTF-8
            image = result.image.encode('utf-8', 'backslashreplace').decode()
            held.append(result.as_dict() | dict(image=image))
            if len(held) == rows:
                writer.write_table(pyarrow.Table.from_pylist(held, schema))
                held = []
        writer.write_table(pyarrow.Table.from_pylist(held, schema))


def count_results(out_dir: str | os.PathLike) -> Counter:
    """Images by what became of them: 'scored', 'flagged', and the reasons not to; 'errors', 'doubtful'.

    Args:
        out_dir (str or PathLike): Folder of ``infer_archive``, all done.
    """
    counts: Counter = Counter()
    for result in read_results(Path(out_dir) / RESULTS):
        counts[result.reason or 'scored'] += 1
        counts['flagged'] += bool(result.flag)
        counts['errors'] += result.error is not None
        counts['doubtful'] += bool(result.notes)
    return counts


# ---- speed ----------------------------------------------------------------------------------------


def measure_speed(
    package: ModelPackage,
    entries: Sequence[Entry],
    workers: Sequence[int] = (1, 2),
    batch_size: int = 8,
    device: str | None = None,
    precision: str | None = None,
) -> dict[str, float]:
    """Images a second of the network alone, and with workers that decode.

    Args:
        package (ModelPackage): The model.
        entries (Sequence[Entry]): Images that can be scored.
        workers (Sequence[int]): Numbers of processes. Defaults to 1 and 2.
        batch_size (int): Images a forward pass. Defaults to 8.
        device (str, optional): Defaults to None, what there is.
        precision (str, optional): Defaults to None, that of the package.

    Returns:
        dict[str, float]: 'network', '1 worker' and so on: images a second.

    Raises:
        ValueError: If there are fewer images than two batches, or fewer that can be read than one.
    """
    if len(entries) < 2 * batch_size:
        raise ValueError(f'{len(entries)} images are too few: name {2 * batch_size} at least')
    prepare = _Preparer(package, Selection(everything=True))
    found: dict[str, float] = {}
    for number in (0, *workers):
        with FilePool(prepare, number, _crashed, _TOGETHER) as pool:
            model = LoadedModel(package, package_inferencer(package, device, precision))
            readable = (one for one in map(prepare, entries) if one.packed is not None)
            warm = list(itertools.islice(readable, batch_size))
            if len(warm) < batch_size:
                raise ValueError(
                    f'{len(warm)} of {len(entries)} images can be read, fewer than a batch of '
                    f'{batch_size}: name others'
                )
            predict_prepared(model, warm)
            if not number:
                rounds = max(len(entries) // batch_size, 1)
                start = time.perf_counter()
                for _ in range(rounds):
                    predict_prepared(model, warm)
                found['network'] = rounds * len(warm) / (time.perf_counter() - start)
                continue
            start, read = time.perf_counter(), 0
            batch: list[_Prepared] = []
            for one in pool.map(entries):
                if one.packed is None:
                    continue
                read += 1
                batch.append(one)
                if len(batch) == batch_size:
                    predict_prepared(model, batch)
                    batch = []
            predict_prepared(model, batch)
            name = '1 worker' if number == 1 else f'{number} workers'
            found[name] = read / (time.perf_counter() - start)
    return found
