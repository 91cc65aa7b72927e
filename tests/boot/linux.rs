//! Unmodified Debian kernels, from the first instruction to `poweroff`.

use xtask::debian::Kernel;
use xtask::initramfs::{self, Purpose};
use xtask::iso::Protocol;
use xtask::machine::{Emulator, Ending, Running};

use crate::world::{Machine, Way, emulator};

/// The prompt of the shell in our initrd.
const PROMPT: &str = "~ # ";

/// A kernel as the emulator at hand boots it in bearable time.
fn fetch(kernel: Kernel) -> std::path::PathBuf {
    if emulator().wants_unpacked_kernels() {
        xtask::unpacked::fetch(kernel).unwrap()
    } else {
        kernel.fetch().unwrap()
    }
}

/// A machine with a Debian guest whose console is a shell.
fn debian(kernel: Kernel, guest_mib: u64) -> Machine {
    let kernel = std::fs::read(fetch(kernel)).unwrap();
    let purpose = Purpose::Shell {
        terminal: "dumb".to_owned(),
        size: None,
    };
    let initrd = initramfs::build(None, &purpose).unwrap();
    Machine::with("linux")
        .module("vmlinuz", &kernel)
        .module("initrd", &initrd)
        .line(&format!("guest.linux.memory={guest_mib}M"))
        .memory_mib(guest_mib + 512)
        .limit(180)
}

/// Types a command at the shell; what it says.
fn ask(running: &mut Running, command: &str) -> String {
    // The echo of what is typed holds the marker in two parts, the answer in one.
    let marker = "answered";
    running
        .type_line(&format!("{command}; echo {}''{}", &marker[..3], &marker[3..]))
        .unwrap();
    let said = running.wait_for(marker).unwrap();
    running.wait_for(PROMPT).unwrap();
    said
}

fn power_off(mut running: Running) {
    running.type_line("poweroff").unwrap();
    running.expect(Ending::GuestsEnded).unwrap();
}

