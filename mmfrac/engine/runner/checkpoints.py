# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Which checkpoint a run goes on from, and how one is read, wherever it lies.

Every scheme that MMEngine knows (files, http, s3, the model zoos) is read by ``load_checkpoint_file``:
checked against its own checksums, and always with the ``weights_only`` protection of PyTorch.
"""

import hashlib
import importlib.util
import io
import mmap
import os
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import torch
from filelock import FileLock
from mmengine.config import Config
from mmengine.fileio import get_file_backend
from mmengine.logging import print_log
from mmengine.runner import checkpoint as stock
from mmengine.runner.checkpoint import CheckpointLoader

from mmfrac.engine.hooks.plain_checkpoint_hook import plain
from mmfrac.utils.io import ZIP_ERRORS, atomic_open
from mmfrac.utils.packaged import packaged_file

PACKAGE = 'package://'
_BLOCK = 1 << 20
# of the hosts whose file names end with the beginning of their SHA-256
_NAMED_BY_HASH = ('download.pytorch.org', 'download.openmmlab.com')
_HASH_OF_NAME = re.compile(r'-([0-9a-f]{8,64})\.[^.]+$')
_SHA256 = re.compile(r'(.*)#sha256=([^#]*)', re.DOTALL)
_CONVERT = 'python tools/model_converters/plain_checkpoint.py'


def load_checkpoint_file(filename: str | os.PathLike, map_location: Any = None) -> dict:
    """Read a checkpoint: a file, or what a scheme of MMEngine names.

    Args:
        filename (str | PathLike): File, or ``http://``, ``https://``, ``s3://``, ``petrel://``,
            ``pavi://``, ``torchvision://``, ``modelzoo://``, ``open-mmlab://``, ``mmcls://``, or
            ``package://NAME/FILE`` for a file of an installed Python package, ``mmfrac::NAME`` for
            weights that come along. With ``#sha256=<hex>`` at
            its end (the whole sum or its first 8 digits and more) it is only loaded if its bytes have
            that sum.
        map_location (Any): As in ``torch.load``. Defaults to None.

    Returns:
        dict: The checkpoint.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is none, is damaged, is not what its checksum says, or holds more than plain
            data and tensors.
    """
    name = os.fspath(filename)
    asked = _SHA256.fullmatch(name)
    sha256 = _checked_sum(asked[2], name) if asked else ''
    source, is_classifier = _resolve(installed_file(asked[1] if asked else name))
    if re.match(r'(\S+:)?(s3|petrel)://', source):
        backend = get_file_backend(source, backend_args={'backend': 'petrel'})
        content: str | io.BytesIO = io.BytesIO(backend.get(source))
    elif source.startswith('pavi://'):
        content = io.BytesIO(_from_pavi(source))
    elif source.startswith(('http://', 'https://')):
        content = _download(source, sha256)
    elif '://' in source:
        raise ValueError(
            f"no checkpoint '{source}': of its kind are files, and http, https, s3, petrel, pavi, "
            'torchvision, modelzoo, open-mmlab, mmcls and package'
        )
    else:
        content = os.path.expanduser(source)
        if not os.path.isfile(content):
            raise FileNotFoundError(
                f'no checkpoint {content}; a training writes them to its work dir'
            )
    if sha256:
        _check_sum(content, sha256, name)
    checkpoint = _read(content, source, map_location)
    return stock._process_mmcls_checkpoint(checkpoint) if is_classifier else checkpoint


def load_checkpoint_bytes(content: bytes, name: str, map_location: Any = None) -> dict:
    """Read a checkpoint that is a part of another file, as ``load_checkpoint_file`` reads a file.

    Args:
        content (bytes): All of it.
        name (str): What it is called in errors.
        map_location (Any): As in ``torch.load``. Defaults to None.

    Returns:
        dict: The checkpoint.

    Raises:
        ValueError: If it is none, is damaged, or holds more than plain data and tensors.
    """
    return _read(io.BytesIO(content), name, map_location)


def installed_file(name: str) -> str:
    """Path of ``package://NAME/FILE``, a file of an installed package, or of ``mmfrac::NAME``, one that
    comes along; any other name as it is.

    Raises:
        FileNotFoundError: If the package is not installed or has no such file.
    """
    if not name.startswith(PACKAGE):
        return packaged_file(name)
    package, _, file = name.removeprefix(PACKAGE).partition('/')
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f"'{name}' is a file of the Python package {package}, which is not installed: pip install "
            f'{package.replace("_", "-")}'
        )
    root = Path(spec.submodule_search_locations[0]).resolve()
    path = (root / file).resolve()
    if not path.is_relative_to(root) or not path.is_file():
        raise FileNotFoundError(f"the Python package {package} has no file '{file}'")
    return os.fspath(path)


def _resolve(name: str) -> tuple[str, bool]:
    """Where what a model zoo calls by a name lies, and whether it is a classifier of mmcls."""
    scheme, separator, model = name.partition('://')
    zoos: dict[str, Callable[[], dict]] = {
        'torchvision': stock.get_torchvision_models,
        'modelzoo': stock.get_torchvision_models,
        'open-mmlab': stock.get_external_models,
        'openmmlab': stock.get_external_models,
        'mmcls': stock.get_mmcls_models,
    }
    if not separator or scheme not in zoos:
        return name, False
    if zoos[scheme] is stock.get_external_models:
        model = stock.get_deprecated_model_names().get(model, model)
    try:
        known = zoos[scheme]()
    except ImportError as error:
        raise ImportError(
            f"'{name}' is looked up in the package torchvision, which is missing: install it, or name "
            'the URL of the file'
        ) from error
    if model not in known:
        raise ValueError(f"no checkpoint '{name}': {scheme} has no model {model!r}")
    found = known[model]
    if not found.startswith(('http://', 'https://')):
        found = os.path.join(stock._get_mmengine_home(), found)
    return found, scheme == 'mmcls'


def _from_pavi(source: str) -> bytes:
    try:
        from pavi import modelcloud
    except ImportError as error:
        raise ImportError(f"'{source}' is read by the package pavi, which is missing") from error
    import tempfile

    model = modelcloud.get(source.removeprefix('pavi://'))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / model.name
        model.download(str(path))
        return path.read_bytes()


def _checked_sum(text: str, name: str) -> str:
    if not re.fullmatch(r'[0-9a-fA-F]{8,64}', text):
        raise ValueError(f"'{name}': #sha256= takes 8 to 64 hexadecimal digits, got {text!r}")
    return text.lower()


def _check_sum(content: str | io.BytesIO, sha256: str, name: str) -> None:
    digest = hashlib.sha256()
    with _opened(content) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    if not digest.hexdigest().startswith(sha256):
        raise ValueError(
            f"'{name}' is not the checkpoint that was meant: its SHA-256 is {digest.hexdigest()}, "
            f'{sha256} was asked for; it is damaged or another file, take it anew'
        )


def _opened(content: str | io.BytesIO) -> IO[bytes]:
    return open(content, 'rb') if isinstance(content, str) else io.BytesIO(content.getbuffer())


def _download(url: str, sha256: str) -> str:
    """File of a URL in PyTorch's cache, where it is looked up first.

    A name that ends with a checksum is that of one file wherever it comes from; any other name is only
    unique within its URL.
    """
    address = urlsplit(url)
    name = os.path.basename(address.path) or 'checkpoint'
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    named = _HASH_OF_NAME.search(name)
    # a date looks like a sum, but on the hosts where a sum is the rule
    if named and (address.hostname in _NAMED_BY_HASH or not named[1].isdecimal()):
        sums = [named[1], sha256]
    else:
        sums = [sha256]
        folder = folder / hashlib.sha256(url.encode()).hexdigest()[:16]
        if not sha256:
            print_log(
                f'{url} has no checksum: whoever has that server or the way to it chooses the weights; '
                f'write {url}#sha256=... to be sure of them',
                logger='current',
                level=30,
            )
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    # ranks of one machine ask for it together
    with FileLock(folder / f'.{name}.lock'):
        if not path.is_file():
            print_log(f'Downloading {url} to {path}', logger='current')
            _fetch(url, path, [one for one in sums if one])
    for one in filter(None, sums):
        _check_sum(str(path), one, str(path))
    return str(path)


def _fetch(url: str, path: Path, sums: list[str]) -> None:
    digest = hashlib.sha256()
    try:
        with (
            urlopen(Request(url, headers={'User-Agent': 'mmfrac'}), timeout=60) as answer,
            atomic_open(path, 'wb') as file,
        ):
            while block := answer.read(_BLOCK):
                digest.update(block)
                file.write(block)
            wanted = answer.headers.get('Content-Length')
            if wanted is not None and int(wanted) != file.tell():
                raise ValueError(f'{url}: {file.tell()} of {wanted} bytes came; try again')
            wrong = [one for one in sums if not digest.hexdigest().startswith(one)]
            if wrong:
                raise ValueError(
                    f'{url} is not the checkpoint that was meant: its SHA-256 is '
                    f'{digest.hexdigest()}, it should begin with {wrong[0]}; nothing was kept'
                )
    except (URLError, TimeoutError, ConnectionError) as error:
        raise OSError(
            f'{url} cannot be downloaded: {error}; without a network name a file in its place, of a '
            'backbone in init_cfg.checkpoint, or begin from scratch with init_cfg=None'
        ) from error


def _read(content: str | io.BytesIO, name: str, map_location: Any) -> dict:
    """Checkpoint of a file or of bytes, after its own checksums were compared."""
    with _opened(content) as file:
        is_zip = file.read(4) == b'PK\x03\x04'
        problem = ''
        if is_zip and isinstance(content, str):
            with (
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
                memoryview(mapped) as view,
            ):
                problem = _zip_fault(file, view)
        elif is_zip and isinstance(content, io.BytesIO):
            problem = _zip_fault(file, content.getbuffer())
    if problem:
        raise ValueError(
            f'{name} cannot be loaded as a checkpoint: {problem}; copy it anew, or take an earlier one'
        )
    try:
        with warnings.catch_warnings():
            # about the class of its storages, which is PyTorch's own matter
            warnings.filterwarnings('ignore', 'TypedStorage is deprecated')
            checkpoint = torch.load(content, map_location=map_location, weights_only=True)
    except Exception as error:  # a pickle of anything else, a truncated file, no zip at all
        raise ValueError(_refusal(name, error)) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f'{name} is no checkpoint: it holds a {type(checkpoint).__name__}')
    if not is_zip:
        print_log(
            f'{name} has the form that PyTorch wrote before 1.6, without checksums: damage to its '
            'weights goes unnoticed; torch.save writes one that has them',
            logger='current',
            level=30,
        )
    return checkpoint


def _zip_fault(file: IO[bytes], content: memoryview) -> str:
    """What is wrong with a checkpoint's zip; '' if all its members have the checksums that it names."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if any(member.flag_bits & 1 for member in members):
                return 'it is an encrypted zip'
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                return 'it is a compressed zip, which PyTorch does not write'
            if sum(member.file_size for member in members) > len(content):
                return 'its parts are larger than the file'
            return next(filter(None, (_member_fault(content, one) for one in members)), '')
    except ZIP_ERRORS as error:
        return f'it is damaged ({error})'


