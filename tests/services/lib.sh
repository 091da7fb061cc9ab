# Shared by the scripts that start real servers for the tests: private folders, free loopback ports, clean stops.
# Sourced, not run.

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Installs Debian packages unless the program is there. Where that is not possible it says so and fails: CI requires
# them, `make test` on another machine shows the message.
need() { # program package..
    local program=$1
    shift
    command -v "$program" >/dev/null 2>&1 && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing $*" >&2
        # Installing a server must not start it: the tests start their own on private ports.
        local policy=/usr/sbin/policy-rc.d made=
        if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' > $policy && chmod +x $policy && made=1; fi
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } >/dev/null 2>&1 \
            || { echo "cannot install $*" >&2; [ -z "$made" ] || rm -f $policy; return 1; }
        [ -z "$made" ] || rm -f $policy
    else
        echo "$program is missing: install $* (Debian)" >&2
        return 1
    fi
}

# Waits until a command succeeds, at most so many seconds.
await() { # seconds command..
    local seconds=$1 start=$SECONDS
    shift
    until "$@" >/dev/null 2>&1; do
        [ $((SECONDS - start)) -lt "$seconds" ] || { echo "not ready after $seconds s: $*" >&2; return 1; }
        sleep 0.3
    done
}

# The first line of a file, once it is there.
first_line() { # file
    await 30 test -s "$1" && head -1 "$1"
}
