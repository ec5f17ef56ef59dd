#!/usr/bin/env bash
# Installs what the tests work against. Run by `make tools`; safe to repeat, and
# quick when everything is there.
#
#   testbench/tools.sh            everything
#   testbench/tools.sh go NAME…   only these of the Go programs below
#
# Go programs are built at pinned versions into .tools/bin (GATEHOUSE_TOOLS
# overrides the directory). Clients that are no Go modules come from Debian's
# packages, where apt is; elsewhere their tests are skipped by name.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
bin=${GATEHOUSE_TOOLS:-$root/.tools/bin}
stamps=$bin/.stamps
PATH=$PATH:/usr/sbin # where Debian has servers, and not everybody's PATH leads

# command          version   package, built from the module of that version
go_programs() {
	cat <<-'TABLE'
		staticcheck        v0.8.2    honnef.co/go/tools/cmd/staticcheck
		crane              v0.22.1   github.com/google/go-containerregistry/cmd/crane
		pebble             v2.10.1   github.com/letsencrypt/pebble/v2/cmd/pebble
		pebble-challtestsrv v2.10.1  github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv
		etcd               v3.7.3    go.etcd.io/etcd/server/v3
		etcdctl            v3.7.3    go.etcd.io/etcd/etcdctl/v3
		govulncheck        v1.8.0    golang.org/x/vuln/cmd/govulncheck
		versitygw          v1.8.0    github.com/versity/versitygw/cmd/versitygw
		minio              v0.0.0-20260212201848-7aac2a2c5b7c github.com/minio/minio
		registry           v3.1.2    github.com/distribution/distribution/v3/cmd/registry
		registry-3.0       v3.0.0    github.com/distribution/distribution/v3/cmd/registry
	TABLE
}

# Debian's command and package.
debian_programs() {
	cat <<-'TABLE'
		skopeo skopeo
		podman podman
		curl   curl
		docker-registry docker-registry
		slapd  slapd
		ldapmodify ldap-utils
	TABLE
}

say() { printf 'tools: %s\n' "$*" >&2; }

# build_go NAME VERSION PACKAGE: a program at a version, once.
build_go() {
	local name=$1 version=$2 package=$3
	local stamp=$stamps/$name@$version
	if [[ -x $bin/$name && -e $stamp ]]; then
		return
	fi
	say "building $name $version"
	mkdir -p "$bin" "$stamps"
	rm -f "$stamps/$name@"*
	case $package in
	go.etcd.io/*) build_wrapped "$name" "$version" "$package" ;;
	*) build_plain "$name" "$version" "$package" ;;
	esac
	touch "$stamp"
}

# build_plain: a package whose program may be called otherwise here: two versions
# of one are told apart by their names.
build_plain() {
	local name=$1 version=$2 package=$3 dir
	dir=$(mktemp -d)
	quietly env GOFLAGS= GOBIN="$dir" CGO_ENABLED=0 go install -trimpath "$package@$version"
	mv "$dir"/* "$bin/$name"
	rmdir "$dir"
}

# build_wrapped: the same for a main package that is its module's root and whose
# go.mod has replace directives, which `go install` refuses: an empty module
# that requires it builds it.
build_wrapped() {
	local name=$1 version=$2 package=$3 dir
	dir=$(mktemp -d)
	(
		cd "$dir"
		export GOFLAGS='' GOWORK=off CGO_ENABLED=0
		quietly go mod init wrap
		quietly go mod edit "-require=$package@$version"
		quietly go build -mod=mod -trimpath -o "$bin/$name" "$package"
	)
	rm -rf "$dir"
}

# as_root COMMAND…: as it is for root, through sudo for others.
as_root() {
	if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

# install_debian installs the packages of the programs that PATH does not have.
install_debian() {
	local command package missing=()
	while read -r command package; do
		command -v "$command" >/dev/null || missing+=("$package")
	done < <(debian_programs)
	if ((${#missing[@]} == 0)); then
		return
	fi
	if ! command -v apt-get >/dev/null; then
		say "no apt-get here: install ${missing[*]} yourself, or their tests are skipped"
		return
	fi
	say "installing ${missing[*]}"
	forbid_services
	quietly as_root apt-get update
	quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
	allow_services
}

# quietly COMMAND…: its output is shown only if it fails.
quietly() {
	local output
	output=$("$@" 2>&1) || {
		printf '%s\n' "$output" >&2
		say "failed: $*"
		return 1
	}
}

# Maintainers' scripts may start daemons; a policy-rc.d that answers 101 forbids
# it. One that is there already is the machine's own and stays.
policy=/usr/sbin/policy-rc.d
policy_is_ours=
forbid_services() {
	[[ -e $policy ]] && return
	policy_is_ours=yes
	trap allow_services EXIT
	printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
	as_root chmod 755 "$policy"
}
allow_services() {
	[[ $policy_is_ours ]] || return 0
	as_root rm -f "$policy"
	policy_is_ours=
}

install_go() {
	local name version package wanted=" $* "
	while read -r name version package; do
		if [[ $# == 0 || $wanted == *" $name "* ]]; then
			build_go "$name" "$version" "$package"
		fi
	done < <(go_programs)
}

case ${1:-all} in
all)
	install_debian
	install_go
	;;
go)
	shift
	install_go "$@"
	;;
*)
	say "usage: $0 [go NAME…]"
	exit 2
	;;
esac
