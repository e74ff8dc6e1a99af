# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Where jobs are run: in processes of this machine, or as jobs of Slurm through submitit."""

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmfrac.experiments.jobs import JobError, Processes, Report, Stopped
from mmfrac.utils.cli import KeyValues

# what a job may end with that a user can mend; other errors are errors of mmfrac and pass
_FAILURES = (RuntimeError, OSError, ValueError)
# of a Slurm job, in minutes and cores; one that reaches its time is requeued, and resumes
_TIME = 24 * 60
_CPUS_PER_RANK = 5
_MAX_TIMEOUTS = 100


class LocalExecutor:
    """Runs jobs on this machine, some at a time.

    Args:
        num_jobs (int): At a time. Defaults to 1.

    Raises:
        ValueError: If it is not positive.
    """

    def __init__(self, num_jobs: int = 1) -> None:
        if num_jobs < 1:
            raise ValueError(f'--jobs is a number of jobs from 1, got {num_jobs}')
        self.num_jobs = num_jobs

    def run(
        self, jobs: Sequence[Any], report: Report = print, keeps_going: bool = False
    ) -> list[Any]:
        """Run jobs to their end. They end with this process where it is interrupted.

        Args:
            jobs (Sequence): With ``name`` and ``run``, as of ``TrainingJob``.
            report (Callable): Is given a line for each event. Defaults to ``print``.
            keeps_going (bool): Whether a job that fails leaves the others alone. Defaults to False: no
                job is begun after it.

        Returns:
            list: What each gave, in their order; with ``keeps_going`` the error of one that failed.

        Raises:
            JobError, OSError, ValueError: The first error of a job, without ``keeps_going``.
        """
        processes = Processes()

        def run(job: Any) -> Any:
            try:
                processes.check()
                return job.run(processes, report)
            except Stopped as error:
                return error
            except _FAILURES as error:
                if keeps_going:
                    report(f'{job.name}: {error}')
                else:
                    processes.stop()
                return error

        if min(self.num_jobs, len(jobs)) <= 1:
            return _checked(list(map(run, jobs)), keeps_going)
        with ThreadPoolExecutor(self.num_jobs) as pool:
            try:
                outcomes = list(pool.map(run, jobs))
            except BaseException:
                # the pool waits for its threads, and these for their processes
                processes.stop()
                pool.shutdown(cancel_futures=True)
                raise
        return _checked(outcomes, keeps_going)


class SlurmExecutor:
    """Runs each job as one of Slurm, through submitit.

    This process waits for them, and cancels them where it is interrupted. A job that is preempted, or
    reaches its time, is requeued and resumes; what was submitted before by a process that was killed is
    waited for.

    Args:
        folder (Path): Gets submitit's files, the output of the jobs among them; all nodes see it.
        partition (str): Of Slurm.
        options (Mapping, optional): Parameters of submitit's executor without their 'slurm_', e.g.
            ``dict(time=600, gpus_per_node=2)``. Defaults to none: 24 h, a GPU and 5 cores a rank.
        ranks (int): Processes of a training. Defaults to 1.
        cluster (str): 'slurm', or 'local': submitit's own processes on this machine, to try it out.
            Defaults to 'slurm'.

    Raises:
        ImportError: If submitit is not installed.
        ValueError: If an option does not exist, or there is no Slurm here.
    """

    def __init__(
        self,
        folder: Path,
        partition: str,
        options: Mapping[str, Any] | None = None,
        ranks: int = 1,
        cluster: str = 'slurm',
    ) -> None:
        submitit = _submitit()
        try:
            self._executor = submitit.AutoExecutor(
                folder, cluster=cluster, **{f'{cluster}_max_num_timeout': _MAX_TIMEOUTS}
            )
            self._executor.update_parameters(
                name='mmfrac',
                timeout_min=_TIME,
                gpus_per_node=ranks,
                cpus_per_task=_CPUS_PER_RANK * ranks,
                slurm_partition=partition,
                **{f'slurm_{key}': value for key, value in (options or {}).items()},
            )
        except NameError as error:
            raise ValueError(f'--slurm-options: {error}') from error
        except RuntimeError as error:
            raise ValueError(f'--slurm: {error}; start this on a login node of Slurm') from error

    def run(
        self, jobs: Sequence[Any], report: Report = print, keeps_going: bool = False
    ) -> list[Any]:
        """See ``LocalExecutor``; all jobs are submitted, and a failed one leaves the others alone."""
        if not jobs:
            return []
        with self._executor.batch():
            submitted = [self._executor.submit(SubmittedJob(job)) for job in jobs]
        try:
            for job, handle in zip(jobs, submitted):
                report(f'{job.name}: job {handle.job_id}, output in {handle.paths.stdout}')
            outcomes = []
            for job, handle in zip(jobs, submitted):
                outcomes.append(_outcome(job, handle))
                if isinstance(outcomes[-1], Exception):
                    report(f'{job.name}: {outcomes[-1]}')
        except BaseException:
            for handle in submitted:
                handle.cancel(check=False)
            raise
        return _checked(outcomes, keeps_going)


