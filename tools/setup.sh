#!/bin/sh
# Brings everything Volant needs onto a Debian machine that has only Node.js (any version) and npm.
# Idempotent; with nothing to do it takes a fraction of a second. See --help.
set -eu
umask 022
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)

node_version=26.10.0
node_floor=24
node_sha512_x64=3a6033b5aaebd602b83c3fac372a24bb8379438d1df1ea8cb8b8cd6bfcd1bf1177dda0ac54a54840bb385791d83d64965a53224dd9266d913fe8f8628266b487
node_sha512_arm64=89d02b57f726a96f4cf4e0f21a56ce222cb1168bab0e1d66241d1274a09d31b4998e379ff422c4377a35fde138c9ff81d3ee410fe17be0ca534c7881dd75d305
npm_version=10.9.9
# The data plane, what builds the probe guest, the stock OpenStack clients, aggregates that are files (mount and losetup
# are in Debian's base), what drives ONTAP's REST API from a shell, and shares: the NFS server, the bus on which its
# exports are changed, and what the block device below a share is built with.
packages='qemu-system-x86 qemu-utils qemu-block-extra libnbd-bin gnutls-bin iproute2 gcc libc6-dev cpio xz-utils python3-openstackclient python3-cinderclient python3-novaclient xfsprogs jq curl nfs-ganesha nfs-ganesha-vfs dbus libnbd-dev python3-manilaclient util-linux-extra'
kernel_package=linux-image-cloud-amd64

help() {
  cat <<TEXT
Usage: npm run setup [-- --quiet | --help]

Sets up this folder. What is already there is left alone:
  1. Debian packages (as root; otherwise the apt-get line to run is printed):
     $(echo "$packages" | fold -s -w 70 | sed '2,$s/^/     /')
  2. Node.js $node_version in .tools/node, from the npm registry, where the machine's is older than $node_floor
  3. npm ci
  4. the launcher of QEMU's processes, the copier of images and the block device of shares, compiled into .tools
  5. the probe guest and the NFS guest in .cache/probe (a kernel of Debian's, downloaded but not installed)

  --quiet   say nothing about what is already in order
Logs are in .cache/setup.
Exit codes: 0 ready, 1 failed, 2 wrong usage, 3 Debian packages are missing and only root can install them,
4 this machine is not one the set-up knows.
TEXT
}

quiet=false
for argument in "$@"; do
  case $argument in
    --quiet) quiet=true ;;
    --help | -h) help; exit 0 ;;
    *) echo "setup: unknown option '$argument'; there are --quiet and --help" >&2; exit 2 ;;
  esac
done

logs=$root/.cache/setup
say() { printf 'setup: %s\n' "$*"; }
fine() { [ "$quiet" = true ] || say "$@"; }
# fail CODE CAUSE REMEDY
fail() { printf 'setup: FAILED: %s\n       %s\n' "$2" "$3" >&2; exit "$1"; }

# Shows the log's end and names the cause where the log gives it away.
fail_with_log() { # WHAT LOG
  echo "setup: the end of $2:" >&2
  tail -n 12 "$2" | sed 's/^/  | /' >&2
  if grep -qiE 'ENOSPC|no space left|enough free space' "$2"; then
    fail 1 "$1: the disk is full" "Free some space (about 1.5 GB are needed in all), then run it again."
  elif is_network_fault "$2"; then
    fail 1 "$1: the network or the registry does not answer" "Check the connection and proxy settings, then run it again: what was done stays done."
  elif grep -qE 'EACCES|EROFS|Permission denied|Read-only file system' "$2"; then
    fail 1 "$1: no permission to write" "Run it as the user who owns $root."
  fi
  fail 1 "$1" "The whole log: $2"
}
is_network_fault() {
  grep -qE 'ECONN|ETIMEDOUT|EAI_AGAIN|ENOTFOUND|ENETUNREACH|ERR_SOCKET|socket hang up|network|Temporary failure|Could not resolve|Failed to fetch|E50[0-9]|EINTEGRITY' "$1"
}
need_space() { # MIB WHAT
  free=$(df -Pk "$root" | awk 'NR == 2 { print int($4 / 1024) }')
  [ "$free" -ge "$1" ] || fail 1 "$2 needs about $1 MiB, and $root has $free MiB free" "Free some space, then run it again."
}
# Takes no input, keeps no lock, and leaves its output in a log.
logged() { log=$logs/$1.log; shift; "$@" >"$log" 2>&1 </dev/null 9>&-; }

