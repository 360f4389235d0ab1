#!/usr/bin/env bash
# The full run that README and docs quote: every suite, every installed peer, one and two threads;
# about 25 minutes on two quiet cores. Writes bench/results/: JSON, pictures, the page.
#
#     bash bench/full_run.sh [python] [option of convnet bench ...]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python}
shift || true
out=bench/results
run() {
    "$python" -m convnet bench "$@"
}
mkdir -p $out
run --suite vgg16,resnet50,mobilenet,mnist --peers torch --threads 1,2 --time 0.1 \
    --json $out/convolution.json "$@"
run --suite gemm,pool,elementwise,train --peers torch,numpy --threads 1,2 --time 0.1 \
    --json $out/operations.json "$@"
run --suite quick --peers torch,numpy,scipy,onnxruntime --time 0.1 --json $out/quick.json "$@"
for name in convolution operations quick; do
    run plot $out/$name.json $out/$name.png
done
run report $out/convolution.json $out/operations.json $out/quick.json --out $out
