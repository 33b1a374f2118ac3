#!/bin/sh
# Before the primary starts: an empty volume gets the latest backup. Replicas copy the primary.
set -eu
case $HOSTNAME in
*-0) ;;
*) exit 0 ;;
esac
status=0
lifeboat restore redis --to /data/dump.rdb --if-empty || status=$?
# 4: there is no backup yet, which is so on the very first start. Whatever else went wrong must not
# end in an empty server that is then backed up: the pod waits, and tries again.
if [ "$status" -eq 4 ]; then
    echo "no backup yet: starting empty"
    exit 0
fi
exit "$status"
