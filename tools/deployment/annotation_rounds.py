# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Rounds of annotation on phantom images, from end to end: find, correct, train, and again.

The model that comes along meets images of another kind (half the size, fainter fractures) without any
annotation. In every round it scores them, the most uncertain go out as tasks of Label Studio, the truth
of the phantoms answers in an annotator's place, and the model is trained further on what came back.
Prints FROC and recall on test images before and after each round.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from mmfrac.utils.errors import plain_errors
from mmfrac.utils.io import read_json, write_json, write_text
from mmfrac.utils.packaged import PACKAGED

EXAMPLE = """example:
  python tools/deployment/annotation_rounds.py rounds --rounds 2 --number 40"""
WEIGHTS = PACKAGED / 'configs/models/frac_ssl_phantom/model.pth'
CONFIG = """_base_ = 'mmfrac::phantom/frac_sup_phantom.py'
from mmfrac.utils.config import set_data_root, set_img_scale

set_data_root(_base_, {data!r})
set_img_scale(_base_, (128, 128))
load_from = {weights!r}
max_epochs = {epochs}
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
train_dataloader = dict(batch_size=8, num_workers=0, batch_sampler=dict(epoch_length=10))
val_dataloader = dict(num_workers=0)
test_dataloader = dict(num_workers=0)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = []
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', type=Path, help='folder for the phantoms and the runs')
    parser.add_argument('--rounds', type=int, default=2, help='default 2')
    parser.add_argument('--number', type=int, default=40, help='images a round, default 40')
    parser.add_argument(
        '--pool', type=int, default=100, help='images with a fracture, and as many without'
    )
    parser.add_argument(
        '--epochs', type=int, default=4, help='of ten steps, of a training, default 4'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out.absolute()
    data = out / 'data'
    train = data / 'annotations/train.json'
    counts = ['--train', args.pool, args.pool, 8, 0, '--val', 2, 2, '--test', 50, 50]
    run('make_phantom.py', data, '--size', 128, '--difficulty', 0.15, *counts)
    truth = read_json(train)
    write_json(out / 'truth.json', truth)
    write_json(train, without_truth(truth))
    config = out / 'rounds.py'
    checkpoint = WEIGHTS
    print(f'{"round":8}{"corrected":>10}{"FROC":>8}{"Recall@0.1":>12}{"AUROC":>8}', flush=True)
    for number in range(args.rounds + 1):
        if number:
            checkpoint = out / f'run{number}' / f'epoch_{args.epochs}.pth'
            run('train.py', config, '--work-dir', checkpoint.parent)
        # of each round the weights of the one before are trained on
        text = CONFIG.format(data=str(data), weights=str(checkpoint), epochs=args.epochs)
        write_text(config, text)
        tested(out, number, checkpoint)
        if number < args.rounds:
            one_round(out, number + 1, checkpoint, args.number, truth)


def without_truth(truth: dict) -> dict:
    """The images without what is known of them, but for those with a label alone."""
    images = [
        image | dict(label=-1, regions=False) if image['regions'] else image
        for image in truth['images']
    ]
    return truth | dict(images=images, annotations=[])


def tested(out: Path, number: int, checkpoint: Path) -> None:
    metrics = out / f'metrics{number}.json'
    work_dir = out / f'test{number}'
    run('test.py', out / 'rounds.py', checkpoint, '--work-dir', work_dir, '--out-json', metrics)
    found = read_json(metrics)['metrics']
    values = {key.split('/')[-1]: value for key, value in found.items()}
    corrected = sum('corrected' in image for image in images_of(out))
    figures = f'{values["FROC"]:8.3f}{values["Recall@0.1"]:12.3f}{values["AUROC"]:8.3f}'
    print(f'{number:<8}{corrected:10}{figures}', flush=True)


def images_of(out: Path) -> list[dict]:
    return read_json(out / 'data/annotations/train.json')['images']


def one_round(out: Path, number: int, checkpoint: Path, size: int, truth: dict) -> None:
    folder, images = out / f'round{number}', out / 'data/images'
    train = out / 'data/annotations/train.json'
    unknown = [str(images / one['file_name']) for one in images_of(out) if one['label'] == -1]
    write_text(folder / 'unknown.txt', '\n'.join(unknown))
    package, found = folder / 'model.mmfrac', folder / 'found'
    run(
        *('model_converters/package_model.py', package, '--config', out / 'rounds.py'),
        *('--checkpoint', checkpoint, '--limits', 'Knows phantoms only.'),
    )
    run(
        *('deployment/infer_archive.py', folder / 'unknown.txt', '--package', package),
        *('--out-dir', found, '--workers', 1),
    )
    run(
        *('deployment/annotate.py', 'export', found / 'results.jsonl', '--to', 'label-studio'),
        *('--out-dir', folder / 'tasks', '--number', size, '--root', images),
    )
    tasks = read_json(folder / 'tasks/tasks.json')
    write_json(folder / 'corrected.json', answered(tasks, truth, number))
    said = run(
        *('deployment/annotate.py', 'import', folder / 'corrected.json'),
        *('--export', folder / 'tasks', '--base', train, '--out', train),
    )
    print('  ' + said.splitlines()[0], flush=True)


def answered(tasks: list, truth: dict, number: int) -> list:
    """What Label Studio would export: the truth, in an annotator's place."""
    sizes = {one['file_name']: one for one in truth['images']}
    for task in tasks:
        image = sizes[task['data']['file_name']]
        result = []
        for one in truth['annotations']:
            if one['image_id'] == image['id']:
                x, y, w, h = one['bbox']
                sides = dict(
                    x=100 * x / image['width'],
                    y=100 * y / image['height'],
                    width=100 * w / image['width'],
                    height=100 * h / image['height'],
                )
                result.append(dict(type='rectanglelabels', value=sides | dict(rotation=0)))
        task['annotations'] = [
            dict(
                completed_by=dict(email='truth@phantom'),
                updated_at=f'round {number}',
                result=result,
            )
        ]
    return tasks


def run(tool: str, *arguments: object) -> str:
    command = [sys.executable, str(PACKAGED / 'tools' / tool), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f'{json.dumps(command)} failed:\n{done.stderr[-3000:]}')
    return done.stdout


if __name__ == '__main__':
    with plain_errors():
        main()
