#!/bin/bash
# A sweep on the nodes of a SLURM job: one Ray node per machine, started and stopped with the job.
#
#   sbatch --nodes=2 --gpus-per-node=1 cluster/deploy/slurm.sh SPEC --results /shared/results \
#       --store /shared/store --set resources.gpu=0.1
#
# Everything after the script's name goes to `amnesia run`. `amnesia` and `ray` must be first on
# PATH on all nodes: activate the environment before sbatch. A job that its time limit or a
# preemption ends is queued again and goes on from its rows.
#SBATCH --job-name=amnesia
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=amnesia-%j.log
set -euo pipefail

port=${AMNESIA_RAY_PORT:-6379}
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
pid_file=${TMPDIR:-/tmp}/amnesia-$SLURM_JOB_ID.pid # this script and the driver run on the head
again=no

# SLURM sends SIGTERM to this script alone, 120 s before the limit. The driver must get it, and not
# Ray's own processes, so that it can end in order.
end_in_order() {
    again=yes
    kill -TERM "$(cat "$pid_file")"
}
trap end_in_order TERM

srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_ON_NODE" \
    ray symmetric-run --address "$head:$port" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus="$SLURM_CPUS_ON_NODE" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --disable-usage-stats \
    -- bash -c "echo \$\$ >'$pid_file'; exec amnesia run --address '$head:$port' \"\$@\"" amnesia "$@" &
step=$!
code=0
wait "$step" || code=$?
while kill -0 "$step" 2>/dev/null; do # the trap interrupts `wait`
    wait "$step" || code=$?
done
rm -f "$pid_file"

if [ "$again" = yes ] && [ "$code" -ne 0 ]; then
    echo "queued again: the next run goes on from the rows"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
