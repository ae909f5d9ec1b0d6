#!/bin/bash
# Runs a program in control groups: groups.sh FOLDER... -- PROGRAM ARGS...
set -euo pipefail
while [ "$1" != -- ]; do
	echo $$ >"$1/cgroup.procs"
	shift
done
shift
exec "$@"
