# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Prob maps, image scores and boxes of films, from a config and a checkpoint."""

import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmdet.registry import MODELS, TRANSFORMS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from torch import nn
from tqdm import tqdm

from mmfrac.datasets.radiographs.read import IMAGE_SUFFIXES, is_image
from mmfrac.engine.hooks.checkpoint_guard_hook import check_state_dict
from mmfrac.engine.runner.batch_norms import fold_batch_norms
from mmfrac.engine.runner.checkpoints import load_checkpoint_file
from mmfrac.engine.runner.compiled import compile_networks
from mmfrac.engine.runner.precision import choose_precision, low_precision
from mmfrac.evaluation.metrics.samples import prediction_of_sample
from mmfrac.evaluation.offline.image_prediction import ImagePrediction, PredictionError
from mmfrac.evaluation.offline.map_folder import write_prediction
from mmfrac.models.postprocess import component_options
from mmfrac.utils.config import load_config, type_name
from mmfrac.utils.device import usable_device
from mmfrac.utils.errors import one_line
from mmfrac.utils.io import OutputFolder, write_image, write_json
from mmfrac.utils.lock import locked
from mmfrac.utils.walk import files_below
from mmfrac.visualization.prob_map_visualization_hook import ImageNames, overlay_of_sample

ImageInput = str | np.ndarray

ImageInputs = str | os.PathLike | np.ndarray | Sequence[str | os.PathLike | np.ndarray]


def list_images(inputs: ImageInputs) -> list[ImageInput]:
    """Films of files, folders and planes, in the order given, folders sorted by path.

    Folders are searched with those below them and behind links. A file with a film's suffix is taken as
    it is, broken links and pipes included: each gets an error of its own. Of the others (DICOM files
    often have no suffix) those are taken whose content is, or begins like, a film's. Hidden files and
    DICOMDIR indexes are left out. A file that is named itself is always taken.

    Args:
        inputs (str, PathLike, np.ndarray, or Sequence of these): Files, folders, planes ``(h, w)``.

    Returns:
        list[str | np.ndarray]: Paths and planes.

    Raises:
        FileNotFoundError: When a folder holds no film.
        ValueError: When there is no input, or one of another type.
    """
    if isinstance(inputs, (str, os.PathLike, np.ndarray)):
        inputs = [inputs]
    if not isinstance(inputs, Sequence) or not inputs:
        raise ValueError(f'films are paths, folders or planes, or a list of them, got {inputs!r}')
    images: list[ImageInput] = []
    for item in inputs:
        if isinstance(item, np.ndarray):
            images.append(item)
        elif not isinstance(item, (str, os.PathLike)):
            raise ValueError(f'a film is a path, a folder or a plane, got {type(item).__name__}')
        elif os.path.isdir(item):
            images.extend(_images_in(Path(item)))
        else:
            images.append(os.fspath(item))
    return images


def checked_image(image: np.ndarray) -> np.ndarray:
    """A plane given as an array, as the loader would give it.

    Args:
        image (np.ndarray): ``(h, w)``, float in [0, 1] or uint8, bright bone on dark lung.

    Returns:
        np.ndarray: ``(h, w)`` float32 in [0, 1].

    Raises:
        ValueError: When it has another shape, type or range.
    """
    if image.ndim != 2 or not image.size:
        raise ValueError(f'a film is one plane (h, w), got an array of shape {image.shape}')
    if image.dtype == np.uint8:
        return image.astype(np.float32) / 255
    in_range = np.issubdtype(image.dtype, np.floating) and 0 <= image.min() <= image.max() <= 1
    if not in_range:
        raise ValueError(
            f'a plane is float in [0, 1] or uint8, got {image.dtype} from {image.min()} to '
            f'{image.max()}; scale it, bright bone on dark lung'
        )
    return np.ascontiguousarray(image, dtype=np.float32)


def _images_in(folder: Path) -> list[str]:
    images = [str(path) for path in sorted(map(Path, files_below(folder))) if is_image(path)]
    if not images:
        raise FileNotFoundError(
            f'no film in {folder}: neither a file {", ".join(IMAGE_SUFFIXES)} nor one without suffix '
            'that is DICOM'
        )
    return images


def prediction_of_image(name: str, sample: DetDataSample) -> dict[str, Any]:
    """Prediction in plain types, see ``FracInferencer.__call__``.

    Args:
        name (str): What the image is called.
        sample (DetDataSample): Its prediction.

    Raises:
        ValueError: If its map has another number of planes than one.
    """
    found = sample.pred_instances
    scores = [float(score) for score in found.scores]
    scale = sample.metainfo.get('map_scale')
    return dict(
        film=name,
        score=_as_evaluated(name, sample).image_score,
        boxes=found.bboxes.tolist(),
        scores=scores,
        map_scale=None if scale is None else [float(side) for side in scale],
    )


