#!/usr/bin/env bash
# Builds the control plane's programs into the cache: `build.sh` makes what is missing, `build.sh path` prints the folder.
#
# etcd, kube-apiserver, kube-controller-manager and kubectl are ordinary Go modules, so a module proxy is all that is needed.
# KUBEBUILDER_ASSETS, if set, brings programs that exist already; what it lacks is built.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/provider-libvirt"
key=$( (cd "$here" && cat build.sh go.sh etcd/* kubernetes/* && uname -m && echo "${KUBEBUILDER_ASSETS:-}") | sha256sum | cut -c1-16)
out="$cache/bin/$key"
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

. "$here/go.sh"
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
