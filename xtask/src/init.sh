#!/xtask/busybox sh
# Process 1 of a guest: a shell on the console, or one command whose output is framed for the host.
b=/xtask/busybox
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
$b mkdir -p /bin /dev /proc /sys /tmp /run /root /etc
$b --install -s /bin 2>/dev/null
mount -t proc proc /proc 2>/dev/null
mount -t sysfs sysfs /sys 2>/dev/null
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts 2>/dev/null
mount -t tmpfs tmpfs /tmp 2>/dev/null
[ -e /proc/xen ] && mount -t xenfs xenfs /proc/xen 2>/dev/null
hostname "$(cat /xtask/name 2>/dev/null || echo guest)"
cd /root

# The name of the console that was named last is the one the kernel gave us.
active=$(cat /sys/class/tty/console/active 2>/dev/null)
console=/dev/${active##* }
[ -c "$console" ] || console=/dev/console

if [ ! -e /xtask/command ]; then
    echo "${console#/dev/}::respawn:-/xtask/session" >/etc/inittab
    exec $b init
fi

# One command. The console stays open, for closing it would undo the settings; the kernel says
# nothing from here on but its last words (at 0 it would not even say those).
exec 3<>"$console"
stty raw -echo -opost <&3
echo 1 >/proc/sys/kernel/printk
mark=$(printf '\036%s' "$(cat /xtask/nonce)")
mkfifo /xtask/output /xtask/errors
printf '%sB\n' "$mark" >&3
cat </xtask/output >&3 &
output=$!
while IFS= read -r line || [ -n "$line" ]; do
    printf '%sE%s\n' "$mark" "$line"
done </xtask/errors >&3 &
errors=$!
sh /xtask/command </dev/null >/xtask/output 2>/xtask/errors 3>&-
status=$?
# What the command left behind ends with it; it may hold the pipes open.
for process in /proc/[0-9]*; do
    process=${process#/proc/}
    case $process in
        1 | $output | $errors) ;;
        *) kill -9 "$process" 2>/dev/null ;;
    esac
done
wait $output $errors
printf '%sX%s\n' "$mark" "$status" >&3
# Returns when the console has taken everything.
stty -echo <&3
sync
poweroff -f