def _member_fault(content: memoryview, member: zipfile.ZipInfo) -> str:
    """Whether a stored member has the checksum that the list of the zip names; without copying it."""
    start = member.header_offset
    header = content[start : start + 30]
    if len(header) < 30 or header[:4] != b'PK\x03\x04':
        return f'it is damaged (no {member.filename!r} where it should be)'
    start += 30 + sum(struct.unpack('<HH', header[26:30]))
    part = content[start : start + member.file_size]
    if len(part) != member.file_size or zlib.crc32(part) != member.CRC:
        return f'it is damaged (bad CRC-32 of {member.filename!r})'
    return ''


_ADVICE = re.compile('weights.only|safe_globals|Re-running|torch.load', re.IGNORECASE)


def _refusal(name: str, error: Exception) -> str:
    what = str(error).strip()
    if 'mmengine.logging.history_buffer' in what or 'builtins.getattr' in what:
        return (
            f'{name} was saved by plain MMEngine, which stores its training log as objects '
            '(HistoryBuffer) and not as data; rewrite it, which runs nothing that is in it:\n'
            f'  {_CONVERT} {name} OUT.pth'
        )
    # PyTorch's own text goes on with advice to run what is in the file: weights_only=False, allow-lists
    unsupported = re.search(
        r'Unsupported (?:global|class|operand)(?:: GLOBAL)?(?: [\w.<>]*\w)?|GLOBAL [\w.<>]*\w', what
    )
    first = what.split('\n')[0]
    if unsupported:
        reason = unsupported[0]
    elif _ADVICE.search(first):
        reason = 'PyTorch does not read it as plain weights'
    else:
        reason = first or type(error).__name__
    return (
        f'{name} cannot be loaded as a checkpoint ({reason}); it is damaged, no checkpoint at all, or '
        'holds objects that only run by executing code, which is refused'
    )