def _as_evaluated(name: str, sample: DetDataSample) -> ImagePrediction:
    return prediction_of_sample(sample.to_dict() | dict(img_path=name))


def _saved_prediction(name: str, sample: DetDataSample) -> ImagePrediction:
    """Prediction in the form that ``tools/analysis_tools/froc.py`` reads.

    Raises:
        PredictionError: When it is malformed.
    """
    prediction = _as_evaluated(name, sample)
    faults = prediction.faults()
    if faults:
        raise PredictionError(f'of film {name}', faults)
    return prediction


def show_overlay(overlay: np.ndarray, name: str, wait_time: float) -> None:
    """Show an overlay ``(H, W, 3)`` uint8 RGB in a window.

    Args:
        overlay (np.ndarray): Picture.
        name (str): Title of the window.
        wait_time (float): Seconds that it stays open; 0: until a key is pressed.
    """
    DetLocalVisualizer().show(overlay, win_name=name, wait_time=wait_time)


_PARTIAL = 'predictions.partial.jsonl'
_LOCK = '.predictions.lock'

_ON_ERROR = ('report', 'raise')

# steps of a test pipeline that need annotations
_ANNOTATION_STEPS = ('LoadAnnotations', 'ProbMapTarget')


class LoadedImage(NamedTuple):
    """An image that was read.

    Attributes:
        name (str): What it is called.
        image (np.ndarray): ``(h, w)`` as it is stored.
        packed (dict): ``inputs`` and ``data_samples``, what the test pipeline made of it.
        notes (tuple[str, ...]): What is doubtful of its file, a sentence each. Defaults to none.
    """

    name: str
    image: np.ndarray
    packed: dict
    notes: tuple[str, ...] = ()


class ImageLoader:
    """Reads images and takes them through the test pipeline of a config, without its model.

    Args:
        cfg (Config): With ``test_dataloader``.

    Raises:
        ValueError: If the pipeline does not begin with ``LoadRadiograph``.
    """

    def __init__(self, cfg: Config) -> None:
        init_default_scope(cfg.get('default_scope', 'mmdet'))
        load, *others = pipeline_steps(cfg)
        self._load_image: Any = TRANSFORMS.build(load)
        self.prepare = Compose([TRANSFORMS.build(step) for step in others])

    def load(self, source: ImageInput, name: str = '') -> LoadedImage:
        """Read an image and take it through the test pipeline.

        Args:
            source (str or np.ndarray): File, or plane ``(h, w)``.
            name (str): What it is called. Defaults to '', its path.

        Returns:
            LoadedImage: What ``predict`` is given.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it cannot be read, or not pass the pipeline.
        """
        name = name or (source if isinstance(source, str) else 'array')
        results = self._load(source, name)
        img, notes = results['img'], tuple(results.pop('notes', ()))
        image = img if img.ndim == 2 else img[..., 0]
        return LoadedImage(name, image, self._prepare(results, name), notes)

    def _prepare(self, results: dict, name: str) -> dict:
        try:
            return self.prepare(results)
        except Exception as error:  # of any transform, on an image of any size
            raise ValueError(
                f"film '{name}' does not pass the test pipeline: {one_line(error)}"
            ) from error

    def _load(self, source: ImageInput, name: str) -> dict:
        if isinstance(source, np.ndarray):
            image = checked_image(source)
            channels = getattr(self._load_image, 'channels', 1)
            img = image if channels == 1 else np.repeat(image[..., None], channels, axis=2)
            return dict(img=img, img_shape=image.shape, ori_shape=image.shape, img_path=name)
        results = self._load_image(dict(img_path=source, notes=[]))
        if results is None:
            raise ValueError(f"cannot read film '{source}'")
        return results


