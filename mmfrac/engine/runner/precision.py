# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What ``--amp`` changes in training and ``--precision`` in testing."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from mmdet.registry import LOOPS, OPTIM_WRAPPERS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import EMAHook
from mmengine.logging import MessageHub, print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import TestLoop
from torch import nn

from mmfrac.engine.runner.batch_norms import fold_batch_norms
from mmfrac.engine.runner.compiled import compile_networks
from mmfrac.utils.config import type_name
from mmfrac.utils.device import PRECISIONS, check_compiler, has_bf16

_DTYPES = dict(bf16=torch.bfloat16, fp16=torch.float16)


def choose_precision(precision: str, device: str | torch.device, model: nn.Module) -> str:
    """Precision in which a model predicts.

    Args:
        precision (str): 'auto': bf16 where the device has it and the model is made for it, else fp32;
            'amp': the same, but fp16 on an accelerator without bf16, as ``--amp`` trains; or 'fp32',
            'bf16', 'fp16'.
        device (str or torch.device): Where the model is.
        model (nn.Module): Those that predict a prob map are made for low precision: they say
            ``low_precision = True``. The boxes of others would be rounded to several px.

    Returns:
        str: 'fp32', 'bf16' or 'fp16'.

    Raises:
        ValueError: If it is none of these, or the device or the model cannot have it.
    """
    if precision not in (*PRECISIONS, 'amp'):
        raise ValueError(f"precision must be one of {PRECISIONS} or 'amp', got {precision!r}")
    detector: Any = model.module if is_model_wrapper(model) else model
    # a model for test-time augmentation holds the detector
    detector = getattr(detector, 'module', detector)
    is_made_for_it = getattr(detector, 'low_precision', False)
    if precision in ('auto', 'amp'):
        if is_made_for_it and has_bf16(device):
            return 'bf16'
        has_fp16 = precision == 'amp' and torch.device(device).type != 'cpu'
        return 'fp16' if is_made_for_it and has_fp16 else 'fp32'
    if precision != 'fp32' and not is_made_for_it:
        raise ValueError(
            f'{type(detector).__name__} predicts boxes, which {precision} would round to several px; '
            'test it in fp32'
        )
    if precision == 'fp16' and torch.device(device).type == 'cpu':
        raise ValueError('a CPU does not compute in fp16; choose bf16, fp32 or auto')
    return precision


def low_precision(
    precision: str, device: str | torch.device
) -> AbstractContextManager[torch.autocast | None]:
    """The context in which a model predicts in a precision that ``choose_precision`` gave.

    Args:
        precision (str): 'fp32', 'bf16' or 'fp16'.
        device (str or torch.device): Where the model is.
    """
    if precision == 'fp32':
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=_DTYPES[precision])


@LOOPS.register_module()
class PrecisionTestLoop(TestLoop):
    """mmengine's ``TestLoop`` in a precision of choice, which is noted for what writes results.

    Args:
        runner (Runner): Runner.
        dataloader (DataLoader or dict): Of the test images.
        evaluator (Evaluator, dict or list): Metrics.
        fp16 (bool): mmengine's own option: as ``precision='fp16'``, bf16 on a CPU. Defaults to False.
        precision (str): See ``choose_precision``. Defaults to 'auto'.
        fold_bn (bool): Whether batch norms are folded; the runner cannot train afterwards. Defaults to
            False.
        compile (bool): Whether torch compiles the network, see ``compile_networks``, which takes up to
            minutes with the first image of each size. Defaults to False.

    Raises:
        ValueError: If the model or the device cannot have the precision, or nothing can compile.
    """

    def __init__(
        self,
        runner,
        dataloader,
        evaluator,
        fp16: bool = False,
        precision: str = 'auto',
        fold_bn: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        self.device = next(runner.model.parameters()).device
        if fp16 and precision == 'auto':
            precision = 'bf16' if self.device.type == 'cpu' else 'fp16'
        self.precision = choose_precision(precision, self.device, runner.model)
        self.fold_bn = fold_bn
        self.compile = compile
        if compile:
            check_compiler(self.device)

    def run(self) -> dict[str, float]:
        """Test all images.

        Returns:
            dict[str, float]: Of the metrics.
        """
        print_log(f'tests in {self.precision} on {self.device}', 'current')
        MessageHub.get_current_instance().update_info('precision', self.precision)
        # which exchanges the weights before and after the test
        if self.fold_bn and not any(isinstance(hook, EMAHook) for hook in self.runner.hooks):
            fold_batch_norms(self.runner.model)
        if self.compile:
            compile_networks(self.runner.model, self.device)
        return super().run()

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict | tuple | list) -> None:
        """Predict a batch.

        Args:
            idx (int): Its number.
            data_batch (dict, tuple or list): Of the data loader.
        """
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=data_batch)
        with low_precision(self.precision, self.device):
            outputs = self.runner.model.test_step(data_batch)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook(
            'after_test_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs
        )