fn boots(kernel: Kernel) {
    let mut running = debian(kernel, 512).start();
    running.wait_for(PROMPT).unwrap();
    assert!(ask(&mut running, "cat /sys/hypervisor/type").contains("xen"));
    let log = ask(&mut running, "dmesg");
    for expected in [
        "Hypervisor detected: Xen",
        "Booting kernel on Xen PVH",
        "Switched to clocksource xen",
    ] {
        assert!(log.contains(expected), "no {expected:?} in:\n{log}");
    }
    for wrong in [
        "BUG:",
        "Oops",
        // A warning of the kernel's about itself, not one about what a processor leaks.
        "WARNING: CPU",
        "unstable",
        "soft lockup",
        "rcu_preempt detected",
    ] {
        assert!(!log.contains(wrong), "{wrong:?} in:\n{log}");
    }
    let version = ask(
        &mut running,
        "cat /sys/hypervisor/version/major /sys/hypervisor/version/minor /sys/hypervisor/uuid",
    );
    assert!(version.contains("4\r\n17\r\n"), "{version}");
    let interrupts = ask(&mut running, "grep xen /proc/interrupts");
    assert!(
        interrupts.contains("xen-dyn") && interrupts.contains("timer0"),
        "{interrupts}"
    );
    power_off(running);
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn debians_cloud_kernel_runs_as_a_guest() {
    boots(Kernel::Cloud);
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn debians_ordinary_kernel_runs_as_a_guest() {
    boots(Kernel::Amd64);
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn the_kernel_of_debians_backports_runs_as_a_guest() {
    boots(Kernel::Backports);
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_guest_with_twice_as_many_vcpus_as_there_are_pcpus_works_on_all_of_them_and_takes_them_off_and_on() {
    let pcpus = if emulator() == Emulator::Qemu { 4 } else { 2 };
    let vcpus = 2 * pcpus;
    let mut running = debian(Kernel::Cloud, 512)
        .pcpus(pcpus)
        .line(&format!("guest.linux.vcpus={vcpus}"))
        .start();
    running.wait_for(PROMPT).unwrap();
    let counted = |running: &mut Running| ask(running, "nproc");
    assert!(counted(&mut running).contains(&format!("{vcpus}\r\n")));
    let work = format!(
        "for n in $(seq 0 {}); do taskset -c $n sh -c 'i=0; while [ $i -lt 500 ]; do i=$((i+1)); done; echo did:$i' & done; wait",
        vcpus - 1
    );
    let said = ask(&mut running, &work);
    assert_eq!(said.matches("did:500").count(), vcpus as usize, "{said}");
    let last = format!("/sys/devices/system/cpu/cpu{}/online", vcpus - 1);
    for _ in 0..2 {
        ask(&mut running, &format!("echo 0 > {last}"));
        assert!(counted(&mut running).contains(&format!("{}\r\n", vcpus - 1)));
        ask(&mut running, &format!("echo 1 > {last}"));
        assert!(counted(&mut running).contains(&format!("{vcpus}\r\n")));
    }
    let log = ask(&mut running, "dmesg");
    for wrong in [
        "BUG:",
        // A warning of the kernel's about itself, not one about what a processor leaks.
        "WARNING: CPU",
        "soft lockup",
        "rcu_preempt detected",
        "not responding",
    ] {
        assert!(!log.contains(wrong), "{wrong:?} in:\n{log}");
    }
    power_off(running);
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_debian_guest_comes_up_from_an_iso_by_both_multiboot_protocols() {
    for protocol in [Protocol::Multiboot2, Protocol::Multiboot1] {
        let mut running = debian(Kernel::Cloud, 256).by(Way::Grub(protocol)).start();
        running.wait_for(PROMPT).unwrap();
        power_off(running);
    }
}

fn finds_its_memory(mib: u64, least_kib: u64, words: &str) {
    let mut running = debian(Kernel::Cloud, mib)
        .line(&format!("guest.linux.cmdline=\"console=hvc0 {words}\""))
        .start();
    running.wait_for(PROMPT).unwrap();
    let said = ask(&mut running, "grep MemTotal /proc/meminfo");
    let kib: u64 = said
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .unwrap();
    assert!(kib >= least_kib && kib <= mib << 10, "{mib} MiB: {said}");
    power_off(running);
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_guest_of_64_mib_has_enough_for_a_shell() {
    // The kernel's event tracing takes more than such a guest has left, on any machine.
    finds_its_memory(64, 25 << 10, "initcall_blacklist=tracer_init_tracefs");
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_large_guest_finds_all_its_memory() {
    // A machine in Bochs has no more than 2 GiB.
    let mib = match emulator() {
        Emulator::Bochs => 1536,
        Emulator::Qemu | Emulator::Kvm => 3 << 10,
    };
    finds_its_memory(mib, mib * 960, "");
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn five_seconds_of_sleep_are_five_seconds_of_guest_time_and_the_date_moves() {
    let mut running = debian(Kernel::Cloud, 256).start();
    running.wait_for(PROMPT).unwrap();
    let said = ask(
        &mut running,
        "d=$(date +%s); a=$(cut -d' ' -f1 /proc/uptime); sleep 5; b=$(cut -d' ' -f1 /proc/uptime); \
         e=$(date +%s); echo up $a $b date $d $e",
    );
    let numbers: Vec<f64> = said
        .lines()
        .rfind(|line| line.starts_with("up "))
        .unwrap()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [before, after, from, to] = numbers[..] else {
        panic!("{said}")
    };
    // What is around the sleep takes time too, on a slow machine a little more than the 1 % of the clock itself.
    assert!((4.95..5.35).contains(&(after - before)), "{said}");
    assert!((5.0..7.0).contains(&(to - from)), "{said}");
    assert!(
        ask(
            &mut running,
            "cat /sys/devices/system/clocksource/*/current_clocksource"
        )
        .contains("xen")
    );
    power_off(running);
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_guest_that_reboots_is_built_again() {
    let mut running = debian(Kernel::Cloud, 256).start();
    running.wait_for(PROMPT).unwrap();
    running.type_line("reboot").unwrap();
    running.wait_for("Run /init as init process").ok();
    running.wait_for(PROMPT).unwrap();
    power_off(running);
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_panic_of_the_guest_ends_the_machine_as_a_crash() {
    let mut running = debian(Kernel::Cloud, 256).start();
    running.wait_for(PROMPT).unwrap();
    running.type_line("echo c > /proc/sysrq-trigger").unwrap();
    running.expect(Ending::GuestCrashed).unwrap();
    assert!(running.console().text().contains("Kernel panic"));
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_module_that_is_no_kernel_or_half_of_one_is_refused_by_name() {
    let kernel = std::fs::read(Kernel::Cloud.fetch().unwrap()).unwrap();
    for bad in [
        &b"#!/bin/sh\necho no kernel\n"[..],
        &kernel[..kernel.len() / 2],
        &[],
    ] {
        let running = Machine::with("linux")
            .module("vmlinuz", bad)
            .module("initrd", b"")
            .memory_mib(1024)
            .ends(Ending::GuestCrashed);
        let said = running.console().text();
        assert!(
            said.contains("guest `linux` was not started") && said.contains("vmlinuz"),
            "{said}"
        );
    }
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn a_missing_module_and_a_mistaken_option_are_named() {
    let running = Machine::with("linux")
        .module("vmlinuz", b"x")
        .ends(Ending::HostFailed);
    let said = running.console().text();
    assert!(said.contains("`initrd`") && said.contains("`vmlinuz`"), "{said}");
    let running = Machine::with("linux")
        .module("vmlinuz", b"x")
        .module("initrd", b"x")
        .line("guest.linux.memroy=1G")
        .ends(Ending::HostFailed);
    assert!(running.console().text().contains("guest.linux.memroy"));
}

#[test]
#[ignore = "boots a machine: cargo xtask test runs it"]
fn time_that_a_guest_wants_and_does_not_get_is_counted_as_stolen() {
    let mut running = debian(Kernel::Cloud, 256).line("guest.linux.vcpus=2").start();
    running.wait_for(PROMPT).unwrap();
    let said = ask(
        &mut running,
        "a=$(grep '^cpu ' /proc/stat); for n in 0 1; do taskset -c $n timeout 3 sh -c 'while :; do :; done' & done; \
         wait; b=$(grep '^cpu ' /proc/stat); echo before $a; echo after $b",
    );
    let counts = |mark: &str| -> Vec<u64> {
        let line = said
            .lines()
            .rfind(|line| line.starts_with(mark))
            .unwrap_or_else(|| panic!("{said}"));
        line.split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect()
    };
    let (before, after) = (counts("before "), counts("after "));
    let spent = |n: usize| after[n] - before[n];
    // user, nice, system, idle, waiting, two kinds of interrupts, stolen: in hundredths of a second.
    let (worked, stolen) = (spent(0) + spent(2), spent(7));
    let part = stolen * 100 / (worked + stolen).max(1);
    assert!(
        worked > 100 && (35..65).contains(&part),
        "{part} % are stolen: {said}"
    );
    power_off(running);
}
