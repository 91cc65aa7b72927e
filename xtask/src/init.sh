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

# Only the end of this script or a signal (what poweroff and reboot send) ends the guest.
end() { sync; "$@" -f; sleep 60; }
trap 'end poweroff' USR2
trap 'end halt' USR1
trap 'end reboot' TERM

if [ ! -e /xtask/command ]; then
    . /xtask/terminal 2>/dev/null
    while :; do
        setsid cttyhack sh -l <"$console" >"$console" 2>&1 &
        wait $!
        break
    done
    end poweroff
fi

# One command. The console stays open, for closing it would undo the settings; the kernel says nothing from here on.
exec 3<>"$console"
stty raw -echo -opost <&3
echo 0 >/proc/sys/kernel/printk
mark=$(printf '\036%s' "$(cat /xtask/nonce)")
mkfifo /xtask/errors
{
    while IFS= read -r line || [ -n "$line" ]; do
        printf '%sE%s\n' "$mark" "$line"
    done </xtask/errors >&3
} &
errors=$!
printf '%sB\n' "$mark" >&3
{
    sh /xtask/command </dev/null 2>/xtask/errors 3>&-
    echo $? >/xtask/status
} | cat >&3
# Something the command left behind may hold the other end open; do not wait for it for ever.
for _ in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 $errors 2>/dev/null || break
    usleep 20000
done
printf '%sX%s\n' "$mark" "$(cat /xtask/status)" >&3
# Returns when the console has taken everything.
stty -echo <&3
end poweroff
