#!/bin/bash
# One sweep over the nodes of a SLURM allocation:
#   sbatch --nodes=4 slurm.sh NAME [arguments of python -m platform.sweep]
# The same line again goes on with a sweep that was stopped, or that ran out of time.
#SBATCH --job-name=unlearn
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=0
#SBATCH --time=24:00:00
# two minutes before the end this script is told, and stops the sweep so that it can go on
#SBATCH --signal=B:TERM@120
#SBATCH --output=%x-%j.log

set -euo pipefail

name=${1:?"sbatch slurm.sh NAME [arguments of python -m platform.sweep]"}
shift
# a folder that every node has by this path; the same for the environment
: "${UNLEARN_STORAGE:?"export UNLEARN_STORAGE=/a/shared/folder before sbatch"}"
: "${UNLEARN_VENV:?"export UNLEARN_VENV=/a/shared/.venv before sbatch"}"
python=$UNLEARN_VENV/bin/python
ray=$UNLEARN_VENV/bin/ray
port=6379

# one secret for this allocation, readable by its owner alone, and never on a command line
token_file=$UNLEARN_STORAGE/.ray-token-$SLURM_JOB_ID
(umask 077 && "$python" -c 'import secrets; print(secrets.token_hex(32), end="")' > "$token_file")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$token_file RAY_USAGE_STATS_ENABLED=0

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts[0]}
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')

sweep=
nodes=()
trap 'kill "${nodes[@]}" 2> /dev/null || true; rm -f "$token_file"' EXIT
trap '[ -z "$sweep" ] || kill -TERM "$sweep"' TERM INT

start() {  # host, options of ray start
    local host=$1
    shift
    srun --nodes=1 --ntasks=1 --overlap --nodelist="$host" "$ray" start "$@" \
        --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" \
        --disable-usage-stats --block &
    nodes+=($!)
}

start "$head" --head --node-ip-address="$address" --port="$port" --include-dashboard=false
for _ in $(seq 60); do
    "$python" -c "import socket; socket.create_connection(('$address', $port), 2)" 2> /dev/null && break
    sleep 2
done
for host in "${hosts[@]:1}"; do
    start "$host" --address="$address:$port"
done

goes_on=()
if [ -f "$UNLEARN_STORAGE/$name/plan.json" ]; then
    goes_on=(--resume)
fi
"$python" -m platform.sweep "$@" --name "$name" "${goes_on[@]}" \
    --storage "$UNLEARN_STORAGE" --address "$address:$port" &
sweep=$!
status=0
wait "$sweep" || status=$?
# a signal ends the first wait before the sweep has ended
if kill -0 "$sweep" 2> /dev/null; then
    status=0
    wait "$sweep" || status=$?
fi
exit "$status"
