# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.

import gc
import logging
import os
import pickle
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from mmfrac.datasets.coco_checks import (
    check_annotations,
    check_folders,
    find_missing,
    image_name,
    read_annotations,
)
from mmfrac.datasets.label_fraction import LabelFraction
from mmfrac.datasets.labels import (
    film_labels,
    ignored,
    lesion_instance,
    lesions,
    names_fracture,
    names_of,
    select_films,
    subsets_of,
)
from mmfrac.datasets.transforms.cached_radiograph import cached_pipeline
from mmfrac.datasets.transforms.pipeline_check import check_pipeline
from mmfrac.utils.errors import MissingImageError, raise_problems


class ImageColumns(BaseDataset):
    """Part of a data set that has some fields of all its images at hand, as columns.

    MMEngine serialises the infos into one buffer, and unpickles each that is read. What hooks, teachers
    and samplers ask of every image is set aside before.
    """

    _columns: dict[str, np.ndarray]

    def labels(self) -> np.ndarray:
        """Image-level labels (N,), int8, in the order of the data set."""
        return self._column('label')

    def regions(self) -> np.ndarray:
        """Whether the boxes of each image are complete (N,), bool."""
        return self._column('regions')

    def file_names(self) -> list[str]:
        """File names (N) as in the annotation file."""
        return [name.decode() for name in self._column('file_name').tolist()]

    def img_paths(self) -> list[str]:
        """``img_path`` (N) as in the infos."""
        return [os.path.join(self.data_prefix['img'], name) for name in self.file_names()]

    def get_subset_(self, indices: Sequence[int] | int) -> None:
        """See ``BaseDataset.get_subset_``."""
        super().get_subset_(indices)
        self._select(indices)

    def get_subset(self, indices: Sequence[int] | int) -> 'ImageColumns':
        """See ``BaseDataset.get_subset``."""
        subset = super().get_subset(indices)
        subset._select(indices)
        return subset

    def _select(self, indices: Sequence[int] | int) -> None:
        if not self.serialize_data:
            return
        chosen = np.arange(len(self._columns['label']))
        if isinstance(indices, int):
            chosen = chosen[:indices] if indices >= 0 else chosen[indices:]
        else:
            chosen = chosen[np.asarray(indices, dtype=np.int64)]
        self._columns = {key: column[chosen] for key, column in self._columns.items()}

    def _column(self, key: str) -> np.ndarray:
        if not self._fully_initialized:
            self.full_init()
        return self._columns[key] if self.serialize_data else _column_of(self.data_list, key)

    def _serialize_data(self) -> tuple[np.ndarray, np.ndarray]:
        self._columns = {key: _column_of(self.data_list, key) for key in _COLUMN_TYPES}
        # as mmengine does it, but for its gc.collect(): without cycles in the infos it frees nothing,
        # and took 0.4 s a data set
        rows = [np.frombuffer(pickle.dumps(info, protocol=4), np.uint8) for info in self.data_list]
        self.data_list.clear()
        return np.concatenate(rows), np.cumsum([len(row) for row in rows])


_COLUMN_TYPES: dict[str, type] = dict(label=np.int8, regions=np.bool_, file_name=np.bytes_)


def _column_of(infos: list[dict], key: str) -> np.ndarray:
    values = [info[key].encode() if key == 'file_name' else info[key] for info in infos]
    return np.array(values, _COLUMN_TYPES[key])


