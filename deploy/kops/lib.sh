# shellcheck shell=bash
# What up.sh and down.sh share.

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=vars.sh
source "$here/vars.sh"

fail() {
    echo "error: $*" >&2
    exit 1
}

# need COMMAND...: they are installed.
need() {
    local command
    for command in "$@"; do
        command -v "$command" >/dev/null || fail "$command is not installed"
    done
}

# check_cidr CIDR: an address range, and not the whole world.
check_cidr() {
    [[ "$1" =~ ^[0-9]+(\.[0-9]+){3}/([0-9]+)$ || "$1" =~ ^[0-9a-fA-F:]+/([0-9]+)$ ]] \
        || fail "ALLOWED_CIDR is '$1', expected a range such as 203.0.113.7/32"
    local bits="${1##*/}"
    ((bits >= 8)) || fail "ALLOWED_CIDR $1 is (nearly) the whole internet: name your own addresses"
}

# confirm WORD QUESTION: goes on only if that very word is typed.
confirm() {
    local answer=""
    read -r -p "$2 Type $1 to go on: " answer || true
    [[ "$answer" == "$1" ]] || fail "nothing was done"
}

# render FILE: the template with the variables of vars.sh; a missing one is an error.
render() {
    python3 -c '
import os, string, sys
with open(sys.argv[1], encoding="utf-8") as file:
    print(string.Template(file.read()).substitute(os.environ), end="")
' "$1"
}
