#!/usr/bin/env bash
# Installs what building, running and linting Levee needs, and only what is missing; silent when nothing is.
#
# It decides which of two ways provides the eBPF toolchain (a rustc with its library source, and bpf-linker with an
# LLVM at least as new as that rustc's):
#   rustup  the pinned nightly with rust-src; bpf-linker is linked to the LLVM that the nightly brings along.
#   debian  Debian's rustc-web and rust-web-src; bpf-linker is linked to Debian's LLVM.
# Either ends in the same place: a rustup toolchain of the name EBPF_TOOLCHAIN, and bpf-linker in target/tools/bin.
# It trusts scripts/ebpf-toolchain.env, the only place where versions are pinned.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
pins=${LEVEE_TOOLCHAIN_ENV:-$root/scripts/ebpf-toolchain.env}
target=${CARGO_TARGET_DIR:-$root/target}
[[ $target == /* ]] || target=$PWD/$target
tools=$target/tools
programs=$tools/programs
log=$target/setup.log
rustup_home=${RUSTUP_HOME:-${HOME:-/root}/.rustup}
cargo_home=${CARGO_HOME:-${HOME:-/root}/.cargo}
PATH=$PATH:$cargo_home/bin:/usr/local/sbin:/usr/sbin:/sbin
export DEBIAN_FRONTEND=noninteractive

usage() {
    cat <<'USAGE'
Installs what Levee needs to be built, run and linted; only what is missing, and silently nothing when all is there.

Usage: scripts/setup.sh [--only GROUPS] [--way rustup|debian] [--dry-run]

Options:
  --only GROUPS   what to look after, separated by commas (default: all of them)
                    build  a C compiler, the eBPF toolchain, bpf-linker
                    run    the programs that demo, tests and benchmark call, and the filters that Levee is compared with
                    lint   clippy and rustfmt, for the host and for eBPF; shellcheck
  --way WAY       take the eBPF toolchain this way, rather than the one that works here:
                    rustup  the pinned nightly
                    debian  the packages of Debian 12
  --dry-run       say what is missing, install nothing; exit code 1 when something is
  -h, --help      this text

Environment:
  CARGO_TARGET_DIR       where tools/ and setup.log go (default: target/)
  LEVEE_RUSTUP_TIMEOUT   seconds that rustup may take for the nightly before Debian is asked (default: 180)
  LEVEE_TOOLCHAIN_ENV    another file of pins than scripts/ebpf-toolchain.env

Examples:
  scripts/setup.sh                  everything
  scripts/setup.sh --only build     enough for a plain `cargo build`
  scripts/setup.sh --dry-run        what is missing?
USAGE
}

# shellcheck source=scripts/setup-checks.sh
source "$root/scripts/setup-checks.sh"

# ------------------------------------------------------------------------------------------------ installing

as_root_hint() {
    echo "as root:  apt-get update && apt-get install -y $*"
}

apt_quietly() { apt-get -o DPkg::Lock::Timeout=600 -o APT::Color=0 -q "$@"; }

# Never removes a package: rustc-web conflicts with Debian's rustc, which somebody may want to keep.
# The package lists are fetched only when the first try shows that they are missing or stale.
apt_install() {
    apt_quietly install -y --no-remove "$@" && return
    apt_quietly update && apt_quietly install -y --no-remove "$@"
}

# require_apt PACKAGE...: dies unless this process can install them.
require_apt() {
    have apt-get || die "missing: $*; and this is not Debian (there is no apt-get)" \
        "install what provides them with your distribution's tools, then run this again"
    ((EUID == 0)) || die "missing: $*; only root can install packages" "$(as_root_hint "$@")"
}

install_required() {
    ((${#required[@]})) || return 0
    require_apt "${required[@]}"
    must "Levee needs the packages ${required[*]}, and they could not be installed" \
        "Debian packages: ${required[*]}" apt_install "${required[@]}"
}

# The compared filters and small helpers: reported when they cannot be had, never fatal.
install_optional() {
    ((${#optional[@]})) || return 0
    local package
    if ! have apt-get || ((EUID != 0)); then
        say "not installed: ${optional[*]} (what needs them will report them as missing)"
        say "$(as_root_hint "${optional[@]}")"
        return
    fi
    step "Debian packages: ${optional[*]}" apt_install "${optional[@]}" && return
    if ((${#optional[@]} > 1)); then
        for package in "${optional[@]}"; do
            step "Debian package $package" apt_quietly install -y --no-remove "$package" || true
        done
        survey
    fi
    ((${#optional[@]})) || return 0
    say "not available here: ${optional[*]}; what needs them will report them as missing (see $log)"
    mkdir -p -- "$tools/unavailable"
    touch -- "${optional[@]/#/$tools/unavailable/}"
}

# unpack PACKAGE...: fetches them, with what they depend on and this machine lacks, and unpacks all of it into $programs.
# Nothing is installed, so no daemon starts, now or at the next boot, no script of a package runs, and no package has to
# give way to another.
unpack() {
    local fetched=$programs/fetched lacking package
    lacking=$(apt_quietly install --simulate --no-install-recommends "$@" | awk '$1 == "Inst" { print $2 }') || return
    rm -rf -- "$fetched"
    mkdir -p -- "$fetched" || return
    # shellcheck disable=SC2086 # One word a package.
    (cd -- "$fetched" && apt_quietly download $lacking) || return
    for package in "$fetched"/*.deb; do dpkg-deb -x "$package" "$programs" || return; done
    rm -r -- "$fetched"
}

# The programs whose traffic tests let pass: reported when they cannot be had, never fatal. The package lists are fetched
# as in apt_install, once.
provide_programs() {
    ((${#unpacked[@]})) || return 0
    local package
    if have apt-get && ! step "programs for tests, of the Debian packages ${unpacked[*]}" unpack "${unpacked[@]}"; then
        step "Debian's package lists" apt_quietly update || true
        for package in "${unpacked[@]}"; do
            step "programs of the Debian package $package" unpack "$package" || true
        done
    fi
    survey
    ((${#unpacked[@]})) || return 0
    say "not available here: the programs of ${unpacked[*]}; tests that run them will be skipped (see $log)"
    mkdir -p -- "$tools/unavailable"
    touch -- "${unpacked[@]/#/$tools/unavailable/}"
}

link_toolchain() {
    must "rustup could not link $1 as the toolchain $EBPF_TOOLCHAIN" \
        "toolchain $EBPF_TOOLCHAIN: $1" rustup toolchain link "$EBPF_TOOLCHAIN" "$1"
}

# Way 1. Returns 1 when rustup cannot provide the nightly.
toolchain_by_rustup() {
    local sysroot fault patience=${LEVEE_RUSTUP_TIMEOUT:-180}
    sysroot=$(nightly_sysroot)
    if [[ -n $sysroot && -z $(toolchain_fault "$sysroot") ]]; then
        say "eBPF toolchain: rustup's $EBPF_NIGHTLY, which is installed"
    else
        say "eBPF toolchain: $(link_fault); asking rustup for $EBPF_NIGHTLY"
        step "rustup toolchain install $EBPF_NIGHTLY with rust-src and clippy" timeout --foreground --kill-after=10 "$patience" \
            rustup toolchain install "$EBPF_NIGHTLY" --profile minimal --component rust-src,clippy --no-self-update || return 1
        sysroot=$(nightly_sysroot)
        fault=$(toolchain_fault "${sysroot:-$rustup_home/toolchains/$EBPF_NIGHTLY}")
        [[ -z $fault ]] || { say "rustup's $EBPF_NIGHTLY is of no use: $fault"; return 1; }
    fi
    link_toolchain "$sysroot"
}

# Way 2. Dies when Debian cannot either.
toolchain_by_debian() {
    local fault why=$1
    say "eBPF toolchain: Debian's rustc, because $why"
    if [[ -n $(toolchain_fault /usr) ]]; then
        local packages=(rustc-web cargo-web rust-web-src)
        wants lint && packages+=(rust-web-clippy)
        have_linker || packages+=("${linker_packages[@]}")
        require_apt "${packages[@]}"
        must "no way to an eBPF toolchain works here: $why; and ${packages[*]}, which Debian 12 has in its security archive, could not be installed" \
            "Debian packages: ${packages[*]}" apt_install "${packages[@]}"
    fi
    fault=$(toolchain_fault /usr)
    [[ -z $fault ]] || die "Debian's rustc cannot build eBPF: $fault" "is the security archive in /etc/apt/sources.list?"
    link_toolchain /usr
}

provide_toolchain() {
    local fault
    fault=$(link_fault)
    [[ -n $fault ]] || return 0
    case $way in
    rustup) toolchain_by_rustup || die "rustup cannot provide $EBPF_NIGHTLY" "see $log; without --way, Debian's packages are tried as well" ;;
    debian) toolchain_by_debian "--way debian asks for it" ;;
    *)
        # What is installed already wins over what would have to be fetched.
        if [[ -n $(toolchain_fault "$(nightly_sysroot)") && -z $(toolchain_fault /usr) ]]; then
            toolchain_by_debian "it is installed ($fault)"
        elif ! toolchain_by_rustup; then
            toolchain_by_debian "rustup cannot provide $EBPF_NIGHTLY with its library source"
        fi
        ;;
    esac
}

# linker_llvm SYSROOT: prints a prefix whose lib/ has the libLLVM.so to link bpf-linker to. A rustup toolchain
# brings the LLVM of its rustc as a shared library; only its name is not the one that the linker looks for.
linker_llvm() {
    local shared prefix=$tools/llvm
    shared=$(compgen -G "$1/lib/libLLVM.so.*-rust-*" | head -n 1 || true)
    if [[ -z $shared ]]; then
        echo "/usr/lib/llvm-$LLVM_MAJOR"
        return
    fi
    mkdir -p -- "$prefix/lib"
    ln -sfn -- "$shared" "$prefix/lib/${shared##*/}"
    ln -sfn -- "$shared" "$prefix/lib/libLLVM.so"
    echo "$prefix"
}

