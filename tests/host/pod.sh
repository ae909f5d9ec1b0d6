#!/bin/bash
# First process of a test pod, in a mount namespace of its own: gives the program its ServiceAccount, volumes, user and variables, and becomes it.
#   pod.sh FOLDER PROGRAM ARG...
set -euo pipefail
folder=$1
shift
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/secrets/kubernetes.io
cp -r "$folder/serviceaccount" /run/secrets/kubernetes.io/
# What is put here is the pod's alone.
mkdir -p "$folder/etc"
mount -t tmpfs -o mode=755 tmpfs "$folder/etc"
cp -a /etc/. "$folder/etc/"
mount --bind "$folder/etc" /etc
# libvirt's client library looks its user up.
printf 'root:x:0:0::/root:/bin/sh\nprovider:x:2000:2000::/tmp:/usr/sbin/nologin\n' >/etc/passwd
while read -r source target; do
	if [ -d "$source" ]; then mkdir -p "$target"; else mkdir -p "${target%/*}" && touch "$target"; fi
	mount --bind "$source" "$target"
done <"$folder/mounts"
mapfile -t variables <"$folder/environment"
mapfile -t user <"$folder/user"
# Another user forgets the signal that this process had been promised for the end of its parent.
exec setpriv "${user[@]}" --bounding-set=-all --inh-caps=-all --pdeathsig KILL -- \
	env -i "${variables[@]}" "$@"
