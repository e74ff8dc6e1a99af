# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What the hooks of a ``SemiProbMapDetector`` share."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmfrac.engine.runner.unwrap import unwrapped_model
from mmfrac.models.detectors.semi_prob_map_detector import SemiProbMapDetector


def semi_model(hook: Hook, runner: Runner) -> SemiProbMapDetector | None:
    """The model that a hook drives.

    The hooks stand in ``default_hooks``, so that every config has them. With any other model they do
    nothing. Of two of one kind, one in ``default_hooks`` and one in ``custom_hooks``, the later one
    drives the model: a teacher that is told twice of each step would learn another thing.

    Args:
        hook (Hook): The hook that asks.
        runner (Runner): Its runner.

    Returns:
        SemiProbMapDetector | None: None when the hook has nothing to do.
    """
    model = unwrapped_model(runner)
    if not isinstance(model, SemiProbMapDetector):
        return None
    return model if is_latest(hook, runner) else None


def is_latest(hook: Hook, runner: Runner) -> bool:
    """Whether a runner has no other hook of the same kind that goes before it.

    Subclasses are of the kind of their base and go before it; of two alike the later one.

    Args:
        hook (Hook): One of its hooks.
        runner (Runner): The runner.
    """
    kind = next(cls for cls in type(hook).__mro__ if Hook in cls.__bases__)
    same = [one for one in getattr(runner, 'hooks', ()) if isinstance(one, kind)]
    depths = [len(type(one).__mro__) for one in same]
    return not same or [one for one, depth in zip(same, depths) if depth == max(depths)][-1] is hook
