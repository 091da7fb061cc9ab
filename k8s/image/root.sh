#!/usr/bin/env bash
# Gathers the files of the image into a folder: k8s/image/root.sh OUT
#   AORTICA    the program (target/release/aortica)
#   RUNTIME    folder of the ONNX Runtime library (.cache/onnxruntime, as `make runtime` fills it)
#   LIBRARIES  `copy` (default): the shared libraries that both load come from this machine, which must be the one that built
#              the program, or as old; `none`: the base of the image has them
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
out=$1
program=${AORTICA:-$top/target/release/aortica}
runtime=${RUNTIME:-$top/.cache/onnxruntime}
[ -x "$program" ] || { echo "no program at $program: run \`make release\`, or set AORTICA" >&2; exit 3; }
[ -e "$runtime/libonnxruntime.so" ] || { echo "no library in $runtime: run \`make runtime\`, or set RUNTIME" >&2; exit 3; }
[ ! -e "$out" ] || { echo "$out is there already" >&2; exit 2; }
umask 022

mkdir -p "$out"/{etc/ssl/certs,usr/bin,usr/lib/aortica,usr/share/aortica}
install -m 0755 "$program" "$out/usr/bin/aortica"
strip --strip-debug "$out/usr/bin/aortica" 2>/dev/null || true # smaller where binutils are at hand
cp -L "$runtime"/*.so "$out/usr/lib/aortica/"
# Folders of pipelines, and of networks that pipelines beside them name.
ls "$top"/pipelines/*/pipeline.toml "$top"/pipelines/*/*.onnx | xargs -n 1 dirname | sort -u | while read -r folder; do
    into=$out/usr/share/aortica/pipelines/$(basename "$folder")
    mkdir -p "$into"
    # Golden tensors are for tests.
    find "$folder" -maxdepth 1 -type f ! -name '*.npz' -exec cp {} "$into/" \;
done
cp "$top/LICENSE" "$out/usr/share/aortica/"

if [ "${LIBRARIES:-copy}" = copy ]; then
    # Every library with the loader, under the paths that the loader looks at. Since glibc 2.34 names are resolved by libc itself.
    ldd "$out/usr/bin/aortica" "$out"/usr/lib/aortica/*.so | grep -o '/[^ :]*\.so[^ :]*' | grep -v "^$out" | sort -u |
        while read -r library; do
            mkdir -p "$out$(dirname "$library")"
            cp -L "$library" "$out$library"
        done
    cp -L /etc/ssl/certs/ca-certificates.crt "$out/etc/ssl/certs/"
    printf 'hosts: files dns\n' > "$out/etc/nsswitch.conf"
    printf 'root:x:0:0::/:/nologin\naortica:x:10001:10001::/:/nologin\n' > "$out/etc/passwd"
    printf 'root:x:0:\naortica:x:10001:\n' > "$out/etc/group"
fi
chmod -R go-w "$out"
du -sh "$out" | cut -f1
