#!/usr/bin/env bash
# The main road in one walk: real images -> shards -> a class-conditional BigGAN trained by two processes -> killed -> resumed ->
# sample grid -> export -> loaded from Python. `make demo` calls it; runs/demo and runs/demo_data are made anew each time.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 # two training processes on two cores

RUN=runs/demo
DATA=runs/demo_data
KILL_AT=8000 # images: past the first checkpoint, and not at one
TRAIN=(torchrun --standalone --nproc-per-node 2 -m biggan_scale.cli train demo "run_dir=$RUN" "data.path=$DATA")

main() {
  step "1. The environment"
  python -c 'import sys, torch, os; print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, {os.cpu_count()} cores, {torch.cuda.device_count()} GPUs")'

  step "2. The images that come with the project, packed into shards at 32 px"
  rm -rf "$RUN" "$DATA"
  show biggan-data pack --source biggan_scale/data/emoji64.zip --out "$DATA" --resolution 32 --workers 2
  show biggan-data verify "$DATA"

  step "3. Two processes train a class-conditional BigGAN; both are killed after $KILL_AT images"
  echo "\$ ${TRAIN[*]} &"
  "${TRAIN[@]}" &
  local launcher=$!
  trap 'kill_tree $launcher' EXIT
  while kill -0 $launcher 2>/dev/null && [ "$(images_seen)" -lt $KILL_AT ]; do sleep 1; done
  kill -0 $launcher # else the training ended by itself: stop here
  echo "\$ kill -9   # the launcher and all its children, at $(images_seen) images"
  kill_tree $launcher
  wait $launcher || true
  trap - EXIT
  cp "$RUN/metrics.jsonl" "$RUN/metrics_before_kill.jsonl"
  sleep 3 # until init has buried the dead
  show biggan-scale status "$RUN"

  step "4. The same command again resumes from the newest checkpoint"
  show "${TRAIN[@]}"
  show biggan-scale status "$RUN"
  python - "$RUN" <<'PYTHON'
import json, sys
from biggan_scale.engine.log import OF_THE_MACHINE
before, after = ([json.loads(line) for line in open(f"{sys.argv[1]}/{name}.jsonl")] for name in ("metrics_before_kill", "metrics"))
assert [record["nimg"] for record in after] == sorted({record["nimg"] for record in after})
for record in before + after:
    for name in OF_THE_MACHINE:
        record.pop(name, None)
assert before == after[: len(before)], "a record before the kill was not repeated"
last = before[-1]
print(f"The resumed run repeated what was lost: at {last['nimg']} images D/loss {last['D/loss']} and G/loss {last['G/loss']}, as before the kill.")
PYTHON

  step "5. A grid of samples, a row for each class"
  show biggan-scale sample "$RUN" --num 81 --classes 0,1,2,3,4,5,6,7,8 --seed 0 --out "$RUN/demo_samples.png"

  step "6. An export, and its use by someone who has only that folder and the package"
  show biggan-scale export "$RUN" --out "$RUN/export"
  ls -l "$RUN/export"
  python - "$RUN/export" <<'PYTHON'
import sys
from biggan_scale import load
images = load(sys.argv[1]).sample(num=4, seed=0, truncation=0.7, classes=[7])
print(f"load({sys.argv[1]!r}).sample(num=4, classes=[7]): {tuple(images.shape)}, from {images.min():.2f} to {images.max():.2f}")
PYTHON

  step "Done in $((SECONDS / 60)) min $((SECONDS % 60)) s"
  echo "samples      $RUN/demo_samples.png, and while training $RUN/samples/"
  echo "export       $RUN/export"
  echo "curves       .venv/bin/tensorboard --logdir $RUN"
}

step() { printf '\n== %s\n' "$1"; }

show() {
  echo "\$ $*"
  "$@"
}

images_seen() { biggan-scale status "$RUN" --json 2>/dev/null | python -c 'import json, sys; print(json.load(sys.stdin)["nimg"])' 2>/dev/null || echo 0; }

# torchrun gives each worker a session of its own, so killing a process group would leave them running.
kill_tree() {
  local tree
  tree=$(descendants "$1")
  # shellcheck disable=SC2086 # a list of process ids
  kill -9 $tree 2>/dev/null || true
}

descendants() {
  local child
  echo "$1"
  for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do descendants "$child"; done
}

main "$@"
