#!/usr/bin/env bash
# Build, test and measure on a machine with an NVIDIA GPU and no network; what comes out goes to
# $OUT (default: bench/results/gpu): machine.txt, log.txt, and a JSON file for each benchmark.
#
#     OUT=folder bash bench/gpu_run.sh [WHEEL ...]
#     STEPS="bench" OUT=folder bash bench/gpu_run.sh        some of build, smoke, tests, bench, sanitizer
#
# Wants Python >= 3.11 with torch, numba-cuda, numpy, safetensors, pytest, cython, scikit-build-core,
# cmake and ninja; wheels of what is missing (cython-cmake, say) are given as arguments. The build and
# compiled kernels stay in build/gpu for the next run. A step that fails does not stop the others.
# Without the sanitizer, which is slow and not part of the default, it is meant to end in 10 minutes.
set -uo pipefail
cd "$(dirname "$0")/.."
steps=${STEPS:-build smoke tests bench}
out=${OUT:-bench/results/gpu}
work=$PWD/build/gpu
mkdir -p "$out" "$work"
export PYTHONPATH=$work/site PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=$work/cache PYTHONNOUSERSITE=1
unset NUMBA_ENABLE_CUDASIM CONVNET_BACKEND CONVNET_CROSS_CHECK
failed=""

step() { # step NAME SECONDS COMMAND...
    local name=$1 limit=$2 start=$SECONDS status=0
    shift 2
    timeout "$limit" "$@" >"$work/$name.log" 2>&1 || status=$?
    { printf '\n==> %s: status %d, %d s\n' "$name" $status $((SECONDS - start))
      head -c 20000 "$work/$name.log"; printf '\n...\n'; tail -c 60000 "$work/$name.log"; } >>"$out/log.txt"
    if [ $status -eq 0 ]; then
        echo "ok      $name  $((SECONDS - start)) s"
    else
        echo "FAILED  $name  ($status) $((SECONDS - start)) s: $(tail -n 1 "$work/$name.log" | cut -c 1-160)"
        failed="$failed $name"
    fi
}
wanted() { [[ " $steps " == *" $1 "* ]]; }
install=(python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$work/site")
bench() { # bench NAME OPTIONS...
    local name=$1
    shift
    step "bench_$name" 110 python3 -m convnet bench --device cuda --peers torch --time 0.05 \
        --json "$out/$name.json" "$@"
}

if wanted build; then
    [ $# -eq 0 ] || step wheels 60 "${install[@]}" "$@"
    step build 240 "${install[@]}" --no-build-isolation \
        --config-settings=cmake.define.CONVNET_LEVELS=x86_64_v3 .
fi
{
    nvidia-smi
    python3 -m convnet info
    python3 -m pip list 2>/dev/null | grep -i -E "^(numba|cuda|nvidia|torch|cupy|numpy|llvmlite|scikit-build)"
} >"$out/machine.txt" 2>&1

wanted smoke && step smoke 100 python3 -c "
import numpy as np, convnet
x = np.linspace(-1, 1, 1000, dtype=np.float32)
assert (convnet.ops.relu(convnet.to_device(x)).get() == np.maximum(x, 0)).all()
print('a kernel ran')
"
wanted tests && step tests 260 python3 -m pytest tests --backend cuda -q --maxfail=60
if wanted bench; then
    bench quick --suite quick --layout nchw
    bench products --shapes bench/gpu_products.csv --layout nchw
    bench products_tf32 --shapes bench/gpu_products.csv --layout nchw --precision medium
    bench operations --suite pool,elementwise,train --layout nchw
    bench convolutions --suite resnet50,vgg16,mobilenet --batch 64 --layout nchw
fi
# On one element-wise family: it takes minutes, and wants a machine that lets it near the GPU.
wanted sanitizer && step sanitizer 500 compute-sanitizer --error-exitcode 9 \
    python3 -m pytest tests/gpu --backend cuda -q -k "activation and float32"
if [ -z "$failed" ]; then echo "all steps passed"; else echo "failed:$failed"; fi
