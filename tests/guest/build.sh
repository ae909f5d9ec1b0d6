#!/usr/bin/env bash
# Builds the test guest into the cache: `build.sh` makes it if it is missing, `build.sh path` only prints where it is or will be.
#
#   vmlinuz, initrd.gz     for a direct kernel boot          guest.qcow2   the same on a disk that boots under SeaBIOS
#   agent.raw              a FAT disk with QEMU's guest agent and its libraries, which a guest mounts and runs by their ld.so
#
# Kernel and modules come from the distribution's kernel package, which is unpacked and never installed. Emulated guests start
# in three seconds. The key is what stands in this folder and the distribution's release; a kernel update alone does not rebuild.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=/dev/null
release=$(. /etc/os-release && echo "$ID-${VERSION_ID:-rolling}")
key=$( (cd "$here" && cat build.sh init dhcp power modules && echo "$release $(uname -m)") | sha256sum | cut -c1-16)
out="${XDG_CACHE_HOME:-$HOME/.cache}/provider-libvirt/guest/$key"
[ "${1:-}" = path ] && { echo "$out"; exit 0; }
[ -e "$out/guest.qcow2" ] && exit 0
[ "$(uname -m)" = x86_64 ] || { echo "guest: only x86_64 is built so far, this is $(uname -m)" >&2; exit 1; }

export PATH="$PATH:/usr/sbin:/sbin"
mkdir -p "${out%/*}"
work=$(mktemp -d "${out%/*}/.build-XXXXXX")
trap 'rm -rf "$work"' EXIT
root="$work/root"
mkdir -p "$work/deb" "$work/kernel" "$work/out" "$root"/{bin,etc/acpi/PWRF,etc/acpi/PBTN,dev,proc,sys}

# The image package behind a meta package, with its modules: Debian has one package, Ubuntu two.
download_kernel() {
	local meta image
	for meta in linux-image-cloud-amd64 linux-image-virtual linux-image-generic linux-image-amd64; do
		image=$( (apt-cache depends "$meta" 2>/dev/null || true) | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
		[ -n "$image" ] && break
	done
	[ -n "${image:-}" ] || { echo "guest: no kernel package found; run apt-get update" >&2; exit 1; }
	echo "guest: kernel from $image"
	(cd "$work/deb" && apt-get download -q -q -o APT::Sandbox::User=root "$image")
	local modules=${image/linux-image-/linux-modules-}
	if apt-cache show "$modules" >/dev/null 2>&1; then (cd "$work/deb" && apt-get download -q -q -o APT::Sandbox::User=root "$modules"); fi
	for deb in "$work"/deb/*.deb; do dpkg-deb -x "$deb" "$work/kernel"; done
	# Where /lib is a link to /usr/lib the package may use either.
	if [ ! -d "$work/kernel/lib/modules" ]; then mkdir -p "$work/kernel/lib" && mv "$work/kernel/usr/lib/modules" "$work/kernel/lib/modules"; fi
}

# busybox loads plain modules only, so compressed ones are unpacked on the way.
copy_module() {
	local target="$root/${1#"$work"/kernel/}"
	mkdir -p "${target%/*}"
	case $1 in
	*.xz) xz -dc "$1" >"${target%.xz}" ;;
	*.zst) zstd -q -dc "$1" >"${target%.zst}" ;;
	*.gz) gzip -dc "$1" >"${target%.gz}" ;;
	*) cp "$1" "$target" ;;
	esac
}

copy_modules() {
	local version=$1 module
	depmod -b "$work/kernel" "$version"
	while read -r module; do
		# A module that this kernel has built in or lacks gives no line.
		modprobe -d "$work/kernel" -S "$version" --show-depends "$module" 2>/dev/null || true
	done <"$here/modules" | sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u >"$work/list"
	while read -r module; do copy_module "$module"; done <"$work/list"
	mkdir -p "$root/lib/modules/$version"
	for module in modules.order modules.builtin modules.builtin.modinfo; do
		cp "$work/kernel/lib/modules/$version/$module" "$root/lib/modules/$version/" 2>/dev/null || true
	done
	depmod -b "$root" "$version"
	cp "$here/modules" "$root/etc/modules"
}

make_initrd() {
	cp "$(command -v busybox)" "$root/bin/busybox"
	ldd "$root/bin/busybox" >/dev/null 2>&1 && { echo "guest: busybox is not static; install busybox-static" >&2; exit 1; }
	install -m 755 "$here/init" "$root/init"
	install -m 755 "$here/dhcp" "$root/etc/dhcp"
	install -m 755 "$here/power" "$root/etc/acpi/PWRF/00000080"
	install -m 755 "$here/power" "$root/etc/acpi/PBTN/00000080"
	echo root:x:0:0:root:/:/bin/sh >"$root/etc/passwd"
	echo root:x:0: >"$root/etc/group"
	(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) | gzip -1n >"$work/out/initrd.gz"
}

# A FAT file system on the whole disk with its boot sector: no partition table is needed to boot, and no mount to build it.
make_disk() {
	cat >"$work/syslinux.cfg" <<-CFG
		default tiny
		prompt 0
		label tiny
		  kernel vmlinuz
		  initrd initrd.gz
		  append console=ttyS0 quiet cryptomgr.notests nokaslr mitigations=off no_timer_check random.trust_cpu=on
	CFG
	truncate -s 64M "$work/disk.raw"
	mkfs.vfat -n TINY "$work/disk.raw" >/dev/null
	MTOOLS_SKIP_CHECK=1 mcopy -i "$work/disk.raw" "$work/out/vmlinuz" "$work/out/initrd.gz" "$work/syslinux.cfg" ::
	syslinux --install "$work/disk.raw"
	qemu-img convert -O qcow2 "$work/disk.raw" "$work/out/guest.qcow2"
}

# The agent is the distribution's. Its libraries are those that the machine's own QEMU needs too, so they are there.
make_agent() {
	local library
	mkdir "$work/agent" "$work/agent-deb"
	(cd "$work/agent-deb" && apt-get download -q -q -o APT::Sandbox::User=root qemu-guest-agent && dpkg-deb -x ./*.deb .)
	cp "$work/agent-deb/usr/sbin/qemu-ga" "$work/agent/"
	ldd "$work/agent/qemu-ga" | grep -q 'not found' && { echo "guest: libraries of qemu-ga are missing:" >&2; ldd "$work/agent/qemu-ga" >&2; exit 1; }
	ldd "$work/agent/qemu-ga" | grep -o '/[^ ]*' | while read -r library; do cp -L "$library" "$work/agent/"; done
	truncate -s 32M "$work/out/agent.raw"
	mkfs.vfat -n AGENT "$work/out/agent.raw" >/dev/null
	MTOOLS_SKIP_CHECK=1 mcopy -i "$work/out/agent.raw" "$work"/agent/* ::
}

download_kernel
version=$(basename "$work"/kernel/lib/modules/*)
install -m 644 "$work"/kernel/boot/vmlinuz-* "$work/out/vmlinuz"
copy_modules "$version"
make_initrd
make_disk
make_agent
echo "$version" >"$work/out/kernel-version"
chmod 755 "$work/out"
# Whoever finishes first wins; the other's result is the same.
mv -T "$work/out" "$out" 2>/dev/null || [ -e "$out/guest.qcow2" ]
echo "guest: built in $out"
