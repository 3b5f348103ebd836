#!/bin/sh
# Prints a score an epoch; MODE decides how fast it grows.
seed=$1
epochs=$2
score=$((seed % 7))
epoch=0
while [ "$epoch" -lt "$epochs" ]; do
    epoch=$((epoch + 1))
    if [ "$MODE" = fast ]; then score=$((score + 3)); else score=$((score + 1)); fi
    echo "epoch $epoch: score=$score"
done
echo "a warning" >&2
