#!/bin/bash
# One training over several machines that survives time limits and preemption. Adapt the first
# lines, then: sbatch tools/slurm_example.sh --config-file FILE [KEY VALUE ...]
#SBATCH --job-name=videokd
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# To all processes of the steps, two minutes before the end: they save and exit with 75.
#SBATCH --signal=USR1@120

export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# Two jobs on one machine must not meet.
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export WORLD_SIZE=$SLURM_NTASKS
export LOCAL_WORLD_SIZE=$SLURM_NTASKS_PER_NODE

# Each process is told its place as torchrun would tell it. When one ends, the others have a minute:
# to save with it, or to see that it is lost. Killed at once, they could not say 75.
srun --kill-on-bad-exit=0 --wait=60 bash -c '
    RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID exec python tools/train_net.py "$@"' train "$@"
code=$?

if [ $code -eq 75 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
