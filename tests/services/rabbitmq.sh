#!/usr/bin/env bash
# A private RabbitMQ on loopback. `rabbitmq.sh start DIR` prints its URL; `rabbitmq.sh stop DIR` stops it; `rabbitmq.sh kill DIR`
# kills it (SIGKILL), and `rabbitmq.sh again DIR` brings it up where it was.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

command=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
bin=/usr/lib/rabbitmq/bin

start() {
    need rabbitmq-server rabbitmq-server
    local amqp epmd dist
    amqp=$(free_port) epmd=$(free_port) dist=$(free_port)
    mkdir -p "$dir/mnesia" "$dir/log" "$dir/home"
    cat > "$dir/env" <<ENV
export HOME=$dir/home
export ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$epmd
export RABBITMQ_NODENAME=aortica$amqp@localhost RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$amqp
export RABBITMQ_DIST_PORT=$dist RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
export RABBITMQ_MNESIA_BASE=$dir/mnesia RABBITMQ_LOG_BASE=$dir/log RABBITMQ_PID_FILE=$dir/pid
export RABBITMQ_CONF_ENV_FILE=$dir/none RABBITMQ_CONFIG_FILE=$dir/rabbitmq RABBITMQ_ENABLED_PLUGINS_FILE=$dir/plugins
ENV
    printf 'log.console.level = warning\nlog.file.level = warning\ndisk_free_limit.absolute = 50MB\nvm_memory_high_watermark.absolute = 1GB\n' > "$dir/rabbitmq.conf"
    printf '[].\n' > "$dir/plugins"
    again
    echo "amqp://guest:guest@127.0.0.1:$amqp/%2f" | tee "$dir/url"
}

again() {
    . "$dir/env"
    setsid "$bin/rabbitmq-server" > "$dir/log/console" 2>&1 < /dev/null & echo $! > "$dir/session"
    await 150 "$bin/rabbitmqctl" -q await_startup --timeout 5 || { tail -20 "$dir/log/console" >&2; exit 1; }
}

die() {
    local pid
    pid=$(cat "$dir/pid")
    kill -KILL "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    rm -f "$dir/pid"
}

stop() {
    [ -f "$dir/env" ] || exit 0
    . "$dir/env"
    # one that is still starting does not answer
    "$bin/rabbitmqctl" -q stop "$dir/pid" >/dev/null 2>&1 || kill -KILL -- "-$(cat "$dir/session")" 2>/dev/null || true
    command -v epmd >/dev/null && epmd -port "$ERL_EPMD_PORT" -kill >/dev/null 2>&1 || true
}

case $command in
    start) start ;;
    stop) stop ;;
    kill) die ;;
    again) again ;;
    *) echo "rabbitmq.sh start|stop|kill|again DIR" >&2; exit 2 ;;
esac
