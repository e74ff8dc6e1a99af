# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import math
from collections.abc import Sequence

from mmdet.registry import HOOKS
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmfrac.engine.hooks.semi_hook import is_latest
from mmfrac.engine.runner.unwrap import unwrapped_model
from mmfrac.models.detectors.burn_in import burn_in_length
from mmfrac.models.pseudo_labels.sharpening import DynamicSharpening

MONITORS = ('pseudo_positive', 'teacher_score', 'teacher_student_gap')
ADVICE = dict(
    collapse='the pseudo maps are all but empty although every film is positive; try more burn-in '
    'epochs or a smaller unsup_weight',
    saturation='t stays at 0.5 and a at 4, so the sharpening no longer adapts; try a smaller '
    'alpha_r, fewer burn-in epochs or pre-trained weights',
    ratio='L_semi and L_sup are out of balance; try another unsup_weight',
)


@HOOKS.register_module()
class CollapseMonitorHook(Hook):
    """Watches the pseudo labels, and warns when they collapse.

    After every semi-supervised epoch the means of the model's monitors go to the visualizer as
    ``monitor/*``, with ``m`` of ``DynamicSharpening`` where there is one. A warning is given in the
    first epoch of an episode, and again only after an epoch without that problem.

    Args:
        min_pseudo_positive (float): All-zero collapse below this mean fraction of cells above 0.5 in
            the pseudo maps. Defaults to 1e-4.
        max_median (float): Saturation above this ``m``. Defaults to 0.9.
        ratio_bounds (Sequence[float]): Smallest and largest L_semi / L_sup. The smallest one is not
            looked at while the weight of L_semi ramps up. Defaults to (1e-4, 10).

    Raises:
        ValueError: When a threshold is out of range.
    """

    priority = 'LOW'

    def __init__(
        self,
        min_pseudo_positive: float = 1e-4,
        max_median: float = 0.9,
        ratio_bounds: Sequence[float] = (1e-4, 10.0),
    ) -> None:
        for name, value in dict(
            min_pseudo_positive=min_pseudo_positive, max_median=max_median
        ).items():
            if not 0 <= value <= 1:
                raise ValueError(f'{name} must lie in [0, 1], got {value}')
        if len(ratio_bounds) != 2 or not 0 <= ratio_bounds[0] < ratio_bounds[1]:
            raise ValueError(f'ratio_bounds must be 0 <= smallest < largest, got {ratio_bounds}')
        self.min_pseudo_positive = min_pseudo_positive
        self.max_median = max_median
        self.ratio_bounds = tuple(ratio_bounds)
        self._lengths: dict[str, int] = {}
        self._episodes: set[str] = set()

    def before_train_epoch(self, runner: Runner) -> None:
        """Note where the epoch begins in the history of each scalar."""
        self._lengths = {
            name: len(buffer.data[0]) for name, buffer in runner.message_hub.log_scalars.items()
        }

    def after_train_epoch(self, runner: Runner) -> None:
        """Log the epoch's monitors, and warn of the problems that are new."""
        values = self._epoch_means(runner)
        if not values or not is_latest(self, runner):
            return
        model = unwrapped_model(runner)
        for module in model.modules():
            if isinstance(module, DynamicSharpening) and not math.isnan(module.m.item()):
                values['m'] = module.m.item()
        runner.visualizer.add_scalars(
            {f'monitor/{name}': value for name, value in values.items()}, step=runner.epoch + 1
        )
        options = getattr(model, 'semi_train_cfg', {})
        ramp = options.get('ramp_up_epochs', 0)
        smallest, largest = self.ratio_bounds
        if runner.epoch < burn_in_length(options.get('burn_in_epochs', 0)) + ramp:
            smallest = 0.0
        found = problems(values, self.min_pseudo_positive, self.max_median, (smallest, largest))
        for name, finding in found.items():
            if name not in self._episodes:
                runner.logger.warning(f'Epoch {runner.epoch + 1}: {finding}: {ADVICE[name]}')
        self._episodes = set(found)

    def _epoch_means(self, runner: Runner) -> dict[str, float]:
        own = {}
        for name in (*MONITORS, 'loss_sup', 'loss_semi'):
            key = f'train/{name}'
            buffer = runner.message_hub.log_scalars.get(key)
            history = [] if buffer is None else buffer.data[0][self._lengths.get(key, 0) :]
            own[name] = (float(sum(history)), len(history))
        ranks = all_gather_object(own)
        means = {}
        for name in own:
            count = sum(rank[name][1] for rank in ranks)
            if count:
                means[name] = math.fsum(rank[name][0] for rank in ranks) / count
        semi, sup = means.pop('loss_semi', None), means.pop('loss_sup', 0.0)
        if semi is not None and sup > 0:
            means['semi_ratio'] = semi / sup
        return means


def problems(
    values: dict[str, float],
    min_pseudo_positive: float,
    max_median: float,
    ratio_bounds: tuple[float, float],
) -> dict[str, str]:
    """What is wrong with an epoch's monitors.

    Args:
        values (dict): Any of ``pseudo_positive``, ``semi_ratio`` and ``m``.
        min_pseudo_positive (float): Collapse below it.
        max_median (float): Saturation above it.
        ratio_bounds (tuple): Smallest and largest L_semi / L_sup.

    Returns:
        dict[str, str]: Finding under ``collapse``, ``saturation`` and ``ratio``; empty when all is well.
    """
    found = {}
    if values.get('pseudo_positive', 1.0) < min_pseudo_positive:
        found['collapse'] = f'pseudo_positive = {values["pseudo_positive"]:.2g}'
    if values.get('m', 0.0) > max_median:
        found['saturation'] = f'm = {values["m"]:.3f}'
    ratio = values.get('semi_ratio')
    if ratio is not None and not ratio_bounds[0] <= ratio <= ratio_bounds[1]:
        found['ratio'] = f'L_semi / L_sup = {ratio:.3g}'
    return found