class FracInferencer(ImageLoader):
    """Finds fractures on films, called like mmdet's ``DetInferencer``.

    >>> inferencer = FracInferencer('configs/frac_ssl.py', 'best.pth')
    >>> result = inferencer('films/', out_dir='found')
    >>> result['predictions'][0]['score']

    Args:
        model (str, PathLike or Config): Config, of which the model and the test pipeline are used.
        weights (str, PathLike or dict): Checkpoint that was trained with this config; or one that is
            loaded already, with ``state_dict``.
        device (str, optional): E.g. 'cuda:0', 'cpu'. Defaults to what there is.
        precision (str): 'auto' (bf16 where the device computes in it and the model predicts prob maps,
            else fp32), 'fp32', 'bf16' or 'fp16'. Batch norms are folded in any. Defaults to 'auto'.
        compile (bool): Whether torch compiles the network before the first image, which needs a C++
            compiler on a CPU and takes up to minutes, once for each size of input. Defaults to False.

    Attributes:
        precision (str): The one that is used: 'fp32', 'bf16' or 'fp16'.
        component_options (dict): ``component_thr`` and ``max_per_img`` of the model, by which a prob map
            is cut into boxes.

    Raises:
        FileNotFoundError: When there is no such config or checkpoint.
        ValueError: When the checkpoint is that of another model, or cannot be loaded as plain weights;
            when the device or the model cannot have the precision, or nothing can compile.
    """

    def __init__(
        self,
        model: str | os.PathLike | Config,
        weights: str | os.PathLike | dict,
        device: str | None = None,
        precision: str = 'auto',
        compile: bool = False,
    ) -> None:
        if not isinstance(model, Config):
            model = load_config(model)
        self.cfg = model
        self.device = usable_device(device or get_device())
        super().__init__(model)
        self.weights = 'loaded weights' if isinstance(weights, dict) else os.fspath(weights)
        self.model: Any = _load_model(model, weights).to(self.device)
        self.component_options = component_options(self.model)
        self.precision = choose_precision(precision, self.device, self.model)
        fold_batch_norms(self.model)
        if compile:
            compile_networks(self.model, self.device)

    def __call__(
        self,
        inputs: ImageInputs,
        batch_size: int = 1,
        return_vis: bool = False,
        show: bool = False,
        wait_time: float = 0,
        no_save_vis: bool = False,
        pred_score_thr: float = 0.2,
        return_datasamples: bool = False,
        print_result: bool = False,
        no_save_pred: bool = False,
        out_dir: str | os.PathLike = '',
        save_maps: bool = False,
        on_error: str = 'report',
        show_progress: bool = False,
    ) -> dict[str, list]:
        """Find fractures.

        Args:
            inputs (str, PathLike, np.ndarray, or Sequence of these): Files, folders (searched with those
                below them), planes ``(h, w)`` float in [0, 1] or uint8.
            batch_size (int): Films a forward pass. Defaults to 1.
            return_vis (bool): Whether overlays are returned. Defaults to False.
            show (bool): Whether overlays are shown in a window. Defaults to False.
            wait_time (float): Seconds a window stays open; 0: until a key is pressed. Defaults to 0.
            no_save_vis (bool): Whether no overlays are written. Defaults to False.
            pred_score_thr (float): In [0, 1], at which overlays show components, as many as the model's
                ``max_per_img``. Defaults to 0.2.
            return_datasamples (bool): Whether ``predictions`` are ``DetDataSample``. Defaults to False.
            print_result (bool): Whether predictions are printed. Defaults to False.
            no_save_pred (bool): Whether ``predictions.json`` is left out. Defaults to False, unlike
                mmdet's.
            out_dir (str or PathLike): Folder for ``predictions.json``, ``vis/<film>.png`` and
                ``maps/<film>.npz``. Defaults to '': nothing is written.
            save_maps (bool): Whether prob maps are written, in the form that
                ``tools/analysis_tools/froc.py`` reads. Defaults to False.
            on_error (str): What an unreadable film does: 'report' lists it under ``errors`` and goes on,
                'raise' raises. Defaults to 'report'.
            show_progress (bool): Whether a terminal shows how far it is and the time left. Defaults to
                False.

        While it goes on, ``predictions.partial.jsonl`` in ``out_dir`` has a line for every film that is
        done; a killed run leaves it, and the next one renames it to ``predictions.partial.1.jsonl``. In
        the end ``predictions.json`` takes its place.

        Returns:
            dict: ``predictions``, one dict a readable film in the order of ``inputs``: ``film``,
            ``score`` (image score), ``boxes`` ``[[x1, y1, x2, y2], ...]`` in film px, ``scores``,
            ``map_scale`` (film px per cell in x and y; None for a box detector); ``visualization``,
            overlays ``(H, W, 3)`` uint8 RGB with ``return_vis``, else paths of those that were written;
            ``errors``, dicts of ``film`` and ``error``.

        Raises:
            ValueError: When an option has none of its values; an unreadable film with 'raise'.
            FileNotFoundError: A missing film with 'raise'; a folder without films.
        """
        if on_error not in _ON_ERROR:
            raise ValueError(f'on_error must be one of {_ON_ERROR}, got {on_error!r}')
        if batch_size < 1:
            raise ValueError(f'batch_size must be positive, got {batch_size}')
        if not 0 <= pred_score_thr <= 1:
            raise ValueError(
                f'pred_score_thr (--score-thr) must lie in [0, 1], got {pred_score_thr}'
            )
        images = list_images(inputs)
        folder = Path(out_dir) if out_dir else None
        # what is there and not ours stays
        output = None if folder is None else OutputFolder(folder)
        save_vis = folder is not None and not no_save_vis
        of_films: set[str] = set()
        if output is not None:
            # before the first film, not when it is the turn of the one whose name is taken
            of_films = _files_of_films(images, save_vis, save_maps)
            output.check([*of_films, *(['predictions.json', _PARTIAL] if not no_save_pred else [])])
            if not no_save_pred:
                output.path('predictions.json')
        results: dict[str, list] = dict(predictions=[], visualization=[], errors=[])
        samples: list[DetDataSample] = []
        overlays: list[np.ndarray] = []
        names = ImageNames()
        progress = tqdm(
            images, 'films', unit='film', disable=None if show_progress else True, smoothing=0.1
        )
        loaded = self._load_all(progress, results['errors'], on_error == 'raise')
        with _opened_journal(None if no_save_pred else output, self.weights) as journal:
            while batch := list(islice(loaded, batch_size)):
                for one, sample in zip(batch, self._forward([one.packed for one in batch])):
                    results['predictions'].append(prediction_of_image(one.name, sample))
                    if print_result:
                        print(results['predictions'][-1])
                    if return_datasamples:
                        samples.append(sample)
                    name = names.name(one.name)
                    if save_vis or return_vis or show:
                        overlay = self._overlay(
                            one, sample, pred_score_thr, results['errors'], on_error == 'raise'
                        )
                        if return_vis:
                            overlays.append(overlay)
                        if show:
                            show_overlay(overlay, name, wait_time)
                    if output is not None and save_vis:
                        path = output.path(f'vis/{name}.png')
                        write_image(path, overlay)
                        of_films.discard(f'vis/{name}.png')
                        results['visualization'].append(str(path))
                    if output is not None and save_maps and 'pred_prob_map' in sample:
                        saved = _saved_prediction(one.name, sample)
                        write_prediction(output.path(f'maps/{name}.npz'), saved)
                        of_films.discard(f'maps/{name}.npz')
                if journal is not None:
                    journal.add(results)
            if output is not None:
                # of films that an earlier run could read, perhaps with another model
                output.remove(of_films)
            if folder is not None and not no_save_pred:
                content = dict(checkpoint=self.weights, precision=self.precision, **results)
                write_json(folder / 'predictions.json', content)
                if journal is not None:
                    journal.end()
        if return_vis:
            results['visualization'] = overlays
        if return_datasamples:
            results['predictions'] = samples
        return results

    def predict(self, loaded: Sequence[LoadedImage]) -> list[DetDataSample]:
        """Predictions of images, in one forward pass.

        Args:
            loaded (Sequence[LoadedImage]): See ``load``.

        Returns:
            list[DetDataSample]: One an image.
        """
        return self._forward([one.packed for one in loaded])

    def _load_all(
        self, images: Iterable[ImageInput], errors: list[dict], errors_raise: bool
    ) -> Iterator[LoadedImage]:
        for index, source in enumerate(images):
            name = _name_of(index, source)
            try:
                loaded = self.load(source, name)
            except (OSError, ValueError) as error:
                if errors_raise:
                    raise
                errors.append(dict(film=name, error=str(error)))
                continue
            if loaded.notes:
                self._load_image.note(name, loaded.notes)
            yield loaded

    def _overlay(
        self,
        one: LoadedImage,
        sample: DetDataSample,
        score_thr: float,
        errors: list[dict],
        errors_raise: bool,
    ) -> np.ndarray:
        """Overlay of an image; of one that cannot be drawn a black px, so that there is one an image."""
        most = self.component_options['max_per_img']
        try:
            return overlay_of_sample(one.image, sample, score_thr, max_per_img=most)
        except Exception as error:  # OpenCV has sizes that it does not draw on
            if errors_raise:
                raise
            what = f"cannot draw an overlay of film '{one.name}': {one_line(error)}"
            errors.append(dict(film=one.name, error=what))
            return np.zeros((1, 1, 3), np.uint8)

    @torch.no_grad()
    def _forward(self, packed: list[dict]) -> list[DetDataSample]:
        with low_precision(self.precision, self.device):
            samples = self.model.test_step(pseudo_collate(packed))
        return [sample.cpu() for sample in samples]


