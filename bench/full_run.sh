#!/usr/bin/env bash
# The full run that README and docs quote: every suite, every installed peer, one and two threads;
# about 25 minutes on two quiet cores. Writes bench/results/: JSON, pictures, one HTML page.
#
#     bash bench/full_run.sh [python] [option of convnet bench ...]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python}
shift || true
out=bench/results
names="convolution operations quick"
run() {
    "$python" -m convnet bench "$@"
}
run --suite vgg16,resnet50,mobilenet,mnist --threads 1,2 --time 0.1 --json $out/convolution.json "$@"
run --suite gemm,pool,elementwise,train --threads 1,2 --time 0.1 --json $out/operations.json "$@"
run --suite quick --json $out/quick.json "$@"
for suite in vgg16 resnet50 mobilenet mnist; do
    run plot $out/convolution.json $out/$suite.png --of $suite
done
for suite in gemm pool elementwise train; do
    run plot $out/operations.json $out/$suite.png --of $suite
done
run plot $out/quick.json $out/quick.png
run report $(printf "$out/%s.json " $names) --out $out
