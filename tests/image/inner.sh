#!/bin/bash
# Runs a program in an unpacked image as a node does: as the image's user without further groups, the root file system read-only, /tmp
# empty and writable, nothing of the caller's environment.
#   inner.sh ROOT SHARED [NAME=VALUE…] PROGRAM [ARGS…]
# SHARED is a folder of the caller's that the program finds as /tmp/shared. To be called in a mount namespace of its own.
set -euo pipefail
root=$1 shared=$2
shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir "$root/tmp/shared"
mount --bind "$shared" "$root/tmp/shared"
variables=()
while [[ ${1:-} == *=* ]]; do
	variables+=("$1")
	shift
done
exec env -i "${variables[@]}" "$(command -v chroot)" --userspec=2000:2000 --groups= "$root" "$@"
