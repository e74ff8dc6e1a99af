# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import functools
import hashlib
import http.server
import io
import os
import pickle
import subprocess
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseModule
from mmengine.runner import checkpoint as stock
from mmengine.runner.checkpoint import CheckpointLoader

from mmfrac.engine.runner.checkpoints import installed_file, load_checkpoint_file
from tests.forking import python_for_tools
from tests.slow import slow_but
from tests.zip_files import encrypted

ROOT = Path(__file__).resolve().parents[3]


class Code:
    def __reduce__(self):
        return print, ('executed',)


def test_mmengine_reads_plain_checkpoints(tmp_path):
    torch.save(dict(state_dict=dict(weight=torch.ones(2)), meta=dict(epoch=1)), tmp_path / 'a.pth')
    checkpoint = CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth'), map_location='cpu')
    assert checkpoint['meta'] == dict(epoch=1) and checkpoint['state_dict']['weight'].sum() == 2


def test_what_is_no_checkpoint_is_one_clear_error(tmp_path, capsys):
    path = tmp_path / 'b.pth'
    torch.save(dict(state_dict=dict(weight=torch.ones(200))), path)
    whole = path.read_bytes()
    for content in (b'', b'garbage', whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r'b\.pth cannot be loaded as a checkpoint'):
            CheckpointLoader.load_checkpoint(str(path))
    torch.save(dict(state_dict=Code()), path)
    with pytest.raises(ValueError, match=r'b\.pth cannot be loaded as a checkpoint'):
        CheckpointLoader.load_checkpoint(str(path))
    assert 'executed' not in capsys.readouterr().out
    torch.save(torch.ones(2), path)
    with pytest.raises(ValueError, match='holds a Tensor'):
        CheckpointLoader.load_checkpoint(str(path))
    with pytest.raises(FileNotFoundError, match=r'c\.pth'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'c.pth'))


class System:
    def __reduce__(self):
        return os.system, ('true',)


@pytest.mark.parametrize(
    ('held', 'named'),
    [(Code(), 'GLOBAL print'), (System(), r'GLOBAL \w+\.system'), (np.ones(3), 'GLOBAL num')],
)
def test_a_refusal_gives_no_advice_to_run_the_file(tmp_path, held, named):
    torch.save(dict(state_dict=held), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=f'{named}.*which is refused') as caught:
        load_checkpoint_file(tmp_path / 'a.pth')
    said = str(caught.value)
    assert len(said.splitlines()) == 1 and 'safe_globals' not in said
    for advice in ('weights_only', 'Re-running', 'torch.load', 'trust'):
        assert advice not in said


def test_files_of_installed_packages(tmp_path, monkeypatch):
    package = tmp_path / 'weights_of_mine'
    package.mkdir()
    (package / '__init__.py').touch()
    path = saved(package / 'a.pth')
    monkeypatch.syspath_prepend(tmp_path)
    name = 'package://weights_of_mine/a.pth'
    # as load_from, init_cfg and the tools read it
    checkpoint = CheckpointLoader.load_checkpoint(f'{name}#sha256={sha256(path)}')
    assert checkpoint['state_dict']['weight'].shape == (40000,)
    assert installed_file('/x/y.pth') == '/x/y.pth'
    for wrong, message in {
        'package://no_such_package/x.pth': 'pip install no-such-package',
        'package://weights_of_mine/../x.pth': 'has no file',
        'package://weights_of_mine/b.pth': 'has no file',
        'package://os.path/b.pth': 'which is not installed',
    }.items():
        with pytest.raises(FileNotFoundError, match=message):
            load_checkpoint_file(wrong)
    with pytest.raises(ValueError, match='sha256'):
        load_checkpoint_file(f'{name}#sha256={"0" * 64}')


def saved(path, **options):
    torch.save(dict(state_dict=dict(weight=torch.arange(40000.0)), meta={}), path, **options)
    return path


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize('seed', range(10))
def test_a_flipped_page_is_noticed(seed, tmp_path):
    path = saved(tmp_path / 'a.pth')
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    # of the weights, which are most of the file
    start = int(rng.integers(8192, 140000))
    content[start : start + 4096] = bytes(value ^ 0xFF for value in content[start : start + 4096])
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)['state_dict']['weight'].shape == (40000,)
    with pytest.raises(ValueError, match=r'a\.pth cannot be loaded as a checkpoint: it is damaged'):
        load_checkpoint_file(path)


