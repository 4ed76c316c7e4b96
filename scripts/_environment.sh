# Makes .venv, or reuses it. Sourced by the other scripts: `source scripts/_environment.sh EXTRA`, where
# EXTRA is an extra of pyproject.toml or "".
# shellcheck shell=bash
#
# Needs Python 3.11 or newer with pip. Set PYTHON to choose one. Packages are installed again
# only when pyproject.toml, the extra or the Python changed; they come from wherever pip is set up to look.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"

fail() {
    printf 'layersearch: %s\n' "$@" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 python; do
        if [[ -n "$candidate" ]] && "$candidate" -c \
            'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
        if [[ -n "${PYTHON:-}" ]]; then
            fail "PYTHON=$PYTHON is not Python 3.11 or newer"
        fi
    done
    fail "Python 3.11 or newer is needed and was not found" \
        "on Debian or Ubuntu: sudo apt-get install python3 python3-pip python3-venv" \
        "or name another one: PYTHON=/path/to/python3.12 $0"
}

make_venv() {
    local python="$1"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian splits venv from python3; virtualenv does without, and pip can fetch it to one side.
        local aside="$root/.venv-bootstrap"
        "$python" -m pip install --quiet --disable-pip-version-check --upgrade \
            --target "$aside" virtualenv >&2 ||
            fail "$python cannot make virtual environments, and virtualenv could not be fetched" \
                "on Debian or Ubuntu: sudo apt-get install python3-venv" \
                "then run $0 again"
        PYTHONPATH="$aside" "$python" -m virtualenv --quiet --clear "$venv"
        return
    fi
    "$python" -m venv --clear "$venv"
}

set_up() {
    local extra="$1" python stamp wanted spec="$root" quiet=()
    if [[ ! -x "$venv/bin/python" ]] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        python="$(find_python)"
        echo "Making a virtual environment in .venv with $("$python" --version)" >&2
        make_venv "$python"
    fi
    wanted="$("$venv/bin/python" --version) $(cksum <"$root/pyproject.toml") $root"
    # What has the dev extra has the rest too.
    for stamp in "$venv/.layersearch-dev" "$venv/.layersearch-${extra:-run}"; do
        if [[ "$(cat "$stamp" 2>/dev/null)" == "$wanted" ]]; then return; fi
    done
    echo "Installing layersearch${extra:+ with its '$extra' extra}; PyTorch is large: minutes" >&2
    if [[ -n "$extra" ]]; then spec="$root[$extra]"; fi
    if [[ ! -t 2 ]]; then quiet=(--quiet); fi
    "$venv/bin/python" -m pip install "${quiet[@]}" --disable-pip-version-check \
        --editable "$spec" >&2 ||
        fail "the installation failed; what pip said is above" "run $0 again to go on"
    printf '%s' "$wanted" >"$stamp"
}

set_up "${1:-}"
export PATH="$venv/bin:$PATH" VIRTUAL_ENV="$venv"