class _History:
    """Stands for MMEngine's ``HistoryBuffer``; has what was pickled of it as attributes."""


def _nothing(*_: Any) -> None:
    """Stands for what a pickled ``HistoryBuffer`` calls to find its own methods."""


def read_stock_checkpoint(filename: str | os.PathLike) -> dict:
    """Read a checkpoint of plain MMEngine, with its log as plain data.

    The protection of PyTorch stays on: in place of the class and of the call that such a file names it
    gets two of this module that do nothing.

    Args:
        filename (str | PathLike): Checkpoint.

    Returns:
        dict: As ``PlainCheckpointHook`` writes one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or holds other objects.
    """
    path = os.path.expanduser(filename)
    stands: list[Any] = [
        (_History, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (_nothing, 'builtins.getattr'),
        (_nothing, '__builtin__.getattr'),
    ]
    with torch.serialization.safe_globals([*stands, *_numpy_types()]):
        checkpoint = load_checkpoint_file(path, map_location='cpu')
    scalars = checkpoint.get('message_hub', {}).get('log_scalars', {})
    for key, buffer in scalars.items():
        if isinstance(buffer, _History):
            own = vars(buffer)
            scalars[key] = dict(
                log_history=torch.as_tensor(own['_log_history']),
                count_history=torch.as_tensor(own['_count_history']),
                max_length=own['max_length'],
            )
    return {
        key: plain(value) if key in ('meta', 'message_hub') else value
        for key, value in checkpoint.items()
    }


def _numpy_types() -> list[Any]:
    import numpy as np

    core = np._core if hasattr(np, '_core') else np.core
    found: list[Any] = [np.ndarray, np.dtype]
    for name in ('_reconstruct', 'scalar'):
        made = getattr(core.multiarray, name)
        found += [(made, f'numpy.core.multiarray.{name}'), (made, f'numpy._core.multiarray.{name}')]
    kinds = (np.float64, np.float32, np.int64, np.int32, np.bool_)
    return [*found, *(type(np.dtype(kind)) for kind in kinds), *kinds]


def _register(name: str, prefixes: str | tuple[str, ...]) -> None:
    def load(filename: str, map_location: Any = None) -> dict:
        return load_checkpoint_file(filename, map_location)

    # mmengine's log line leaves out the first ten letters
    load.__name__ = f'load_from_{name}'
    CheckpointLoader.register_scheme(prefixes, load, force=True)


_register('local', '')
_register('http', ('http://', 'https://'))
_register('pavi', 'pavi://')
_register('ceph', (r'(\S+\:)?s3://', r'(\S+\:)?petrel://'))
_register('torchvision', ('modelzoo://', 'torchvision://'))
_register('openmmlab', ('open-mmlab://', 'openmmlab://'))
_register('mmcls', 'mmcls://')


def resume_training(cfg: Config, checkpoint: str) -> None:
    """Make a run continue.

    Args:
        cfg (Config): With ``work_dir``; ``resume`` and ``load_from`` are set. Where there is nothing to
            continue from with 'auto' it is left as it is, and training starts anew.
        checkpoint (str): File to continue from, or 'auto': the latest in the work dir.
    """
    found = latest_checkpoint(cfg.work_dir) if checkpoint == 'auto' else checkpoint
    if found is None:
        print_log(f'Nothing to resume in {cfg.work_dir}: training starts anew', logger='current')
        return
    cfg.resume = True
    cfg.load_from = found


_NUMBERED = re.compile(r'(epoch|iter)_(\d+)\.pth')


def latest_checkpoint(work_dir: str | Path) -> str | None:
    """Checkpoint of a work dir that training goes on from.

    mmengine writes the name of the one that was saved last to the file ``last_checkpoint``: a run that
    goes on from an earlier one leaves later ones of the run before. A run killed at that moment leaves
    the file empty or cut short, and a moved work dir makes it point elsewhere: then the highest epoch
    counts, whatever the times of the files are.

    Args:
        work_dir (str | Path): Folder of a run.

    Returns:
        str | None: None where there is no checkpoint.
    """
    folder = Path(work_dir)
    pointer = folder / 'last_checkpoint'
    if pointer.is_file():
        named = folder / Path(pointer.read_text(errors='replace').strip()).name
        if named.is_file():
            return str(named)
    matches = (_NUMBERED.fullmatch(path.name) for path in folder.glob('*_*.pth'))
    # a run counts in epochs or in iterations
    saved = [(match[1], int(match[2]), match[0]) for match in matches if match]
    saved = [one for one in saved if (folder / one[2]).is_file()]
    return str(folder / min(saved, key=lambda one: (one[0], -one[1]))[2]) if saved else None