def _name_of(index: int, source: ImageInput) -> str:
    return f'array_{index:04d}' if isinstance(source, np.ndarray) else source


def _files_of_films(images: Sequence[ImageInput], save_vis: bool, save_maps: bool) -> set[str]:
    """Files that a run may write of films, below its folder."""
    of_films, names = ImageNames(), []
    if save_vis or save_maps:
        names = [of_films.name(_name_of(*one)) for one in enumerate(images)]
    found = {f'vis/{name}.png' for name in names if save_vis}
    return found | {f'maps/{name}.npz' for name in names if save_maps}


def _keep_partial(output: OutputFolder) -> None:
    """Give what a killed run left of its predictions another name: it may be the work of hours."""
    partial = output.folder / _PARTIAL
    if not partial.is_file():
        return
    with open(partial, 'rb') as file:
        # the first line names the checkpoint; one that was cut off is no result
        if sum(line.endswith(b'\n') for line in islice(file, 2)) < 2:
            return
    names = (f'predictions.partial.{number}.jsonl' for number in count(1))
    name = next(one for one in names if not os.path.lexists(output.folder / one))
    os.replace(output.path(_PARTIAL), output.path(name))
    print_log(
        f'{partial} of a run that did not end is kept as {name}, and all images are predicted anew',
        logger='current',
        level=logging.WARNING,
    )


