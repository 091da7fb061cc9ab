#!/usr/bin/env bash
# A private S3 server on loopback: Ceph RGW with one monitor, one manager and one OSD, in memory unless S3_STORE=bluestore, which
# keeps the objects in a file. `s3.sh start DIR BUCKET..` prints shell lines that set AWS_* for it; `s3.sh stop DIR` stops it;
# `s3.sh kill DIR` kills a durable one (SIGKILL), and `s3.sh again DIR` brings it up where it was.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

command=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
shift 2
key=aorticatestkey
secret=aorticatestsecret0123456789

start() {
    need radosgw radosgw ceph-mon ceph-osd ceph-mgr ceph-common
    local mon rgw fsid osd
    mon=$(free_port) rgw=$(free_port)
    fsid=$(python3 -c 'import uuid; print(uuid.uuid4())') osd=$(python3 -c 'import uuid; print(uuid.uuid4())')
    mkdir -p "$dir"/{mon,mgr,osd,run,log,rgw}
    cat > "$dir/ceph.conf" <<CONF
[global]
fsid = $fsid
mon host = [v1:127.0.0.1:$mon]
public network = 127.0.0.0/8
public addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms bind msgr2 = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon allow pool delete = true
mon warn on pool no redundancy = false
osd crush chooseleaf type = 0
osd objectstore = ${S3_STORE:-memstore}
memstore device bytes = 2147483648
bluestore block size = 8589934592
bluestore fsck on mount = false
osd memory target = 939524096
osd class load list = *
osd class default list = *
run dir = $dir/run
admin socket = $dir/run/\$name.asok
pid file = $dir/run/\$name.pid
log file = $dir/log/\$name.log
mon data = $dir/mon
mgr data = $dir/mgr
osd data = $dir/osd
mon data avail crit = 1
mon data avail warn = 1
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$rgw
rgw data = $dir/rgw
rgw enable usage log = false
CONF
    local c="-c $dir/ceph.conf"
    monmaptool --create --fsid "$fsid" --addv a "[v1:127.0.0.1:$mon]" "$dir/monmap" --clobber >/dev/null
    ceph-mon $c --mkfs -i a --monmap "$dir/monmap" 2>"$dir/log/mkfs"
    run_mon
    # By its uuid this may be said more than once: a monitor that has only just won its election refuses its first command.
    await 30 ceph $c osd create "$osd"
    ceph-osd $c -i 0 --osd-uuid "$osd" --mkfs 2>>"$dir/log/mkfs"
    run_osd
    radosgw-admin $c -n client.rgw user create --uid aortica --display-name aortica --access-key $key --secret $secret >"$dir/log/user" 2>&1
    cat > "$dir/env" <<ENV
export AWS_ACCESS_KEY_ID=$key AWS_SECRET_ACCESS_KEY=$secret AWS_REGION=us-east-1
export AWS_ENDPOINT=http://127.0.0.1:$rgw AWS_ALLOW_HTTP=true
ENV
    . "$dir/env"
    for bucket in "$@"; do python3 "$(dirname "$0")/s3_put.py" bucket "$bucket" >&2; done
    cat "$dir/env"
}

run_mon() {
    local c="-c $dir/ceph.conf"
    setsid ceph-mon $c -i a -f > "$dir/log/mon.out" 2>&1 < /dev/null & echo $! > "$dir/run/1.pid"
    await 90 ceph $c --connect-timeout 5 status
    setsid ceph-mgr $c -i x -f > "$dir/log/mgr.out" 2>&1 < /dev/null & echo $! > "$dir/run/2.pid"
}

run_osd() {
    local c="-c $dir/ceph.conf"
    # Settings come from the file alone. After it has asked the monitor for them an OSD has forgotten the cluster's fsid until the
    # first map arrives; where its first command is faster than that map, the monitor refuses the command and the OSD leaves.
    setsid ceph-osd $c -i 0 --no-mon-config -f > "$dir/log/osd.out" 2>&1 < /dev/null & echo $! > "$dir/run/3.pid"
    await 90 sh -c "ceph $c osd stat | grep -q '1 up'" || { tail -n 5 "$dir"/log/osd.0.log "$dir"/log/osd.out >&2; return 1; }
    setsid radosgw $c -n client.rgw -f > "$dir/log/rgw.out" 2>&1 < /dev/null & echo $! > "$dir/run/4.pid"
    local port
    port=$(sed -n 's/^rgw frontends = beast endpoint=127.0.0.1://p' "$dir/ceph.conf")
    await 90 python3 -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:$port/', timeout=2)"
}

again() {
    grep -q '^osd objectstore = bluestore' "$dir/ceph.conf" || { echo "this store was in memory, and is gone" >&2; exit 1; }
    run_mon
    run_osd
}

stop() {
    for pid in 4 3 2 1; do # nothing to save: in memory, or durable at every answer
        [ -f "$dir/run/$pid.pid" ] && kill -KILL "$(cat "$dir/run/$pid.pid")" 2>/dev/null || true
    done
}

case $command in
    # A second start, from nothing, where a crowded machine is too slow for the first.
    start) "$0" start-once "$dir" "$@" || { stop; rm -rf "$dir"; "$0" start-once "$dir" "$@"; } ;;
    start-once) start "$@" ;;
    stop | kill) stop ;;
    again) again ;;
    *) echo "s3.sh start DIR BUCKET.. | s3.sh stop|kill|again DIR" >&2; exit 2 ;;
esac
