#!/bin/bash
# libvirtd under a service manager as its packages set it up: a daemon that crashed is started again (`Restart=on-failure`).
# One that a test killed stays away until the test starts it.
#
# libvirtd does crash: a client that goes while an answer is on its way has its event callbacks freed by two threads at once
# (9.0, `remoteClientFreePrivateCallbacks` runs without the client's lock), and a thawed daemon finds many such clients.
set -uo pipefail
while :; do
	# shellcheck disable=SC2046
	libvirtd -p /run/libvirt/libvirtd.pid $([ ! -e /etc/libvirt/listen ] || echo --listen)
	status=$?
	case $status in
	$((128 + 6)) | $((128 + 11))) echo "libvirtd crashed with signal $((status - 128)) and is started again" ;;
	*) exit $status ;;
	esac
done >>/var/log/libvirt/service.log 2>&1