@DATASETS.register_module()
class CXRDataset(ImageColumns, CocoDataset):
    """Chest films with image-level labels and, for some of them, fracture boxes.

    Reads one COCO JSON a split. ``images[i]`` may have ``label`` (1 fracture, 0 none, -1 unknown),
    ``regions`` (true when its boxes are complete), ``source`` and ``patient_id``. Where they are
    absent the label is 1 if the film has a box, -1 if it has none and ``regions`` is false, else 0;
    regions is true for label 0 and for films with a box; source is 'unknown' and patient_id the file
    name. So a plain COCO JSON works too, its categories set by ``metainfo``. A box with ``iscrowd`` or
    ``ignore`` is no lesion, and a film without ``label`` that has only such boxes, or boxes of a
    fracture category that is not among the classes, has label -1.

    Every film's info has besides mmdet's keys: ``file_name``, ``label``, ``regions``, ``source``,
    ``patient_id``; an instance has ``bbox`` (xyxy, px of the film, as in the file), ``bbox_label``,
    ``ignore_flag``, ``site`` (None if not given) and, where the file has them, ``polygon`` (list of
    ``[x1, y1, x2, y2, ...]``) and mmdet's ``mask``.

    No film is dropped for want of boxes: ``filter_cfg=dict(filter_empty_gt=True)`` only drops films
    that have neither a box nor a label. To train on films with boxes alone use ``subset='P_hos'``.

    Args:
        *args: Arguments of ``CocoDataset``.
        subset (str or Sequence[str], optional): Keep only these of 'P_hos' (label 1, regions), 'N'
            (label 0), 'P_pub' (label 1, no regions), 'U' (label -1). Default: None, all.
        sources (str or Sequence[str], optional): Keep films of these sources only. Default: all.
        label_fraction (float or dict, optional): Share of the boxes to train with, see
            ``LabelFraction``; of the whole file, before ``subset`` and ``sources``. Default: all.
        complete_boxes (bool): Count the boxes of every film that has some as complete, whatever its
            ``regions``: for files with the hidden truth. Default: False.
        allow_outside (bool): Take file names that are absolute or lead out of the image folder by
            ``..``. Default: False.
        check_files (bool): Look for every film's file at load; local folders only. Default: True.
        data_prefix (dict): Default: ``dict(img='')``.
        film_cache (str, optional): Folder that ``tools/cache_films.py`` wrote; the pipeline reads its
            films from there, with the same results, see ``CachedRadiograph``. Default: None.
        test_mode (bool): For validation and tests: no film is filtered out or skipped. Default: False.
        **kwargs: Arguments of ``CocoDataset``.

    Raises:
        FileNotFoundError: If data root, image folder or annotation file is missing.
        AnnotationError: With everything that is wrong with the annotation file, at once; a
            ``MissingImageError`` when films are missing.
        ValueError: If a subset or source is unknown, or nothing is left; if the pipeline would leave out
            films without boxes, or makes a map target and moves the image otherwise than
            ``homography_matrix`` says, see ``check_pipeline``; in a test also if ``label_fraction`` is
            given, or the pipeline skips films that cannot be read.
    """

    METAINFO = dict(classes=('fracture',), palette=[(0, 200, 0)])

    def __init__(
        self,
        *args: Any,
        subset: str | Sequence[str] | None = None,
        sources: str | Sequence[str] | None = None,
        label_fraction: float | dict | None = None,
        complete_boxes: bool = False,
        allow_outside: bool = False,
        check_files: bool = True,
        data_prefix: dict | None = None,
        film_cache: str | None = None,
        test_mode: bool = False,
        **kwargs: Any,
    ) -> None:
        self.subset = subsets_of(subset)
        self.sources = names_of(sources)
        self.label_fraction = LabelFraction.of(label_fraction)
        if test_mode and self.label_fraction is not None:
            raise ValueError('CXRDataset: label_fraction in a test would hide lesions from it')
        self.complete_boxes = complete_boxes
        self.allow_outside = allow_outside
        self.check_files = check_files
        prefix = dict(img='') if data_prefix is None else data_prefix
        if film_cache is not None:
            kwargs['pipeline'] = cached_pipeline(kwargs.get('pipeline', ()), film_cache)
        super().__init__(*args, data_prefix=prefix, test_mode=test_mode, **kwargs)
        self.check_transforms(self.pipeline.transforms)
        if test_mode:
            skipping = [t for t in self.pipeline.transforms if getattr(t, 'on_error', '') == 'skip']
            if skipping:
                raise ValueError(
                    f'CXRDataset: {skipping[0]} in a test pipeline; no film may be left out of a '
                    "test, set on_error='raise'"
                )

    def check_transforms(self, transforms: Sequence[Any]) -> None:
        """Check transforms for the films of this data set, see ``check_pipeline``.

        Args:
            transforms (Sequence): Built transforms, from loading on: the data set's own, or others that
                its films go through, as those of a wrapper after its own.
        """
        has_empty = not self.test_mode and self._has_empty()
        check_pipeline(transforms, self._first_shape(), has_empty)

    def _has_empty(self) -> bool:
        """Whether there are films without boxes, as far as it is known."""
        if not self._fully_initialized:
            return self.subset != ['P_hos']
        return not ((self.labels() == 1) & self.regions()).all()

    def _first_shape(self) -> tuple[int, int]:
        """Height and width of a film in px, a common size where none is known yet."""
        if not self._fully_initialized or not len(self):
            return (1024, 1024)
        info = self.get_data_info(0)
        return info['height'], info['width']

    def load_data_list(self) -> list[dict]:
        """Parse, check and select.

        Returns:
            list[dict]: Info of each film, in the order of the file.
        """
        collecting = gc.isenabled()
        # Hundreds of thousands of small dicts, all of them kept: scanning them for garbage doubles
        # the time.
        gc.disable()
        try:
            return self._load()
        finally:
            if collecting:
                gc.enable()

    def _load(self) -> list[dict]:
        if self.backend_args is None:
            check_folders(self.data_root, self.data_prefix['img'], self.ann_file)
        data = read_annotations(self.ann_file, self.backend_args)
        problems = check_annotations(data, self.metainfo['classes'], self.allow_outside)
        raise_problems(self.ann_file, problems)
        names = {category['id']: category['name'] for category in data['categories']}
        classes = list(self.metainfo['classes'])
        self.cat_ids = [key for name in classes for key, n in names.items() if n == name]
        self.cat2label = {key: classes.index(names[key]) for key in self.cat_ids}
        self.cat_img_map = defaultdict(list)
        annotations = defaultdict(list)
        others: dict[int, list[str]] = defaultdict(list)
        for annotation in data['annotations']:
            if annotation['category_id'] in self.cat2label:
                annotations[annotation['image_id']].append(annotation)
                self.cat_img_map[annotation['category_id']].append(annotation['image_id'])
            else:
                others[annotation['image_id']].append(names[annotation['category_id']])
        infos = [
            self.parse_data_info(
                dict(
                    raw_img_info=dict(image, img_id=image['id']),
                    raw_ann_info=annotations.get(image['id'], []),
                    other_categories=others.get(image['id'], []),
                )
            )
            for image in data['images']
        ]
        self._tell_of_other_boxes(data['images'], infos, others)
        indices = list(range(len(infos)))
        if self.label_fraction is not None:
            infos, indices = self.label_fraction.apply(infos, self.ann_file)
        kept = select_films(infos, self.subset, self.sources, self.ann_file)
        if self.check_files and self.backend_args is None:
            records = ((indices[i], data['images'][indices[i]]) for i in kept)
            named = ((image_name(index, image), image) for index, image in records)
            missing = find_missing(named, self.data_prefix['img'])
            raise_problems(self.ann_file, missing, MissingImageError)
        return [infos[i] for i in kept]

    def _tell_of_other_boxes(
        self, images: list[dict], infos: list[dict], others: dict[int, list[str]]
    ) -> None:
        """Log what became of images without a label that have boxes of other categories alone."""
        alone: Counter[tuple[str, int]] = Counter(
            (name, info['label'])
            for image, info in zip(images, infos)
            if image['id'] in others and 'label' not in image and not info['instances']
            for name in sorted(set(others[image['id']]))
        )
        for (name, label), count in sorted(alone.items()):
            print_log(
                f'{self.ann_file}: {count} images without label have no box of the classes '
                f'{list(self.metainfo["classes"])}, but of {name!r}: label {label}',
                logger='current',
                level=logging.WARNING,
            )

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Info of one film.

        Args:
            raw_data_info (dict): ``raw_img_info`` (COCO image with ``img_id``), ``raw_ann_info`` (list
                of its COCO annotations) and optionally ``other_categories``, the categories of its
                boxes that are not among the classes.

        Returns:
            dict: See the class.
        """
        image = raw_data_info['raw_img_info']
        instances = [
            lesion_instance(annotation, self.cat2label[annotation['category_id']])
            for annotation in raw_data_info['raw_ann_info']
        ]
        others = filter(names_fracture, raw_data_info.get('other_categories', ()))
        found = lesions(instances)
        undecided = len(ignored(instances)) + len(list(others))
        labels = film_labels(image, len(found), undecided)
        info = dict(
            img_path=os.path.join(self.data_prefix['img'], image['file_name']),
            img_id=image['img_id'],
            seg_map_path=None,
            height=image['height'],
            width=image['width'],
            file_name=image['file_name'],
            label=labels.label,
            regions=labels.regions or (self.complete_boxes and bool(found)),
            source=labels.source,
            patient_id=labels.patient,
            instances=instances,
        )
        if self.return_classes:
            info['text'] = self.metainfo['classes']
            info['caption_prompt'] = self.caption_prompt
            info['custom_entities'] = True
        return info

    def filter_data(self) -> list[dict]:
        """``filter_cfg`` of mmdet, but a film with a label is never empty.

        Returns:
            list[dict]: Infos kept; all of them in test mode.

        Raises:
            ValueError: If nothing is left.
        """
        if self.test_mode or not self.filter_cfg:
            return self.data_list
        empty_out = self.filter_cfg.get('filter_empty_gt', False)
        min_size = self.filter_cfg.get('min_size', 0)
        kept = [
            info
            for info in self.data_list
            if min(info['width'], info['height']) >= min_size
            and not (empty_out and info['label'] == -1 and not info['instances'])
        ]
        if not kept:
            raise ValueError(
                f'CXRDataset: filter_cfg={self.filter_cfg} leaves none of the '
                f'{len(self.data_list)} films of {self.ann_file}'
            )
        return kept
