"""Training in several processes at once, by Ray Train: each takes its share of every batch, on a GPU of its own or on CPUs."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.train.torch
import torch
from ray.exceptions import RayError
from ray.train import RunConfig, ScalingConfig, TrainingFailedError, WorkerGroupError
from ray.train.torch import TorchTrainer
from ray.util.queue import Queue
from rich.console import Console

from latency.cores import available_cores
from nas.data import open_dataset
from nas.dataset import Dataset, reason
from nas.errors import UserError
from nas.image_folder import ImageFolder
from nas.image_stream import ImageStream
from nas.own_interrupts import own_interrupts
from nas.ray_cluster import Cluster, ray_cluster
from nas.run_training import take_up, train_epochs
from nas.share import Share
from nas.streamed_dataset import StreamedDataset
from nas.train_config import TrainConfig, read_train_config
from nas.train_data import TrainingData
from nas.train_progress import TrainProgress
from nas.train_run import TrainFolder, TrainRun
from nas.training import Epoch

RAYS_OWN = "ray"
_REPORT_EVERY_S = 0.25
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Begun:
    """The first thing that the driver hears of a training."""

    steps_per_epoch: int
    num_epochs: int  # that an earlier process did


@contextlib.contextmanager
def ray_workers(run: Path, num_workers: int, address: str | None, console: Console) -> Iterator[RayWorkers]:
    """Processes that train together, on this machine, or on a cluster, whose machines see the same files.

    Args:
        run: folder of what is trained, a teacher that comes first included: what a person resumes.
        num_workers: at least 2.
        address: of the cluster; None starts Ray on this machine.
        console: shows progress.

    Raises:
        UserError: no cluster there, or it has no room for so many.
    """
    with ray_cluster(address, len(available_cores()) or 1) as cluster:
        console.print(f"dashboard {cluster.dashboard}", highlight=False, soft_wrap=True)
        yield RayWorkers(run, num_workers, _resources(num_workers, cluster), console)


def _resources(num_workers: int, cluster: Cluster) -> dict[str, int]:
    """What each worker gets: a GPU if there are any, and an equal part of this machine's cores, or one of a cluster's."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    num_gpus = int(any(node.get("GPU", 0) >= 1 for node in nodes))

    def num_fitting(num_cpus: int) -> int:
        found = (
            (node.get("CPU", 0) // num_cpus, node.get("GPU", 0) // num_gpus if num_gpus else None) for node in nodes
        )
        return int(sum(cpus if gpus is None else min(cpus, gpus) for cpus, gpus in found))

    most = max(int(node.get("CPU", 0)) for node in nodes) if cluster.started_here else 1
    num_cpus = next((number for number in range(most, 0, -1) if num_fitting(number) >= num_workers), None)
    if num_cpus is None:
        each = "a GPU and a core" if num_gpus else "a core"
        where = "this machine" if cluster.started_here else "the cluster"
        raise UserError(f"--workers {num_workers}: each wants {each}, and {where} has room for {num_fitting(1)}")
    return {"CPU": num_cpus, "GPU": num_gpus} if num_gpus else {"CPU": num_cpus}


class RayWorkers:
    """Processes of a Ray cluster that this program has joined.

    Args:
        run: folder that a person would resume.
        num_workers: at least 2.
        resources: of each, as Ray calls them.
        console: shows progress.
    """

    def __init__(self, run: Path, num_workers: int, resources: dict[str, int], console: Console) -> None:
        self._run = run
        self.num_workers = num_workers
        self._resources = resources
        self._console = console

    def train(self, folder: Path, dataset: TrainingData) -> None:
        """All epochs of the run in `folder` that are left; the first worker keeps its journal and checkpoint.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            UserError: a worker said so, or has come to its end.
        """
        queue = Queue(actor_options={"num_cpus": 0})
        work = _Work(folder.resolve(), ray.put(_opener(dataset, read_train_config(folder))), queue)
        trainer = TorchTrainer(
            partial(_train_share, work, self._resources["CPU"]),
            scaling_config=ScalingConfig(
                num_workers=self.num_workers,
                use_gpu="GPU" in self._resources,
                resources_per_worker=self._resources,
            ),
            run_config=RunConfig(name=folder.resolve().name, storage_path=str(folder.resolve() / RAYS_OWN)),
        )
        with _shown(queue, self._console, read_train_config(folder)), own_interrupts():
            try:
                trainer.fit()
            except SystemExit:  # how Ray's handler of Ctrl-C ends
                raise KeyboardInterrupt from None
            except TrainingFailedError as error:
                raise _explained(error, self._run) from error
            finally:
                shutil.rmtree(folder / RAYS_OWN, ignore_errors=True)  # Ray Train wants a folder, and leaves it empty


@dataclass(frozen=True, slots=True)
class _Work:
    """What a worker is given: the run's folder, how to open the data, and where to report."""

    folder: Path
    opener: Any  # a reference to what `_opener` gives
    queue: Any


def _train_share(work: _Work, num_threads: int) -> None:
    """In a worker: its share of all epochs that are left."""
    context, device = ray.train.get_context(), ray.train.torch.get_device()
    share = Share(context.get_world_rank(), context.get_world_size())
    torch.set_num_threads(num_threads)
    logging.getLogger("nas").addHandler(_LogOfWorker(work.queue, share.rank))
    dataset = ray.get(work.opener)()
    if share.rank:
        taken = take_up(TrainFolder(work.folder), dataset, device, share)
        while not taken.is_done:
            taken.next_epoch()
        return
    with TrainRun(work.folder) as run:
        taken = take_up(run, dataset, device, share)
        work.queue.put(_Begun(taken.training.steps_per_epoch, taken.training.num_epochs))
        train_epochs(run, taken, _Reports(work.queue))


def _opener(dataset: TrainingData, config: TrainConfig) -> Callable[[], TrainingData]:
    """How another process comes by `dataset`: images in memory are sent, streamed ones opened there without checking."""
    if isinstance(dataset, Dataset):
        return lambda: dataset
    known = {field.name: getattr(dataset, field.name) for field in fields(dataset) if field.name != "stream"}
    return partial(_streamed, config.data.source, known)


def _streamed(source: str, known: dict[str, Any]) -> StreamedDataset:
    folder = open_dataset(source)
    assert isinstance(folder, ImageFolder), "nothing else is streamed"
    return StreamedDataset(**known, stream=ImageStream(folder.root, folder.files, known["image_size"]))


class _Reports:
    """In the first worker: tells the driver, which shows it; a `TrainObserver`."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._unsaid = 0
        self._said = time.monotonic()

    def stepped(self) -> None:
        """One more step; told now and then."""
        self._unsaid += 1
        if time.monotonic() - self._said > _REPORT_EVERY_S:
            self._tell_steps()

    def finished(self, epoch: Epoch, accuracy: float | None) -> None:
        """An epoch is over."""
        self._tell_steps()
        self._queue.put((epoch, accuracy))

    def _tell_steps(self) -> None:
        self._queue.put(self._unsaid)
        self._unsaid, self._said = 0, time.monotonic()


class _LogOfWorker(logging.Handler):
    """In a worker: its warnings are for people too."""

    def __init__(self, queue: Queue, rank: int) -> None:
        super().__init__(logging.WARNING)
        self._queue = queue
        self._rank = rank

    def emit(self, record: logging.LogRecord) -> None:
        """Tell the driver."""
        self._queue.put(f"worker {self._rank}: {record.getMessage()}")


@contextlib.contextmanager
def _shown(queue: Queue, console: Console, config: TrainConfig) -> Iterator[None]:
    """Progress on `console` as the workers report it, while something else goes on."""
    thread = threading.Thread(target=_show, args=(queue, console, config), daemon=True)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(RayError):  # where the cluster is gone, nothing comes any more
            queue.put(None)
        thread.join()


def _show(queue: Queue, console: Console, config: TrainConfig) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(RayError))  # as above; what went wrong, `fit` says
        while (report := queue.get()) is not None:
            match report:
                case str() as warning:
                    _log.warning("%s", warning)
                case _Begun(steps_per_epoch, num_epochs):
                    epochs, name = config.recipe.epochs, config.network.name
                    progress = TrainProgress(console, name, epochs, steps_per_epoch, num_epochs)
                    stack.enter_context(progress)
                case int() as num_steps:
                    for _ in range(num_steps):
                        progress.stepped()
                case epoch, accuracy:
                    progress.finished(epoch, accuracy)


def _explained(error: TrainingFailedError, run: Path) -> UserError:
    """What went wrong, in one line: what a worker has to say to the user, if anything."""
    failures = error.worker_failures if isinstance(error, WorkerGroupError) else {}
    said = next((str(failure) for failure in failures.values() if isinstance(failure, UserError)), None)
    if said is not None:
        return UserError(said)
    rank, cause = next(iter(failures.items()), (None, error))
    who = "Ray Train" if rank is None else f"worker {rank}"
    return UserError(f"{run}: {who} failed ({reason(cause)}); continue with: nas train --resume {run}")
