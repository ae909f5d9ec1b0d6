#!/usr/bin/env bash
# Builds a Debian guest that is a libvirt host for storage into the cache: `build.sh` makes it if it is missing, `build.sh path` only
# prints where it is or will be. It has what this machine's kernel may lack: device mapper, SCSI, iSCSI, NFS.
#
#   vmlinuz, initrd.img     for a direct kernel boot with root=LABEL=root          root.qcow2   its disk
#
# The packages are those of the machine's own Debian; another distribution builds nothing, and the tests that need it say so.
# Made by root, because the files in it are root's. The key is what stands in this folder and the release.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
release=$(. /etc/os-release && echo "$ID-${VERSION_CODENAME:-rolling}")
key=$( (cd "$here" && cat build.sh customize && echo "$release $(uname -m)") | sha256sum | cut -c1-16)
out="${XDG_CACHE_HOME:-$HOME/.cache}/provider-libvirt/storagehost/$key"
[ "${1:-}" = path ] && { echo "$out"; exit 0; }
[ -e "$out/root.qcow2" ] && exit 0
case $release in debian-*) ;; *) echo "storagehost: only Debian builds it, this is $release" >&2; exit 0 ;; esac
[ "$(uname -m)" = x86_64 ] || { echo "storagehost: only x86_64 is built so far, this is $(uname -m)" >&2; exit 0; }
if [ "$(id -u)" != 0 ]; then
	echo "storagehost: building by sudo"
	exec sudo env "HOME=$HOME" "XDG_CACHE_HOME=${XDG_CACHE_HOME:-$HOME/.cache}" "PATH=$PATH" "$0"
fi

export PATH="$PATH:/usr/sbin:/sbin"
begin=$SECONDS
mkdir -p "${out%/*}"
work=$(mktemp -d "${out%/*}/.build-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/out" "$work/root"

packages=systemd-sysv,udev,kmod,iproute2,iptables,linux-image-cloud-amd64,initramfs-tools,zstd,e2fsprogs,netbase,dmidecode
packages+=,libvirt-daemon-system,libvirt-daemon-driver-storage-iscsi-direct,qemu-utils
packages+=,lvm2,thin-provisioning-tools,parted,xfsprogs,nfs-kernel-server,nfs-common,open-iscsi,tgt,multipath-tools
sources=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
echo "storagehost: a root file system of ${release#debian-} with libvirt's storage; a minute or two"
printf '%s\n' "$sources" | mmdebstrap --quiet --mode=root --variant=minbase "--include=$packages" \
	'--aptopt=Apt::Install-Recommends "false"' '--dpkgopt=path-exclude=/usr/share/man/*' '--dpkgopt=path-exclude=/usr/share/doc/*' \
	'--dpkgopt=path-exclude=/usr/share/locale/*' "--customize-hook=$here/customize \"\$1\"" \
	"${release#debian-}" "$work/root.tar" -
tar -xf "$work/root.tar" -C "$work/root" && rm "$work/root.tar"
cp -L "$work/root/vmlinuz" "$work/out/vmlinuz"
cp -L "$work/root/initrd.img" "$work/out/initrd.img"
truncate -s 1536M "$work/root.raw"
mkfs.ext4 -q -L root -E root_owner=0:0 -d "$work/root" "$work/root.raw"
qemu-img convert -c -O qcow2 -o compression_type=zstd "$work/root.raw" "$work/out/root.qcow2"
chmod 644 "$work"/out/* && chmod 755 "$work/out"
chown -R --reference="${out%/*/*}" "$work/out" "${out%/*}"
# Whoever finishes first wins; the other's result is the same.
mv -T "$work/out" "$out" 2>/dev/null || [ -e "$out/root.qcow2" ]
echo "storagehost: $(du -sh "$out" | cut -f1) in $((SECONDS - begin)) s, in $out"
