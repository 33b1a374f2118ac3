#!/bin/sh
# The first pod is the primary, all others are its replicas.
set -eu
case $HOSTNAME in
*-0) exec redis-server /etc/redis/redis.conf ;;
*) exec redis-server /etc/redis/redis.conf --replicaof "${HOSTNAME%-*}-0.redis-nodes" 6379 ;;
esac