def set_test_precision(cfg: Config, precision: str, compiled: bool = False) -> None:
    """Make a config test in a precision, with folded batch norms, in place.

    Args:
        cfg (Config): With ``test_cfg``; a precision that it has stays where ``precision`` is 'auto',
            and so does a loop of another kind than mmengine's.
        precision (str): See ``choose_precision``.
        compiled (bool): Whether torch compiles the network. Defaults to False: as ``test_cfg`` says.

    Raises:
        ValueError: If the loop is of another kind, and ``precision`` is not 'auto' or the network to be
            compiled.
    """
    loop = cfg.test_cfg
    kind = type_name(loop) if 'type' in loop else 'TestLoop'
    if kind not in ('TestLoop', 'PrecisionTestLoop'):
        for option, is_given in (('precision', precision != 'auto'), ('compile', compiled)):
            if is_given:
                raise ValueError(
                    f'test_cfg is a {kind}, which knows no {option}: leave --{option} out, or take '
                    "test_cfg = dict(type='PrecisionTestLoop')"
                )
        return
    loop.type = 'PrecisionTestLoop'
    loop.setdefault('fold_bn', True)
    if precision != 'auto':
        loop.precision = precision
    if compiled:
        loop.compile = True


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Mixed precision on the CPU: bfloat16, whose range needs no scaling of the loss.

    mmengine's ``AmpOptimWrapper`` asks for an accelerator. A CPU without units for bfloat16 would be
    slower with it: there it stays off, with a warning. Depthwise convolutions are slower in bfloat16 on
    a CPU that has the units, too, in their backward pass: a warning says so.

    Args:
        emulate (bool): Whether a CPU without the units computes in bfloat16 all the same, e.g. to repeat
            a result. Defaults to False.
        **kwargs: Of mmengine's ``OptimWrapper``.
    """

    def __init__(self, *args, emulate: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.is_on = emulate or has_bf16('cpu')
        self._is_told = False

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of a step under autocast.

        Args:
            model (nn.Module): The model that is trained.
        """
        if not self._is_told:
            self._is_told = True
            self._tell(model)
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16, self.is_on):
            yield

    def _tell(self, model: nn.Module) -> None:
        if not self.is_on:
            print_log(
                'this CPU has no units for bfloat16, with which training would be slower than in fp32: '
                'mixed precision stays off (optim_wrapper.emulate=True has it all the same)',
                'current',
                logging.WARNING,
            )
            return
        depthwise = sum(
            isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels
            for layer in model.modules()
        )
        if depthwise:
            print_log(
                f'{depthwise} depthwise convolutions: on a CPU their backward pass is slower in '
                'bfloat16 than in fp32; compare the time of a step without --amp',
                'current',
                logging.WARNING,
            )


def use_amp(cfg: Config) -> None:
    """Make a config train in mixed precision, in place.

    bf16 where the device has it, else fp16 with a dynamic scale of the loss on an accelerator and fp32
    on a CPU.

    Args:
        cfg (Config): With ``optim_wrapper``; it becomes mmengine's ``AmpOptimWrapper`` where there is an
            accelerator, else ``CPUAmpOptimWrapper``.
    """
    device = get_device()
    wrapper = cfg.optim_wrapper
    if device == 'cpu':
        wrapper.type = 'CPUAmpOptimWrapper'
        wrapper.pop('loss_scale', None)
        return
    wrapper.type = 'AmpOptimWrapper'
    if has_bf16(device):
        # steps whose gradients are not finite are left out all the same
        wrapper.update(dtype='bfloat16', loss_scale=1.0)
    else:
        wrapper.loss_scale = 'dynamic'
