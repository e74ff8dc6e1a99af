# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Rounds of annotation on phantom images, from end to end: train, find, correct, train again.

Few images have boxes at first. In every round the model scores the others, the most uncertain go out as
tasks of Label Studio, the truth of the phantoms answers in an annotator's place, and what comes back is
trained on. Prints FROC and recall on test images before and after each round.
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
CONFIG = """_base_ = 'mmfrac::phantom/frac_sup_phantom.py'
from mmfrac.utils.config import set_data_root, set_img_scale

set_data_root(_base_, {data!r})
set_img_scale(_base_, (128, 128))
max_epochs = {epochs}
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
train_dataloader = dict(num_workers=0, batch_sampler=dict(epoch_length=25))
val_dataloader = dict(num_workers=0)
test_dataloader = dict(num_workers=0)
model = dict(semi_train_cfg=dict(burn_in_epochs=max_epochs))
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out', type=Path, help='folder for the phantoms and the runs')
    parser.add_argument('--rounds', type=int, default=2, help='default 2')
    parser.add_argument('--number', type=int, default=40, help='images a round, default 40')
    parser.add_argument('--first', type=int, default=16, help='images with boxes at first, 16')
    parser.add_argument('--pool', type=int, default=150, help='positive images in all, default 150')
    parser.add_argument('--epochs', type=int, default=12, help='of each training, default 12')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out.absolute()
    data = out / 'data'
    counts = ['--train', args.pool, args.pool, 16, 16, '--val', 8, 8, '--test', 60, 60]
    run('make_phantom.py', data, '--size', 128, '--difficulty', 0.05, *counts)
    annotations = data / 'annotations'
    truth = read_json(annotations / 'train.json')
    write_json(out / 'truth.json', truth)
    write_json(annotations / 'train.json', hide_boxes(truth, args.first))
    write_text(out / 'rounds.py', CONFIG.format(data=str(data), epochs=args.epochs))
    print(f'{"round":8}{"with boxes":>12}{"FROC":>8}{"Recall@0.1":>12}{"AUROC":>8}', flush=True)
    for number in range(args.rounds + 1):
        checkpoint = train_and_test(out, number, args.epochs)
        if number == args.rounds:
            return
        folder = out / f'round{number + 1}'
        unknown = [
            str(data / 'images' / image['file_name'])
            for image in read_json(annotations / 'train.json')['images']
            if image['label'] == -1
        ]
        write_text(folder / 'unknown.txt', '\n'.join(unknown))
        package = folder / 'model.mmfrac'
        run(
            *('model_converters/package_model.py', package, '--config', out / 'rounds.py'),
            *('--checkpoint', checkpoint, '--limits', 'Knows phantoms only.'),
        )
        found = folder / 'found'
        run(
            *('deployment/infer_archive.py', folder / 'unknown.txt', '--package', package),
            *('--out-dir', found, '--workers', 1, '--everything'),
        )
        run(
            *('deployment/annotate.py', 'export', found / 'results.jsonl', '--to', 'label-studio'),
            *('--out-dir', folder / 'tasks', '--number', args.number, '--root', data / 'images'),
        )
        corrected = answered(read_json(folder / 'tasks/tasks.json'), truth, number + 1)
        write_json(folder / 'corrected.json', corrected)
        said = run(
            *('deployment/annotate.py', 'import', folder / 'corrected.json', '--export'),
            *(folder / 'tasks', '--base', annotations / 'train.json'),
            *('--out', annotations / 'train.json'),
        )
        print('  ' + said.splitlines()[0], flush=True)


def hide_boxes(truth: dict, first: int) -> dict:
    """Leave boxes to a few images; the others of the hospital are of an unknown label."""
    left, images, kept = {0: 2 * first, 1: first}, [], set()
    for image in truth['images']:
        if image['regions']:
            left[image['label']] -= 1
            if left[image['label']] < 0:
                image = image | dict(label=-1, regions=False)
            else:
                kept.add(image['id'])
        images.append(image)
    annotations = [one for one in truth['annotations'] if one['image_id'] in kept]
    return truth | dict(images=images, annotations=annotations)


def train_and_test(out: Path, number: int, epochs: int) -> Path:
    work_dir = out / f'run{number}'
    checkpoint = work_dir / f'epoch_{epochs}.pth'
    run('train.py', out / 'rounds.py', '--work-dir', work_dir)
    metrics = work_dir / 'metrics.json'
    run('test.py', out / 'rounds.py', checkpoint, '--work-dir', work_dir, '--out-json', metrics)
    found = read_json(metrics)['metrics']
    values = {key.split('/')[-1]: value for key, value in found.items()}
    images = read_json(out / 'data/annotations/train.json')['images']
    boxes = sum(image['label'] == 1 and image['regions'] for image in images)
    print(
        f'{number:<8}{boxes:12}{values["FROC"]:8.3f}{values["Recall@0.1"]:12.3f}{values["AUROC"]:8.3f}',
        flush=True,
    )
    return checkpoint


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