def test_zips_that_pytorch_does_not_write(tmp_path):
    path = saved(tmp_path / 'a.pth')
    with zipfile.ZipFile(path) as archive:
        members = {one.filename: archive.read(one) for one in archive.infolist()}
    packed = tmp_path / 'b.pth'
    with zipfile.ZipFile(packed, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match='is a compressed zip'):
        load_checkpoint_file(packed)
    packed.write_bytes(encrypted(path.read_bytes()))
    with pytest.raises(ValueError, match='is an encrypted zip'):
        load_checkpoint_file(packed)


def test_the_form_of_old_versions_is_read_with_a_word(tmp_path, caplog):
    path = saved(tmp_path / 'a.pth', _use_new_zipfile_serialization=False)
    assert load_checkpoint_file(path)['state_dict']['weight'][-1] == 39999
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(ValueError, match='cannot be loaded as a checkpoint'):
        load_checkpoint_file(path)
    torch.save(dict(state_dict=Code()), path, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match='which is refused'):
        load_checkpoint_file(path)


def test_a_checksum_that_was_given_is_compared(tmp_path):
    path = saved(tmp_path / 'a.pth')
    right = sha256(path)
    for text in (right, right[:8], right.upper()):
        assert load_checkpoint_file(f'{path}#sha256={text}')['meta'] == {}
    for wrong in ('0' * 64, right[:-1] + ('0' if right[-1] != '0' else '1'), '12345678'):
        with pytest.raises(ValueError, match='is not the checkpoint that was meant'):
            load_checkpoint_file(f'{path}#sha256={wrong}')
    for text in ('', 'abc', 'xyz' * 5, right + '00'):
        with pytest.raises(ValueError, match='takes 8 to 64 hexadecimal digits'):
            load_checkpoint_file(f'{path}#sha256={text}')


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder, its address, and an empty cache."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    folder = tmp_path / 'served'
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield folder, f'http://127.0.0.1:{running.server_port}'
        running.shutdown()
        thread.join()


def evil(path):
    torch.save(dict(state_dict=Code()), path)


def evil_legacy(path):
    torch.save(dict(state_dict=Code()), path, _use_new_zipfile_serialization=False)


def evil_pickle(path):
    path.write_bytes(pickle.dumps(Code()))


class Pretrained(BaseModule):
    def __init__(self, checkpoint):
        super().__init__(dict(type='Pretrained', checkpoint=checkpoint))


WAYS = {
    'load_from': lambda name: CheckpointLoader.load_checkpoint(name, 'cpu'),
    'init_cfg': lambda name: Pretrained(name).init_weights(),
    'part': lambda name: stock._load_checkpoint_with_prefix('backbone', name, 'cpu'),
}


@pytest.mark.parametrize('write', [evil, evil_legacy, evil_pickle])
@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize(
    'scheme',
    slow_but(
        [
            'http',
            'torchvision',
            'modelzoo',
            'open-mmlab',
            'openmmlab',
            'mmcls',
            's3',
            'a:s3',
            'petrel',
        ],
        ['http', 'torchvision', 's3'],
    ),
)
def test_no_scheme_runs_code(write, way, scheme, server, monkeypatch, capsys):
    folder, address = server
    write(folder / 'evil.pth')
    models = {'evil': f'{address}/evil.pth'}
    for zoo in ('torchvision_models', 'external_models', 'mmcls_models'):
        monkeypatch.setattr(stock, f'get_{zoo}', lambda: models)
    bucket = type('', (), dict(get=lambda self, name: (folder / 'evil.pth').read_bytes()))()
    monkeypatch.setattr(
        'mmfrac.engine.runner.checkpoints.get_file_backend', lambda *_, **__: bucket
    )
    name = models['evil'] if scheme == 'http' else f'{scheme}://evil'
    with pytest.raises(ValueError, match='cannot be loaded as a checkpoint'):
        WAYS[way](name)
    assert 'executed' not in capsys.readouterr().out


