#!/bin/busybox sh
# Process 1 of a dom0 that runs one guest, tells what it said, and switches the machine off.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
for module in /modules/*.ko; do insmod "$module"; done
mount -t xenfs xenfs /proc/xen
echo "dom0 is up"
xenstored --pid-file /run/xenstored.pid
xen-init-dom0 >/dev/null
xenconsoled --log=guest --log-dir=/var/log/xen --pid-file=/run/xenconsoled.pid
echo "creating the guest"
xl create -q /guests/guest.cfg &&
{ [ ! -e /guests/companion.cfg ] || xl create -q /guests/companion.cfg; } || { echo "=== what the guest said"; echo "=== that was all; state c"; poweroff -f; }
# The state of a domain: running, blocked, paused, shut down, crashed, dying. The last two letters tell its end.
while true; do
    # A guest that ends for a reason that nobody knows is taken apart at once, whatever its configuration says.
    state=$(xl list guest 2>/dev/null | tail -n 1 | awk '{ print $5 }')
    case "${state:-gone}" in
        *s* | *c* | gone) break ;;
    esac
    sleep 0.2
done
# The console's daemon takes what is left in the ring when it is asked to wait for more.
sleep 1
echo "=== what the guest said"
cat /var/log/xen/guest-guest.log
echo "=== that was all; state ${state:-gone}"
poweroff -f