enter() {
  mkdir -p "$logs" 2>/dev/null && (: >"$logs/lock") 2>/dev/null ||
    fail 1 "cannot write to $root" "Run it as the user who owns that folder."
  exec 9>"$logs/lock"
  flock -n 9 || { say 'another set-up is running here; waiting for it'; flock -w 1200 9 || fail 1 'the other set-up does not end' 'Look for it with: ps -ef | grep setup.sh'; }
  # npm wants to write below HOME; where it cannot, it may use ours.
  if [ ! -w "${HOME:-/nonexistent}" ]; then
    export npm_config_cache="$root/.cache/npm"
  fi
}

missing_packages() {
  # shellcheck disable=SC2086 # a list of words
  installed=" $(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $packages 2>/dev/null | awk '$1 == "installed" { print $2 }' | tr '\n' ' ') "
  for package in $packages; do
    case $installed in *" $package "*) ;; *) printf '%s ' "$package" ;; esac
  done
}
is_installed() { dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$1" 2>/dev/null | grep -q '^installed '; }

# Debian starts what it installs, on all addresses. Volant runs NFS servers of its own, at the addresses of its LIFs. What
# was there before is somebody's, and left alone.
services_to_keep_off() {
  case " $missing " in *" nfs-ganesha "*) ;; *) return 0 ;; esac
  command -v systemctl >/dev/null || return 0
  printf 'nfs-ganesha.service nfs-ganesha-lock.service'
  is_installed rpcbind || printf ' rpcbind.service rpcbind.socket'
}
keep_services_off() {
  units=$(services_to_keep_off)
  [ -n "$units" ] || return 0
  # shellcheck disable=SC2086 # a list of words
  logged mask systemctl mask $units || fail_with_log 'systemctl mask' "$logs/mask.log"
  say "so that Debian's services do not serve on all addresses, these are masked: $units"
  case $units in *rpcbind*) say 'for NFS version 3 too: systemctl unmask rpcbind.service rpcbind.socket && systemctl enable --now rpcbind.socket' ;; esac
}
apt_knows() { LC_ALL=C apt-cache policy "$@" 2>/dev/null | awk '/Candidate:/ && $2 != "(none)" { n++ } END { exit n < '$#' }'; }
apt_get() { DEBIAN_FRONTEND=noninteractive logged apt apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"; }

debian_packages() {
  command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    fail 4 'this is not Debian: there is no dpkg-query and apt-get' "Volant is set up on Debian 12. The packages it needs: $packages"
  missing=$(missing_packages)
  probe_built || lists=$kernel_package
  if [ -z "$missing" ] && { [ -z "${lists-}" ] || apt_knows "$lists"; }; then
    fine 'Debian packages are installed'
    return
  fi
  [ -z "$missing" ] || command="apt-get update && apt-get install -y --no-install-recommends ${missing% }"
  units=$(services_to_keep_off)
  [ -z "$units" ] || command="systemctl mask $units && $command"
  [ "$(id -u)" = 0 ] || {
    echo "setup: these are missing on this machine: ${missing:-the package lists of apt}" >&2
    echo 'setup: run this line as root, then start again:' >&2
    echo "${command:-apt-get update}"
    exit 3
  }
  started=$(date +%s)
  # shellcheck disable=SC2086
  if ! apt_knows $missing ${lists-}; then
    say 'reading the package lists (apt-get update)'
    apt_get update || say 'apt-get update complained; going on with the lists there are'
  fi
  [ -n "$missing" ] || return 0
  need_space 1000 'Debian packages'
  keep_services_off
  say "installing Debian packages: ${missing% }"
  # shellcheck disable=SC2086
  apt_get install -y --no-install-recommends $missing || {
    say 'that failed; once more with fresh package lists'
    apt_get update || fail_with_log 'apt-get update' "$logs/apt.log"
    # shellcheck disable=SC2086
    apt_get install -y --no-install-recommends $missing || fail_with_log 'apt-get install' "$logs/apt.log"
  }
  say "Debian packages installed in $(($(date +%s) - started)) s"
}

major_of() { "$@" --version 2>/dev/null | sed 's/^v//; s/\..*//'; }
is_at_least() { [ "${1:-0}" -ge "$2" ] 2>/dev/null; }

# fetch NAME@VERSION SHA512 FOLDER: the package's files, checked against the pinned checksum where there is one.
fetch() {
  download=$root/.tools/download.$$
  rm -rf "$download" && mkdir -p "$download"
  trap 'rm -rf "$download"' EXIT
  (cd "$download" && logged "npm-pack" npm pack "$1" --loglevel=error) || {
    say "fetching $1 failed; once more"
    sleep 3
    (cd "$download" && logged "npm-pack" npm pack "$1" --loglevel=error) || fail_with_log "npm pack $1" "$logs/npm-pack.log"
  }
  archive=$(echo "$download"/*.tgz)
  if [ -n "$2" ]; then
    echo "$2  $archive" | sha512sum --check --status ||
      fail 1 "$1 from the npm registry has not the checksum that this set-up expects" 'Somebody may have tampered with it, or the registry is a faulty mirror.'
  fi
  mkdir "$download/files"
  tar -xzf "$archive" -C "$download/files" --strip-components=1 --no-same-owner || fail 1 "cannot unpack $1" 'Is the disk full?'
  rm -rf "$3" && mv "$download/files" "$3"
  rm -rf "$download"
  trap - EXIT
}

node_js() {
  own=$root/.tools/node/bin/node
  if [ -x "$own" ] && [ "$(cat "$root/.tools/node.version" 2>/dev/null)" = "$node_version" ]; then
    fine "Node.js $node_version in .tools/node"
    return
  fi
  if is_at_least "$(major_of node)" "$node_floor" && [ ! -x "$own" ]; then
    fine "Node.js $(node --version) of this machine"
    return
  fi
  case $(uname -m) in
    x86_64) arch=x64 sum=$node_sha512_x64 ;;
    aarch64) arch=arm64 sum=$node_sha512_arm64 ;;
    *) fail 4 "there is no Node.js $node_version for this machine ($(uname -m)) in the npm registry" "Install Node.js $node_floor or newer yourself." ;;
  esac
  command -v npm >/dev/null || fail 1 'there is no npm' 'Install Node.js and npm (Debian: apt-get install nodejs npm).'
  need_space 300 'Node.js'
  say "fetching Node.js $node_version (this machine has $(node --version 2>/dev/null || echo none))"
  mkdir -p "$root/.tools"
  fetch "node-linux-$arch@$node_version" "$sum" "$root/.tools/node"
  "$own" --version >/dev/null 2>&1 || fail 1 "$own does not run" "It needs glibc 2.28 or newer, as Debian 12 has it."
  echo "$node_version" >"$root/.tools/node.version"
}

# Under our Node.js: npm silently leaves out what the Node.js it runs under is too old for (the linter's binary).
# npm before version 9 is not made for that, and before 7 knows no workspaces; then one of ours runs.
npm_ci() {
  if is_at_least "$(major_of npm)" 9; then
    (PATH="$root/.tools/node/bin:$PATH" && export PATH && logged npm-ci npm ci --include=dev --no-audit --no-fund --loglevel=error)
  else
    [ -d "$root/.tools/npm" ] || fetch "npm@$npm_version" '' "$root/.tools/npm"
    logged npm-ci sh "$root/tools/node.sh" "$root/.tools/npm/bin/npm-cli.js" ci --include=dev --no-audit --no-fund --loglevel=error
  fi
}
node_modules() {
  cd "$root"
  wanted=$(cat package-lock.json package.json packages/*/package.json | sha256sum)
  if [ "$(cat node_modules/.volant-stamp 2>/dev/null)" = "$wanted" ]; then
    fine 'node_modules is as package-lock.json says'
    return
  fi
  need_space 300 'node_modules'
  say 'installing npm packages (npm ci)'
  npm_ci || {
    is_network_fault "$logs/npm-ci.log" || fail_with_log 'npm ci' "$logs/npm-ci.log"
    say 'the network failed; once more'
    sleep 3
    npm_ci || fail_with_log 'npm ci' "$logs/npm-ci.log"
  }
  echo "$wanted" >node_modules/.volant-stamp
}

probe_stamp() { cat "$root"/probe/*.ts "$root"/probe/*.c "$root"/probe/*.h | sha256sum; }
probe_built() { [ "$(cat "$root/.cache/probe/.stamp" 2>/dev/null)" = "$(probe_stamp)" ]; }
probe_guest() {
  if probe_built; then
    fine 'the probe guest is built'
    return
  fi
  say 'building the probe guest'
  cd "$root"
  logged probe sh tools/node.sh probe/build.ts || fail_with_log 'building the probe guest' "$logs/probe.log"
  probe_stamp >.cache/probe/.stamp
}

# Small C programs: they start QEMU's processes, copy images, and are below a share's file system. Compiled here, so that a running Volant needs no compiler.
native_programs() {
  missing=
  for name in launch copy fuse-nbd; do
    source=$root/packages/qemu/native/$name.c
    [ -e "$source" ] || continue
    [ -x "$root/.tools/volant-$name-$(printf '%.16s' "$(sha256sum <"$source")")" ] || missing=true
  done
  [ -n "$missing" ] || return 0
  say 'compiling the small programs'
  cd "$root"
  logged native sh tools/node.sh --input-type=module \
    -e "const m = await import('$root/packages/qemu/src/launcher.ts'); await m.ensureLauncher(); await m.ensureCopier(); await m.ensureFuseNbd()" ||
    fail_with_log 'compiling the small programs' "$logs/native.log"
}

enter
debian_packages
node_js
node_modules
native_programs
probe_guest
fine 'ready. Next: npm run demo, or bin/volant up'
