//! The simulated machine is a machine: guests crash, reboot, wait and are typed at as on hardware.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail loudly; that is what it is for"
)]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use world::{FREE, Run, guest, run, run_on};
use xenvisor::abi::errno::ENOSYS;
use xenvisor::abi::sched::{SHUTDOWN_poweroff, SHUTDOWN_reboot};
use xenvisor::hypercalls::launch::Ended;
use xenvisor::model::domain::life::Reason;
use xenvisor::model::machine::Width;
use xenvisor::prelude::*;
use xenvisor::sim::guest::{Delivery, Ending, Events, PvConsole, Trouble, handler};
use xenvisor::sim::programs::Programs;
use xenvisor::sim::{SimGuest, SimMachine};

/// Runs one guest with one program.
fn alone<F>(code: impl Fn(SimGuest) -> F + Send + Sync + 'static) -> Run
where
    F: Future<Output = Ending> + Send + 'static,
{
    let mut programs = Programs::new();
    programs.add("code", code);
    let mut system = System::default();
    system.guest(guest("alone", "code"));
    run(1, programs, system)
}

fn reason(run: &Run) -> Option<Reason> {
    assert!(run.all_frames_are_back(), "frames are missing");
    run.finished.fates.first().unwrap().reason
}

/// A check within a guest.
fn wants(holds: bool, what: &str) -> Ending {
    if holds { Ok(()) } else { Err(Trouble::new(what)) }
}

#[test]
fn a_triple_fault_is_a_crash() {
    let run = alone(async |guest: SimGuest| {
        guest.triple_fault().await;
        Ok(())
    });
    assert_eq!(reason(&run), Some(Reason::Crash));
    assert_eq!(run.finished.ended, Ended::Badly);
}

#[test]
fn a_program_in_trouble_says_so_and_crashes() {
    let run = alone(async |_| Err(Trouble::new("the moon is full")));
    assert_eq!(reason(&run), Some(Reason::Crash));
    assert!(run.log().contains("the moon is full"), "{}", run.log());
}

#[test]
fn an_interrupt_nobody_handles_is_a_crash() {
    let run = alone(async |guest: SimGuest| {
        guest.set_upcall_vector(0xf3).await?;
        guest.register_vcpu_info(FREE << 12).await?;
        guest.set_interrupts(true).await;
        guest.compute(1_000_000).await;
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    assert_eq!(reason(&run), Some(Reason::Crash));
    assert!(run.log().contains("no handler for vector 0xf3"), "{}", run.log());
}

#[test]
fn halting_for_good_is_the_end_of_the_guest() {
    let run = alone(async |guest: SimGuest| {
        guest.set_interrupts(false).await;
        guest.halt().await;
        Ok(())
    });
    assert_eq!(reason(&run), Some(Reason::PowerOff));
}

#[test]
fn a_kernel_of_instructions_is_refused_in_a_clear_sentence() {
    let mut system = System::default();
    let mut file = xenvisor::sim::kernel::file("code");
    let code = file.len() - xenvisor::sim::kernel::code("code").len();
    file.splice(code..code + 4, [0xfa, 0xfc, 0x31, 0xc0]);
    let module = Module {
        name: "vmlinuz",
        bytes: file.leak(),
    };
    system.guest(Guest::pvh("real", module).memory(4 * MIB));
    let run = run(1, Programs::new(), system);
    assert_eq!(reason(&run), Some(Reason::Crash));
    assert!(
        run.log().contains("runs programs, not instructions"),
        "{}",
        run.log()
    );
}

#[test]
fn a_program_nobody_knows_is_named() {
    let mut system = System::default();
    system.guest(guest("lost", "atlantis"));
    let run = run(1, Programs::new(), system);
    assert_eq!(reason(&run), Some(Reason::Crash));
    assert!(run.log().contains("no program `atlantis`"), "{}", run.log());
}

#[test]
fn a_guest_that_reboots_starts_again_from_its_module() {
    let starts = Arc::new(AtomicU32::new(0));
    let counted = starts.clone();
    let run = alone(move |guest| {
        let start = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            // What the last life wrote is gone.
            let mark: u64 = guest.get(FREE << 12).await;
            wants(mark == 0, "memory of an earlier life")?;
            guest.put(FREE << 12, &u64::MAX).await;
            let reason = if start < 3 {
                SHUTDOWN_reboot
            } else {
                SHUTDOWN_poweroff
            };
            guest.shut_down(reason).await
        }
    });
    assert_eq!(
        (reason(&run), run.finished.ended),
        (Some(Reason::PowerOff), Ended::Well)
    );
    assert_eq!(starts.load(Ordering::Relaxed), 4);
}

#[test]
fn ports_and_memory_that_are_not_there_read_as_ones() {
    let run = alone(async |guest: SimGuest| {
        wants(guest.port_read(0x71, 1).await == 0xff, "one byte")?;
        wants(guest.port_read(0xcfc, 4).await == 0xffff_ffff, "four bytes")?;
        guest.port_write(0x80, 1, 7).await;
        let hole: u64 = guest.get(0xe000_0000).await;
        wants(hole == u64::MAX, "a hole")?;
        guest.put(0xe000_0000, &0_u64).await;
        let hole: u32 = guest.get(0xe000_0000).await;
        wants(hole == u32::MAX, "a hole, written to")?;
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    assert_eq!(reason(&run), Some(Reason::PowerOff), "{}", run.log());
}

#[test]
fn lines_to_the_debug_port_are_in_the_log() {
    let run = alone(async |guest: SimGuest| {
        for byte in b"here I am\n" {
            guest.port_write(0xe9, 1, (*byte).into()).await;
        }
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    assert_eq!(reason(&run), Some(Reason::PowerOff));
    assert!(run.log().contains("here I am"), "{}", run.log());
}

#[test]
fn time_passes_for_guests_as_for_the_host() {
    let run = alone(async |guest: SimGuest| {
        let before = guest.counter().await;
        guest.compute(10_000_000).await;
        let passed = guest.counter().await - before;
        // The counter runs at 2 GHz; computing takes half to one and a half of what was asked for.
        wants((10_000_000..=31_000_000).contains(&passed), "the counter")?;
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    assert_eq!(reason(&run), Some(Reason::PowerOff), "{}", run.log());
}

#[test]
fn what_is_typed_arrives_at_the_guest() {
    let mut programs = Programs::new();
    programs.add("reader", async |guest: SimGuest| {
        let events = Events::set_up(&guest, Delivery::TwoLevel, FREE, 0xf3).await?;
        let console = PvConsole::find(&guest).await?;
        events.open(&guest, console.port()).await?;
        let page = guest.param(17).await? << 12;
        loop {
            let there: u32 = guest.get(page + 3076).await;
            if there >= 5 {
                break;
            }
            events.wait(&guest, console.port()).await;
        }
        let typed = String::from_utf8_lossy(&guest.read(page, 5).await).into_owned();
        console.line(&guest, &format!("you typed {typed}")).await?;
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    let machine = SimMachine::new(1, programs);
    machine.record().input.extend(b"hello");
    let mut system = System::default();
    system.guest(guest("reader", "reader"));
    let run = run_on(1, machine, &mut system);
    assert_eq!(reason(&run), Some(Reason::PowerOff), "{}", run.log());
    assert!(run.console().contains("you typed hello"), "{}", run.console());
}

#[test]
fn results_of_32_bit_code_are_32_bits_wide() {
    let run = alone(async |guest: SimGuest| {
        guest.set_width(Width::Bits32).await;
        let result = guest.raw_call(63, [0; 6]).await;
        wants(
            result == u64::from(ENOSYS.wrapping_neg().cast_unsigned()),
            "32 bits",
        )?;
        guest.set_width(Width::Bits64).await;
        let result = guest.raw_call(63, [0; 6]).await;
        wants(result == i64::from(-ENOSYS).cast_unsigned(), "64 bits")?;
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    assert_eq!(reason(&run), Some(Reason::PowerOff), "{}", run.log());
}

#[test]
fn an_interrupt_comes_between_two_steps_and_leaves_no_trace() {
    let run = alone(async |guest: SimGuest| {
        let seen = Arc::new(AtomicU32::new(0));
        let count = seen.clone();
        let code = move |guest: SimGuest| {
            let count = count.clone();
            async move {
                // A hypercall of its own, which leaves another result behind.
                guest.raw_call(63, [0; 6]).await;
                count.fetch_add(1, Ordering::Relaxed);
                guest.put(FREE << 12, &0_u8).await;
                Ok(())
            }
        };
        guest.on_interrupt(0xf3, handler(code)).await;
        guest.set_upcall_vector(0xf3).await?;
        guest.register_vcpu_info(FREE << 12).await?;
        guest.set_interrupts(true).await;
        for _ in 0..100 {
            let version = guest.raw_call(17, [0; 6]).await;
            wants(version == 4 << 16 | 17, "a result of somebody else's call")?;
        }
        wants(seen.load(Ordering::Relaxed) == 1, "one interrupt")?;
        guest.shut_down(SHUTDOWN_poweroff).await
    });
    assert_eq!(reason(&run), Some(Reason::PowerOff), "{}", run.log());
}

#[test]
fn linux_boots_from_every_seed() {
    for seed in 0..40 {
        let mut system = System::default();
        system.guest(guest("linux", "linux").cmdline("console=hvc0"));
        let run = run(seed, Programs::standard(), system);
        if run.finished.ended != Ended::Well || !run.console().contains("slept 5.000 s") {
            run.fail(seed, "it does not get to its end");
        }
    }
}
