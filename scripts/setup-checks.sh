# shellcheck shell=bash
# shellcheck disable=SC2154 # The variables of places and wishes are set by setup.sh, which sources this.
#
# The half of setup.sh that changes nothing: messages, the pins, and what is there already. It decides what counts as
# fit to build eBPF with; a run that finds all fit costs about a quarter of a second.

# ---------------------------------------------------------------------------------------------- messages and steps

say() { printf 'setup: %s\n' "$*" >&2; }

die() {
    say "error: $1"
    shift
    local line
    for line in "$@"; do printf '       %s\n' "$line" >&2; done
    exit 1
}

# step TEXT COMMAND...: one line on stderr with the time it took; output to the log. Returns the command's status.
step() {
    local text=$1 began=$SECONDS status=0
    shift
    printf 'setup: %s ... ' "$text" >&2
    printf '\n### %(%FT%T%z)T %s\n+ %s\n' -1 "$text" "$*" >>"$log"
    # The lock (descriptor 9) must not outlive this script in something that a package starts.
    "$@" >>"$log" 2>&1 </dev/null 9>&- || status=$?
    if ((status == 0)); then
        printf '%d s\n' $((SECONDS - began)) >&2
    else
        printf 'failed after %d s (exit code %d)\n' $((SECONDS - began)) "$status" >&2
    fi
    return "$status"
}

# must ERROR TEXT COMMAND...: a step without which nothing goes on.
must() {
    local error=$1
    shift
    step "$@" && return
    say "the end of $log:"
    awk '/^### / { kept = "" } { kept = kept "  | " $0 ORS } END { printf "%s", kept }' "$log" | tail -n 25 >&2
    die "$error" "the whole log is $log"
}

read_pins() {
    local line key
    [[ -r $pins ]] || die "cannot read $pins" "it pins the eBPF toolchain and belongs to the repository: git checkout -- scripts"
    while IFS= read -r line; do
        [[ $line =~ ^(EBPF_TOOLCHAIN|EBPF_NIGHTLY|LLVM_MAJOR|BPF_LINKER_VERSION)=([A-Za-z0-9._-]+)[[:space:]]*$ ]] || continue
        printf -v "${BASH_REMATCH[1]}" '%s' "${BASH_REMATCH[2]}"
    done <"$pins"
    for key in EBPF_TOOLCHAIN EBPF_NIGHTLY LLVM_MAJOR BPF_LINKER_VERSION; do
        [[ -n ${!key:-} ]] || die "$pins does not set $key" "expected a line $key=VALUE, without quotes"
    done
    # The oldest rustc that the workspace builds with.
    rust_minimum=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
}

have() { command -v -- "$1" >/dev/null 2>&1; }

wants() { [[ ,$groups, == *,"$1",* ]]; }

# ------------------------------------------------------------------------------------------------ what is there

# toolchain_fault SYSROOT: prints what makes it unfit for eBPF; nothing when it is fit. Sets llvm_of_toolchain.
toolchain_fault() {
    local sysroot=$1 about release llvm tool
    [[ -d $sysroot ]] || { echo "$sysroot does not exist"; return; }
    for tool in rustc cargo; do
        [[ -x $sysroot/bin/$tool ]] || { echo "$sysroot has no $tool"; return; }
    done
    [[ -f $sysroot/lib/rustlib/src/rust/library/core/src/lib.rs ]] || { echo "$sysroot has no library source (rust-src)"; return; }
    about=$("$sysroot/bin/rustc" -vV 2>/dev/null) || { echo "$sysroot/bin/rustc does not run"; return; }
    release=$(sed -n 's/^release: //p' <<<"$about")
    llvm=$(sed -n 's/^LLVM version: \([0-9]*\).*/\1/p' <<<"$about")
    if [[ $(printf '%s\n' "$rust_minimum" "${release%%-*}" | sort -V | head -n 1) != "$rust_minimum" ]]; then
        echo "rustc $release in $sysroot is older than $rust_minimum, which Levee needs"
    elif ((${llvm:-0} > LLVM_MAJOR)); then
        echo "rustc $release in $sysroot has LLVM $llvm, newer than the pinned LLVM $LLVM_MAJOR"
    fi
}

# The sysroot of the pinned nightly; nothing when rustup has not got it.
nightly_sysroot() { compgen -G "$rustup_home/toolchains/$EBPF_NIGHTLY-*" | head -n 1 || true; }

linked_sysroot() { readlink -f -- "$rustup_home/toolchains/$EBPF_TOOLCHAIN" || true; }

# link_fault: prints why the linked toolchain cannot stay; nothing when it can.
link_fault() {
    local link=$rustup_home/toolchains/$EBPF_TOOLCHAIN sysroot nightly
    [[ -L $link || -e $link ]] || { echo "rustup has no toolchain $EBPF_TOOLCHAIN yet"; return; }
    sysroot=$(linked_sysroot)
    [[ -n $sysroot ]] || { echo "the toolchain $EBPF_TOOLCHAIN is a broken link"; return; }
    nightly=$(nightly_sysroot)
    if [[ $sysroot == */toolchains/nightly-* && $sysroot != "$(readlink -f -- "${nightly:-/nonexistent}")" ]]; then
        echo "the toolchain $EBPF_TOOLCHAIN is ${sysroot##*/}, no longer the pinned $EBPF_NIGHTLY"
    elif [[ $way == rustup && $sysroot != */toolchains/nightly-* ]]; then
        echo "the toolchain $EBPF_TOOLCHAIN is $sysroot, not rustup's nightly"
    elif [[ $way == debian && $sysroot != /usr ]]; then
        echo "the toolchain $EBPF_TOOLCHAIN is $sysroot, not Debian's"
    else
        toolchain_fault "$sysroot"
    fi
}

# linker_fits FILE: is it bpf-linker of the pinned version, does it run, and is its LLVM new enough?
linker_fits() {
    [[ -x $1 && $("$1" --version 2>/dev/null) == "bpf-linker $BPF_LINKER_VERSION" ]] || return 1
    local llvm
    llvm=$(ldd "$1" 2>/dev/null | sed -n 's/.*libLLVM[-.a-z]*\([0-9][0-9]*\).* => .*/\1/p' | head -n 1)
    [[ -z $llvm ]] || ((llvm >= LLVM_MAJOR))
}

have_linker() {
    linker_fits "$tools/bin/bpf-linker" && return
    local other
    other=$(command -v bpf-linker) && linker_fits "$other"
}

installed() {
    local package
    for package in "$@"; do
        [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || return 1
    done
}

# needs PACKAGE COMMAND...: notes the package as needed when one of the commands is missing.
needs() {
    local package=$1 command
    shift
    for command in "$@"; do
        have "$command" || { required+=("$package"); return 0; }
    done
}

# would_like PACKAGE COMMAND: the same for what Levee can do without. What could not be had is asked for again only
# after a day, so that it does not slow every run down.
would_like() {
    have "$2" || [[ $dry_run == no && -n $(find "$tools/unavailable/$1" -mtime -1 2>/dev/null) ]] || optional+=("$1")
}