provide_linker() {
    have_linker && return
    local prefix
    prefix=$(linker_llvm "$(linked_sysroot)")
    if [[ $prefix == /usr/* ]] && ! installed "${linker_packages[@]}"; then
        required=("${linker_packages[@]}")
        install_required
    fi
    # Built by the pinned toolchain, so that the host's rustc may be of any age; the variables are those that a
    # surrounding cargo may have set for its own compiler.
    local build=(env -u RUSTC -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_TARGET
        "LLVM_PREFIX=$prefix" "LLVM_SYS_${LLVM_MAJOR}1_PREFIX=$prefix" "CARGO_TARGET_DIR=$tools/build"
        CARGO_PROFILE_RELEASE_DEBUG=false
        rustup run "$EBPF_TOOLCHAIN" cargo install bpf-linker --version "$BPF_LINKER_VERSION" --locked --force
        --no-default-features --features "llvm-$LLVM_MAJOR" --root "$tools")
    must "bpf-linker $BPF_LINKER_VERSION could not be built" \
        "bpf-linker $BPF_LINKER_VERSION with the LLVM of $prefix" "${build[@]}"
    rm -rf -- "$tools/build"
    have_linker || die "bpf-linker was built but does not run" "try: ldd $tools/bin/bpf-linker"
}

# ------------------------------------------------------------------------------------------------ the groups

# would_unpack PACKAGE COMMAND: the same as would_like for what only tests run, which look where it is unpacked as well.
would_unpack() {
    local PATH=$PATH:$programs/usr/bin:$programs/usr/sbin:$programs/bin:$programs/sbin
    have "$2" || was_unavailable "$1" || unpacked+=("$1")
}

was_unavailable() { [[ $dry_run == no && -n $(find "$tools/unavailable/$1" -mtime -1 2>/dev/null) ]]; }

# Fills required, optional and unpacked with the Debian packages that the wanted groups lack.
survey() {
    required=() optional=() unpacked=()
    if wants build; then
        needs build-essential cc
    fi
    if wants run; then
        needs iproute2 ip
        needs ethtool ethtool
        would_like nftables nft
        would_like ipset ipset
        would_like iptables iptables
        would_like xdp-tools xdp-filter
        would_like bpftool bpftool
        would_like tcpdump tcpdump
        would_unpack avahi-daemon avahi-daemon
        would_unpack bind9-dnsutils dig
        would_unpack busybox busybox
        would_unpack chrony chronyd
        would_unpack curl curl
        would_unpack dnsmasq-base dnsmasq
        would_unpack iputils-arping arping
        would_unpack iputils-ping ping
        would_unpack iputils-tracepath tracepath
        would_unpack minissdpd minissdpd
        would_unpack miniupnpc upnpc
        would_unpack nginx nginx
        would_unpack ngtcp2-client gtlsclient
        would_unpack ngtcp2-server gtlsserver
        would_unpack openssh-client ssh
        would_unpack openssh-server sshd
        would_unpack openssl openssl
        would_unpack wireguard-go wireguard-go
        would_unpack wireguard-tools wg
    fi
    if wants lint; then
        would_like shellcheck shellcheck
    fi
}

# Prints, one a line, the host's components that lint lacks.
missing_components() {
    local sysroot
    sysroot=$(rustc --print sysroot 2>/dev/null) || return 0
    [[ -x $sysroot/bin/cargo-clippy ]] || echo clippy
    [[ -x $sysroot/bin/rustfmt ]] || echo rustfmt
}

ebpf_clippy_missing() { [[ ! -x $(linked_sysroot)/bin/cargo-clippy ]]; }

provide_lint() {
    local components
    mapfile -t components < <(missing_components)
    if ((${#components[@]})); then
        must "lint needs ${components[*]} for $(rustc --version)" \
            "rustup component add ${components[*]}" rustup component add "${components[@]}"
    fi
    wants build && ebpf_clippy_missing || return 0
    if [[ $(linked_sysroot) == /usr ]]; then
        required=(rust-web-clippy)
        install_required
    else
        must "lint needs clippy for $EBPF_NIGHTLY" \
            "clippy for $EBPF_NIGHTLY" rustup component add clippy --toolchain "$EBPF_NIGHTLY"
    fi
}

# Prints what is missing, one a line. Nothing here writes.
missing() {
    local package fault
    survey
    for package in "${required[@]}"; do echo "package $package"; done
    for package in "${optional[@]}"; do echo "package $package (Levee can do without)"; done
    for package in "${unpacked[@]}"; do echo "programs of $package, not to be installed (tests can do without)"; done
    if wants build; then
        fault=$(link_fault)
        [[ -z $fault ]] || echo "eBPF toolchain: $fault"
        have_linker || echo "bpf-linker $BPF_LINKER_VERSION"
    fi
    if wants lint; then
        missing_components
        ! wants build || ! ebpf_clippy_missing || echo "clippy for the toolchain $EBPF_TOOLCHAIN"
    fi
}

main() {
    groups=build,run,lint way=auto
    local dry_run=no lacking
    while (($#)); do
        case $1 in
        --only | --way) (($# > 1)) || { usage >&2; exit 2; } ;;&
        --only) groups=$2; shift ;;
        --way) way=$2; shift ;;
        --dry-run) dry_run=yes ;;
        -h | --help) usage; exit 0 ;;
        *) say "unknown argument: $1"; usage >&2; exit 2 ;;
        esac
        shift
    done
    [[ $groups =~ ^(build|run|lint)(,(build|run|lint))*$ ]] || { say "--only $groups: expected build, run, lint, or several with commas"; exit 2; }
    [[ $way =~ ^(auto|rustup|debian)$ ]] || { say "--way $way: expected rustup or debian"; exit 2; }
    read_pins
    linker_packages=("llvm-$LLVM_MAJOR-dev" "libpolly-$LLVM_MAJOR-dev" zlib1g-dev libzstd-dev)
    have rustup || die "rustup is not installed" "install it from https://rustup.rs, or: apt-get install -y rustup (Debian 13 and later)"

    lacking=$(missing)
    [[ -n $lacking ]] || exit 0
    if [[ $dry_run == yes ]]; then
        say "missing:"
        printf '  %s\n' "${lacking//$'\n'/$'\n'  }" >&2
        exit 1
    fi

    mkdir -p -- "$target" "$rustup_home"
    # One setup at a time for all clones of this user: they share rustup's directory and the package manager.
    exec 9>"$rustup_home/.levee-setup.lock"
    if ! flock -n 9; then
        say "waiting for another setup to finish"
        flock -w 1800 9 || die "another setup has held $rustup_home/.levee-setup.lock for half an hour"
    fi
    printf '\n##### setup of %(%FT%T%z)T: %s\n%s\n' -1 "$groups" "$lacking" >>"$log"
    survey
    install_required
    install_optional
    provide_programs
    if wants build; then
        provide_toolchain
        provide_linker
    fi
    if wants lint; then
        provide_lint
    fi
}

main "$@"