@contextmanager
def _opened_journal(output: OutputFolder | None, weights: str) -> Iterator['_Journal | None']:
    """The journal of a run; None where it needs none, or that of another run is in its place."""
    with ExitStack() as stack:
        if output is not None:
            try:
                stack.enter_context(locked(output.folder, file=output.folder / _LOCK))
            except ValueError:
                print_log(
                    f'another process predicts into {output.folder} and writes {_PARTIAL}: this one '
                    'writes none, and the one that ends last replaces predictions.json',
                    logger='current',
                    level=logging.WARNING,
                )
                output = None
        if output is None:
            yield None
            return
        _keep_partial(output)
        journal = _Journal(output.path(_PARTIAL), weights)
        stack.callback(journal.close)
        yield journal


class _Journal:
    """Predictions and errors so far, a line each.

    Args:
        path (Path): File; one that is there is replaced.
        weights (str): Checkpoint, named in the first line.
    """

    def __init__(self, path: Path, weights: str) -> None:
        self._path = path
        self._written = dict(predictions=0, errors=0)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, 'w', encoding='utf-8')  # noqa: SIM115
        self._lines([dict(checkpoint=weights)])

    def add(self, results: dict[str, list]) -> None:
        """Write what is new in the results of a run."""
        for name, written in self._written.items():
            self._lines(results[name][written:])
            self._written[name] = len(results[name])

    def close(self) -> None:
        """Leave the file as it is."""
        self._file.close()

    def end(self) -> None:
        """Remove the file: everything is in another."""
        self.close()
        self._path.unlink(missing_ok=True)

    def _lines(self, records: Sequence[dict]) -> None:
        self._file.writelines(json.dumps(record) + '\n' for record in records)
        self._file.flush()


def pipeline_steps(cfg: Config) -> list:
    """Steps of the test pipeline of a config that an image without annotations goes through.

    Args:
        cfg (Config): With ``test_dataloader``.

    Returns:
        list[dict]: Their configs; the first is a ``LoadRadiograph``.

    Raises:
        ValueError: If the pipeline begins with another one.
    """
    dataset = cfg.test_dataloader.dataset
    while 'pipeline' not in dataset and 'dataset' in dataset:
        dataset = dataset.dataset
    steps = [step for step in dataset.pipeline if type_name(step) not in _ANNOTATION_STEPS]
    if not steps or type_name(steps[0]) != 'LoadRadiograph':
        raise ValueError(
            'the test pipeline of the config must begin with LoadRadiograph, it is '
            f'{[type_name(step) for step in steps]}'
        )
    return steps


def _load_model(cfg: Config, weights: str | os.PathLike | dict) -> nn.Module:
    if isinstance(weights, dict):
        name, checkpoint = 'the checkpoint', weights
    else:
        name = os.fspath(weights)
        checkpoint = load_checkpoint_file(name, map_location='cpu')
    model = MODELS.build(cfg.model)
    check_state_dict(model, checkpoint, name=name, for_prediction=True)
    state_dict = checkpoint.get('state_dict', checkpoint)
    # what a model has besides (a teacher of its own, EMA weights) is not needed to predict
    model.load_state_dict(
        {key.removeprefix('module.'): value for key, value in state_dict.items()}, strict=False
    )
    return revert_sync_batchnorm(model).eval()
