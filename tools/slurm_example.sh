#!/bin/bash
# One training on several machines that survives time limits and preemption. Adapt the options
# below, then: sbatch tools/slurm_example.sh --config-file FILE [KEY VALUE ...]
#SBATCH --job-name=videokd
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# Two minutes before the time limit all processes get a signal: they save and exit with 75.
#SBATCH --signal=USR1@120

export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# Two jobs on one machine need different ports.
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export WORLD_SIZE=$SLURM_NTASKS
export LOCAL_WORLD_SIZE=$SLURM_NTASKS_PER_NODE

# Each process gets its rank in the variables that torchrun would set. When one process ends, the
# others have a minute to save, or to notice that it is lost; killed at once, they could not exit
# with 75.
srun --kill-on-bad-exit=0 --wait=60 bash -c '
    RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID exec python tools/train_net.py "$@"' train "$@"
code=$?

if [ $code -eq 75 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
