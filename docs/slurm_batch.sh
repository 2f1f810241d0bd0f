#!/bin/bash
# Segment a volume with workers that SLURM starts: sbatch slurm_batch.sh SOURCE TARGET.zarr MODEL
#
# This job only hands out blocks, and merges in the end: its memory is for that. Workers are jobs of
# their own. If it is killed, or its time is up, the same command goes on where it was.
# Needs: pip install napari-implicitseg dask-jobqueue, and paths that all nodes share.
#SBATCH --job-name=implicitseg
#SBATCH --cpus-per-task=2
#SBATCH --mem=64G
#SBATCH --time=7-00:00:00
#SBATCH --output=implicitseg-%j.log
set -euo pipefail

export SOURCE="$1" TARGET="$2" MODEL="$3"

# Workers are started by this Python: activate the environment first.
exec python - <<'PYTHON'
import os

from dask.distributed import Client
from dask_jobqueue import SLURMCluster

from napari_implicitseg import BatchConfig, run_batch

cluster = SLURMCluster(
    queue="cpu",  # your partition
    cores=16,  # of a job; each of its processes has one
    processes=16,
    memory="64GB",  # 4 GB for each: blocks of 256^3
    walltime="12:00:00",
    job_script_prologue=["export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1"],
    # Workers end before their time is up, so that no block is lost half done.
    worker_extra_args=["--lifetime", "11h", "--lifetime-stagger", "30m"],
)
# With GPUs, one job has one device and one block at a time:
# SLURMCluster(queue="gpu", cores=1, processes=1, job_cpu=8, memory="32GB", walltime="12:00:00",
#              job_extra_directives=["--gres=gpu:1"],
#              job_script_prologue=["export OMP_NUM_THREADS=8"])
cluster.adapt(minimum_jobs=1, maximum_jobs=32)

config = BatchConfig(model=os.environ["MODEL"], block_shape=(256,))
with cluster, Client(cluster) as client:
    report = run_batch(
        os.environ["SOURCE"],
        os.environ["TARGET"],
        config=config,
        client=client,
        progress=lambda share, message: print(f"{share:.1%} {message}", flush=True),
    )
for failure in report.failed:
    print(failure)
raise SystemExit(not report.ok)
PYTHON