Executor = LocalExecutor | SlurmExecutor


@dataclass
class SubmittedJob:
    """A job as submitit calls it in a process of its own."""

    job: Any

    def __call__(self) -> Any:
        """Result of the job, or the error that it ended with."""
        try:
            return self.job.run(Processes(), print)
        except _FAILURES as error:
            return error

    def checkpoint(self) -> Any:
        """What is requeued: the same, which resumes. The processes end as this one leaves."""
        return _submitit().helpers.DelayedSubmission(self)


def add_executor_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of a tool that runs jobs: ``--jobs``, ``--slurm`` and ``--slurm-options``."""
    parser.add_argument(
        '--jobs', type=int, default=1, help='trainings at a time on this machine, default 1'
    )
    parser.add_argument(
        '--slurm',
        metavar='PARTITION',
        help='run each training as a job of Slurm, through submitit (pip install submitit)',
    )
    parser.add_argument(
        '--slurm-options',
        nargs='+',
        action=KeyValues,
        metavar='KEY=VALUE',
        help="parameters of submitit's Slurm executor, e.g. time=600 (minutes) gpus_per_node=2 "
        'cpus_per_task=8 array_parallelism=4; default: 24 h, a GPU and 5 cores a rank',
    )


def executor_from_arguments(args: argparse.Namespace, work_dir: Path, ranks: int = 1) -> Executor:
    """Executor that the arguments of ``add_executor_arguments`` ask for.

    Args:
        args (Namespace): Parsed arguments.
        work_dir (Path): Gets ``slurm/`` with submitit's files.
        ranks (int): Processes of a training. Defaults to 1.

    Raises:
        ImportError, ValueError: See ``SlurmExecutor``; or if options of Slurm are given without it.
    """
    if args.slurm is None:
        if args.slurm_options:
            raise ValueError('--slurm-options are of no use without --slurm PARTITION')
        return LocalExecutor(args.jobs)
    return SlurmExecutor(work_dir / 'slurm', args.slurm, args.slurm_options, ranks)


def _outcome(job: Any, handle: Any) -> Any:
    errors = _submitit().core.utils.UncompletedJobError
    try:
        return handle.result()
    except errors as error:
        return JobError(
            f'{job.name}: job {handle.job_id} ended without a result; the same command goes on. '
            f'{handle.paths.stderr} says why:\n{error}'
        )


def _checked(outcomes: list[Any], keeps_going: bool) -> list[Any]:
    errors = [one for one in outcomes if isinstance(one, Exception)]
    # what was stopped was so because of another one
    errors.sort(key=lambda error: isinstance(error, Stopped))
    if errors and not keeps_going:
        raise errors[0]
    return outcomes


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise ImportError(
            '--slurm submits its jobs through submitit, which is not installed: pip install submitit'
        ) from error
    return submitit
