#!/bin/sh
# Processes that train as one under Open MPI 4. On the first host of the hostfile, where JAX expects
# the first process, and in a folder that is the same on all hosts:
#
#   train.sh -np 2 --hostfile hosts
#
# With GPUs there is a process for each: --map-by ppr:4:node. A run that was stopped, or has lost a
# process, goes on from its last checkpoint when it is started again.
set -eu
# Without these two Open MPI binds each process to one core, and kills one that is to stop after a
# second, while the first process still saves.
exec mpirun --bind-to none --mca odls_base_sigkill_timeout 120 "$@" \
    python -m zoo.ch10_deploy launch -- zoo.ch06_cnn train --data real --out runs/cifar
