#!/bin/sh
# Makes rootfs.tar: Debian 12 (bookworm) with the packages of packages.txt.
#
# The same packages give the same bytes: whoever runs it, wherever, whenever.
# It needs mmdebstrap and the Debian archive keyring, and either root or a user
# with subordinate ids (/etc/subuid, /etc/subgid, the package uidmap).
#
# The mirror is the one this machine's own apt uses for bookworm, else
# deb.debian.org; it is written into the image, because what is built on the
# image installs from the same place.
set -eu
cd "$(dirname "$0")"

command -v mmdebstrap >/dev/null || {
    echo "bootstrap.sh: mmdebstrap is missing (apt-get install mmdebstrap)" >&2
    exit 127
}

suite=bookworm
output=rootfs.tar

# No file claims to be younger than Debian 12 itself (2023-06-10). mmdebstrap
# clamps times to this, and passwd takes the day of a password change from it.
export SOURCE_DATE_EPOCH=1686355200
# Messages, sorting and modes of files must not follow the caller.
export LC_ALL=C.UTF-8 TZ=UTC
umask 022

# Address of the repository that this machine's apt has for release $1, else $2.
# One with a password in it is passed over: it would be in the image.
mirror_of() {
    found=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -v release="$1" '$1 == release && $2 ~ /^https?:[^@]*$/ { print $2; exit }') || found=
    echo "${found:-$2}"
}

# A machine with a frozen or lagging mirror says so in its apt configuration.
# Whatever installs from that mirror has to know, so it is handed on; a machine
# that says nothing hands nothing on.
host_apt_options() {
    apt-config dump --format '%f "%v";%n' \
        Acquire::Check-Date Acquire::Check-Valid-Until 2>/dev/null | grep '"[^"]' || true
}

# mmdebstrap does not read the proxy of this machine's apt, only the environment.
if [ -z "${http_proxy:-}" ]; then
    eval "$(apt-config shell http_proxy Acquire::http::Proxy)"
    case ${http_proxy:-DIRECT} in
        DIRECT) unset http_proxy ;;
        *) export http_proxy ;;
    esac
fi

main=$(mirror_of "$suite" http://deb.debian.org/debian)
updates=$(mirror_of "$suite-updates" "$main")
security=$(mirror_of "$suite-security" http://deb.debian.org/debian-security)

# Everything is made in a scratch directory beside the output and renamed at the
# end: an interrupted run leaves the previous tar, never half of a new one.
scratch=$(mktemp -d "$PWD/.bootstrap.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
# mmdebstrap may drop root for its own user namespace and still has to read this.
chmod 755 "$scratch"

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
cat >"$scratch/debian.sources" <<SOURCES
Types: deb
URIs: ${main%/}
Suites: $suite
Components: main
Signed-By: $keyring

Types: deb
URIs: ${updates%/}
Suites: $suite-updates
Components: main
Signed-By: $keyring

Types: deb
URIs: ${security%/}
Suites: $suite-security
Components: main
Signed-By: $keyring
SOURCES

host_apt_options >"$scratch/host.conf"

packages=$(sed 's/#.*//' packages.txt | tr -s ' \t\n' ',,,')
packages=${packages#,}

# No device nodes: unpacking them takes root, and every engine mounts its own
# /dev over the empty directory that is added below.
#
# The hooks, in order:
# - merged-usr lays out /usr before Debian's usrmerge would, which brings perl;
# - apt.conf only now: it has apt delete packages once they are installed, and
#   mmdebstrap still unpacks them after that;
# - nobody answers questions during a build: packages get their defaults;
# - the unprivileged user of every application: one id, the same in all images;
# - this machine's name and name servers become the empty files that engines
#   mount their own over; where they are missing, an engine leaves them behind in
#   the first layer that runs something;
# - backups, logs and caches, which are made anew when they are needed.
mmdebstrap \
    --quiet \
    --variant=apt \
    --skip=output/dev \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --include="${packages%,}" \
    --aptopt="$scratch/host.conf" \
    --dpkgopt=dpkg.cfg \
    --customize-hook='upload apt.conf /etc/apt/apt.conf.d/50image' \
    --customize-hook='echo "debconf debconf/frontend select Noninteractive" |
        chroot "$1" debconf-set-selections' \
    --customize-hook='chroot "$1" groupadd --gid 10001 app' \
    --customize-hook='chroot "$1" useradd --uid 10001 --gid app --no-log-init --no-create-home \
        --key SUB_UID_COUNT=0 --key SUB_GID_COUNT=0 \
        --home-dir /nonexistent --shell /usr/sbin/nologin app' \
    --customize-hook='for file in hostname hosts resolv.conf; do install -m 644 /dev/null "$1/etc/$file"; done' \
    --customize-hook='rm -f "$1"/etc/*-' \
    --customize-hook='find "$1"/var/log "$1"/var/cache/apt "$1"/var/cache/ldconfig -type f -delete' \
    --customize-hook='rm -f "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old' \
    "$suite" "$scratch/$output" "$scratch/debian.sources"

mkdir "$scratch/dev"
tar --append --file="$scratch/$output" --directory="$scratch" \
    --owner=0 --group=0 --numeric-owner --mode=755 --mtime="@$SOURCE_DATE_EPOCH" ./dev

mv "$scratch/$output" "$output"