def test_downloads_are_kept_and_compared(server, tmp_path):
    folder, address = server
    path = saved(folder / 'a.pth')
    sum_of = sha256(path)
    named = path.rename(folder / f'net-{sum_of[:8]}.pth')
    (folder / 'other').mkdir()
    torch.save(dict(state_dict={}, meta=dict(epoch=9)), folder / 'other/b.pth')
    torch.save(dict(state_dict={}, meta=dict(epoch=3)), folder / 'b.pth')
    assert load_checkpoint_file(f'{address}/{named.name}')['meta'] == {}
    # files of one name at two addresses
    assert load_checkpoint_file(f'{address}/b.pth')['meta'] == dict(epoch=3)
    assert load_checkpoint_file(f'{address}/other/b.pth')['meta'] == dict(epoch=9)
    assert load_checkpoint_file(f'{address}/{named.name}#sha256={sum_of}')['meta'] == {}
    for file in folder.rglob('*.pth'):
        file.unlink()
    kept = tmp_path / 'home/hub/checkpoints' / named.name
    assert kept.is_file() and load_checkpoint_file(f'{address}/{named.name}')['meta'] == {}
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(ValueError, match='is not the checkpoint that was meant'):
        load_checkpoint_file(f'{address}/{named.name}')
    with pytest.raises(OSError, match=r'cannot be downloaded: .*404.*name a file .*init_cfg=None'):
        load_checkpoint_file(f'{address}/missing.pth')


def test_a_download_that_is_not_what_its_name_says_is_not_kept(server, tmp_path):
    folder, address = server
    for name in ('net-0676ba61.pth', 'net.pth'):
        saved(folder / name)
    with pytest.raises(ValueError, match='is not the checkpoint that was meant'):
        load_checkpoint_file(f'{address}/net-0676ba61.pth')
    with pytest.raises(ValueError, match='should begin with 12345678'):
        load_checkpoint_file(f'{address}/net.pth#sha256=12345678')
    assert not list((tmp_path / 'home').rglob('*.pth'))
    # a date is no sum
    saved(folder / 'net-20261128.pth')
    assert load_checkpoint_file(f'{address}/net-20261128.pth')['meta'] == {}


@pytest.mark.parametrize('name', ['ftp://host/a.pth', 'gs://a/b.pth', 'file:///a.pth', 'hf://a'])
def test_unknown_schemes_are_named(name):
    with pytest.raises(ValueError, match=r'of its kind are files, and http'):
        CheckpointLoader.load_checkpoint(name)
    with pytest.raises(ValueError, match="mmcls has no model 'resnet5'"):
        CheckpointLoader.load_checkpoint('mmcls://resnet5')


@pytest.mark.slow
def test_a_checkpoint_of_plain_mmengine_is_told_how_to_be_rewritten(tmp_path, capsys):
    hub = MessageHub('stock-checkpoint')
    for value in (0.5, 0.25, 0.125):
        hub.update_scalar('train/loss', value, 2)
    hub.update_info('best_score', np.float64(0.75))
    state = dict(weight=torch.ones(3))
    content = dict(meta=dict(epoch=3), state_dict=state, message_hub=hub.state_dict())
    path, out = tmp_path / 'epoch_3.pth', tmp_path / 'plain.pth'
    torch.save(content, path)
    with pytest.raises(
        ValueError, match=r'(?s)saved by plain MMEngine.*plain_checkpoint\.py'
    ) as raised:
        load_checkpoint_file(path)
    assert 'damaged' not in str(raised.value)
    tool = ROOT / 'tools/model_converters/plain_checkpoint.py'
    done = subprocess.run([python_for_tools(), tool, path, out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    plain = load_checkpoint_file(out)
    assert plain['state_dict']['weight'].tolist() == [1, 1, 1] and plain['meta'] == dict(epoch=3)
    history = plain['message_hub']['log_scalars']['train/loss']
    assert history['log_history'].tolist() == [0.5, 0.25, 0.125]
    assert plain['message_hub']['runtime_info']['best_score'] == 0.75
    # what else is in such a file is not run
    torch.save(content | dict(more=Code()), path)
    done = subprocess.run([python_for_tools(), tool, path, out], capture_output=True, text=True)
    assert done.returncode == 1 and 'executed' not in done.stdout and 'Traceback' not in done.stderr
    done = subprocess.run([python_for_tools(), tool, out, out], capture_output=True, text=True)
    assert done.returncode == 1 and 'is what is read' in done.stderr


def test_an_archive_of_torchscript_and_other_data_are_refused(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(tmp_path / 'a.pt'))
    np.savez(tmp_path / 'b.npz', a=np.ones(3))
    (tmp_path / 'c.pth').write_bytes(io.BytesIO(b'PK\x03\x04' + bytes(100)).getvalue())
    (tmp_path / 'd.pth').write_text('<html>404</html>')
    for name in ('a.pt', 'b.npz', 'c.pth', 'd.pth'):
        with pytest.raises(ValueError, match='cannot be loaded as a checkpoint'):
            load_checkpoint_file(tmp_path / name)
