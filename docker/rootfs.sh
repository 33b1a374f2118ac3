#!/bin/sh
# Lays out the root folder of the image, without the program: rootfs.sh FOLDER
#
# Takes certificates, time zones and a static busybox from the system it runs on. Dockerfile.alpine
# calls it on Alpine, tests/image.sh on Debian.
set -eu
root=$1
mkdir -p "$root"
cd "$root"
mkdir -p bin dev etc/lifeboat etc/ssl/certs proc sys tmp usr/local/bin usr/share/zoneinfo
chmod 1777 tmp

# A shell, for init containers and for looking around.
for busybox in /bin/busybox.static /bin/busybox; do
    [ -x "$busybox" ] && break
done
cp "$busybox" bin/busybox
chmod 755 bin/busybox
for applet in cat date df id ls ps sh; do
    ln -sf busybox "bin/$applet"
done

cp -L /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/ca-certificates.crt
ln -sf certs/ca-certificates.crt etc/ssl/cert.pem
# `posix` and `right` repeat all zones, the latter with leap seconds.
(cd /usr/share/zoneinfo && tar -cf - --exclude=./posix --exclude=./right .) | tar -xf - -C usr/share/zoneinfo

echo 'root:x:0:0:root:/:/bin/sh
lifeboat:x:65532:65532:lifeboat:/:/bin/sh' >etc/passwd
echo 'root:x:0:
lifeboat:x:65532:' >etc/group
# musl asks these before it asks a name server.
echo 'hosts: files dns' >etc/nsswitch.conf
