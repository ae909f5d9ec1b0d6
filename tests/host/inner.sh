#!/bin/bash
# First process of a test host's namespaces: gives libvirt private folders and a private network view, then lives as long as the host.
#   inner.sh FOLDER NAME [CONTROLLER...]   where it has control groups of its own
set -euo pipefail
folder=$1 name=$2
shift 2
mount --make-rprivate /
mkdir -p /etc/libvirt /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt
mount --bind "$folder/etc" /etc/libvirt
mount --bind "$folder/run" /run/libvirt
mount --bind "$folder/lib" /var/lib/libvirt
mount --bind "$folder/cache" /var/cache/libvirt
mount --bind "$folder/log" /var/log/libvirt
# The old /sys shows the interfaces of the machine's network namespace.
mount -t sysfs sysfs /sys
if [ $# -gt 0 ]; then
	mount -t tmpfs tmpfs /sys/fs/cgroup
	for controller in "$@"; do
		mkdir "/sys/fs/cgroup/$controller"
		mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
	done
fi
# Without its own name here every look-up of the host name waits ten seconds for DNS.
mount --bind "$folder/hosts" /etc/hosts
# The daemon turns away users and groups without a name, and a package's process has the numbers 2000.
mount --bind "$folder/passwd" /etc/passwd
mount --bind "$folder/group" /etc/group
# Accounts for those who come from afar.
if [ -e "$folder/sasl2" ]; then
	mount --bind "$folder/shadow" /etc/shadow
	mount --bind "$folder/sasl2" /etc/sasl2
fi
hostname "$name"
ip link set lo up
touch "$folder/up"
# As first process of the namespace this adopts every daemon whose parent ended, and bash reaps them: libvirt waits for a QEMU
# process that nobody reaps as if it still ran.
while :; do
	sleep infinity &
	wait $! || true
done
